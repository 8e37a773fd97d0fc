#!/usr/bin/env python3
"""Rows per second of compute-bound models through Weir's gRPC door against `session.run` in process, in turns on core 0.

    python3 benches/rig/compute.py MODELS LIBRARY [ROUNDS] [SECONDS [MODEL ...]]

MODELS is the folder that `models/bench.py` wrote, LIBRARY a libonnxruntime.so of the version that Weir embeds. The baseline
runs each batch size with one thread (one core) and its best counts. The generator has core 1 and keeps 32 requests of one
row in flight. CPU time a row moves less than the rate when others use the machine. Needs: cargo build --release --bins --examples.
"""

import json
import os
import random
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import urllib.request

from compare import RELEASE, Server
from payload import field, varint

CONCURRENCY = "32"
BATCHES = {"mlp": ["8"], "resnet50": ["1", "2", "4", "8"], "encoder": ["1", "2", "4", "8", "16"]}


def message(model, spec):
    """One framed ModelInferRequest with one row of random data."""
    shape = [1, *spec["shape"][1:]]
    count = 1
    for dim in shape:
        count *= dim
    rng = random.Random(1)
    if spec["datatype"] == "FP32":
        data = struct.pack(f"<{count}f", *(rng.random() for _ in range(count)))
    else:
        data = struct.pack(f"<{count}q", *(rng.randrange(1000) for _ in range(count)))
    tensor = field(1, spec["name"].encode()) + field(2, spec["datatype"].encode())
    tensor += field(3, b"".join(varint(dim) for dim in shape))
    body = field(1, model.encode()) + field(5, tensor) + field(7, data)
    return b"\0" + struct.pack(">I", len(body)) + body


def weir(models):
    command = [os.path.join(RELEASE, "weir"), "serve", models]
    server = Server(*command, "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    addresses = {}
    # The line with curl comes when everything is loaded.
    for line in server.process.stdout:
        words = line.split()
        if words and words[0] == "curl":
            break
        if len(words) == 2 and words[0] in ("HTTP", "gRPC"):
            addresses[words[0]] = words[1].removeprefix("http://")
    return server, addresses


def in_process(model, library, seconds, batches):
    """Rows per second and CPU microseconds a row by batch size. Loading is measured by a run of no length, and not counted."""

    def run(batch, seconds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [os.path.join(RELEASE, "examples", "inprocess"), library, model, str(seconds), "1", batch]
        rate = json.loads(subprocess.check_output(["taskset", "-c", "0", *command], text=True))[batch]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return rate, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    idle = run(batches[0], 0)[1]
    found = {}
    for batch in batches:
        rate, cpu = run(batch, seconds)
        found[batch] = rate, (cpu - idle) / (rate * seconds) * 1e6
    return found


def through_weir(server, address, file, seconds):
    """The same through the server's gRPC door."""
    load = [os.path.join(RELEASE, "examples", "load_grpc"), address, file, seconds, CONCURRENCY, "4"]
    before = server.cpu_seconds()
    result = json.loads(subprocess.check_output(["taskset", "-c", "1", *load]))
    assert not result["failed"], result
    return result["requests_per_second"], (server.cpu_seconds() - before) / result["requests"] * 1e6


def main():
    models, library = sys.argv[1:3]
    rounds, seconds = (int(sys.argv[3]) if len(sys.argv) > 3 else 3), (sys.argv[4] if len(sys.argv) > 4 else "10")
    only = sys.argv[5:] or BATCHES
    server, addresses = weir(models)
    try:
        for model in only:
            batches = BATCHES[model]
            with urllib.request.urlopen(f"http://{addresses['HTTP']}/v2/models/{model}", timeout=10) as answer:
                spec = json.load(answer)["inputs"][0]
            with tempfile.NamedTemporaryFile() as file:
                file.write(message(model, spec))
                file.flush()
                mine, base = [], []
                path = os.path.join(models, model, "1", "model.onnx")
                for _ in range(rounds):
                    mine.append(through_weir(server, addresses["gRPC"], file.name, seconds))
                    base.append(in_process(path, library, float(seconds) / len(batches), batches))
            best = max(batches, key=lambda batch: statistics.median(run[batch][0] for run in base))
            ratios = [rate / run[best][0] for (rate, _), run in zip(mine, base)]
            costs = [run[best][1] / cost for (_, cost), run in zip(mine, base)]
            print(
                f"{model:10} {statistics.median(rate for rate, _ in mine):9.1f}/s of"
                f" {statistics.median(run[best][0] for run in base):9.1f}/s (batch {best}) ="
                f" {statistics.median(ratios):.3f}   [{min(ratios):.3f} to {max(ratios):.3f}]"
                f"   by CPU {statistics.median(costs):.3f} [{min(costs):.3f} to {max(costs):.3f}]",
                flush=True,
            )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
