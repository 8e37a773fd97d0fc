#!/usr/bin/env python3
"""Models that others made, or that are made here and now, served and compared with ONNX Runtime in this process.

    python third_party.py prepare DIRECTORY
    weir serve DIRECTORY ...
    python third_party.py check --http HOST:PORT --grpc HOST:PORT --models DIRECTORY

  magika     Google's file type detector, out of its PyPI package: INT32 in
  silero     Silero's voice detector, out of its PyPI package: a scalar input, and a state whose batch axis is the second
  text       TF-IDF and logistic regression over strings, trained here by scikit-learn
  wine       a table with numbers, a word and missing values, gradient boosting, trained here
  diabetes   a regression in FP64, trained here
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from common import Checks, same

SILERO = "6.2.3"
TOLERANCE = 1e-4
BATCHES = (1, 2, 5, 16)
KINDS = {
    "tensor(bool)": "BOOL",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


# ---------------------------------------------------------------------------------------------------------------------
# Preparation


def place(directory, name, data):
    folder = directory / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    print(f"{name}: {len(data)} bytes", flush=True)


def magika_model(directory):
    import magika

    found = sorted(Path(magika.__file__).parent.glob("models/standard_*/model.onnx"))
    place(directory, "magika", found[-1].read_bytes())


def silero_model(directory):
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", temporary, f"silero-vad=={SILERO}"], check=True)
        with zipfile.ZipFile(next(Path(temporary).glob("silero_vad-*.whl"))) as wheel:
            place(directory, "silero", wheel.read("silero_vad/data/silero_vad.onnx"))


def converted(estimator, types, classifier=None):
    from skl2onnx import convert_sklearn

    options = {id(classifier): {"zipmap": False}} if classifier is not None else None
    target = {"": 17, "ai.onnx.ml": 3, "com.microsoft": 1}
    return convert_sklearn(estimator, initial_types=types, target_opset=target, options=options).SerializeToString()


def sentences():
    """Sentences of the descriptions of scikit-learn's data sets, and which they are from."""
    from sklearn import datasets

    texts, names = [], []
    for name in ("breast_cancer", "diabetes", "digits", "iris", "wine"):
        for line in getattr(datasets, f"load_{name}")().DESCR.splitlines():
            if len(line.split()) >= 4:
                texts.append(line.strip())
                names.append(name)
    return np.array(texts, object), np.array(names)


def wine_table():
    from sklearn.datasets import load_wine

    data = load_wine()
    numbers = data.data[:, :4].astype(np.float32)
    random = np.random.default_rng(0)
    numbers[random.random(numbers.shape) < 0.05] = np.nan
    shade = np.array(["pale", "medium", "", "deep"], object)[np.digitize(data.data[:, 9], [3, 4.5, 6])]
    return numbers, shade, data.target


def text_model(directory):
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, names = sentences()
    classifier = LogisticRegression(C=10, max_iter=500, random_state=0)
    # Lower case would become a StringNormalizer, which ONNX Runtime can only make where the locale en_US.UTF-8 is installed.
    words = TfidfVectorizer(token_pattern=r"[a-zA-Z0-9_]+", lowercase=False)
    pipeline = make_pipeline(words, classifier).fit(texts, names)
    place(directory, "text", converted(pipeline, [("text", StringTensorType([None]))], classifier))


def wine_model(directory):
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    numbers, shade, target = wine_table()
    table = np.empty((len(numbers), 5), object)
    table[:, :4], table[:, 4] = numbers, shade
    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), [0, 1, 2, 3]),
            ("shade", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [4]),
        ]
    )
    classifier = GradientBoostingClassifier(n_estimators=20, random_state=0)
    pipeline = Pipeline([("prepare", prepare), ("classify", classifier)]).fit(table, target)
    types = [("numbers", FloatTensorType([None, 4])), ("shade", StringTensorType([None, 1]))]
    place(directory, "wine", converted(pipeline, types, classifier))


def diabetes_model(directory):
    from skl2onnx.common.data_types import DoubleTensorType
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_diabetes()
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(data.data, data.target)
    place(directory, "diabetes", converted(pipeline, [("x", DoubleTensorType([None, 10]))]))


# ---------------------------------------------------------------------------------------------------------------------
# Inputs: a list of batches, each {name: array}


def magika_inputs(random):
    """The first and last 1,024 bytes of real files, the way the detector takes them."""
    import magika

    files = sorted(path for path in Path(magika.__file__).parent.rglob("*") if path.is_file() and path.stat().st_size > 8)
    files += sorted(Path(__file__).parent.glob("*.*"))
    features = np.full((len(files), 2048), 256, np.int32)
    for row, path in enumerate(files):
        data = path.read_bytes()
        start, end = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
        features[row, : len(start)] = np.frombuffer(start, np.uint8)
        features[row, 2048 - len(end) :] = np.frombuffer(end, np.uint8)
    for count in BATCHES:
        yield {"bytes": features[random.integers(0, len(files), count)]}


