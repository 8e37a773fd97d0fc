#!/usr/bin/env python3
"""Trains every model of this repository and writes its files.

    python train.py             # rewrites the models and the golden answers in place
    python train.py --check     # trains into a temporary directory and compares

The same inputs give the same bytes on the same machine. Another processor may round a few weights otherwise;
``--check`` then compares what the models answer to the committed golden inputs instead, within the stated tolerance.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
# ONNX Runtime reports to its maker otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import argparse
import ast
import csv
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import sklearn
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
OPSET = 17
ML_OPSET = 3
IR_VERSION = 8
TOLERANCE = 1e-4

ONNX_TYPES = {
    "tensor(float)": "FP32",
    "tensor(int64)": "INT64",
    "tensor(string)": "BYTES",
}


# ---------------------------------------------------------------------------------------------------------------------
# Writing models and golden answers


def graph_model(name, nodes, inputs, outputs, weights):
    """A model from nodes, [(name, type, shape)] and {name: array}."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(array), key) for key, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def pin(model, name, text):
    """Fixes everything in a model that depends on when and with what it was written."""
    model.ir_version = IR_VERSION
    model.producer_name = "weir"
    model.producer_version = ""
    model.domain = ""
    model.model_version = 0
    model.doc_string = text
    model.graph.name = name
    model.graph.doc_string = ""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    imports = sorted((entry.domain, entry.version) for entry in model.opset_import)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in imports)
    onnx.checker.check_model(model, full_check=True)
    return model


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def to_json(array):
    """The tensor's elements, flat, as JSON values; a float that JSON cannot say becomes a string."""
    flat = np.asarray(array).reshape(-1)
    if flat.dtype == np.float32:
        return [float(str(value)) if np.isfinite(value) else json_float(value) for value in flat]
    if flat.dtype == object:
        return [str(value) for value in flat]
    return [int(value) for value in flat]


def json_float(value):
    if np.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def from_json(tensor):
    types = {"FP32": np.float32, "INT64": np.int64, "BYTES": object}
    return np.array(
        [float(value) if tensor["datatype"] == "FP32" else value for value in tensor["data"]],
        dtype=types[tensor["datatype"]],
    ).reshape(tensor["shape"])


def golden(path, inputs, tolerance=TOLERANCE):
    """The answers of ONNX Runtime to `inputs`, as a document in the form of the Open Inference Protocol."""
    run = session(path)
    types = {value.name: ONNX_TYPES[value.type] for value in run.get_inputs()}
    answers = run.run(None, inputs)
    return {
        "tolerance": tolerance,
        "runtime": "onnxruntime " + onnxruntime.__version__,
        "inputs": [
            {"name": key, "datatype": types[key], "shape": list(value.shape), "data": to_json(value)}
            for key, value in inputs.items()
        ],
        "outputs": [
            {
                "name": value.name,
                "datatype": ONNX_TYPES[value.type],
                "shape": list(answer.shape),
                "data": to_json(answer),
            }
            for value, answer in zip(run.get_outputs(), answers)
        ],
    }


def write(root, name, version, model, text, inputs):
    folder = root / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(pin(model, name, text).SerializeToString(deterministic=True))
    prove_rows_independent(path, inputs)
    document = golden(path, inputs)
    with open(folder / "golden.json", "w", encoding="utf-8", newline="\n") as file:
        json.dump(document, file, allow_nan=False, indent=None, separators=(",", ":"))
        file.write("\n")
    return document


def prove_rows_independent(path, inputs):
    """Each row answered alone is what it is in the batch, to 1e-5."""
    run = session(path)
    together = run.run(None, inputs)
    rows = len(next(iter(inputs.values())))
    for row in range(rows):
        alone = run.run(None, {key: value[row : row + 1] for key, value in inputs.items()})
        for a, b in zip(alone, together):
            if a.dtype == np.float32:
                assert np.abs(a[0] - b[row]).max() <= 1e-5, (path, row)
            else:
                assert np.array_equal(a[0], b[row]), (path, row)


