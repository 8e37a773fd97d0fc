#!/usr/bin/env python3
"""The ways to ask a small compute-bound model, against `session.run` in process, in turns on core 0.

    python3 benches/rig/mlp.py MODELS LIBRARY [ROUNDS] [SECONDS]

MODELS holds the `mlp` that `models/bench.py` wrote, LIBRARY is a libonnxruntime.so of the version that Weir embeds. Every way
keeps 32 requests in flight from core 1; rows per second, CPU time a row, and both as shares of in-process batches of 8. CPU
time moves less than the rate when others use the machine. Needs: cargo build --release --bins --examples; wrk.
"""

import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import compute
from compare import RELEASE, Server
from payload import field, varint

WIDTH = 256
IN_FLIGHT = "32"
BATCHES = ["8", "16", "32", "64"]


def values(rows):
    return struct.pack(f"<{rows * WIDTH}f", *(i % 97 / 97 for i in range(rows * WIDTH)))


def grpc_message(rows):
    tensor = field(1, b"x") + field(2, b"FP32") + field(3, varint(rows) + varint(WIDTH))
    body = field(1, b"mlp") + field(5, tensor) + field(7, values(rows))
    return b"\0" + struct.pack(">I", len(body)) + body


def wrk_script(folder, rows):
    data = values(rows)
    tensor = {"name": "x", "shape": [rows, WIDTH], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}, separators=(",", ":")).encode()
    with open(f"{folder}/http.bin", "wb") as file:
        file.write(head + data)
    with open(f"{folder}/http.lua", "w", encoding="utf-8") as file:
        file.write(
            f'local file = io.open("{folder}/http.bin", "rb")\nwrk.method = "POST"\nwrk.body = file:read("*a")\n'
            f'wrk.headers["Inference-Header-Content-Length"] = "{len(head)}"\n'
        )


def generator(*command):
    return subprocess.check_output(["taskset", "-c", "1", *command], text=True)


def grpc(address, folder, rows, seconds, streams):
    """`streams` 0: unary calls."""
    tool = os.path.join(RELEASE, "examples", "load_grpc")
    found = json.loads(generator(tool, address, f"{folder}/{rows}.bin", seconds, IN_FLIGHT, "4", str(streams)))
    assert found["failed"] == 0, found
    return found["requests"], found["requests_per_second"] * rows


def http(address, folder, seconds):
    text = generator(
        "wrk", "-t1", f"-c{IN_FLIGHT}", f"-d{seconds}s", "-s", f"{folder}/http.lua", f"http://{address}/v2/models/mlp/infer"
    )
    assert "Non-2xx" not in text, text
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    return requests, float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))


def main():
    models, library = sys.argv[1:3]
    rounds, seconds = (int(sys.argv[3]) if len(sys.argv) > 3 else 3), (sys.argv[4] if len(sys.argv) > 4 else "8")
    folder = tempfile.mkdtemp(prefix="weir-bench-")
    for rows in (1, 8, 32):
        with open(f"{folder}/{rows}.bin", "wb") as file:
            file.write(grpc_message(rows))
    wrk_script(folder, 1)
    weir, addresses = compute.weir(models)
    bare = Server(os.path.join(RELEASE, "examples", "echo_tonic"), "19303", "1")
    time.sleep(0.5)
    ways = {
        "unary gRPC": (weir, 1, lambda: grpc(addresses["gRPC"], folder, 1, seconds, 0)),
        "stream, 1": (weir, 1, lambda: grpc(addresses["gRPC"], folder, 1, seconds, 1)),
        "stream, 4": (weir, 1, lambda: grpc(addresses["gRPC"], folder, 1, seconds, 4)),
        "HTTP/1.1 binary": (weir, 1, lambda: http(addresses["HTTP"], folder, seconds)),
        "unary gRPC, 8 rows": (weir, 8, lambda: grpc(addresses["gRPC"], folder, 8, seconds, 0)),
        "unary gRPC, 32 rows": (weir, 32, lambda: grpc(addresses["gRPC"], folder, 32, seconds, 0)),
        "tonic echo, unary": (bare, 1, lambda: grpc("127.0.0.1:19303", folder, 1, seconds, 0)),
    }
    only = sys.argv[5:] or ways
    alone, rates, cpu = [], {way: [] for way in ways}, {way: [] for way in ways}
    try:
        for _ in range(rounds):
            alone.append(compute.in_process(f"{models}/mlp/1/model.onnx", library, float(seconds) / len(BATCHES), BATCHES))
            for way in only:
                server, rows, ask = ways[way]
                before = server.cpu_seconds()
                requests, rate = ask()
                rates[way].append(rate)
                cpu[way].append((server.cpu_seconds() - before) / (requests * rows) * 1e6)
    finally:
        weir.stop()
        bare.stop()
    for batch in BATCHES:
        rate, cost = (statistics.median(run[batch][index] for run in alone) for index in (0, 1))
        print(f"{'in process, batch ' + batch:24} {rate:9.0f} rows/s  {cost:6.1f} us a row")
    for way in only:
        shares = [rate / run["8"][0] for rate, run in zip(rates[way], alone)]
        costs = [run["8"][1] / cost for cost, run in zip(cpu[way], alone)]
        print(
            f"{way:24} {statistics.median(rates[way]):9.0f} rows/s  {statistics.median(cpu[way]):6.1f} us a row   "
            f"{statistics.median(shares):.2f} [{min(shares):.2f} to {max(shares):.2f}] by rate, {statistics.median(costs):.2f} by CPU"
        )


if __name__ == "__main__":
    main()
