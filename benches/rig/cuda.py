#!/usr/bin/env python3
"""ResNet-50 in half precision and BERT-base on a GPU: Weir's gRPC door against `session.run` in process.

    python3 benches/rig/cuda.py MODELS WEIR LOAD_GRPC [--seconds S] [--only PART ...] [--provider cpu]

MODELS holds `resnet50_fp16` and `bert` as `models/bench.py` writes them; WEIR and LOAD_GRPC are release builds. Weir takes
the CUDA build of ONNX Runtime from ORT_DYLIB_PATH; the baseline is the same version's Python package (onnxruntime-gpu),
with so many sessions, each on a thread with inputs of its own, in ordinary or in page-locked memory. Parts, a line of JSON
for each measurement: `process` (the baseline), `first` (first runs of new batch sizes, and of known ones after others),
`right` (answers of many clients at once against single runs in process), `serve` (throughput and latency).
"""

import argparse
import concurrent.futures
import json
import os
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request

import numpy as np

from payload import field, varint

# ONNX Runtime reports to its maker otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

MODELS = {
    "resnet50_fp16": {"input": "image", "row": (3, 224, 224), "datatype": "FP16", "output": "logits"},
    "bert": {"input": "input_ids", "row": (128,), "datatype": "INT64", "output": "embedding"},
}
IN_FLIGHT = (1, 16, 32, 64, 128)
LOADERS = 4
START = time.monotonic()


def say(**facts):
    print(f"{time.monotonic() - START:6.1f}", json.dumps(facts), flush=True)


def rows(model, count, seed=0):
    """`count` rows of random data; BERT's ids are below its vocabulary."""
    spec, random = MODELS[model], np.random.default_rng(seed)
    shape = (count, *spec["row"])
    if spec["datatype"] == "INT64":
        return random.integers(0, 30522, shape)
    return random.random(shape, np.float32).astype(np.float16)


def pinned(array):
    import torch

    tensor = torch.from_numpy(array).pin_memory()
    return tensor.numpy(), tensor


class InProcess:
    """Sessions of one model."""

    def __init__(self, options, model, count, search="HEURISTIC"):
        import onnxruntime

        self.model, path = model, os.path.join(options.models, model, "1", "model.onnx")
        providers = ["CPUExecutionProvider"]
        if options.provider == "cuda":
            providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": search}))
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        self.sessions = [onnxruntime.InferenceSession(path, settings, providers=providers) for _ in range(count)]

    def run(self, session, array):
        return session.run(None, {MODELS[self.model]["input"]: array})[0]

    def rate(self, batch, seconds, page_locked):
        """Rows per second of all sessions together."""
        counts = [0] * len(self.sessions)
        barrier = threading.Barrier(len(self.sessions) + 1)

        def loop(index):
            array, keep = rows(self.model, batch, index), None
            if page_locked:
                array, keep = pinned(array)
            self.run(self.sessions[index], array)
            self.run(self.sessions[index], array)
            barrier.wait()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.run(self.sessions[index], array)
                counts[index] += batch
            del keep

        threads = [threading.Thread(target=loop, args=(index,)) for index in range(len(self.sessions))]
        for thread in threads:
            thread.start()
        barrier.wait()
        begin = time.monotonic()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.monotonic() - begin)


def first_runs(options):
    for model, searches in (("resnet50_fp16", ("HEURISTIC", "EXHAUSTIVE")), ("bert", ("HEURISTIC",))):
        for search in searches:
            begin = time.monotonic()
            loaded = InProcess(options, model, 1, search)
            facts = {"opened_ms": round((time.monotonic() - begin) * 1e3)}
            for batch in (1, 32, 31, 32, 31):
                array = rows(model, batch)
                for kind in ("first", "again"):
                    begin = time.monotonic()
                    loaded.run(loaded.sessions[0], array)
                    facts.setdefault(f"{kind}_{batch}_ms", []).append(round((time.monotonic() - begin) * 1e3, 1))
            facts["rate_32"] = round(loaded.rate(32, options.seconds, True))
            say(part="first", model=model, search=search, **facts)


def process(options):
    for model in MODELS:
        for count in options.sessions:
            loaded = InProcess(options, model, count, options.search)
            for batch in options.batches:
                for page_locked in (False, True) if batch == 32 and model == "resnet50_fp16" else (True,):
                    rate = loaded.rate(batch, options.seconds, page_locked)
                    say(part="process", model=model, sessions=count, batch=batch, locked=page_locked, rate=round(rate))


