"""What parsing this workflow costs beside starting Snakemake on an empty one: each job on a cluster pays it.

Then what a dry run costs: the first, which parses the library to find out what each script runs, and those after it,
which remember that by the files' content. Prints a table and, last, one JSON line. Processor seconds count: wall
seconds depend on who else is there.
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


MEMORY = ROOT / ".snakemake" / "wherein-code.json"
"""Where `wherein.digest` keeps what it parsed."""


def processor_seconds(folder: Path, argument: str = "--list-rules") -> float:
    """User and system seconds of one run of Snakemake in a folder."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "snakemake", argument], cwd=folder, capture_output=True, check=True)
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
    first, later = [], []
    for _ in range(runs):
        MEMORY.unlink(missing_ok=True)
        first.append(processor_seconds(ROOT, "--dry-run"))
        later.append(processor_seconds(ROOT, "--dry-run"))
    first_s, later_s = statistics.median(first), statistics.median(later)
    print(f"empty workflow   {empty:.2f} s")
    print(f"this workflow    {ours:.2f} s")
    print(f"parsing          {ours - empty:.2f} s (limit: 2 s)")
    print(f"first dry run    {first_s:.2f} s")
    print(f"further dry runs {later_s:.2f} s")
    figures = {"benchmark": "parsing", "runs": runs, "parsing_seconds": round(ours - empty, 2)}
    figures |= {"first_dry_run_seconds": round(first_s, 2), "dry_run_seconds": round(later_s, 2)}
    print(json.dumps({**figures, "ours_over_empty": round(ours / empty, 2)}))


if __name__ == "__main__":
    main()
