#!/usr/bin/env python3
"""Drives a server with KServe's InferenceRESTClient and InferenceGRPCClient, and compares with the golden answers.

    python kserve_client.py --http HOST:PORT --grpc HOST:PORT --models models

What differs from tritonclient on the wire: the REST body also has "model_name"; NaN in JSON is null; the answer to a REST
request is JSON unless asked otherwise; gRPC requests may carry typed contents; gRPC tensors may carry a "binary_data_size"
parameter that means nothing there; and the client makes up a request id when there is none (REST).
"""

import asyncio
import importlib.metadata
import logging
import sys

import grpc
import httpx
from common import Checks, arguments, goldens

# The package reads the command line when it is imported, as if it were a server's.
ARGUMENTS, sys.argv[1:] = sys.argv[1:], []

from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.infer_type import RequestedOutput

VERSION = "0.21.0"
WAIT = 30


def request(golden, binary, outputs=None, model=None, **named):
    inputs = []
    for name, value in golden.inputs.items():
        made = InferInput(name, list(value.shape), golden.datatypes[name])
        made.set_data_from_numpy(value, binary_data=binary)
        inputs.append(made)
    return InferRequest(model or golden.name, inputs, request_outputs=outputs, **named)


def nested(golden):
    """Data as a list of rows, not flat; the client passes what it is given."""
    inputs = []
    for name, value in golden.inputs.items():
        inputs.append(InferInput(name, list(value.shape), golden.datatypes[name], data=value.tolist()))
    return InferRequest(golden.name, inputs)


def compare(golden, response, only=None):
    golden.compare({output.name: output.as_numpy() for output in response.outputs}, only)
    assert response.model_name == golden.name, response.model_name


async def version_in_use():
    found = importlib.metadata.version("kserve")
    assert found == VERSION, f"kserve {found}, wanted {VERSION}"


# ---------------------------------------------------------------------------------------------------------------------


async def rest_health(client, url, everything):
    assert await client.is_server_live(url) is True
    assert await client.is_server_ready(url) is True
    for golden in everything:
        assert await client.is_model_ready(url, golden.name) is True
    assert await client.is_model_ready(url, "no-such-model") is False


async def rest_infer(client, url, golden, binary):
    compare(golden, await client.infer(url, request(golden, binary, request_id="r-1"), model_name=golden.name))
    for row in range(golden.rows):
        one = golden.take([row])
        compare(one, await client.infer(url, request(one, binary), model_name=golden.name))


async def rest_outputs(client, url, golden):
    for binary in (True, False):
        for name in golden.outputs:
            outputs = [RequestedOutput(name, {"binary_data": binary})]
            headers = {}
            response = await client.infer(url, request(golden, True, outputs), model_name=golden.name, response_headers=headers)
            compare(golden, response, only=[name])
            assert ("inference-header-content-length" in headers) == binary, headers
    response = await client.infer(url, request(golden, True, parameters={"binary_data_output": True}), model_name=golden.name)
    compare(golden, response)


async def rest_ids(client, url, golden):
    response = await client.infer(url, request(golden, False, request_id="abc"), model_name=golden.name)
    assert response.id == "abc", response.id
    response = await client.infer(url, request(golden, False), model_name=golden.name)
    assert len(response.id) == 36, response.id  # the client's own UUID


async def rest_nested(client, url, golden):
    compare(golden, await client.infer(url, nested(golden), model_name=golden.name))


async def rest_dictionary(client, url, golden):
    """A plain dictionary, which the client sends as it is."""
    body = {"inputs": [{"name": "x", "shape": list(golden.inputs["x"].shape), "datatype": "FP32", "data": golden.inputs["x"].tolist()}]}
    compare(golden, await client.infer(url, body, model_name=golden.name))


async def rest_errors(client, url, golden):
    for model, data, status in (
        ("no-such-model", request(golden, True, model="no-such-model"), 404),
        ("penguins", request(golden, True, model="penguins"), 400),
        (golden.name, request(golden, False, [RequestedOutput("no_such_output")]), 400),
        (golden.name, {"inputs": "nothing"}, 400),
    ):
        try:
            await client.infer(url, data, model_name=model)
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == status, error
            # The client quotes the server's words only if the content type is exactly application/json.
            assert error.response.json()["error"] in str(error), f"the server's words are not in: {error}"
        else:
            raise AssertionError(f"{model} was not refused")


async def rest_together(client, url, golden):
    rows = [golden.take([index % golden.rows]) for index in range(30)]
    calls = [client.infer(url, request(row, index % 2 == 0), model_name=golden.name) for index, row in enumerate(rows)]
    for row, response in zip(rows, await asyncio.gather(*calls)):
        compare(row, response)


# ---------------------------------------------------------------------------------------------------------------------


async def grpc_health(client, everything):
    assert await client.is_server_live() is True
    assert await client.is_server_ready() is True
    for golden in everything:
        assert await client.is_model_ready(golden.name) is True
    try:
        assert await client.is_model_ready("no-such-model") is False
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error


