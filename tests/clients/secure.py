#!/usr/bin/env python3
"""Speaks TLS with tritonclient over gRPC and HTTP, and with a bare gRPC channel.

    python secure.py --http HOST:PORT --grpc HOST:PORT --cacert FILE
"""

import sys

import grpc
import numpy as np
import tritonclient.grpc
import tritonclient.http
from common import Checks, arguments
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROW = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)


def ask(module, client):
    given = module.InferInput("input", ROW.shape, "FP32")
    given.set_data_from_numpy(ROW)
    label = client.infer("iris", [given]).as_numpy("label")
    assert label.tolist() == [b"setosa"], label


def triton_grpc(options):
    with tritonclient.grpc.InferenceServerClient(
        options.grpc, ssl=True, root_certificates=options.cacert
    ) as client:
        ask(tritonclient.grpc, client)


def triton_http(options):
    with tritonclient.http.InferenceServerClient(
        options.http, ssl=True, ssl_options={"ca_certs": options.cacert}
    ) as client:
        ask(tritonclient.http, client)


def channel(options):
    with open(options.cacert, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(options.grpc, credentials) as secure:
        answer = health_pb2_grpc.HealthStub(secure).Check(health_pb2.HealthCheckRequest(service=""), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def main():
    parser = arguments(__doc__.splitlines()[0], models=False)
    parser.add_argument("--cacert", metavar="FILE", required=True, help="the roots of the server's certificate")
    options = parser.parse_args()
    checks = Checks(options.only)
    for check in (triton_grpc, triton_http, channel):
        checks.run(check.__name__.replace("_", " "), check, options)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
