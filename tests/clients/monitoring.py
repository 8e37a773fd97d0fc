"""A model's life under watch: train on a table, send it traffic like the table or unlike it, train again on what was captured.

    python monitoring.py train TABLE.csv|DATASET_DIR OUT_DIR [C]
        writes model.onnx and model.toml, prints its accuracy; C is the classifier's
    python monitoring.py traffic HTTP MODEL TABLE.csv ROWS SEED KIND [LABELS.jsonl]
        KIND is clean or shifted; requests of 25 rows carry ids, and their labels go to the file

The table is models/penguins/penguins.csv: numbers, words and holes.
"""

import csv
import json
import random
import sys
import urllib.request
from pathlib import Path

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
WORDS = ["island", "sex"]
ROWS_A_REQUEST = 25


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file)]


def read_dataset(folder):
    """Rows of `weir dataset build`: columns are called as capture calls them, the label is `label`."""
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(Path(folder), format="parquet", exclude_invalid_files=True).to_table()
    rows = []
    for row in table.to_pylist():
        found = {"species": row["label"]}
        for key in NUMBERS + WORDS:
            value = row["in." + key]
            value = value[0] if isinstance(value, list) else value
            value = value.decode() if isinstance(value, bytes) else value
            found[key] = "NA" if value is None or value == "" or value != value else str(value)
        rows.append(found)
    return rows


def train(source, out, strength="1.0"):
    import numpy as np
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rows = read_dataset(source) if Path(source).is_dir() else read_table(source)
    x = np.empty((len(rows), len(NUMBERS) + len(WORDS)), object)
    for at, row in enumerate(rows):
        x[at, :4] = [float(row[key]) if row[key] != "NA" else np.nan for key in NUMBERS]
        x[at, 4:] = [row[key] if row[key] != "NA" else "" for key in WORDS]
    species = np.array([row["species"] for row in rows])
    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), [0, 1, 2, 3]),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [4, 5]),
        ]
    )
    classifier = LogisticRegression(C=float(strength), max_iter=2000)
    pipeline = Pipeline([("prepare", prepare), ("classify", classifier)]).fit(x, species)
    types = [(key, FloatTensorType([None, 1])) for key in NUMBERS] + [(key, StringTensorType([None, 1])) for key in WORDS]
    model = convert_sklearn(pipeline, initial_types=types, options={id(classifier): {"zipmap": False}})
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(model.SerializeToString())
    # Islands and sexes of penguins are no secret, and the next model is trained on them.
    keep = "".join(f'"in.{key}" = "keep"\n' for key in WORDS)
    (out / "model.toml").write_text(f'[capture.privacy]\n{keep}"out.label" = "keep"\n"out.output_label" = "keep"\n')
    print(json.dumps({"rows": len(rows), "accuracy": pipeline.score(x, species), "outputs": [o.name for o in model.graph.output]}))


def shift(row, rng):
    """What a broken pipeline sends: another unit, holes, a word that nobody knows."""
    row = dict(row)
    if row["body_mass_g"] != "NA":
        row["body_mass_g"] = str(float(row["body_mass_g"]) / 1000)
    if rng.random() < 0.3:
        row["bill_depth_mm"] = "NA"
    if rng.random() < 0.25:
        row["island"] = "Elephant"
    return row


def request(rows, identity):
    inputs = []
    for key in NUMBERS:
        data = [float(row[key]) if row[key] != "NA" else "NaN" for row in rows]
        inputs.append({"name": key, "datatype": "FP32", "shape": [len(rows), 1], "data": data})
    for key in WORDS:
        data = [row[key] if row[key] != "NA" else "" for row in rows]
        inputs.append({"name": key, "datatype": "BYTES", "shape": [len(rows), 1], "data": data})
    return {"id": identity, "inputs": inputs}


def traffic(http, model, table, count, seed, kind, labels=None):
    rng = random.Random(int(seed))
    table = read_table(table)
    correct = total = 0
    with open(labels, "a", encoding="utf-8") if labels else open("/dev/null", "w", encoding="utf-8") as file:
        for start in range(0, int(count), ROWS_A_REQUEST):
            rows = [rng.choice(table) for _ in range(ROWS_A_REQUEST)]
            sent = [shift(row, rng) for row in rows] if kind == "shifted" else rows
            identity = f"{kind}-{seed}-{start}"
            body = json.dumps(request(sent, identity)).encode()
            asked = urllib.request.Request(f"http://{http}/v2/models/{model}/infer", body)
            with urllib.request.urlopen(asked, timeout=30) as answer:
                answered = json.load(answer)
            assert answered["id"] == identity, answered["id"]
            species = next(output for output in answered["outputs"] if output["datatype"] == "BYTES")["data"]
            for at, row in enumerate(rows):
                correct += species[at] == row["species"]
                total += 1
                file.write(json.dumps({"request_id": identity, "row": at, "label": row["species"], "source": "biologist"}) + "\n")
    print(json.dumps({"rows": total, "accuracy": correct / total}))


if __name__ == "__main__":
    {"train": train, "traffic": traffic}[sys.argv[1]](*sys.argv[2:])
