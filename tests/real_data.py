"""Where the tests find real images; without them a test is skipped, but never under CI.

A CI that cannot have them says so: REAL_DATA=absent.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_data(name: str) -> Path:
    path = ROOT / name
    if not path.exists():
        message = f"the real data {name} is not at {path}"
        if os.environ.get("CI", "").lower() in ("true", "1") and os.environ.get("REAL_DATA") != "absent":
            pytest.fail(message)
        pytest.skip(message)
    return path
