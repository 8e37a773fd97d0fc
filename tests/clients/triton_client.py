#!/usr/bin/env python3
"""Drives a server with tritonclient, over gRPC and HTTP, and compares every answer with the golden ones.

    python triton_client.py --http HOST:PORT --grpc HOST:PORT --models models

The server must serve all versions of the repository (`digits` has two) and, unless --no-control is given, allow models to be
loaded and unloaded by request. Optional extensions (trace, logging, shared memory) are checked if the server reports them,
and must be refused properly if it does not.
"""

import asyncio
import http.client
import json
import math
import queue
import sys
import threading
import time

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from common import Checks, Golden, arguments, goldens, same, text
from tritonclient.utils import InferenceServerException

WAIT = 30


class Grpc:
    name = "grpc"
    module = tritonclient.grpc
    bad_request = {"StatusCode.INVALID_ARGUMENT"}
    not_found = {"StatusCode.NOT_FOUND"}
    unavailable = {"StatusCode.NOT_FOUND", "StatusCode.UNAVAILABLE"}
    unsupported = {"StatusCode.UNIMPLEMENTED"}

    def __init__(self, url):
        self.url = url
        self.client = tritonclient.grpc.InferenceServerClient(url)

    def inputs(self, golden, binary=True):
        made = []
        for name, value in golden.inputs.items():
            made.append(tritonclient.grpc.InferInput(name, value.shape, golden.datatypes[name]))
            made[-1].set_data_from_numpy(value)
        return made

    def output(self, name, binary=True, class_count=0):
        return tritonclient.grpc.InferRequestedOutput(name, class_count=class_count)

    def response(self, result):
        answer = result.get_response()
        return answer.model_name, answer.model_version, answer.id

    def names(self, result):
        return [output.name for output in result.get_response().outputs]

    def json(self, method, *positional, **named):
        return getattr(self.client, method)(*positional, as_json=True, **named)

    def config(self, model, version=""):
        return self.json("get_model_config", model, version)["config"]

    def index(self):
        return self.json("get_model_repository_index").get("models", [])


class Http:
    name = "http"
    module = tritonclient.http
    bad_request = {"400"}
    not_found = {"404"}
    unavailable = {"404", "503"}
    unsupported = {"404", "405", "501"}

    def __init__(self, url):
        self.url = url
        self.client = tritonclient.http.InferenceServerClient(url, concurrency=4)

    def inputs(self, golden, binary=True):
        made = []
        for name, value in golden.inputs.items():
            made.append(tritonclient.http.InferInput(name, value.shape, golden.datatypes[name]))
            made[-1].set_data_from_numpy(value, binary_data=binary)
        return made

    def output(self, name, binary=True, class_count=0):
        return tritonclient.http.InferRequestedOutput(name, binary_data=binary, class_count=class_count)

    def response(self, result):
        answer = result.get_response()
        return answer["model_name"], answer.get("model_version"), answer.get("id", "")

    def names(self, result):
        return [output["name"] for output in result.get_response()["outputs"]]

    def json(self, method, *positional, **named):
        return getattr(self.client, method)(*positional, **named)

    def config(self, model, version=""):
        return self.json("get_model_config", model, version)

    def index(self):
        return self.json("get_model_repository_index")


def answers(transport, result):
    return {name: result.as_numpy(name) for name in transport.names(result)}


def refused(statuses, call, *positional, **named):
    """Asserts that the call raises InferenceServerException with one of the statuses and a message; returns the message."""
    try:
        call(*positional, **named)
    except InferenceServerException as error:
        assert error.status() in statuses, f"status {error.status()}, wanted one of {sorted(statuses)}: {error.message()}"
        assert error.message() and "exception occurred in the client" not in error.message(), f"message {error.message()!r}"
        return error.message()
    raise AssertionError(f"was not refused; wanted one of {sorted(statuses)}")


# ---------------------------------------------------------------------------------------------------------------------
# What a server says about itself


def health(t, all_goldens):
    assert t.client.is_server_live() is True
    assert t.client.is_server_ready() is True
    for golden in all_goldens:
        assert t.client.is_model_ready(golden.name) is True
        assert t.client.is_model_ready(golden.name, golden.version) is True
    for name, version in (("no-such-model", ""), ("digits", "77")):
        try:
            assert t.client.is_model_ready(name, version) is False
        except InferenceServerException as error:
            assert error.status() in t.not_found, error


def server_metadata(t):
    metadata = t.json("get_server_metadata")
    assert metadata["name"] and metadata["version"], metadata
    for extension in ("binary_tensor_data", "model_configuration", "model_repository", "statistics"):
        assert extension in metadata["extensions"], f"{extension} is not in {metadata['extensions']}"


