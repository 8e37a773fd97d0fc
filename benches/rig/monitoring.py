#!/usr/bin/env python3
"""What watching costs: requests per second and p50 with capture and drift off, on, and in audit, in turns.

    python3 benches/rig/monitoring.py [ROUNDS] [SECONDS] [MODELS] [MODEL]

Every server runs on core 0, with the threads that profile and write; the generator has core 1. Only the server that
is measured runs, and it has had two seconds of the same load: one that was idle first takes what it missed. MODELS and MODEL default to the
repository's `models` and `tiny`; the folder of `models/bench.py` with `encoder` is the compute-bound case. Baselines are made
with `weir profile-data` from random rows of the generator's own kind. Needs: cargo build --release --bins --examples.
"""

import csv
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request

from compare import RELEASE, Server, load_grpc
from compute import message

SETUPS = {
    "off": [],
    "drift": ["--drift-enabled", "--capture-mode", "off"],
    "capture": ["--drift-enabled=false", "--capture-mode", "best_effort"],
    "both": ["--drift-enabled", "--capture-mode", "best_effort"],
    "audit": ["--drift-enabled=false", "--capture-mode", "audit"],
}


def start(models, folder, extra):
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    watch = ["--monitoring-dir", folder, *extra] if extra else []
    server = Server(os.path.join(RELEASE, "weir"), "serve", models, *ports, *watch)
    addresses = {}
    for line in server.process.stdout:
        words = line.split()
        if words and words[0] == "curl":
            break
        if len(words) == 2 and words[0] in ("HTTP", "gRPC", "metrics"):
            addresses[words[0]] = words[1].removeprefix("http://").removesuffix("/metrics")
    return server, addresses


def baseline(spec, model, folder):
    """A table of random rows, and its profile beside the model."""
    width = 1
    for dim in spec["shape"][1:]:
        width *= max(dim, 1)
    rng = random.Random(2)
    names = [spec["name"] if width == 1 else f"{spec['name']}[{at}]" for at in range(width)]
    table = os.path.join(folder, "train.csv")
    with open(table, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(names)
        out.writerows([[rng.random() for _ in names] for _ in range(5000)])
    profile = os.path.join(folder, "baseline.json")
    subprocess.run([os.path.join(RELEASE, "weir"), "profile-data", table, "--out", profile], check=True)
    shutil.copy(profile, os.path.join(model, "1", "baseline.json"))


def dropped(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if "dropped_rows_total{" in line}


def main():
    rounds, seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 4
    models, model = (sys.argv[3:5] + ["models", "tiny"][len(sys.argv[3:5]):])[:2]
    folder = tempfile.mkdtemp(prefix="weir-monitoring-")
    repository = os.path.join(folder, "models")
    shutil.copytree(os.path.join(models, model), os.path.join(repository, model))
    server, addresses = start(repository, folder, [])
    with urllib.request.urlopen(f"http://{addresses['HTTP']}/v2/models/{model}", timeout=10) as answer:
        spec = json.load(answer)["inputs"][0]
    server.stop()
    with open(os.path.join(folder, "grpc.bin"), "wb") as file:
        file.write(message(model, spec))
    baseline(spec, os.path.join(repository, model), folder)
    runs, lost = {name: [] for name in SETUPS}, {}
    try:
        for turn in range(rounds):
            for name, extra in SETUPS.items():
                server, addresses = start(repository, os.path.join(folder, f"{name}-{turn}"), extra)
                try:
                    load_grpc(addresses["gRPC"], folder, 2, 64)
                    cpu = server.cpu_seconds()
                    rate, _, requests = load_grpc(addresses["gRPC"], folder, seconds, 64)
                    cpu = (server.cpu_seconds() - cpu) / requests * 1e6
                    _, p50, _ = load_grpc(addresses["gRPC"], folder, max(seconds // 2, 1), 1)
                    runs[name].append((rate, cpu, p50))
                    lost[name] = dropped(addresses["metrics"])
                finally:
                    server.stop()
        off = runs["off"]
        for name, found in runs.items():
            rate, cpu, p50 = (statistics.median(run[at] for run in found) for at in range(3))
            share, more, late = (
                statistics.median(run[at] / base[at] for run, base in zip(found, off)) for at in range(3)
            )
            print(f"{model:8} {name:8} {rate:9.0f}/s = {share:.3f}   CPU {cpu:6.2f} us = {more:.3f}"
                  f"   p50 alone {p50:7.1f} us = {late:.3f}   dropped {lost[name] or 'nothing'}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
