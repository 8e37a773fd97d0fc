"""Reads a folder of captured rows as it stands, with DuckDB and with pyarrow, and compares them with what was sent."""

import argparse
import glob

import duckdb
import pyarrow.parquet as parquet


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--rows", type=int, required=True)
    args = parser.parse_args()
    files = sorted(glob.glob(f"{args.store}/capture/model=*/version=*/date=*/hour=*/*.parquet"))
    assert files, "no files"

    rows = duckdb.sql(
        f"SELECT * FROM read_parquet('{args.store}/capture/**/*.parquet', hive_partitioning = true, union_by_name = true)"
    )
    count, versions = duckdb.sql("SELECT count(*), count(DISTINCT model_version) FROM rows").fetchall()[0]
    assert count == args.rows, (count, args.rows)
    assert versions >= 1
    bad = duckdb.sql("SELECT count(*) FROM rows WHERE model_version != version OR sample_weight < 1").fetchall()[0][0]
    assert bad == 0, bad
    print("ok duckdb", count)

    total = 0
    for file in files:
        table = parquet.ParquetFile(file)
        metadata = {key.decode(): value.decode() for key, value in table.metadata.metadata.items()}
        assert metadata["weir.format"] == "1" and len(metadata["weir.signature"]) == 64, metadata
        assert metadata["weir.digest"] == "0123", metadata
        total += table.read().num_rows
    assert total == args.rows, (total, args.rows)
    print("ok pyarrow", total)


main()