def model_metadata(t, all_goldens):
    versions = {}
    for golden in all_goldens:
        versions.setdefault(golden.name, []).append(golden.version)
    for golden in all_goldens:
        for version in ("", golden.version):
            metadata = t.json("get_model_metadata", golden.name, version)
            assert metadata["name"] == golden.name, metadata
            assert metadata["platform"] == "onnxruntime_onnx", metadata
            listed = set(metadata["versions"])
            assert listed <= set(versions[golden.name]) and (not version or version in listed), metadata
            for kind, tensors in (("inputs", golden.inputs), ("outputs", golden.outputs)):
                found = {tensor["name"]: tensor for tensor in metadata[kind]}
                assert list(found) == list(tensors), f"{kind} {list(found)}, wanted {list(tensors)}"
                for name, value in tensors.items():
                    assert found[name]["datatype"] == golden.datatypes[name], found[name]
                    shape = [int(size) for size in found[name]["shape"]]
                    assert len(shape) == value.ndim and shape[0] == -1, f"{name}: shape {shape}"
                    assert all(size in (-1, real) for size, real in zip(shape, value.shape)), f"{name}: shape {shape}"
    refused(t.not_found, t.client.get_model_metadata, "no-such-model")


def model_config(t, all_goldens):
    kinds = {"TYPE_" + ("STRING" if kind == "BYTES" else kind): kind for kind in ("FP32", "INT64", "BYTES")}
    for golden in all_goldens:
        config = t.config(golden.name, golden.version)
        assert config["name"] == golden.name, config
        assert config.get("platform") == "onnxruntime_onnx" or config.get("backend") == "onnxruntime", config
        batched = int(config.get("max_batch_size", 0)) > 0
        for key, tensors in (("input", golden.inputs), ("output", golden.outputs)):
            found = {tensor["name"]: tensor for tensor in config[key]}
            assert sorted(found) == sorted(tensors), f"{key} {sorted(found)}, wanted {sorted(tensors)}"
            for name, value in tensors.items():
                assert kinds[found[name]["data_type"]] == golden.datatypes[name], found[name]
                dims = [int(size) for size in found[name].get("dims", [])]
                wanted = value.shape[1:] if batched else value.shape
                if "reshape" in found[name]:
                    continue
                assert len(dims) == len(wanted), f"{golden} {name}: dims {dims}, max_batch_size {config.get('max_batch_size')}"
                assert all(size in (-1, real) for size, real in zip(dims, wanted)), f"{golden} {name}: dims {dims}"
    assert int(t.config("digits")["max_batch_size"]) == 64
    assert "dynamic_batching" in t.config("digits")
    assert int(t.config("codetext")["max_batch_size"]) == 32
    refused(t.not_found, t.client.get_model_config, "no-such-model")


def statistics_of(t, name, version):
    stats = t.json("get_inference_statistics", name, version)["model_stats"]
    assert len(stats) == 1 and stats[0]["name"] == name and stats[0]["version"] == version, stats
    return stats[0]


def number(tree, *path):
    for key in path:
        tree = tree.get(key, {})
    return int(tree or 0)


def statistics(t, golden):
    before = statistics_of(t, golden.name, golden.version)
    for _ in range(3):
        t.client.infer(golden.name, t.inputs(golden), golden.version)
    refused(t.bad_request, t.client.infer, golden.name, t.inputs(golden)[:0] or [wrong_name(t, golden)], golden.version)
    # Counters may be updated just after the answer is sent.
    for _ in range(50):
        after = statistics_of(t, golden.name, golden.version)
        if number(after, "inference_stats", "success", "count") - number(before, "inference_stats", "success", "count") >= 3:
            break
        time.sleep(0.02)
    grown = lambda *path: number(after, *path) - number(before, *path)
    assert grown("inference_stats", "success", "count") == 3, f"success grew by {grown('inference_stats', 'success', 'count')}"
    assert grown("inference_count") == 3 * golden.rows, f"inference_count grew by {grown('inference_count')}, wanted {3 * golden.rows}"
    assert 1 <= grown("execution_count") <= 3, f"execution_count grew by {grown('execution_count')}"
    assert grown("inference_stats", "success", "ns") > 0
    assert grown("inference_stats", "compute_infer", "ns") > 0
    for part in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert grown("inference_stats", part, "count") >= 1, f"{part} did not grow"
    assert number(after, "last_inference") > 1_600_000_000_000, "last_inference is milliseconds since 1970"
    assert sum(number(entry, "compute_infer", "count") for entry in after["batch_stats"]) >= 1
    everything = {(entry["name"], entry["version"]) for entry in t.json("get_inference_statistics")["model_stats"]}
    assert (golden.name, golden.version) in everything
    refused(t.not_found | t.bad_request, t.client.get_inference_statistics, "no-such-model")


