#!/usr/bin/env python3
"""Load on `digits` while its versions are swapped: no request may fail, and each answer must be one version's, wholly.

    python swap.py --http HOST:PORT --grpc HOST:PORT --models models --seconds 10
    python swap.py ... --seconds 10 --swaps 20      # also swaps, through the repository API

Eight processes, four over gRPC and four over REST, send requests as fast as they are answered, without a version. The answer
must be that of exactly one version of the golden ones, and name that version. It stops after --seconds, or when stdin
closes (with --until-stdin-closes). It prints `ready` when all clients are about to send, which is when the time begins, and at
the end one line of JSON: requests, failures, mismatches, by_version, seconds, and examples of what went wrong.
Exit status 0 if there were requests and none failed or mismatched, and, with --swaps, every version answered.
"""

import argparse
import itertools
import json
import multiprocessing
import random
import sys
import threading
import time

import numpy as np
from common import Golden

EXAMPLES = 5


def versions(models):
    found = [Golden(models, "digits", version) for version in ("1", "2")]
    for a, b in itertools.combinations(found, 2):
        apart = np.abs(a.outputs["probabilities"] - b.outputs["probabilities"]).max(axis=1).min()
        assert apart > 10 * (a.tolerance + b.tolerance), "the golden answers of two versions are too close to tell apart"
    return found


def matches(golden, rows, answer):
    return (
        answer["probabilities"].shape == (len(rows), 10)
        and answer["digit"].shape == (len(rows),)
        and np.allclose(answer["probabilities"], golden.outputs["probabilities"][rows], rtol=0, atol=golden.tolerance)
        and np.array_equal(answer["digit"], golden.outputs["digit"][rows])
    )


def worker(kind, url, models, seed, ready, stop, totals):
    if kind == "grpc":
        import tritonclient.grpc as module
    else:
        import tritonclient.http as module
    from tritonclient.utils import InferenceServerException

    known = versions(models)
    images, choose = known[0].inputs["image"], random.Random(seed)
    requests = failures = mismatches = 0
    by_version, examples = {}, []
    client = module.InferenceServerClient(url)
    ready.release()
    while not stop.is_set():
        rows = [choose.randrange(len(images)) for _ in range(choose.choice((1, 1, 1, 2, 5)))]
        image = module.InferInput("image", (len(rows), 1, 8, 8), "FP32")
        image.set_data_from_numpy(images[rows])
        requests += 1
        try:
            result = client.infer("digits", [image])
            answer = {name: result.as_numpy(name) for name in ("probabilities", "digit")}
            response = result.get_response()
            said = response.model_version if kind == "grpc" else response["model_version"]
        except (InferenceServerException, OSError, KeyError, ValueError) as error:
            failures += 1
            if len(examples) < EXAMPLES:
                examples.append(f"{kind}: {type(error).__name__}: {error}")
            continue
        really = [golden.version for golden in known if matches(golden, rows, answer)]
        by_version[said] = by_version.get(said, 0) + 1
        if really != [said]:
            mismatches += 1
            if len(examples) < EXAMPLES:
                examples.append(f"{kind}: says version {said}, the answer is of {really or 'none'}")
    client.close()
    totals.put((requests, failures, mismatches, by_version, examples))


def swap(kind, url, count, seconds, done):
    """Loads `digits` with each version in turn, evenly over the time; ends with all versions."""
    if kind == "grpc":
        import tritonclient.grpc as module
    else:
        import tritonclient.http as module

    client = module.InferenceServerClient(url)
    for number in range(count):
        if done.wait(seconds / (count + 1)):
            break
        config = {"version_policy": {"specific": {"versions": [1 + number % 2]}}}
        client.load_model("digits", config=json.dumps(config))
    client.load_model("digits")
    client.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--http", metavar="HOST:PORT", default="127.0.0.1:8000")
    parser.add_argument("--grpc", metavar="HOST:PORT", default="127.0.0.1:8001")
    parser.add_argument("--models", metavar="PATH", required=True, help="the repository with the golden answers")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop then, or after --seconds")
    parser.add_argument("--swaps", type=int, default=0, metavar="N", help="swap versions N times through the repository API")
    parser.add_argument("--swap-over", choices=("grpc", "http"), default="grpc")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="half of them over each transport")
    options = parser.parse_args()
    versions(options.models)

    context = multiprocessing.get_context("spawn")
    ready, stop, totals = context.Semaphore(0), context.Event(), context.Queue()
    workers = []
    for number in range(options.clients):
        kind = "grpc" if number % 2 == 0 else "http"
        url = options.grpc if kind == "grpc" else options.http
        workers.append(context.Process(target=worker, args=(kind, url, options.models, number, ready, stop, totals), daemon=True))
    for process in workers:
        process.start()
    for _ in workers:
        if not ready.acquire(timeout=60):
            print("a client did not start", file=sys.stderr)
            return 1
    print("ready", flush=True)
    started, done, swap_error = time.monotonic(), threading.Event(), []
    if options.until_stdin_closes:
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), done.set()), daemon=True).start()
    if options.swaps:
        url = options.grpc if options.swap_over == "grpc" else options.http
        try:
            swap(options.swap_over, url, options.swaps, options.seconds, done)
        except Exception as error:
            swap_error.append(f"swap: {type(error).__name__}: {error}")
    done.wait(max(0.0, options.seconds - (time.monotonic() - started)))
    stop.set()

    sums = {"requests": 0, "failures": 0, "mismatches": 0, "by_version": {}, "seconds": 0.0}
    examples = list(swap_error)
    try:
        for _ in workers:
            requests, failures, mismatches, by_version, more = totals.get(timeout=60)
            sums["requests"] += requests
            sums["failures"] += failures
            sums["mismatches"] += mismatches
            for version, count in sorted(by_version.items()):
                sums["by_version"][version] = sums["by_version"].get(version, 0) + count
            examples += more
    except Exception:
        examples.append("a client did not end")
        sums["failures"] += 1
    for process in workers:
        process.join(10)
    sums["seconds"] = round(time.monotonic() - started, 3)
    if swap_error:
        sums["failures"] += 1
    if examples:
        sums["examples"] = examples[:EXAMPLES]
    print(json.dumps(sums), flush=True)
    answered = options.swaps < 2 or len(sums["by_version"]) == 2
    return 0 if sums["requests"] and answered and not sums["failures"] and not sums["mismatches"] else 1


if __name__ == "__main__":
    sys.exit(main())