class Weir:
    """A server with every model on the provider, stopped by its own process id."""

    def __init__(self, options):
        self.folder = tempfile.TemporaryDirectory()
        for model in MODELS:
            folder = os.path.join(self.folder.name, model)
            os.makedirs(folder)
            os.symlink(os.path.abspath(os.path.join(options.models, model, "1")), os.path.join(folder, "1"))
            with open(os.path.join(folder, "model.toml"), "w", encoding="utf-8") as file:
                file.write(f'[runtime]\nprovider = "{options.provider}"\n{options.toml}\n')
        begin = time.monotonic()
        ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
        self.process = subprocess.Popen(
            [options.weir, "serve", self.folder.name, *ports, *options.arguments], stdout=subprocess.PIPE, text=True
        )
        self.addresses = {}
        for line in self.process.stdout:
            words = line.split()
            if words and words[0] == "curl":
                break
            if len(words) == 2 and words[0] in ("HTTP", "gRPC", "metrics"):
                self.addresses[words[0]] = words[1].removeprefix("http://")
            else:
                print("      ", line.rstrip(), flush=True)
        # Nobody reads what comes after that.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        say(part="start", seconds=round(time.monotonic() - begin, 1))

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.addresses['metrics'].removesuffix('/metrics')}/metrics") as answer:
            text = answer.read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def infer(self, model, array):
        spec, data = MODELS[model], array.tobytes()
        tensor = {"name": spec["input"], "shape": array.shape, "datatype": spec["datatype"]}
        tensor["parameters"] = {"binary_data_size": len(data)}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        request = urllib.request.Request(f"http://{self.addresses['HTTP']}/v2/models/{model}/infer", head + data)
        request.add_header("Inference-Header-Content-Length", str(len(head)))
        with urllib.request.urlopen(request, timeout=60) as answer:
            body, size = answer.read(), int(answer.headers["Inference-Header-Content-Length"])
        output = json.loads(body[:size])["outputs"][0]
        kind = np.float16 if output["datatype"] == "FP16" else np.float32
        return np.frombuffer(body[size:], kind).reshape(output["shape"])


def message(model):
    spec, array = MODELS[model], rows(model, 1)
    shape = b"".join(varint(dim) for dim in array.shape)
    tensor = field(1, spec["input"].encode()) + field(2, spec["datatype"].encode()) + field(3, shape)
    body = field(1, model.encode()) + field(5, tensor) + field(7, array.tobytes())
    return b"\0" + struct.pack(">I", len(body)) + body


def load(options, server, model, in_flight):
    loaders = min(LOADERS, in_flight)
    with tempfile.NamedTemporaryFile() as file:
        file.write(message(model))
        file.flush()
        command = [options.load, server.addresses["gRPC"], file.name, str(options.seconds), str(in_flight // loaders), "2"]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(loaders)]
        found = [json.loads(child.communicate()[0]) for child in children]
    assert not sum(one["failed"] for one in found), found
    return {
        "rate": sum(one["requests_per_second"] for one in found),
        "p50_ms": sorted(one["p50_us"] for one in found)[len(found) // 2] / 1e3,
        "p99_ms": max(one["p99_us"] for one in found) / 1e3,
    }


def serve(options, server):
    for model in MODELS:
        for in_flight in options.in_flight:
            load(argparse.Namespace(**{**vars(options), "seconds": 1}), server, model, in_flight)
            before = server.metrics()
            facts = load(options, server, model, in_flight)
            after = server.metrics()
            delta = {name: after[name] - before.get(name, 0) for name in after if f'"{model}"' in name}

            def mean(family, want=""):
                total = sum(value for name, value in delta.items() if name.startswith(family + "_sum") and want in name)
                count = sum(value for name, value in delta.items() if name.startswith(family + "_count") and want in name)
                return total / count if count else 0

            facts["rows"] = round(mean("weir_batch_rows"), 1)
            for stage in ("queue", "gather", "compute", "scatter"):
                mean_ms = mean("weir_request_stage_duration_seconds", f'stage="{stage}"') * 1e3
                facts[f"{stage}_ms"] = round(mean_ms, 3)
            say(part="serve", model=model, in_flight=in_flight, **facts)


def right(options, server):
    for model in MODELS:
        loaded = InProcess(options, model, 1, options.search)
        inputs = [rows(model, 1 + index % 3, index) for index in range(96)]
        alone = [loaded.run(loaded.sessions[0], array).astype(np.float32) for array in inputs]
        del loaded
        with concurrent.futures.ThreadPoolExecutor(48) as pool:
            answers = list(pool.map(lambda array: server.infer(model, array).astype(np.float32), inputs))
        scale = max(float(np.abs(expected).max()) for expected in alone)
        worst = max(float(np.abs(got - expected).max()) for got, expected in zip(answers, alone))
        same = np.mean([got.argmax(-1) == expected.argmax(-1) for got, expected in zip(answers, alone) if len(got) == 1])
        say(part="right", model=model, worst_of_scale=round(worst / scale, 6), scale=round(scale, 3), same_top=float(same))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models")
    parser.add_argument("weir")
    parser.add_argument("load")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", nargs="*", default=["first", "process", "right", "serve"])
    parser.add_argument("--provider", default="cuda")
    parser.add_argument("--search", default="HEURISTIC")
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--batches", type=int, nargs="*", default=[16, 32, 64])
    parser.add_argument("--in-flight", type=int, nargs="*", default=IN_FLIGHT)
    parser.add_argument("--toml", default="", help="more lines of [runtime] for each model.toml")
    parser.add_argument("arguments", nargs="*", help="more arguments of weir serve, after --")
    options = parser.parse_args()
    if "first" in options.only:
        first_runs(options)
    if "process" in options.only:
        process(options)
    if "right" in options.only or "serve" in options.only:
        server = Weir(options)
        try:
            if "right" in options.only:
                right(options, server)
            if "serve" in options.only:
                serve(options, server)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
