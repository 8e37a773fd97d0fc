#!/usr/bin/env python3
"""Runs Weir and the bare servers in turns and prints ratios. Called by benches/run.sh; needs only the standard library."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

RELEASE = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
SERVER_CORE, CLIENT_CORE = "0", "1"
INFER = "/inference.GRPCInferenceService/ModelInfer"
TICKS = os.sysconf("SC_CLK_TCK")
UNITS = {"us": 1, "ms": 1e3, "s": 1e6}
# ONNX Runtime, in the programs that are started here, reports to its maker otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


class Server:
    """A server on core 0, stopped by its own process id."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024

    def stop(self):
        self.process.terminate()
        self.process.wait()


def start_weir():
    server = Server(
        os.path.join(RELEASE, "weir"), "serve", "models", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"
    )
    addresses = {}
    for line in server.process.stdout:
        words = line.split()
        if len(words) == 2 and words[0].lower() in ("http", "grpc", "metrics"):
            addresses[words[0].lower()] = words[1].removeprefix("http://").removesuffix("/metrics")
        if len(addresses) == 3:
            break
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://{addresses['http']}/v2/health/ready", timeout=5)
            return server, addresses
        except OSError:
            time.sleep(0.1)
    raise SystemExit("weir was not ready within a minute")


def client(*command):
    return subprocess.run(["taskset", "-c", CLIENT_CORE, *command], check=True, capture_output=True, text=True).stdout


def load_grpc(address, folder, seconds, streams):
    tool = os.path.join(RELEASE, "examples", "load_grpc")
    found = json.loads(client(tool, address, f"{folder}/grpc.bin", str(seconds), str(streams), str(min(streams, 4))))
    assert found["failed"] == 0, found
    return found["requests_per_second"], found["p50_us"], found["requests"]


def h2load(address, folder, seconds, streams):
    connections = min(streams, 4)
    text = client(
        "h2load", "-t1", f"-D{seconds}", f"-c{connections}", f"-m{streams // connections}", "-d", f"{folder}/grpc.bin",
        "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{address}{INFER}",
    )
    requests = int(re.search(r"(\d+) succeeded", text).group(1))
    assert "0 failed" in text, text
    return float(re.search(r"([\d.]+) req/s", text).group(1)), None, requests


def wrk(address, folder, seconds, connections, script):
    text = client(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", f"{folder}/{script}.lua",
        f"http://{address}/v2/models/tiny/infer",
    )
    assert "Non-2xx" not in text, text
    median, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), float(median) * UNITS[unit], requests


def measure(server, call):
    before = server.cpu_seconds()
    rate, p50, requests = call()
    return {"rate": rate, "p50": p50, "cpu_us": (server.cpu_seconds() - before) / requests * 1e6}


def compare(title, rounds, weir, bare):
    """Each of `weir` and `bare` is a server and a call. Prints medians and their ratios."""
    runs = {"weir": [], "bare": []}
    for _ in range(rounds):
        for name, (server, call) in (("bare", bare), ("weir", weir)):
            runs[name].append(measure(server, call))
    median = {
        name: {key: statistics.median(run[key] for run in all_runs) for key in all_runs[0] if all_runs[0][key] is not None}
        for name, all_runs in runs.items()
    }
    w, b = median["weir"], median["bare"]
    line = f"{title:36} {w['rate']:9.0f}/s of {b['rate']:9.0f}/s = {w['rate'] / b['rate']:.2f}"
    line += f"   CPU {w['cpu_us']:6.1f} of {b['cpu_us']:6.1f} us = {w['cpu_us'] / b['cpu_us']:.2f}"
    if "p50" in w:
        line += f"   p50 {w['p50']:6.0f} of {b['p50']:6.0f} us = {w['p50'] / b['p50']:.2f}"
    print(line, flush=True)


def main(rounds=5, seconds=4):
    folder = tempfile.mkdtemp(prefix="weir-bench-")
    subprocess.run([sys.executable, "benches/rig/payload.py", folder], check=True)
    weir, addresses = start_weir()
    bare_grpc = Server(os.path.join(RELEASE, "examples", "echo_tonic"), "19301", "1")
    bare_http = Server(os.path.join(RELEASE, "examples", "echo_hyper"), "19302", "120", "1")
    time.sleep(0.5)
    try:
        grpc, http = addresses["grpc"], addresses["http"]
        tonic, hyper = "127.0.0.1:19301", "127.0.0.1:19302"
        for tool in (load_grpc, h2load):
            for streams in (64, 1):
                compare(
                    f"gRPC, {tool.__name__}, concurrency {streams}", rounds,
                    (weir, lambda: tool(grpc, folder, seconds, streams)),
                    (bare_grpc, lambda: tool(tonic, folder, seconds, streams)),
                )
        for script in ("binary", "json"):
            for connections in (64, 1):
                compare(
                    f"HTTP/1.1, {script}, concurrency {connections}", rounds,
                    (weir, lambda: wrk(http, folder, seconds, connections, script)),
                    (bare_http, lambda: wrk(hyper, folder, seconds, connections, script)),
                )
        print(f"resident: {weir.resident_mib():.0f} MiB")
    finally:
        for server in (weir, bare_grpc, bare_http):
            server.stop()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
