from dataclasses import replace

import numpy as np
import pytest
import tifffile
from simulated_source import source
from wherein.readers import UnreadableImage, read_plane
from wherein.reasons import FIELD_REASONS
from wherein.simulate import faults
from wherein.simulate.field import draw_field
from wherein.simulate.plan import CELL_LINES, DEFOCUS_UM, FAULTS, SEVERITIES, plan_source
from wherein.simulate.shard import draw
from wherein.simulate.spec import FULL_SCALE


def plain(mode="four_roles", **words):
    plan = plan_source("demo", source(mode=mode, field_px=320, proteins=40, faults=0, seed=9, **words))
    return next(spec for spec in plan.specs.values() if spec.locations in (("Cytosol",), ("cytosol",)))


@pytest.fixture(scope="module", params=["four_roles", "two_roles", "yeast"])
def good(request):
    spec = plain(request.param)
    return spec, draw_field(spec)


def with_fault(spec, fault, severity):
    return replace(spec, fault=fault, severity=severity)


def contrast(image):
    return float(np.percentile(image, 99.99) - np.percentile(image, 1)) / FULL_SCALE


def test_kinds_are_reasons():
    assert set(FAULTS) <= set(FIELD_REASONS)


def test_a_good_field_comes_back_unchanged(good):
    spec, drawn = good
    assert faults.spec_with_fault(spec) is spec
    assert faults.donor_spec(spec) is None
    again = draw(spec)
    assert all((again.channels[role] == drawn.channels[role]).all() for role in drawn.channels)
    assert contrast(drawn.channels["protein"]) > 0.2


def test_out_of_focus_blurs_every_channel_more_with_severity(good):
    spec, drawn = good
    assert spec.imaging.defocus_um <= DEFOCUS_UM["yeast" if spec.mode == "yeast" else "human"]
    found = [draw(with_fault(spec, "out_of_focus", severity)) for severity in SEVERITIES]
    for role in spec.roles:
        deviation = [image.channels[role].std() for image in [drawn, *found]]
        assert deviation == sorted(deviation, reverse=True)
        assert deviation[-1] < 0.7 * deviation[0]
    np.testing.assert_array_equal(found[0].cell, drawn.cell)


def test_low_contrast_lies_below_a_fifth_of_full_scale(good):
    spec, drawn = good
    found = [draw(with_fault(spec, "low_contrast", severity)).channels for severity in SEVERITIES]
    ranges = [contrast(channels["protein"]) for channels in found]
    assert ranges == sorted(ranges, reverse=True)
    assert ranges[0] < 0.2
    others = [role for role in spec.roles if role != "protein"]
    # only bleed-through of the protein is gone from the others
    assert all(abs(found[0][role].mean() - drawn.channels[role].mean()) < 30 for role in others)


def test_saturated_has_more_pixels_at_the_maximum_with_severity(good):
    spec, drawn = good
    shares = [
        (draw(with_fault(spec, "saturated", severity)).channels["protein"] == FULL_SCALE).mean()
        for severity in SEVERITIES
    ]
    assert (drawn.channels["protein"] == FULL_SCALE).mean() < 0.01
    assert shares == sorted(shares)
    assert shares[0] > 0.01
    assert shares[2] > 0.2


def test_too_few_cells(good):
    spec, drawn = good
    found = [draw(with_fault(spec, "too_few_cells", severity)) for severity in SEVERITIES]
    numbers = [len(field.cells) for field in found]
    assert 1 <= numbers[2] <= numbers[1] <= numbers[0] <= 4 < len(drawn.cells)
    assert all(field.cells["whole"].all() for field in found)


def test_empty_has_no_cells(good):
    spec, _ = good
    for severity in SEVERITIES:
        field = draw(with_fault(spec, "empty", severity))
        assert len(field.cells) == 0
        assert field.cell.max() == field.nucleus.max() == 0
        assert set(field.channels) == set(spec.roles)


def test_one_channel_comes_from_another_field(good):
    spec, drawn = good
    for severity in SEVERITIES:
        field = draw(with_fault(spec, "channel_mismatch", severity))
        changed = [role for role in spec.roles if (field.channels[role] != drawn.channels[role]).any()]
        assert changed == [faults.EXCHANGED[spec.mode][severity]]
        own, other = drawn.channels[changed[0]], field.channels[changed[0]]
        assert abs(np.corrcoef(own.ravel(), other.ravel())[0, 1]) < 0.4


def test_the_gross_mismatch_is_of_another_line():
    spec = plain()
    lines = {
        severity: faults.donor_spec(with_fault(spec, "channel_mismatch", severity)).cell_line for severity in SEVERITIES
    }
    assert lines[1] == lines[2] == spec.cell_line
    assert lines[3] != spec.cell_line
    assert lines[3] in CELL_LINES["human"]
    donor = faults.donor_spec(with_fault(spec, "channel_mismatch", 1))
    assert donor.seed != spec.seed
    assert donor.imaging == spec.imaging
    assert donor.fault is None


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_truncated_file_cannot_be_read(tmp_path, severity):
    path = tmp_path / "image.tif"
    image = np.random.default_rng(0).integers(0, 4000, (256, 256)).astype(np.uint16)
    tifffile.imwrite(path, image, compression="zlib")
    size = path.stat().st_size
    faults.truncate_file(path, severity)
    assert 1 <= path.stat().st_size < size
    with pytest.raises(UnreadableImage) as error:
        read_plane(str(path))
    assert error.value.reason == "corrupt"


def test_severities_grow():
    for table in (faults.DEFOCUS_TIMES, faults.BRIGHT_EXPOSURE):
        assert list(table.values()) == sorted(table.values())
    for table in (faults.DIM_EXPOSURE, faults.FEW_CELLS, faults.EMPTY_DEBRIS, faults.KEPT_OF_FILE):
        assert list(table.values()) == sorted(table.values(), reverse=True)
