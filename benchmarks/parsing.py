"""What parsing this workflow costs beside starting Snakemake on an empty one: each job on a cluster pays it.

Prints a table and, last, one JSON line. Processor seconds count: wall seconds depend on who else is there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def processor_seconds(folder: Path) -> float:
    """User and system seconds of one `snakemake --list-rules` in a folder."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "snakemake", "--list-rules"], cwd=folder, capture_output=True, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turns")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text("rule all:\n    input: []\n")
        pairs = [(processor_seconds(Path(folder)), processor_seconds(ROOT)) for _ in range(runs)]
    empty, ours = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(f"empty workflow   {empty:.2f} s")
    print(f"this workflow    {ours:.2f} s")
    print(f"parsing          {ours - empty:.2f} s (limit: 2 s)")
    figures = {"benchmark": "parsing", "runs": runs, "parsing_seconds": round(ours - empty, 2)}
    print(json.dumps({**figures, "ours_over_empty": round(ours / empty, 2)}))


if __name__ == "__main__":
    main()