def repository_index(t, all_goldens):
    listed = {(entry["name"], entry.get("version", "")): entry for entry in t.index()}
    for golden in all_goldens:
        entry = listed.get((golden.name, golden.version))
        assert entry, f"{golden} is not in {sorted(listed)}"
        assert entry["state"] == "READY", entry


# ---------------------------------------------------------------------------------------------------------------------
# Inference


def infer_golden(t, golden, binary_in, binary_out):
    for version in ("", golden.version):
        if version == "" and golden.name == "digits" and golden.version != "2":
            continue  # without a version, the newest answers
        outputs = None if binary_out is None else [t.output(name, binary_out) for name in golden.outputs]
        request = f"{golden}-{binary_in}-{binary_out}"
        result = t.client.infer(golden.name, t.inputs(golden, binary_in), version, outputs=outputs, request_id=request)
        golden.compare(answers(t, result))
        assert t.response(result) == (golden.name, golden.version, request), t.response(result)


def http_forms(t, golden):
    """HTTP: what was asked for in binary comes in binary, the rest in JSON, in the order asked for."""
    names = list(golden.outputs)[::-1]
    asked = [t.output(name, binary=index == 0) for index, name in enumerate(names)]
    result = t.client.infer(golden.name, t.inputs(golden, binary=False), golden.version, outputs=asked)
    assert t.names(result) == names, f"order {t.names(result)}, wanted {names}"
    golden.compare(answers(t, result))
    for index, name in enumerate(names):
        output = result.get_output(name)
        assert ("binary_data_size" in output.get("parameters", {})) == (index == 0), output
        assert ("data" in output) == (index != 0), output
    everything = t.client.infer(golden.name, t.inputs(golden), golden.version).get_response()
    for output in everything["outputs"]:
        assert "binary_data_size" in output["parameters"] and "data" not in output, output


def mixed_inputs(t, golden):
    """HTTP: some inputs as JSON and some in binary in the same request."""
    made = [a if index % 2 else b for index, (a, b) in enumerate(zip(t.inputs(golden, False), t.inputs(golden, True)))]
    golden.compare(answers(t, t.client.infer(golden.name, made)))
    golden.compare(answers(t, t.client.infer(golden.name, made[::-1])))


def batch_sizes(t, all_goldens):
    for golden in all_goldens:
        for row in range(golden.rows):
            one = golden.take([row])
            one.compare(answers(t, t.client.infer(golden.name, t.inputs(one), golden.version)))
        many = golden.take([row % golden.rows for row in range(29)])
        many.compare(answers(t, t.client.infer(golden.name, t.inputs(many), golden.version)))
    # More rows than max_batch_size: split and rejoined by the server.
    digits = all_goldens_by(all_goldens, "digits", "2")
    large = digits.take([row % digits.rows for row in range(150)])
    large.compare(answers(t, t.client.infer("digits", t.inputs(large))))


def all_goldens_by(all_goldens, name, version):
    return next(golden for golden in all_goldens if (golden.name, golden.version) == (name, version))


def output_selection(t, golden):
    result = t.client.infer("digits", t.inputs(golden), outputs=[t.output("digit")])
    golden.compare(answers(t, result), only=["digit"])
    result = t.client.infer("digits", t.inputs(golden), outputs=[t.output("digit"), t.output("probabilities")])
    assert t.names(result) == ["digit", "probabilities"], t.names(result)
    golden.compare(answers(t, result))


def classification(t, golden, output, count, labels, binary=True):
    result = t.client.infer(golden.name, t.inputs(golden), golden.version, outputs=[t.output(output, binary, count)])
    got = result.as_numpy(output)
    scores = golden.outputs[output]
    classes = min(count, scores.shape[1])
    assert got.shape == (golden.rows, classes), f"shape {got.shape}, wanted {(golden.rows, classes)}"
    for row in range(golden.rows):
        order = np.argsort(-scores[row], kind="stable")[:classes]
        parts = [text(value).split(":") for value in got[row]]
        assert [len(part) for part in parts] == [3 if labels else 2] * classes, parts
        for part, index in zip(parts, order):
            # Classes whose scores are within the tolerance may change places.
            assert abs(scores[row][int(part[1])] - scores[row][index]) <= golden.tolerance, (parts, order)
            assert abs(float(part[0]) - scores[row][int(part[1])]) <= golden.tolerance, (parts, scores[row])
            if labels:
                assert part[2] == labels[int(part[1])], parts


def strings(t, golden):
    """Strings with a NUL inside, long ones and empty ones are categories like any other."""
    # Row 5 has an island that was not in the training data; any other unknown string must answer the same.
    odd = golden.take([5] * 5)
    odd.inputs["island"] = np.array([b"\x00", b"Dream\x00", b"", "ß島🏝".encode(), b"x" * 70000], object).reshape(5, 1)
    odd.compare(answers(t, t.client.infer("penguins", t.inputs(odd))))


