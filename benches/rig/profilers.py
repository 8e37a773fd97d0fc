#!/usr/bin/env python3
"""Profiling and comparing a table: Weir against whylogs and evidently, from the same Parquet files, in turns.

    python3 benches/rig/profilers.py [ROUNDS] [ROWS]

The table has 12 columns of numbers and 4 of text. Every tool is a process of its own, pinned to core 0, and reads the files
itself; the CPU time counted is the whole process's, less that of the same process on a table of 100 rows (starting Python and
importing pandas is not profiling). Bytes are those of what is kept: a profile for Weir and whylogs; evidently keeps none and
needs the rows. Needs: cargo build --release --bin weir; whylogs, evidently, pandas and pyarrow in the Python that runs this.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RELEASE = os.path.join(HERE, "..", "..", "target", "release")

WHYLOGS = """
import sys, pandas, whylogs
results = whylogs.log(pandas.read_parquet(sys.argv[1]))
open(sys.argv[3], "wb").write(results.view().serialize())
"""
EVIDENTLY = """
import sys, pandas
from evidently import Report
from evidently.presets import DataDriftPreset
current, base = (pandas.read_parquet(path) for path in sys.argv[1:3])
Report([DataDriftPreset()]).run(current, base).dict()
"""
WHYLOGS_DRIFT = """
import sys, pandas, whylogs
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores
views = [whylogs.log(pandas.read_parquet(path)).view() for path in sys.argv[1:3]]
calculate_drift_scores(target_view=views[0], reference_view=views[1])
"""


def table(path, rows, seed, shift=0.0):
    import numpy as np
    import pandas

    rng = np.random.default_rng(seed)
    columns = {f"x{at}": rng.normal(shift if at == 0 else 0.0, 1.0, rows) for at in range(8)}
    columns |= {f"y{at}": rng.lognormal(0.0, 1.0, rows) for at in range(4)}
    for at, kinds in enumerate((3, 8, 20, 50)):
        columns[f"c{at}"] = rng.choice([f"kind-{kind}" for kind in range(kinds)], rows)
    pandas.DataFrame(columns).to_parquet(path)
    return len(columns)


def cpu(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["taskset", "-c", "0", *command], capture_output=True, check=False, text=True)
    # `weir drift` says with its exit code what it found.
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        sys.exit(f"{command[:3]}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    rounds, rows = int(sys.argv[1]) if len(sys.argv) > 1 else 3, int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
    weir = os.path.join(RELEASE, "weir")
    with tempfile.TemporaryDirectory(prefix="weir-profilers-") as folder:
        paths = {}
        for size in (100, rows):
            for name, seed in (("base", 1), ("now", 2)):
                paths[name, size] = os.path.join(folder, f"{name}-{size}.parquet")
                width = table(paths[name, size], size, seed, 0.1 if name == "now" else 0.0)
        out = {tool: os.path.join(folder, tool) for tool in ("weir", "whylogs")}
        tools = {
            "profile, weir": lambda size: [weir, "profile-data", paths["base", size], "--out", out["weir"]],
            "profile, whylogs": lambda size: [sys.executable, "-c", WHYLOGS, paths["base", size], "-", out["whylogs"]],
            "drift, weir": lambda size: [weir, "drift", paths["base", size], paths["now", size], "--json"],
            "drift, whylogs": lambda size: [sys.executable, "-c", WHYLOGS_DRIFT, paths["now", size], paths["base", size]],
            "drift, evidently": lambda size: [sys.executable, "-c", EVIDENTLY, paths["now", size], paths["base", size]],
        }
        found = {tool: [] for tool in tools}
        for _ in range(rounds):
            for tool, command in tools.items():
                tables = 2 if tool.startswith("drift") else 1
                spent = cpu(command(rows)) - cpu(command(100))
                found[tool].append(spent / (rows * width * tables) * 1e9)
        for tool, values in found.items():
            print(f"{tool:18} {statistics.median(values):8.1f} ns a value   [{min(values):.1f} to {max(values):.1f}]")
        cpu(tools["profile, weir"](rows))
        cpu(tools["profile, whylogs"](rows))
        for tool, path in out.items():
            size = os.path.getsize(path)
            print(f"{tool:18} {size:8} bytes kept = {size / rows:.3f} a row")
        size = os.path.getsize(paths["base", rows])
        print(f"{'the rows, Parquet':18} {size:8} bytes = {size / rows:.1f} a row")


if __name__ == "__main__":
    main()
