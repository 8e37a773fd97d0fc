"""What the client scripts share: arguments, golden answers, comparison, and the lines they print."""

import argparse
import json
import math
import os
import sys
import traceback
from pathlib import Path

import numpy as np

NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


class Golden:
    """The golden answers of one version of a model."""

    def __init__(self, models, name, version):
        path = Path(models) / name / str(version) / "golden.json"
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        self.name, self.version, self.tolerance = name, str(version), document["tolerance"]
        self.inputs = {tensor["name"]: array(tensor) for tensor in document["inputs"]}
        self.outputs = {tensor["name"]: array(tensor) for tensor in document["outputs"]}
        self.datatypes = {tensor["name"]: tensor["datatype"] for tensor in document["inputs"] + document["outputs"]}
        self.rows = len(next(iter(self.inputs.values())))

    def take(self, rows):
        """The same, for the rows listed (which may repeat)."""
        copy = Golden.__new__(Golden)
        copy.__dict__.update(self.__dict__)
        rows = list(rows)
        copy.inputs = {name: value[rows] for name, value in self.inputs.items()}
        copy.outputs = {name: value[rows] for name, value in self.outputs.items()}
        copy.rows = len(rows)
        return copy

    def compare(self, answers, only=None):
        """Asserts that `answers` (name -> array) holds the golden outputs, or those named in `only`."""
        names = list(only or self.outputs)
        assert sorted(answers) == sorted(names), f"{self}: outputs {sorted(answers)}, wanted {sorted(names)}"
        for name in names:
            same(answers[name], self.outputs[name], self.tolerance, f"{self} output {name}")

    def __str__(self):
        return f"{self.name}/{self.version}"


def refuse(constant):
    raise ValueError(f"not JSON: {constant}")


def array(tensor):
    dtype = NUMPY[tensor["datatype"]]
    data = tensor["data"]
    if tensor["datatype"].startswith("FP"):
        data = [math.nan if value is None else float(value) for value in data]
    return np.array(data, dtype=dtype).reshape(tensor["shape"])


def text(value):
    """Strings come back as bytes or str, by client and transport."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def same(got, wanted, tolerance, what):
    assert got is not None, f"{what}: missing"
    got = np.asarray(got)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    if wanted.dtype == np.object_:
        got = [text(value) for value in got.reshape(-1)]
        wanted = [text(value) for value in wanted.reshape(-1)]
        assert got == wanted, f"{what}: {got}, wanted {wanted}"
        return
    assert got.dtype == wanted.dtype, f"{what}: type {got.dtype}, wanted {wanted.dtype}"
    if np.issubdtype(wanted.dtype, np.floating):
        if not np.allclose(got, wanted, rtol=0, atol=tolerance, equal_nan=True):
            raise AssertionError(f"{what}: differs by {np.nanmax(np.abs(got - wanted))}, tolerance {tolerance}")
        return
    assert np.array_equal(got, wanted), f"{what}: {got.tolist()}, wanted {wanted.tolist()}"


def goldens(models):
    """Every golden document under `models`, by name and version."""
    found = [path.parent for path in Path(models).glob("*/*/golden.json")]
    assert found, f"no golden.json under {models}"
    return [Golden(models, folder.parent.name, folder.name) for folder in sorted(found)]


class Checks:
    """Runs checks one after another; prints `ok NAME`, `skip NAME: why` or `FAIL NAME: why`."""

    def __init__(self, only=None):
        self.only, self.passed, self.skipped, self.failed = only, 0, 0, 0

    def run(self, name, check, *arguments):
        if self.only and self.only not in name:
            return
        try:
            reason = check(*arguments)
        except Exception as error:  # a check may fail in any way its client can
            self.failed += 1
            print(f"FAIL {name}{place(error)}: {type(error).__name__}: {said(error)}", flush=True)
            if os.environ.get("CLIENTS_TRACEBACK"):
                traceback.print_exception(error, file=sys.stderr)
            return
        if isinstance(reason, str):
            self.skipped += 1
            print(f"skip {name}: {reason}", flush=True)
        else:
            self.passed += 1
            print(f"ok {name}", flush=True)

    def finish(self):
        print(f"{self.passed} passed, {self.skipped} skipped, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def place(error):
    """The last line of these scripts, outside this file, that the error passed through."""
    folder = Path(__file__).resolve().parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve().parent == folder]
    frames = [frame for frame in frames if Path(frame.filename).name != "common.py"] or frames
    return f" (line {frames[-1].lineno})" if frames else ""


def said(error):
    if hasattr(error, "details") and hasattr(error, "code"):
        return f"{error.code()}: {error.details()}"  # gRPC's own text takes many lines
    return str(error)


def arguments(description, models=True):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--http", metavar="HOST:PORT", default="127.0.0.1:8000")
    parser.add_argument("--grpc", metavar="HOST:PORT", default="127.0.0.1:8001")
    if models:
        parser.add_argument("--models", metavar="PATH", required=True, help="the repository with the golden answers")
    parser.add_argument("--only", metavar="TEXT", help="only the checks whose name contains this")
    return parser
