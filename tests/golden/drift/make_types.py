"""Writes types.parquet and types.json: every type of column that Weir reads, written by pyarrow 26.0.1 (zstd), and its values.

Run: pip install pyarrow==26.0.1; python make_types.py, in this folder.
"""
import datetime as dt, decimal as d, json
import pyarrow as pa, pyarrow.parquet as pq

D = d.Decimal
N = None
cols, want, refused = {}, {}, []

def add(name, arr, expected):
    cols[name] = arr
    want[name] = expected

for t in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]:
    add(t, pa.array([1, N, 100], getattr(pa, t)()), [1.0, N, 100.0])
add("float16", pa.array([0.5, N, 2.0], pa.float64()).cast(pa.float16()), [0.5, N, 2.0])
add("bool", pa.array([True, N, False]), [True, N, False])
add("string", pa.array(["a", N, "ü"]), ["a", N, "ü"])
add("large_string", pa.array(["a", N, ""], pa.large_string()), ["a", N, ""])
add("dictionary", pa.array(["a", N, "a"]).dictionary_encode(), ["a", N, "a"])
add("date32", pa.array([dt.date(1970, 1, 2), N, dt.date(2020, 1, 1)]), [1.0, N, 18262.0])
for unit, step in [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]:
    t = pa.timestamp(unit, tz="UTC") if unit == "us" else pa.timestamp(unit)
    stored = 1000 if unit == "s" else 1  # Parquet has no seconds: they come back as milliseconds
    add("ts_" + unit, pa.array([step, N, 5 * step], pa.int64()).cast(t), [float(step * stored), N, float(5 * step * stored)])
add("time32", pa.array([1500, N, 0], pa.int32()).cast(pa.time32("ms")), [1500.0, N, 0.0])
add("time64", pa.array([1500, N, 0], pa.int64()).cast(pa.time64("us")), [1500.0, N, 0.0])
add("duration", pa.array([7, N, 8], pa.int64()).cast(pa.duration("us")), [7.0, N, 8.0])
add("decimal128", pa.array([D("1.10"), N, D("-123456.78")], pa.decimal128(20, 2)), [1.1, N, -123456.78])
add("decimal256", pa.array([D("1.5"), N, D("-2.5")], pa.decimal256(50, 1)), [1.5, N, -2.5])
add("null", pa.nulls(3), [N, N, N])
cols["vector"] = pa.array([[1, 2], N, [3, N]], pa.list_(pa.float32(), 2))
want["vector[0]"], want["vector[1]"] = [1.0, N, 3.0], [2.0, N, N]
cols["words"] = pa.array([["a", "b"], ["c", "d"], N], pa.list_(pa.string(), 2))
want["words[0]"], want["words[1]"] = ["a", "c", N], ["b", "d", N]
cols["ragged"] = pa.array([[1], [1, 2], N]); refused.append("ragged")
cols["struct"] = pa.array([{"x": 1}, N, {"x": 2}]); refused.append("struct")
cols["binary"] = pa.array([b"\xff", N, b""]); refused.append("binary")
table = pa.table(cols)
pq.write_table(table, "types.parquet", compression="zstd", row_group_size=2)
json.dump({"columns": want, "refused": refused}, open("types.json", "w"), indent=1, ensure_ascii=False)