async def grpc_infer(client, golden, typed):
    response = await client.infer(request(golden, not typed, request_id="g-1", model_version=golden.version))
    compare(golden, response)
    assert (response.id, response.model_version) == ("g-1", golden.version), (response.id, response.model_version)
    for row in range(golden.rows):
        one = golden.take([row])
        compare(one, await client.infer(request(one, not typed, model_version=golden.version)))


async def grpc_outputs(client, golden):
    for name in golden.outputs:
        compare(golden, await client.infer(request(golden, True, [RequestedOutput(name)])), only=[name])


async def grpc_metadata(client, golden):
    """The client has no method for metadata; its stub does, with KServe's own messages."""
    stub = client._client_stub
    server = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert server.name and server.version, server
    model = await stub.ModelMetadata(pb.ModelMetadataRequest(name=golden.name))
    assert [tensor.name for tensor in model.inputs] == list(golden.inputs), model
    assert [tensor.name for tensor in model.outputs] == list(golden.outputs), model
    assert [tensor.datatype for tensor in model.inputs] == [golden.datatypes[name] for name in golden.inputs], model


async def grpc_load(client, golden):
    """KServe's RepositoryModelLoad has the model's name in field 1, where Triton's has the repository's."""
    stub = client._client_stub
    answer = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=golden.name))
    assert answer.model_name in ("", golden.name), answer
    compare(golden, await client.infer(request(golden, True)))
    try:
        await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="no-such-model"))
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT), error
    else:
        raise AssertionError("no-such-model was loaded")


async def grpc_mixed(client, golden):
    """Typed contents and raw contents in one request contradict each other."""
    message = request(golden, False).to_grpc()
    message.raw_input_contents.append(golden.inputs["x"].tobytes())
    try:
        await client._client_stub.ModelInfer(message)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    else:
        raise AssertionError("a request with both kinds of contents was not refused")


async def grpc_errors(client, golden):
    for wanted, made in (
        (grpc.StatusCode.NOT_FOUND, request(golden, True, model="no-such-model")),
        (grpc.StatusCode.NOT_FOUND, request(golden, True, model_version="99")),
        (grpc.StatusCode.INVALID_ARGUMENT, request(golden, True, model="penguins")),
        (grpc.StatusCode.INVALID_ARGUMENT, request(golden, True, [RequestedOutput("no_such_output")])),
        (grpc.StatusCode.INVALID_ARGUMENT, InferRequest("tiny", [InferInput("x", [2, 16], "FP32", data=[1.0])])),
    ):
        try:
            await client.infer(made)
        except grpc.RpcError as error:
            assert error.code() == wanted, f"{error.code()}, wanted {wanted}: {error.details()}"
            assert error.details(), error
        else:
            raise AssertionError(f"wanted {wanted}")
    compare(golden, await client.infer(request(golden, True)))


async def grpc_together(client, golden):
    rows = [golden.take([index % golden.rows]) for index in range(60)]
    answers = await asyncio.gather(*[client.infer(request(row, index % 2 == 0)) for index, row in enumerate(rows)])
    for row, response in zip(rows, answers):
        compare(row, response)


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--no-control", action="store_true", help="do not load models")
    options = parser.parse_args(ARGUMENTS)
    logging.disable(logging.CRITICAL)  # the client logs every refusal it raises
    everything = goldens(options.models)
    newest = {golden.name: golden for golden in everything}  # sorted by version: without one, the newest answers
    checks = Checks(options.only)
    url = f"http://{options.http}"

    def run(name, check, *rest):
        async def rest_run():
            async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=WAIT)) as client:
                await check(client, url, *rest)

        async def grpc_run():
            async with InferenceGRPCClient(options.grpc, timeout=WAIT) as client:
                await check(client, *rest)

        checks.run(name, lambda: asyncio.run(rest_run() if name.startswith("rest") else grpc_run()))

    checks.run("version of the client", lambda: asyncio.run(version_in_use()))
    run("rest: health", rest_health, everything)
    for golden in newest.values():
        run(f"rest: golden {golden}, JSON", rest_infer, golden, False)
        run(f"rest: golden {golden}, binary", rest_infer, golden, True)
    run("rest: outputs", rest_outputs, newest["digits"])
    run("rest: ids", rest_ids, newest["iris"])
    run("rest: nested data", rest_nested, newest["digits"])
    run("rest: nested strings and missing values", rest_nested, newest["penguins"])
    run("rest: dictionary", rest_dictionary, newest["tiny"])
    run("rest: errors", rest_errors, newest["tiny"])
    run("rest: many at once", rest_together, newest["digits"])
    run("grpc: health", grpc_health, everything)
    for golden in everything:
        run(f"grpc: golden {golden}, typed", grpc_infer, golden, True)
        run(f"grpc: golden {golden}, raw", grpc_infer, golden, False)
    run("grpc: outputs", grpc_outputs, newest["digits"])
    run("grpc: metadata", grpc_metadata, newest["penguins"])
    run("grpc: mixed contents", grpc_mixed, newest["tiny"])
    run("grpc: errors", grpc_errors, newest["tiny"])
    run("grpc: many at once", grpc_together, newest["digits"])
    if options.no_control:
        print("skip grpc: load: --no-control")
    else:
        run("grpc: load", grpc_load, newest["digits"])
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
