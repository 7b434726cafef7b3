"""Quality control on fields that nobody tuned it on; benchmarks/qc.py runs the same over ten times as many."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELD_OUT = ("--number", "17")  # a held-out seed that no figure of benchmarks/RESULTS.md comes from


@pytest.mark.slow
def test_faults_are_caught_for_the_right_reason_and_good_fields_pass():
    arguments = ("--good", "40", "--each", "2", *HELD_OUT)
    done = subprocess.run(
        [sys.executable, "benchmarks/qc.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["fields"] == 40 + 7 * 3 * 2
    assert figures["right_plain"] >= 0.95
    assert figures["good_rejected"] <= 0.01