def silero_inputs(random):
    for count in (1, 2, 3):
        wave = random.normal(0, 0.1, (count, 576)) + 0.3 * np.sin(np.arange(576) * random.uniform(0.02, 0.3, (count, 1)))
        state = random.normal(0, 0.2, (2, count, 128))
        yield {"input": wave.astype(np.float32), "state": state.astype(np.float32), "sr": np.array(16000, np.int64)}


def text_inputs(random):
    texts, _ = sentences()
    for count in BATCHES:
        yield {"text": texts[random.integers(0, len(texts), count)]}
    yield {"text": np.array(["", "größer als 3 µm", "wine wine wine", "a" * 5000], object)}


def wine_inputs(random):
    numbers, shade, _ = wine_table()
    for count in BATCHES:
        rows = random.integers(0, len(numbers), count)
        yield {"numbers": numbers[rows], "shade": shade[rows].reshape(-1, 1)}


def diabetes_inputs(random):
    from sklearn.datasets import load_diabetes

    data = load_diabetes().data
    for count in BATCHES:
        yield {"x": data[random.integers(0, len(data), count)]}


MODELS = {
    "magika": (magika_model, magika_inputs),
    "silero": (silero_model, silero_inputs),
    "text": (text_model, text_inputs),
    "wine": (wine_model, wine_inputs),
    "diabetes": (diabetes_model, diabetes_inputs),
}


# ---------------------------------------------------------------------------------------------------------------------
# Comparison


class Reference:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.kinds = {value.name: KINDS[value.type] for value in self.session.get_inputs()}
        self.outputs = [value.name for value in self.session.get_outputs()]

    def __call__(self, inputs):
        return dict(zip(self.outputs, self.session.run(self.outputs, inputs)))


def served(client, module, name, reference, inputs, binary):
    made, asked = [], None
    for key, value in inputs.items():
        made.append(module.InferInput(key, list(value.shape), reference.kinds[key]))
        if binary is None:
            made[-1].set_data_from_numpy(value)
        else:
            made[-1].set_data_from_numpy(value, binary_data=binary)
    if binary is False:
        asked = [module.InferRequestedOutput(output, binary_data=False) for output in reference.outputs]
    result = client.infer(name, made, outputs=asked)
    return {output: result.as_numpy(output) for output in reference.outputs}


def compare(answer, wanted, what):
    for output, value in wanted.items():
        same(answer[output], value, TOLERANCE * max(1.0, float(np.abs(value).max())) if value.dtype.kind == "f" else 0, f"{what} {output}")


def check(url, module, name, path, inputs, binary):
    reference, client = Reference(path), module.InferenceServerClient(url)
    try:
        for batch in inputs(np.random.default_rng(7)):
            compare(served(client, module, name, reference, batch, binary), reference(batch), name)
    finally:
        client.close()


def together(url, module, name, path, inputs):
    """Several clients at once, so that the server has something to batch: nobody's answer changes."""
    reference, problems = Reference(path), []
    work = [(batch, reference(batch)) for seed in range(6) for batch in inputs(np.random.default_rng(seed))]

    def run(number):
        try:
            client = module.InferenceServerClient(url)
            for batch, wanted in work[number::6] * 3:
                compare(served(client, module, name, reference, batch, None if module.__name__.endswith("grpc") else True), wanted, name)
            client.close()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="write the model repository")
    command.add_argument("directory", type=Path)
    command.add_argument("--model", action="append", choices=list(MODELS), help="only this (may be repeated)")
    command = commands.add_parser("check", help="compare what is served with ONNX Runtime")
    command.add_argument("--http", metavar="HOST:PORT", default="127.0.0.1:8000")
    command.add_argument("--grpc", metavar="HOST:PORT", default="127.0.0.1:8001")
    command.add_argument("--models", metavar="PATH", type=Path, required=True, help="the directory that was prepared")
    command.add_argument("--only", metavar="TEXT")
    options = parser.parse_args()
    if options.command == "prepare":
        for name in options.model or MODELS:
            MODELS[name][0](options.directory)
        return 0

    import tritonclient.grpc
    import tritonclient.http

    checks = Checks(options.only)
    for name, (_, inputs) in MODELS.items():
        path = options.models / name / "1" / "model.onnx"
        if not path.is_file():
            continue
        checks.run(f"grpc: {name}", check, options.grpc, tritonclient.grpc, name, path, inputs, None)
        checks.run(f"http: {name}, binary", check, options.http, tritonclient.http, name, path, inputs, True)
        checks.run(f"http: {name}, JSON", check, options.http, tritonclient.http, name, path, inputs, False)
        checks.run(f"grpc: {name}, several clients", together, options.grpc, tritonclient.grpc, name, path, inputs)
        checks.run(f"http: {name}, several clients", together, options.http, tritonclient.http, name, path, inputs)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