def missing_values_as_json(t, golden):
    """tritonclient writes a NaN in JSON as the bare word NaN, as JavaScript does."""
    assert any(value.dtype == np.float32 and np.isnan(value).any() for value in golden.inputs.values())
    outputs = [t.output(name, False) for name in golden.outputs]
    golden.compare(answers(t, t.client.infer("penguins", t.inputs(golden, False), outputs=outputs)))


def large_message(t, golden):
    """Well over the 4 MiB that gRPC libraries allow by default. Padding does not change a row of codetext."""
    one = golden.take([1])
    one.inputs = {name: np.pad(value, ((0, 0), (0, 350_000 - value.shape[1]))) for name, value in one.inputs.items()}
    one.compare(answers(t, t.client.infer("codetext", t.inputs(one))))


def request_ids(t, golden):
    for request in ("1", "a b/c?d&e=f", "ünïcödé-✓", "x" * 2000):
        result = t.client.infer(golden.name, t.inputs(golden), request_id=request)
        assert t.response(result)[2] == request, t.response(result)
    assert t.response(t.client.infer(golden.name, t.inputs(golden)))[2] == ""


def request_parameters(t, golden):
    for named in (
        {"priority": 1},
        {"priority": 2, "timeout": 10_000_000},
        {"timeout": 0},
        {"parameters": {"text": "value", "number": 7, "yes": True}},
        {"headers": {"x-something": "else"}},
    ):
        golden.compare(answers(t, t.client.infer(golden.name, t.inputs(golden), golden.version, **named)))
    if t.name == "grpc":
        golden.compare(answers(t, t.client.infer(golden.name, t.inputs(golden), golden.version, parameters={"f": 0.5})))
        golden.compare(answers(t, t.client.infer(golden.name, t.inputs(golden), golden.version, client_timeout=10)))


def async_grpc(t, golden):
    done = queue.Queue()
    rows = [golden.take([index % golden.rows]) for index in range(40)]
    for index, row in enumerate(rows):
        callback = lambda result, error, index=index: done.put((index, result, error))
        t.client.async_infer(golden.name, t.inputs(row), callback, golden.version, request_id=str(index))
    seen = set()
    for _ in rows:
        index, result, error = done.get(timeout=WAIT)
        assert error is None, error
        assert t.response(result)[2] == str(index)
        rows[index].compare(answers(t, result))
        seen.add(index)
    assert len(seen) == len(rows)
    t.client.async_infer("no-such-model", t.inputs(golden), lambda result, error: done.put(error))
    error = done.get(timeout=WAIT)
    assert error.status() in t.not_found, error
    t.client.async_infer(golden.name, t.inputs(golden), lambda result, error: done.put(error)).cancel()
    done.get(timeout=WAIT)


def async_http(t, golden):
    rows = [golden.take([index % golden.rows]) for index in range(40)]
    pending = [t.client.async_infer(golden.name, t.inputs(row), golden.version, request_id=str(index)) for index, row in enumerate(rows)]
    for index, (row, request) in enumerate(zip(rows, pending)):
        result = request.get_result(timeout=WAIT)
        assert t.response(result)[2] == str(index)
        row.compare(answers(t, result))
    refused(t.not_found, t.client.async_infer("no-such-model", t.inputs(golden)).get_result)


def many_at_once(transport, url, golden):
    """Threads with their own clients and different rows: nobody gets another's answer."""
    problems = []

    def work(number):
        try:
            t = transport(url)
            for step in range(40):
                rows = golden.take([(number + step + k) % golden.rows for k in range(1 + (number + step) % 3)])
                result = t.client.infer(golden.name, t.inputs(rows), golden.version, request_id=f"{number}-{step}")
                assert t.response(result)[2] == f"{number}-{step}"
                rows.compare(answers(t, result))
            t.client.close()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[0]


def asyncio_clients(url, module, golden, transport):
    async def run():
        async with module.InferenceServerClient(url) as client:
            assert await client.is_server_ready()
            calls = [client.infer(golden.name, transport.inputs(golden.take([row])), golden.version) for row in range(golden.rows)]
            for row, result in enumerate(await asyncio.gather(*calls)):
                golden.take([row]).compare(answers(transport, result))

    asyncio.run(asyncio.wait_for(run(), WAIT))


# ---------------------------------------------------------------------------------------------------------------------
# Streams


