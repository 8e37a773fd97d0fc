#!/usr/bin/env python3
"""Rows per second of compute-bound models through Weir's gRPC door against `session.run` in process, on core 0.

    python3 benches/rig/compute.py MODELS LIBRARY [ROUNDS] [SECONDS [MODEL ...]]

MODELS is the folder that `models/bench.py` wrote, LIBRARY a libonnxruntime.so of the version that Weir embeds. The baseline
runs each batch size with one thread (one core) and its best counts. The generator has core 1 and keeps 32 requests of one
row in flight. First in turns, by rate and by CPU time. Then both at the same time on that one core, against the best batch size,
by CPU time a row: where others use the machine, its speed changes from turn to turn, and this way both meet the same. (Alone the
server keeps the core busy, so that its rate is one through its CPU time.) Needs: cargo build --release --bins --examples.
"""

import json
import os
import random
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


class InProcess:
    """`session.run` in a process of its own, which is running from now on."""

    def __init__(self, model, library, seconds, batch):
        self.batch, self.seconds = batch, seconds
        command = [os.path.join(RELEASE, "examples", "inprocess"), library, model, str(seconds), "1", batch]
        self.process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.PIPE, text=True)

    def end(self):
        """Rows per second, and CPU seconds with those of loading."""
        text = self.process.stdout.read()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = status
        assert status == 0, text
        return json.loads(text)[self.batch], usage.ru_utime + usage.ru_stime

    def rate_and_cost(self, loading):
        """Rows per second and CPU microseconds a row."""
        rate, cpu = self.end()
        return rate, (cpu - loading) / (rate * self.seconds) * 1e6


def in_process(model, library, seconds, batches):
    """Rows per second and CPU microseconds a row by batch size. Loading is measured by a run of no length, and not counted."""
    loading = InProcess(model, library, 0, batches[0]).end()[1]
    return {batch: InProcess(model, library, seconds, batch).rate_and_cost(loading) for batch in batches}


def together(server, address, file, seconds, model, library, batch):
    """CPU microseconds a row in process and through Weir, both at the same time on the same core."""
    loading = InProcess(model, library, 0, batch).end()[1]
    base = InProcess(model, library, float(seconds), batch)
    _, mine = through_weir(server, address, file, seconds)
    return base.rate_and_cost(loading)[1], mine


def through_weir(server, address, file, seconds):
    """The same through the server's gRPC door."""
    load = [os.path.join(RELEASE, "examples", "load_grpc"), address, file, seconds, CONCURRENCY, "4"]
    before = server.cpu_seconds()
    result = json.loads(subprocess.check_output(["taskset", "-c", "1", *load]))
    assert not result["failed"], result
    return result["requests_per_second"], (server.cpu_seconds() - before) / result["requests"] * 1e6


def spread(shares):
    return f"{statistics.median(shares):.3f} [{min(shares):.3f} to {max(shares):.3f}]"


def compare(server, addresses, model, path, library, rounds, seconds):
    """Measures one model and prints what came of it."""
    batches = BATCHES[model]
    with urllib.request.urlopen(f"http://{addresses['HTTP']}/v2/models/{model}", timeout=10) as answer:
        spec = json.load(answer)["inputs"][0]
    with tempfile.NamedTemporaryFile() as file:
        file.write(message(model, spec))
        file.flush()
        through = (server, addresses["gRPC"], file.name, seconds)
        mine, base = [], []
        for _ in range(rounds):
            mine.append(through_weir(*through))
            base.append(in_process(path, library, float(seconds) / len(batches), batches))
        best = max(batches, key=lambda batch: statistics.median(run[batch][0] for run in base))
        both = [together(*through, path, library, best) for _ in range(rounds)]
    rates = [rate / run[best][0] for (rate, _), run in zip(mine, base)]
    costs = [run[best][1] / cost for (_, cost), run in zip(mine, base)]
    print(
        f"{model:10} {statistics.median(rate for rate, _ in mine):9.1f}/s of"
        f" {statistics.median(run[best][0] for run in base):9.1f}/s (batch {best}) = {spread(rates)}"
        f"   by CPU {spread(costs)}   at the same time {spread([alone / cost for alone, cost in both])}",
        flush=True,
    )


def main():
    models, library = sys.argv[1:3]
    rounds, seconds = (int(sys.argv[3]) if len(sys.argv) > 3 else 3), (sys.argv[4] if len(sys.argv) > 4 else "10")
    server, addresses = weir(models)
    try:
        for model in sys.argv[5:] or BATCHES:
            path = os.path.join(models, model, "1", "model.onnx")
            compare(server, addresses, model, path, library, rounds, seconds)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
