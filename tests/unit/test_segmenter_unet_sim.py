"""The segmenter that comes along, on simulated fields that it has not learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_source import source
from wherein.metrics.segmentation import Agreement, compare
from wherein.segmentation.methods import METHODS, MethodContext
from wherein.segmentation.networks.weights import read_card
from wherein.settings import fill_defaults, schema
from wherein.simulate.faults import spec_with_fault
from wherein.simulate.field import draw_field
from wherein.simulate.plan import plan_source
from wherein.simulate.spec import held_out_seed

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "resources" / "segmenters" / "unet-sim.npz"
UNET = METHODS["unet"].load()


def settings():
    found = {}
    fill_defaults(found, schema()["$defs"]["segment"])
    return found


def outline(images, pixel_um):
    return UNET.outline(images, pixel_um, settings(), MethodContext(weights=WEIGHTS))


def specs(number, **words):
    given = {"field_px": 640, "pixel_size_um": 0.16, "proteins": 6, "controls": 0, "faults": 0, **words}
    plan = plan_source("unet", source(seed=held_out_seed(number), **given))
    return [plan.specs[field_id] for field_id in plan.fields["field_id"]]


@pytest.fixture(scope="module")
def fields():
    return [draw_field(spec) for spec in specs(70)[:6]]


def agreement(fields, roles):
    totals = {"nucleus": Agreement(), "cell": Agreement()}
    for field in fields:
        found = outline({role: image for role, image in field.channels.items() if role in roles}, 0.16)
        totals["nucleus"] += compare(field.nucleus, found.nucleus)
        totals["cell"] += compare(field.cell, found.cell)
    return totals


def test_it_is_small_and_says_how_it_was_made():
    assert WEIGHTS.stat().st_size <= 8 * 2**20
    card = read_card(WEIGHTS)
    assert card["settings"]["table"] is None
    text = WEIGHTS.with_suffix(".md").read_text()
    assert "results/segmenters/unet-sim/weights.npz" in text
    for part, steps in card["settings"]["steps"].items():
        assert f"{part}: {steps}" in text


@pytest.mark.parametrize(
    ("roles", "nucleus", "cell"),
    [
        (("nucleus", "microtubules", "er", "protein"), 0.97, 0.97),
        (("nucleus", "microtubules"), 0.97, 0.95),
        (("nucleus", "er"), 0.97, 0.95),
        (("nucleus", "protein"), 0.97, 0.95),
    ],
)
def test_it_finds_cells_with_any_marker_missing(fields, roles, nucleus, cell):
    found = agreement(fields, roles)
    assert found["nucleus"].n_true > 60
    assert found["nucleus"].f1 >= nucleus
    assert found["cell"].f1 >= cell


def test_nuclei_alone_have_cells_too(fields):
    found = outline({"nucleus": fields[0].channels["nucleus"]}, 0.16)
    assert found.nucleus.max() > 5
    assert (found.cell[found.nucleus > 0] > 0).mean() > 0.9


def test_an_empty_field_stays_empty():
    spec = specs(71)[0]
    for severity in (1, 2, 3):
        empty = draw_field(spec_with_fault(replace(spec, fault="empty", severity=severity)))
        assert not outline(empty.channels, 0.16).nucleus.any()


def test_pixel_size_does_not_change_the_count():
    counts = []
    for pixel in (0.04, 0.08, 0.16):
        field = draw_field(specs(72, field_px=round(70 / pixel), pixel_size_um=pixel, proteins=1)[0])
        found = outline(field.channels, pixel)
        counts.append((compare(field.nucleus, found.nucleus), compare(field.cell, found.cell)))
    for nucleus, cell in counts:
        assert abs(nucleus.n_found - nucleus.n_true) <= 0.03 * nucleus.n_true
        assert abs(cell.n_found - cell.n_true) <= 0.03 * cell.n_true


def test_a_field_that_is_not_square_is_outlined(fields):
    images = {role: image[:300, :633] for role, image in fields[0].channels.items()}
    found = outline(images, 0.16)
    assert found.cell.shape == (300, 633)
    assert compare(fields[0].cell[:300, :633], found.cell).recall >= 0.9


def test_outlines_and_quality_fit(fields):
    found = outline(fields[0].channels, 0.16)
    numbers = np.union1d(np.unique(found.nucleus), np.unique(found.cell))
    np.testing.assert_array_equal(numbers, np.arange(len(found.quality) + 1))
    assert found.quality.dtype == np.float32
    assert np.median(found.quality) > 0.9
    inside = found.nucleus > 0
    assert ((found.cell == found.nucleus) | (found.cell == 0))[inside].all()