def stream(t, golden, wrong):
    """Many requests on one stream, answered in their order; some are wrong and end nothing."""
    done = queue.Queue()
    client = tritonclient.grpc.InferenceServerClient(t.url)
    client.start_stream(callback=lambda result, error: done.put((result, error)))
    try:
        for index in range(60):
            row = golden.take([index % golden.rows])
            if index not in wrong:
                client.async_stream_infer(golden.name, t.inputs(row), golden.version, request_id=str(index))
            elif wrong[index] == "model":
                client.async_stream_infer("no-such-model", t.inputs(row), request_id=str(index))
            else:
                client.async_stream_infer(golden.name, [wrong_name(t, golden)], golden.version, request_id=str(index))
        for index in range(60):
            result, error = done.get(timeout=WAIT)
            if index in wrong:
                assert error is not None and error.message(), f"request {index} should have failed"
                continue
            assert error is None, f"request {index}: {error}"
            assert t.response(result) == (golden.name, golden.version, str(index)), t.response(result)
            golden.take([index % golden.rows]).compare(answers(t, result))
    finally:
        client.stop_stream()
        client.close()
    assert done.empty(), "more answers than requests"


def stream_empty(t):
    client = tritonclient.grpc.InferenceServerClient(t.url)
    failures = []
    client.start_stream(callback=lambda result, error: failures.append(error))
    client.stop_stream()
    client.close()
    assert not failures, failures


# ---------------------------------------------------------------------------------------------------------------------
# Compression


def http_compression(t, golden, request, response):
    named = {"request_compression_algorithm": request, "response_compression_algorithm": response}
    for binary in (True, False):
        outputs = [t.output(name, binary) for name in golden.outputs]
        result = t.client.infer(golden.name, t.inputs(golden, binary), golden.version, outputs=outputs, **named)
        golden.compare(answers(t, result))


def http_compressed_indeed(t, golden):
    """The answer to a client that accepts gzip is compressed when that is worth it."""
    many = golden.take([0] * 64)
    body, length = t.client.generate_request_body(t.inputs(many))
    headers = {"Accept-Encoding": "gzip", "Inference-Header-Content-Length": str(length)}
    status, answer, content = raw_post(t.url, "/v2/models/digits/infer", body, headers)
    assert status == 200, content
    assert answer.get("content-encoding") == "gzip", answer
    parsed = t.client.parse_response_body(content, header_length=int(answer["inference-header-content-length"]), content_encoding="gzip")
    many.compare(answers(t, parsed))


def grpc_compression(t, golden, algorithm):
    golden.compare(answers(t, t.client.infer(golden.name, t.inputs(golden), golden.version, compression_algorithm=algorithm)))


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def wrong_name(t, golden):
    name, value = next(iter(golden.inputs.items()))
    made = t.module.InferInput("no_such_input", value.shape, golden.datatypes[name])
    made.set_data_from_numpy(value)
    return made


def put(t, name, value, kind):
    made = t.module.InferInput(name, value.shape, kind)
    made.set_data_from_numpy(value)
    return made


def errors(t, all_goldens):
    digits, tiny = all_goldens_by(all_goldens, "digits", "2"), all_goldens_by(all_goldens, "tiny", "1")
    penguins, codetext = all_goldens_by(all_goldens, "penguins", "1"), all_goldens_by(all_goldens, "codetext", "1")
    infer = t.client.infer
    assert "no-such-model" in refused(t.not_found, infer, "no-such-model", t.inputs(digits))
    refused(t.not_found, infer, "digits", t.inputs(digits), "77")
    assert "no_such_input" in refused(t.bad_request, infer, "digits", [wrong_name(t, digits)])
    assert "sex" in refused(t.bad_request, infer, "penguins", t.inputs(penguins)[:-1])
    refused(t.bad_request, infer, "digits", t.inputs(digits) * 2)
    assert "no_such_output" in refused(t.bad_request, infer, "digits", t.inputs(digits), outputs=[t.output("no_such_output")])
    x = tiny.inputs["x"]
    refused(t.bad_request, infer, "tiny", [put(t, "x", x[:, :15], "FP32")])
    refused(t.bad_request, infer, "tiny", [put(t, "x", x[0], "FP32")])
    refused(t.bad_request, infer, "tiny", [put(t, "x", x[:, :, None], "FP32")])
    refused(t.bad_request, infer, "tiny", [put(t, "x", x.astype(np.float64), "FP64")])
    refused(t.bad_request, infer, "tiny", [put(t, "x", x.astype(np.int64), "INT64")])
    refused(t.bad_request, infer, "tiny", [put(t, "x", x.astype(str).astype(object), "BYTES")])
    # Rows of one request must agree in number, and so must named dimensions.
    ids, mask = codetext.inputs["input_ids"], codetext.inputs["attention_mask"]
    refused(t.bad_request, infer, "codetext", [put(t, "input_ids", ids, "INT64"), put(t, "attention_mask", mask[:2], "INT64")])
    # Fewer or more bytes than the shape says.
    for data in (x.tobytes()[:-4], x.tobytes() + b"\0\0\0\0", b""):
        made = put(t, "x", x, "FP32")
        damage(t, made, data)
        refused(t.bad_request, infer, "tiny", [made])
    # A string that says it is longer than the message.
    for data in (b"\xff\xff\xff\xff", b"\x05\0\0\0abc", b"\x01\0"):
        made = t.inputs(penguins.take([0]))
        damage(t, made[4], data)
        refused(t.bad_request, infer, "penguins", made)
    # A shape whose product overflows or is negative.
    for shape in ([2**62, 16], [2**32, 2**32], [-1, 16], [-(2**63), 16]):
        made = put(t, "x", x, "FP32")
        if t.name == "grpc":
            del made._input.shape[:]
            made._input.shape.extend(shape)
        else:
            made._shape = shape
        refused(t.bad_request, infer, "tiny", [made])
    # And the server still answers.
    tiny.compare(answers(t, infer("tiny", t.inputs(tiny))))