def from_sklearn(estimator, classifier, types):
    from skl2onnx import convert_sklearn

    return convert_sklearn(
        estimator,
        initial_types=types,
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        options={id(classifier): {"zipmap": False}},
    )


def assert_same_labels(model, inputs, wanted):
    """The converted model answers what scikit-learn does."""
    run = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    assert np.array_equal(run.run(["label"], inputs)[0].astype(str), wanted.astype(str))


def report(name, version, text):
    print(f"{name}/{version}: {text}", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# iris: four measurements of a flower, its species as a string


def iris(root):
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_iris()
    x = data.data.astype(np.float32)
    y = data.target_names[data.target].astype(str)
    classifier = LogisticRegression(max_iter=1000, random_state=0)
    pipeline = make_pipeline(StandardScaler(), classifier).fit(x, y)
    report("iris", 1, f"accuracy on its own training data {pipeline.score(x, y):.3f}")
    model = from_sklearn(pipeline, classifier, [("input", FloatTensorType([None, 4]))])
    assert_same_labels(model, {"input": x}, pipeline.predict(x))
    write(root, "iris", 1, model, "Species of an iris from four lengths in cm.", {"input": x[[0, 20, 50, 77, 83, 106, 149]]})


# ---------------------------------------------------------------------------------------------------------------------
# digits: 8x8 images; version 1 is linear, version 2 is a convolutional network


def digits(root):
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    data = load_digits()
    images = (data.images.astype(np.float32))[:, None]
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1400], order[1400:]

    linear = LogisticRegression(C=0.02, max_iter=2000, random_state=0)
    linear.fit(images[train].reshape(-1, 64).astype(np.float64) / 16, data.target[train])
    first = graph_model(
        "digits",
        [
            helper.make_node("Flatten", ["image"], ["flat"], axis=1),
            helper.make_node("Mul", ["flat", "scale"], ["pixels"]),
            helper.make_node("Gemm", ["pixels", "weight", "bias"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["digit"], axis=1, keepdims=0),
        ],
        DIGITS_INPUTS,
        DIGITS_OUTPUTS,
        {
            "scale": np.float32(1 / 16),
            "weight": linear.coef_.T.astype(np.float32),
            "bias": linear.intercept_.astype(np.float32),
        },
    )

    weights = train_convolutions(images[train] / 16, data.target[train])
    second = graph_model(
        "digits",
        [
            helper.make_node("Mul", ["image", "scale"], ["pixels"]),
            helper.make_node("Conv", ["pixels", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c2"], ["r2"]),
            helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["p2"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w3", "b3"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["digit"], axis=1, keepdims=0),
        ],
        DIGITS_INPUTS,
        DIGITS_OUTPUTS,
        {"scale": np.float32(1 / 16), **weights},
    )

    # Two images the versions disagree on, and five they answer with clearly different probabilities.
    answers = []
    for model in (first, second):
        run = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
        answers.append(run.run(["probabilities", "digit"], {"image": images[test]}))
    apart = np.abs(answers[0][0] - answers[1][0]).max(axis=1)
    disagree = np.flatnonzero(answers[0][1] != answers[1][1])
    agree = np.flatnonzero((answers[0][1] == answers[1][1]) & (apart > 0.2))
    rows = test[np.concatenate([disagree[:2], agree[:5]])]
    assert len(rows) == 7
    documents = []
    for version, (model, (_, guess)) in enumerate(zip((first, second), answers), start=1):
        report("digits", version, f"accuracy on held-out images {np.mean(guess == data.target[test]):.3f}")
        text = "Digit in an 8x8 image, pixels 0 to 16, by " + ("a linear model." if version == 1 else "two convolutions.")
        documents.append(write(root, "digits", version, model, text, {"image": images[rows]}))
    one, two = (from_json(document["outputs"][0]) for document in documents)
    assert np.abs(one - two).max(axis=1).min() > 0.1, "the two versions must be easy to tell apart on every row"


DIGITS_INPUTS = [("image", TensorProto.FLOAT, ["batch", 1, 8, 8])]
DIGITS_OUTPUTS = [("probabilities", TensorProto.FLOAT, ["batch", 10]), ("digit", TensorProto.INT64, ["batch"])]


def model_bytes(model):
    model.ir_version = IR_VERSION
    return model.SerializeToString()


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


class Adam:
    def __init__(self, weights, rate):
        self.weights, self.rate, self.step = weights, rate, 0
        self.mean = {key: np.zeros_like(value) for key, value in weights.items()}
        self.square = {key: np.zeros_like(value) for key, value in weights.items()}

    def update(self, gradients):
        self.step += 1
        for key, gradient in gradients.items():
            self.mean[key] = 0.9 * self.mean[key] + 0.1 * gradient
            self.square[key] = 0.999 * self.square[key] + 0.001 * gradient**2
            mean = self.mean[key] / (1 - 0.9**self.step)
            square = self.square[key] / (1 - 0.999**self.step)
            self.weights[key] -= self.rate * mean / (np.sqrt(square) + 1e-8)


def patches(x):
    """[n, c, h, w] -> [n*h*w, c*9], the 3x3 neighbourhood of each pixel, zeros outside."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    columns = np.empty((n, h, w, c, 3, 3))
    for i in range(3):
        for j in range(3):
            columns[..., i, j] = padded[:, :, i : i + h, j : j + w].transpose(0, 2, 3, 1)
    return columns.reshape(n * h * w, c * 9)


def unpatches(columns, shape):
    n, c, h, w = shape
    columns = columns.reshape(n, h, w, c, 3, 3)
    padded = np.zeros((n, c, h + 2, w + 2))
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + h, j : j + w] += columns[..., i, j].transpose(0, 3, 1, 2)
    return padded[:, :, 1:-1, 1:-1]


class Block:
    """3x3 convolution, ReLU, 2x2 max pooling; keeps what the way back needs."""

    def forward(self, x, weight, bias):
        n, _, h, w = x.shape
        self.shape, self.weight, self.columns = x.shape, weight.reshape(len(weight), -1), patches(x)
        y = (self.columns @ self.weight.T + bias).reshape(n, h, w, -1).transpose(0, 3, 1, 2)
        windows = np.maximum(y, 0).reshape(n, -1, h // 2, 2, w // 2, 2)
        pooled = windows.max(axis=(3, 5))
        # Ties (zeros after the ReLU) get no gradient anyway.
        self.chosen = ((windows == pooled[:, :, :, None, :, None]) & (windows > 0)).reshape(y.shape)
        return pooled

    def backward(self, gradient):
        n, c, h, w = gradient.shape
        spread = np.repeat(np.repeat(gradient, 2, axis=2), 2, axis=3) * self.chosen
        spread = spread.transpose(0, 2, 3, 1).reshape(-1, c)
        weight = (spread.T @ self.columns).reshape(c, self.shape[1], 3, 3)
        return unpatches(spread @ self.weight, self.shape), weight, spread.sum(axis=0)


def train_convolutions(images, targets):
    random = np.random.default_rng(1)
    weights = {
        "w1": random.normal(0, 0.47, (8, 1, 3, 3)),
        "b1": np.zeros(8),
        "w2": random.normal(0, 0.17, (16, 8, 3, 3)),
        "b2": np.zeros(16),
        "w3": random.normal(0, 0.18, (64, 10)),
        "b3": np.zeros(10),
    }
    adam, images = Adam(weights, 3e-3), images.astype(np.float64)
    one, two = Block(), Block()
    for _ in range(12):
        order = random.permutation(len(images))
        for start in range(0, len(order), 50):
            rows = order[start : start + 50]
            hidden = one.forward(images[rows], weights["w1"], weights["b1"])
            flat = two.forward(hidden, weights["w2"], weights["b2"])
            shape, flat = flat.shape, flat.reshape(len(rows), -1)
            error = softmax(flat @ weights["w3"] + weights["b3"])
            error[np.arange(len(rows)), targets[rows]] -= 1
            error /= len(rows)
            back, w2, b2 = two.backward((error @ weights["w3"].T).reshape(shape))
            _, w1, b1 = one.backward(back)
            adam.update({"w1": w1, "b1": b1, "w2": w2, "b2": b2, "w3": flat.T @ error, "b3": error.sum(axis=0)})
    return {key: value.astype(np.float32) for key, value in weights.items()}


# ---------------------------------------------------------------------------------------------------------------------
# penguins: a table with numbers, words and holes


def penguins(root):
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    words = ["island", "sex"]
    with open(HERE / "penguins" / "penguins.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    columns = {key: np.array([float(row[key]) if row[key] != "NA" else np.nan for row in table], np.float32) for key in numbers}
    columns |= {key: np.array([row[key] if row[key] != "NA" else "" for row in table], object) for key in words}
    species = np.array([row["species"] for row in table])

    x = np.empty((len(table), len(numbers) + len(words)), object)
    for index, key in enumerate(numbers + words):
        x[:, index] = columns[key]
    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), [0, 1, 2, 3]),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [4, 5]),
        ]
    )
    classifier = RandomForestClassifier(n_estimators=24, max_depth=5, random_state=0, n_jobs=1)
    pipeline = Pipeline([("prepare", prepare), ("classify", classifier)]).fit(x, species)
    report("penguins", 1, f"accuracy on its own training data {pipeline.score(x, species):.3f}")
    types = [(key, FloatTensorType([None, 1])) for key in numbers] + [(key, StringTensorType([None, 1])) for key in words]
    model = from_sklearn(pipeline, classifier, types)

    assert_same_labels(model, {key: columns[key].reshape(-1, 1) for key in numbers + words}, pipeline.predict(x))

    rows = [0, 3, 8, 160, 271, 300, 343]  # 3 and 271 have no numbers and no sex, 8 has no sex
    inputs = {key: columns[key][rows].reshape(-1, 1) for key in numbers + words}
    inputs["island"][5] = "Ö-Insel"  # a word that was not in the table, with a letter that is not ASCII
    inputs["bill_depth_mm"][0] = np.nan
    write(root, "penguins", 1, model, "Species of a penguin from its measurements, island and sex.", inputs)


# ---------------------------------------------------------------------------------------------------------------------
# codetext: is a line of text Python code or prose? Bytes in, with a mask; the sequence axis is free


def lines_of_text():
    """Lines of scikit-learn's own source files: (bytes, 1 if from a docstring)."""
    seen = {}
    folder = Path(sklearn.__file__).parent
    for part in ("linear_model", "metrics", "preprocessing"):
        for path in sorted((folder / part).glob("*.py")):
            source = path.read_text(encoding="utf-8")
            prose = set()
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                    prose.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
            for number, line in enumerate(source.splitlines(), start=1):
                line = line.strip().encode()
                if 20 <= len(line) <= 80 and not line.startswith((b"#", b">>>", b"...")):
                    seen.setdefault(line, int(number in prose))
    return sorted(seen.items())


def encode(lines, length=None):
    """Byte values plus one, zero where there is no text, and the mask."""
    length = length or max(len(line) for line in lines)
    ids = np.zeros((len(lines), length), np.int64)
    for row, line in enumerate(lines):
        ids[row, : len(line)] = np.frombuffer(line, np.uint8).astype(np.int64) + 1
    return ids, (ids > 0).astype(np.int64)


def codetext(root):
    lines = lines_of_text()
    random = np.random.default_rng(2)
    order = random.permutation(len(lines))[:6000]
    ids, mask = encode([lines[index][0] for index in order], 80)
    target = np.array([lines[index][1] for index in order])
    train, test = slice(0, 5000), slice(5000, None)

    embedding, hidden = 8, 24
    weights = {
        "table": random.normal(0, 0.5, (257, embedding)),
        "conv": random.normal(0, 0.2, (3 * embedding, hidden)),  # three neighbouring bytes
        "conv_bias": np.zeros(hidden),
        "head": random.normal(0, 0.2, (hidden, 2)),
        "head_bias": np.zeros(2),
    }
    weights["table"][0] = 0
    adam = Adam(weights, 5e-3)
    for _ in range(4):
        shuffled = random.permutation(5000)
        for start in range(0, 5000, 100):
            rows = shuffled[start : start + 100]
            count, kept = len(rows), mask[rows][:, :, None]
            padded = np.pad(weights["table"][ids[rows]] * kept, ((0, 0), (1, 1), (0, 0)))
            near = np.concatenate([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], axis=2).reshape(-1, 3 * embedding)
            active = np.maximum(near @ weights["conv"] + weights["conv_bias"], 0).reshape(count, 80, hidden) * kept
            length = kept.sum(axis=1)
            mean = active.sum(axis=1) / length
            error = softmax(mean @ weights["head"] + weights["head_bias"])
            error[np.arange(count), target[rows]] -= 1
            error /= count
            back = np.where(active > 0, ((error @ weights["head"].T) / length)[:, None, :], 0).reshape(-1, hidden)
            near_back = (back @ weights["conv"].T).reshape(count, 80, 3 * embedding)
            left, middle, right = np.split(near_back, 3, axis=2)
            byte_back = middle
            byte_back[:, :-1] += left[:, 1:]
            byte_back[:, 1:] += right[:, :-1]
            table = np.zeros_like(weights["table"])
            np.add.at(table, ids[rows].reshape(-1), (byte_back * kept).reshape(-1, embedding))
            adam.update(
                {
                    "table": table,
                    "conv": near.T @ back,
                    "conv_bias": back.sum(axis=0),
                    "head": mean.T @ error,
                    "head_bias": error.sum(axis=0),
                }
            )

    # MatMul on the three neighbours is a one-dimensional convolution; ONNX wants [out, in, width].
    kernel = weights["conv"].reshape(3, embedding, hidden).transpose(2, 1, 0)
    model = graph_model(
        "codetext",
        [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "one"], ["mask_channel"]),
            helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
            helper.make_node("Transpose", ["embedded"], ["channels"], perm=[0, 2, 1]),
            helper.make_node("Mul", ["channels", "mask_channel"], ["masked"]),
            helper.make_node("Conv", ["masked", "kernel", "kernel_bias"], ["near"], kernel_shape=[3], pads=[1, 1]),
            helper.make_node("Relu", ["near"], ["active"]),
            helper.make_node("Mul", ["active", "mask_channel"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "two"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "one"], ["length"], keepdims=1),
            helper.make_node("Max", ["length", "least"], ["divisor"]),
            helper.make_node("Div", ["sum", "divisor"], ["mean"]),
            helper.make_node("Gemm", ["mean", "head", "head_bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        [("input_ids", TensorProto.INT64, ["batch", "sequence"]), ("attention_mask", TensorProto.INT64, ["batch", "sequence"])],
        [("logits", TensorProto.FLOAT, ["batch", 2]), ("probabilities", TensorProto.FLOAT, ["batch", 2])],
        {
            "table": weights["table"].astype(np.float32),
            "kernel": kernel.astype(np.float32),
            "kernel_bias": weights["conv_bias"].astype(np.float32),
            "head": weights["head"].astype(np.float32),
            "head_bias": weights["head_bias"].astype(np.float32),
            "one": np.array([1], np.int64),
            "two": np.array([2], np.int64),
            "least": np.array([1], np.float32),
        },
    )
    run = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    guess = run.run(["logits"], {"input_ids": ids[test], "attention_mask": mask[test]})[0].argmax(axis=1)
    report("codetext", 1, f"accuracy on held-out lines {np.mean(guess == target[test]):.3f}")
    samples = [
        b"return np.dot(x, self.coef_.T)",
        b"The river rose all night, and by morning the weir was under water.",
        b"for key, value in sorted(weights.items()):",
        b"Whether to fit the intercept. If set to false, none is used.",
        b"if x is None:",
        "Größe in Metern, über alles gemessen".encode(),
    ]
    ids, mask = encode(samples)
    # Padding changes nothing: each line alone, without padding, has the answer it has in the padded batch.
    together = run.run(None, {"input_ids": ids, "attention_mask": mask})
    for row, line in enumerate(samples):
        short, ones = encode([line])
        for a, b in zip(run.run(None, {"input_ids": short, "attention_mask": ones}), together):
            assert np.abs(a[0] - b[row]).max() <= 1e-5
    write(root, "codetext", 1, model, "Is a line of text Python code (0) or prose (1)?", {"input_ids": ids, "attention_mask": mask})


# ---------------------------------------------------------------------------------------------------------------------
# tiny: 16 -> 32 -> 3, for measuring everything but the model


def tiny_model():
    random = np.random.default_rng(3)
    weights = {
        "w1": random.normal(0, 0.25, (16, 32)).astype(np.float32),
        "b1": random.normal(0, 0.1, 32).astype(np.float32),
        "w2": random.normal(0, 0.25, (32, 3)).astype(np.float32),
        "b2": random.normal(0, 0.1, 3).astype(np.float32),
    }
    return graph_model(
        "tiny",
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["batch", 16])],
        [("y", TensorProto.FLOAT, ["batch", 3])],
        weights,
    )


TINY_TEXT = "A perceptron with seeded random weights, 16 -> 32 -> 3."


def tiny(root):
    x = np.random.default_rng(4).normal(0, 1, (8, 16)).astype(np.float32)
    write(root, "tiny", 1, tiny_model(), TINY_TEXT, {"x": x})
    report("tiny", 1, "random weights")


# ---------------------------------------------------------------------------------------------------------------------


MODELS = [iris, digits, penguins, codetext, tiny]


def same_answers(committed, fresh):
    """Problems found running both models on the committed golden inputs; none when they agree within the tolerance."""
    document = json.loads((committed / "golden.json").read_text(encoding="utf-8"))
    inputs = {tensor["name"]: from_json(tensor) for tensor in document["inputs"]}
    problems = []
    for folder in (committed, fresh):
        run = session(folder / "model.onnx")
        names = [value.name for value in run.get_outputs()]
        if names != [tensor["name"] for tensor in document["outputs"]]:
            problems.append(f"{folder}: outputs {names}")
            continue
        for tensor, answer in zip(document["outputs"], run.run(names, inputs)):
            wanted = from_json(tensor)
            if answer.dtype == np.float32:
                equal = answer.shape == wanted.shape and np.allclose(answer, wanted, rtol=0, atol=document["tolerance"])
            else:
                equal = np.array_equal(answer, wanted)
            if not equal:
                problems.append(f"{folder}: {tensor['name']} differs from the golden answers")
    return problems


def check(wanted):
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        for model in wanted:
            model(fresh)
        for path in sorted(fresh.glob("*/*/model.onnx")):
            name = path.parent.relative_to(fresh)
            committed = HERE / name
            files = [(committed / file, path.parent / file) for file in ("model.onnx", "golden.json")]
            if all(a.is_file() and a.read_bytes() == b.read_bytes() for a, b in files):
                print(f"{name}: the same bytes")
                continue
            problems = same_answers(committed, path.parent)
            failed |= bool(problems)
            print(f"{name}: " + ("; ".join(problems) or "other bytes, the same answers"))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="train into a temporary directory and compare")
    parser.add_argument("--only", action="append", metavar="MODEL", help="only this model (may be repeated)")
    arguments = parser.parse_args()
    wanted = [model for model in MODELS if not arguments.only or model.__name__ in arguments.only]
    if arguments.check:
        return check(wanted)
    for model in wanted:
        model(HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
