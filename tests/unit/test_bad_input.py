"""Fields that are no fields: each gets a reason from quality control, and none stops the segmentation."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from wherein.qc import judge_field
from wherein.reasons import FIELD_REASONS
from wherein.segmentation.pipeline import FieldTask, Work, outlined
from wherein.settings import fill_defaults, schema

SHAPE = (300, 400)
KINDS = {
    "empty": {"empty"},
    "zero": {"empty"},
    "one nucleus": {"empty", "too_few_cells"},
    "saturated": {"saturated"},
    "nan": {"corrupt"},
    "sizes": {"size_mismatch"},
    "one pixel": {"empty"},
    "one row": {"empty"},
}


def section(name):
    values: dict = {}
    fill_defaults(values, schema()["$defs"][name])
    return values


def drawn(kind):
    rng = np.random.default_rng(0)
    noise = rng.normal(300, 20, SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return {
        "empty": noise.astype(np.uint16),
        "zero": np.zeros(SHAPE, np.uint16),
        "one nucleus": (noise + 2700 * (np.hypot(y - 150, x - 200) < 240)).astype(np.uint16),
        "saturated": np.full(SHAPE, 65535, np.uint16),
        "nan": np.where(x < 4, np.nan, noise).astype(np.float32),
        "sizes": noise.astype(np.uint16),
        "one pixel": np.array([[5]], np.uint16),
        "one row": rng.integers(0, 999, (1, 600)).astype(np.uint16),
    }[kind]


@pytest.mark.parametrize("roles", [("nucleus", "microtubules", "protein"), ("protein", "reference")])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_bad_field_gets_a_reason_and_stops_nothing(tmp_path, kind, roles):
    image = drawn(kind)
    rows = []
    for place, role in enumerate(roles):
        plane = image[:100] if kind == "sizes" and place == 0 else image
        tifffile.imwrite(tmp_path / f"{role}.tif", plane)
        rows.append({"field_id": "a", "version": "v", "role": role, "path": str(tmp_path / f"{role}.tif"), "z": "max"})
    files = pd.DataFrame(rows).assign(status="ok", channel=None, reason=None, detail=None)
    verdict = judge_field(files, {"pixel_size_um": 0.16, "full_scale": None, "control": False}, section("qc"))
    assert verdict["reason"] in KINDS[kind]
    assert verdict["reason"] in FIELD_REASONS
    assert verdict["detail"]
    # a curator may keep such a field all the same
    ((_, found),) = outlined([FieldTask("a", "v", files, 0.16, image.shape)], Work(_methods(roles), section("segment")))
    assert found.reason in ("failed", "no_objects") or kind == "one nucleus"
    assert found.cell.shape == image.shape
    assert len(found.measures) == found.cell.max()


def _methods(roles):
    return ["watershed", "otsu-nuclei"] if "nucleus" in roles else ["yeast"]