def damage(t, made, data):
    """Replaces the bytes of an input behind the client's back."""
    if t.name == "grpc":
        made._raw_content = data
    else:
        made._raw_data = data
        made._parameters["binary_data_size"] = len(data)


def raw_post(url, path, body, headers=None, method="POST"):
    connection = http.client.HTTPConnection(url, timeout=WAIT)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    found = {key.lower(): value for key, value in response.getheaders()}
    connection.close()
    return response.status, found, content


def raw_request(url, golden):
    """Header length 0: the body is the only input's bytes, one row; all outputs come in binary."""
    for row in range(golden.rows):
        body = golden.inputs["x"][row].tobytes()
        status, headers, content = raw_post(url, "/v2/models/tiny/infer", body, {"Inference-Header-Content-Length": "0"})
        assert status == 200, content
        length = int(headers["inference-header-content-length"])
        document = json.loads(content[:length])
        assert document["outputs"][0]["shape"] == [1, 3], document
        assert document["outputs"][0]["parameters"]["binary_data_size"] == len(content) - length == 12, document
        same(np.frombuffer(content[length:], np.float32), golden.outputs["y"][row], golden.tolerance, "raw request")
    assert raw_post(url, "/v2/models/tiny/infer", b"\0" * 63, {"Inference-Header-Content-Length": "0"})[0] == 400


def plain_json(url, golden):
    """No client library: JSON as a person would write it, data nested, and an answer that any parser reads."""
    document = {"id": "7", "inputs": [{"name": "x", "shape": [golden.rows, 16], "datatype": "FP32", "data": golden.inputs["x"].tolist()}]}
    status, headers, content = raw_post(url, "/v2/models/tiny/infer", json.dumps(document), {"Content-Type": "application/json"})
    assert status == 200, content
    assert headers["content-type"].split(";")[0] == "application/json", headers
    assert "inference-header-content-length" not in headers, headers
    answer = json.loads(content)
    assert answer["model_name"] == "tiny" and answer["model_version"] == "1" and answer["id"] == "7", answer
    output = answer["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [golden.rows, 3]), output
    same(np.array(output["data"], np.float32).reshape(-1, 3), golden.outputs["y"], golden.tolerance, "plain JSON")


def missing_forms(url, golden):
    """A missing number as null, as the strings the golden file uses, and as the bare word."""
    for word in ("null", '"NaN"', "NaN"):
        inputs = []
        for name, value in golden.inputs.items():
            data = [f"@{name}" if isinstance(item, float) and math.isnan(item) else item for item in value.reshape(-1).tolist()]
            inputs.append({"name": name, "shape": list(value.shape), "datatype": golden.datatypes[name], "data": data})
        body = json.dumps({"inputs": inputs})
        for name in golden.inputs:
            body = body.replace(f'"@{name}"', word)
        status, _, content = raw_post(url, "/v2/models/penguins/infer", body)
        assert status == 200, f"{word}: {content}"
        golden.compare({output["name"]: numpy_of(output) for output in json.loads(content)["outputs"]})


def numpy_of(output):
    kinds = {"FP32": np.float32, "INT64": np.int64, "BYTES": object}
    return np.array(output["data"], kinds[output["datatype"]]).reshape(output["shape"])


def http_garbage(url, golden):
    """Bodies that are no requests get 400 with a JSON error, and the server lives on."""
    infer = "/v2/models/tiny/infer"
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"inputs":[]}',
        b'{"inputs":[{"name":"x"}]}',
        b'{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","data":[1,2]}]}',
        b'{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP99","data":[]}]}',
        b'{"inputs":[{"name":"x","shape":[2147483648,2147483648],"datatype":"FP32","data":[]}]}',
        b'{"inputs":' + b"[" * 100_000,
        b'{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}]}',
    ):
        status, headers, content = raw_post(url, infer, body)
        assert status == 400, f"{body[:60]!r}: status {status}, wanted 400"
        assert json.loads(content)["error"], content
        assert headers["content-type"] == "application/json", headers
    for length in ("-1", "99999999", "x"):
        assert raw_post(url, infer, b"{}", {"Inference-Header-Content-Length": length})[0] == 400, length
    for path in ("/v2/models/no-such-model/infer", "/v2/models/tiny/versions/9/infer", "/v2/no/such/path"):
        status, _, content = raw_post(url, path, b"{}")
        assert status == 404, f"{path}: status {status}"
        assert json.loads(content)["error"], content
    for encoding in ("gzip", "deflate"):
        assert raw_post(url, infer, b"not compressed", {"Content-Encoding": encoding})[0] == 400
    assert raw_post(url, infer, b"{}", {"Content-Encoding": "zebra"})[0] in (400, 415)
    plain_json(url, golden)


