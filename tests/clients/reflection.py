#!/usr/bin/env python3
"""Reads the server's services by gRPC reflection and asks grpc.health.v1.Health.

    python reflection.py --grpc HOST:PORT
"""

import sys

import grpc
from common import Checks, arguments
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "inference.GRPCInferenceService"
UNARY = {
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
}


def services(channel):
    listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert SERVICE in listed, listed
    assert "grpc.health.v1.Health" in listed, listed
    assert "grpc.reflection.v1alpha.ServerReflection" in listed or "grpc.reflection.v1.ServerReflection" in listed, listed


def methods(channel):
    service = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(SERVICE)
    found = {method.name: method for method in service.methods}
    assert UNARY | {"ModelStreamInfer"} <= set(found), f"missing: {sorted((UNARY | {'ModelStreamInfer'}) - set(found))}"
    for name in UNARY:
        method = found[name]
        assert not method.client_streaming and not method.server_streaming, name
        assert method.input_type.full_name == f"inference.{name}Request", method.input_type.full_name
        assert method.output_type.full_name == f"inference.{name}Response", method.output_type.full_name
    stream = found["ModelStreamInfer"]
    assert stream.client_streaming and stream.server_streaming
    assert stream.input_type.full_name == "inference.ModelInferRequest", stream.input_type.full_name
    assert stream.output_type.full_name == "inference.ModelStreamInferResponse", stream.output_type.full_name


def fields(channel):
    """The numbers on the wire, as Triton's protocol has them."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    for message, wanted in (
        ("ModelInferRequest", "model_name=1 model_version=2 id=3 parameters=4 inputs=5 outputs=6 raw_input_contents=7"),
        ("ModelInferResponse", "model_name=1 model_version=2 id=3 parameters=4 outputs=5 raw_output_contents=6"),
        ("ModelStreamInferResponse", "error_message=1 infer_response=2"),
        ("InferParameter", "bool_param=1 int64_param=2 string_param=3 double_param=4 uint64_param=5"),
        (
            "InferTensorContents",
            "bool_contents=1 int_contents=2 int64_contents=3 uint_contents=4 uint64_contents=5 fp32_contents=6"
            " fp64_contents=7 bytes_contents=8",
        ),
        ("RepositoryModelLoadRequest", "repository_name=1 model_name=2 parameters=3"),
    ):
        found = {field.name: field.number for field in pool.FindMessageTypeByName(f"inference.{message}").fields}
        for pair in wanted.split():
            name, number = pair.split("=")
            assert found.get(name) == int(number), f"{message}.{name} is {found.get(name)}, wanted {number}"


def dynamic_call(channel):
    """A call made of nothing but what reflection told, as grpcurl does it."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    ask = GetMessageClass(pool.FindMessageTypeByName("inference.ServerLiveRequest"))
    answer = GetMessageClass(pool.FindMessageTypeByName("inference.ServerLiveResponse"))
    call = channel.unary_unary(f"/{SERVICE}/ServerLive", ask.SerializeToString, answer.FromString)
    assert call(ask(), timeout=10).live is True


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE):
        status = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
        assert status == health_pb2.HealthCheckResponse.SERVING, f"{service!r}: {status}"
    try:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=10)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    else:
        raise AssertionError("the health of an unknown service was told")


def watch(channel):
    stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)
    assert next(stream).status == health_pb2.HealthCheckResponse.SERVING
    stream.cancel()


def main():
    options = arguments(__doc__.splitlines()[0], models=False).parse_args()
    checks = Checks(options.only)
    with grpc.insecure_channel(options.grpc) as channel:
        for check in (services, methods, fields, dynamic_call, health, watch):
            checks.run(check.__name__.replace("_", " "), check, channel)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
