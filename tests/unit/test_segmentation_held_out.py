"""The default outlines on fields that nobody tuned it on; benchmarks/segmentation_methods.py judges every method."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELD_OUT = ("--number", "61")  # a held-out seed that no figure of benchmarks/RESULTS.md comes from


@pytest.mark.slow
def test_the_default_finds_nuclei_and_cells_of_lines_that_it_has_not_seen():
    arguments = ("--fields", "15", "--methods", "auto", *HELD_OUT)
    done = subprocess.run(
        [sys.executable, "benchmarks/segmentation_methods.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["fields"] == 15
    assert figures["f1_nucleus_all"]["auto"] >= 0.97
    assert figures["f1_cell_all"]["auto"] >= 0.90