# ---------------------------------------------------------------------------------------------------------------------
# Control


def load_and_unload(t, first, second):
    infer = lambda golden, version="": golden.compare(answers(t, t.client.infer("digits", t.inputs(golden), version)))
    t.client.load_model("digits")  # already there: not an error
    try:
        t.client.unload_model("digits")
        wait_until(lambda: not ready(t, "digits"))
        refused(t.unavailable, t.client.infer, "digits", t.inputs(second))
        for entry in t.index():
            if entry["name"] == "digits":
                assert entry.get("state", "") != "READY", entry
    finally:
        t.client.load_model("digits")
    assert t.client.is_model_ready("digits")
    infer(second)
    infer(first, "1")
    # An override of the configuration chooses the version, as Triton's clients do it.
    try:
        t.client.load_model("digits", config=json.dumps({"version_policy": {"specific": {"versions": [1]}}}))
        wait_until(lambda: not ready(t, "digits", "2"))
        result = t.client.infer("digits", t.inputs(first))
        first.compare(answers(t, result))
        assert t.response(result)[1] == "1"
        refused(t.unavailable, t.client.infer, "digits", t.inputs(second), "2")
    finally:
        t.client.load_model("digits")
    wait_until(lambda: ready(t, "digits", "2"))
    infer(second)
    infer(second, "2")
    refused(t.not_found | t.bad_request, t.client.load_model, "no-such-model")
    refused(t.bad_request, t.client.load_model, "digits", config="{not json")
    infer(second)


def ready(t, name, version=""):
    try:
        return t.client.is_model_ready(name, version)
    except InferenceServerException:
        return False


