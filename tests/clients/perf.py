#!/usr/bin/env python3
"""Runs NVIDIA's perf_analyzer against a server, over gRPC and HTTP, and checks its report.

    python perf.py install DIRECTORY
    python perf.py check --http HOST:PORT --grpc HOST:PORT --binary DIRECTORY/perf_analyzer

Where the program comes from. On PyPI the name `perf-analyzer` may lead to a placeholder without any program (0.1.0 does), so
`install` takes it out of NVIDIA's `tritonclient` wheels, which contained it for a while, without installing those:

  2.51.0  runs with glibc 2.34 and later (Debian 12, Ubuntu 22.04); needs libb64.so.0d and libcudart.so.12
  2.60.0  runs with glibc 2.38 and libstdc++ 13 and later (Debian 13, Ubuntu 24.04); needs nothing else

libcudart.so.12 comes from the wheel `nvidia-cuda-runtime-cu12` and libb64.so.0d from the Debian package `libb64-0d`, which
`install` downloads and unpacks beside the program; nothing is installed on the system, and no GPU is needed.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

OLD, NEW = "2.51.0", "2.60.0"
CUDA = "12.9.79"

# What perf_analyzer sends: random numbers in the shape of the model, so any answer will do; strings are of no use to it here.
MODELS = {"tiny": [], "iris": [], "digits": ["-b", "4"], "codetext": ["--shape", "input_ids:80", "--shape", "attention_mask:80", "--input-data", "zero"]}


def glibc():
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else (0, 0)


def wheel(package, version, folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder]
    subprocess.run([*command, f"{package}=={version}"], check=True)
    return next(Path(folder).glob(f"{package.replace('-', '_')}-{version}-*.whl"))


def take(archive, ending, target):
    with zipfile.ZipFile(archive) as opened:
        name = next(name for name in opened.namelist() if name.endswith(ending))
        with opened.open(name) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink)
    target.chmod(0o755)


def runs(program):
    try:
        return subprocess.run([program, "--version"], env=environment(program), capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def environment(program):
    paths = [str(Path(program).resolve().parent), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(path for path in paths if path)}


def install(folder):
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "perf_analyzer"
    if program.exists() and runs(program):
        print(f"{program} is there")
        return 0
    if platform.machine() != "x86_64":
        print("the wheels have perf_analyzer for x86_64 only", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        for version in [NEW, OLD] if glibc() >= (2, 38) else [OLD]:
            take(wheel("tritonclient", version, temporary), "/bin/perf_analyzer", program)
            if runs(program):
                break
        else:
            take(wheel("nvidia-cuda-runtime-cu12", CUDA, temporary), "/libcudart.so.12", folder / "libcudart.so.12")
            if not runs(program):
                subprocess.run(["apt-get", "download", "--quiet", "libb64-0d"], cwd=temporary, check=True)
                package = next(Path(temporary).glob("libb64-0d_*.deb"))
                subprocess.run(["dpkg", "-x", package, temporary], check=True)
                library = next(Path(temporary).glob("usr/lib/*/libb64.so.0d"))
                shutil.copyfile(library, folder / "libb64.so.0d")
    if not runs(program):
        print(subprocess.run(["ldd", program], env=environment(program), capture_output=True, text=True).stdout, file=sys.stderr)
        return 1
    print(f"{program} is ready")
    return 0


def shapes(url, model):
    """perf_analyzer strips the batch axis only if the configuration says max_batch_size > 0; without it wants every shape."""
    with urllib.request.urlopen(f"http://{url}/v2/models/{model}/config", timeout=30) as answer:
        config = json.load(answer)
    if config.get("max_batch_size", 0) > 0:
        return []
    print(f"   {model} says max_batch_size 0, so the shapes are given by hand")
    sizes = {tensor["name"]: ",".join(str(max(1, size)) for size in tensor["dims"]) for tensor in config["input"]}
    return [word for name, size in sizes.items() for word in ("--shape", f"{name}:{size}")]


def measure(program, http, url, protocol, model, extra, requests, concurrency):
    extra = [*extra, *shapes(http, model)] if "--shape" not in extra else extra
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.csv"
        command = [program, "-m", model, "-u", url, "-i", protocol, "-f", report]
        command += ["--concurrency-range", concurrency, "--measurement-mode", "count_windows"]
        # Three windows of so many requests; whether they agree with each other is not the question here.
        command += ["--measurement-request-count", str(requests), "--stability-percentage", "999", *extra]
        done = subprocess.run(command, env=environment(program), capture_output=True, text=True, timeout=240)
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"exit status {done.returncode}:\n{said[:400]}"
        for bad in ("Failed to", "error:", "Error:", "WARNING: Pass contained only failures"):
            assert bad not in said, said[:2000]
        with open(report, newline="") as file:
            rows = list(csv.DictReader(file))
    low, high = (int(part) for part in (concurrency.split(":") * 2)[:2])
    rows.sort(key=lambda row: int(row["Concurrency"]))  # the report has them by throughput
    assert [int(row["Concurrency"]) for row in rows] == list(range(low, high + 1)), rows
    for row in rows:
        assert float(row["Inferences/Second"]) > 0, row
        # Without the server's statistics the columns of the server's parts are not there.
        for part in ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output"):
            assert part in row, f"no column {part!r}: the client could not read the statistics; {row}"
        assert float(row["Client Recv"]) >= 0 and float(row["p50 latency"]) > 0, row
    print(f"   {protocol} {model}: " + ", ".join(f"{row['Concurrency']}: {float(row['Inferences/Second']):.0f}/s" for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("install", help="fetch the program and its libraries into a directory")
    command.add_argument("directory", type=Path)
    command = commands.add_parser("check", help="run it")
    command.add_argument("--http", metavar="HOST:PORT", default="127.0.0.1:8000")
    command.add_argument("--grpc", metavar="HOST:PORT", default="127.0.0.1:8001")
    command.add_argument("--models", metavar="PATH", help="not used; for symmetry with the other clients")
    command.add_argument("--binary", type=Path, required=True, help="perf_analyzer; its libraries may lie beside it")
    command.add_argument("--requests", type=int, default=200, help="per window of a measurement")
    command.add_argument("--concurrency", default="1:4", metavar="FROM:TO")
    command.add_argument("--only", metavar="TEXT")
    options = parser.parse_args()
    if options.command == "install":
        return install(options.directory)

    from common import Checks  # needs numpy, which `install` does without

    checks = Checks(options.only)
    for protocol, url in (("grpc", options.grpc), ("http", options.http)):
        for model, extra in MODELS.items():
            # The whole range for one model; for the others its upper end, or the check would take minutes.
            concurrency = options.concurrency if model == "tiny" else options.concurrency.split(":")[-1]
            arguments = (options.binary, options.http, url, protocol, model, extra, options.requests, concurrency)
            checks.run(f"{protocol}: {model}", measure, *arguments)
        if protocol == "grpc":
            arguments = (options.binary, options.http, url, protocol, "tiny", ["--streaming", "--async"], options.requests, options.concurrency)
            checks.run(f"{protocol}: tiny, on a stream", measure, *arguments)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