def wait_until(condition):
    for _ in range(int(WAIT / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def extensions(t):
    return t.json("get_server_metadata")["extensions"]


def trace_settings(t):
    if "trace" not in extensions(t):
        t.json("get_trace_settings")
        refused(t.unsupported, t.client.update_trace_settings, settings={"trace_rate": "17"})
        return "the server does not report the extension: it shows the settings, and refuses changes properly"
    value = lambda settings, key: text(settings["settings"][key]["value"][0] if t.name == "grpc" else first_of(settings[key]))
    before = t.json("get_trace_settings")
    t.json("update_trace_settings", settings={"trace_rate": "17"})
    assert value(t.json("get_trace_settings"), "trace_rate") == "17"
    t.json("update_trace_settings", settings={"trace_rate": value(before, "trace_rate")})
    t.json("update_trace_settings", model_name="tiny", settings={"trace_rate": "3"})
    assert value(t.json("get_trace_settings", model_name="tiny"), "trace_rate") == "3"
    assert value(t.json("get_trace_settings"), "trace_rate") == value(before, "trace_rate")
    t.json("update_trace_settings", model_name="tiny", settings={"trace_rate": None})
    refused(t.bad_request, t.client.update_trace_settings, settings={"no_such_setting": "1"})


def first_of(value):
    return value[0] if isinstance(value, list) else value


def log_settings(t):
    if "logging" not in extensions(t):
        t.json("get_log_settings")
        refused(t.unsupported, t.client.update_log_settings, {"log_verbose_level": 1})
        return "the server does not report the extension: it shows the settings, and refuses changes properly"
    # gRPC's as_json drops nothing: each setting is a oneof. Numbers come as numbers (uint32).
    plain = lambda answer: {k: next(iter(v.values())) for k, v in answer["settings"].items()} if t.name == "grpc" else answer
    before = plain(t.json("get_log_settings"))
    assert "log_verbose_level" in before, before
    t.json("update_log_settings", {"log_verbose_level": 1})
    assert int(plain(t.json("get_log_settings"))["log_verbose_level"]) == 1
    t.json("update_log_settings", {"log_verbose_level": int(before["log_verbose_level"])})
    refused(t.bad_request, t.client.update_log_settings, {"no_such_setting": True})


def shared_memory(t, golden):
    if "system_shared_memory" not in extensions(t):
        refused(t.unsupported, t.client.get_system_shared_memory_status)
        refused(t.unsupported, t.client.register_system_shared_memory, "region", "/no-such-key", 64)
        return "the server does not report the extension, and refuses it properly"
    import tritonclient.utils.shared_memory as shm

    x, y = golden.inputs["x"], golden.outputs["y"]
    key = f"/weir-clients-{t.name}-{time.time_ns()}"
    region = shm.create_shared_memory_region("weir", key, x.nbytes + y.nbytes)
    try:
        shm.set_shared_memory_region(region, [x])
        t.client.register_system_shared_memory("weir", key, x.nbytes + y.nbytes)
        made = t.module.InferInput("x", x.shape, "FP32")
        made.set_shared_memory("weir", x.nbytes)
        output = t.output("y")
        output.set_shared_memory("weir", y.nbytes, x.nbytes)
        t.client.infer("tiny", [made], outputs=[output])
        same(shm.get_contents_as_numpy(region, np.float32, y.shape, offset=x.nbytes), y, golden.tolerance, "shared memory")
        t.client.unregister_system_shared_memory("weir")
        refused(t.bad_request | t.not_found, t.client.infer, "tiny", [made])
    finally:
        shm.destroy_shared_memory_region(region)


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--no-control", action="store_true", help="do not load and unload models")
    options = parser.parse_args()
    everything = goldens(options.models)
    by = lambda name, version="1": all_goldens_by(everything, name, version)
    checks = Checks(options.only)
    for t in (Grpc(options.grpc), Http(options.http)):
        run = lambda name, check, *rest, t=t: checks.run(f"{t.name}: {name}", check, t, *rest)
        run("health", health, everything)
        run("server metadata", server_metadata)
        run("model metadata", model_metadata, everything)
        run("model configuration", model_config, everything)
        run("repository index", repository_index, everything)
        for golden in everything:
            if t.name == "grpc":
                run(f"golden {golden}, no outputs named", infer_golden, golden, True, None)
                run(f"golden {golden}, outputs named", infer_golden, golden, True, True)
                continue
            for binary_in in (True, False):
                for binary_out in (True, False, None):
                    said = {True: "binary", False: "JSON", None: "default"}
                    run(f"golden {golden}, {said[binary_in]} in, {said[binary_out]} out", infer_golden, golden, binary_in, binary_out)
            run(f"forms of outputs {golden}", http_forms, golden)
        run("batch sizes", batch_sizes, everything)
        run("output selection", output_selection, by("digits", "2"))
        run("classification, top 3", classification, by("digits", "2"), "probabilities", 3, None)
        run("classification, top 99", classification, by("digits", "1"), "probabilities", 99, None)
        run("classification with labels", classification, by("codetext"), "probabilities", 2, ["code", "prose"])
        run("strings", strings, by("penguins"))
        run("large message", large_message, by("codetext"))
        run("request ids", request_ids, by("tiny"))
        run("request parameters", request_parameters, by("digits", "2"))
        run("asynchronous", async_grpc if t.name == "grpc" else async_http, by("digits", "2"))
        checks.run(f"{t.name}: many at once", many_at_once, type(t), t.url, by("digits", "1"))
        aio = tritonclient.grpc.aio if t.name == "grpc" else tritonclient.http.aio
        checks.run(f"{t.name}: asyncio client", asyncio_clients, t.url, aio, by("penguins"), t)
        run("statistics", statistics, by("digits", "1"))
        run("errors", errors, everything)
        if t.name == "grpc":
            run("stream", stream, by("digits", "2"), {})
            run("stream with errors", stream, by("digits", "1"), {0: "model", 20: "model", 21: "input", 59: "input"})
            run("stream without requests", stream_empty)
            run("gzip", grpc_compression, by("codetext"), "gzip")
        else:
            run("classification as JSON", classification, by("digits", "2"), "probabilities", 3, None, False)
            run("mixed inputs", mixed_inputs, by("penguins"))
            run("missing values as JSON", missing_values_as_json, by("penguins"))
            for request in (None, "gzip", "deflate"):
                for response in (None, "gzip", "deflate"):
                    run(f"compression {request} up, {response} down", http_compression, by("codetext"), request, response)
            run("compressed indeed", http_compressed_indeed, by("digits", "2"))
            checks.run("http: raw request", raw_request, t.url, by("tiny"))
            checks.run("http: plain JSON", plain_json, t.url, by("tiny"))
            checks.run("http: forms of a missing value", missing_forms, t.url, by("penguins"))
            checks.run("http: garbage", http_garbage, t.url, by("tiny"))
        run("trace settings", trace_settings)
        run("log settings", log_settings)
        run("system shared memory", shared_memory, by("tiny"))
        if options.no_control:
            print(f"skip {t.name}: load and unload: --no-control")
        else:
            run("load and unload", load_and_unload, by("digits", "1"), by("digits", "2"))
        t.client.close()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
