import numpy as np
import pandas as pd
import pytest
from wherein.crops.ledger import (
    apply_overrides,
    centres,
    decide,
    intensity_sums,
    measure_intensities,
    measure_shapes,
    settings_for,
)
from wherein.reasons import CELL_REASONS
from wherein.settings import fill_defaults, schema

PIXEL = 0.5


@pytest.fixture
def settings():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["crop"])
    return values


def field(seed=0):
    """A field of six labels: whole, cut by the border, without nucleus, without cell, two nuclei, tiny."""
    rng = np.random.default_rng(seed)
    nucleus, cell = np.zeros((80, 100), np.uint32), np.zeros((80, 100), np.uint32)
    cell[10:40, 10:40], nucleus[20:30, 20:31] = 1, 1
    cell[50:80, 10:40], nucleus[70:80, 20:30] = 2, 2
    cell[10:30, 50:80] = 3
    nucleus[40:50, 50:60] = 300
    cell[50:75, 65:95], nucleus[55:62, 70:80], nucleus[66:72, 70:80] = 5, 5, 5
    cell[2:6, 90:95], nucleus[3:5, 91:93] = 6, 6
    images = {role: rng.integers(0, 4000, nucleus.shape).astype(np.uint16) for role in ("nucleus", "protein")}
    return images, nucleus, cell


def measure_labels(images, nucleus, cell, pixel, window, centre="nucleus"):
    return measure_intensities(measure_shapes(nucleus, cell, pixel, window, centre), images, nucleus, cell)


def test_every_label_has_one_row_with_brute_force_measures():
    images, nucleus, cell = field()
    frame = measure_labels(images, nucleus, cell, PIXEL, 40).set_index("label")
    assert frame.index.tolist() == [1, 2, 3, 5, 6, 300]
    for label, row in frame.iterrows():
        for part, mask in (("", cell), ("nucleus_", nucleus)):
            where = mask == label
            if not where.any():
                assert np.isnan(row[f"{part}area_um2"])
                assert np.isnan(row[f"{part}mean_protein"])
                continue
            y, x = np.nonzero(where)
            assert row[f"{part}area_um2"] == pytest.approx(where.sum() * PIXEL**2)
            assert (row[f"{part}y"], row[f"{part}x"]) == pytest.approx((y.mean(), x.mean()))
            for role, image in images.items():
                assert row[f"{part}sum_{role}"] == image[where].sum(dtype=np.int64)
                assert row[f"{part}mean_{role}"] == pytest.approx(image[where].mean())
        where = cell == label if (cell == label).any() else nucleus == label
        y, x = np.nonzero(where)
        box = row[["bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"]].tolist()
        assert box == [y.min(), x.min(), y.max() + 1, x.max() + 1]
    assert frame["touches_border"].tolist() == [False, True, False, False, False, False]
    assert frame["nucleus_touches_border"].tolist() == [False, True, False, False, False, False]
    assert frame["n_nuclei"].tolist() == [1, 1, 0, 2, 1, 1]
    # a nucleus without a cell stands at its own centroid
    assert frame.loc[300, "y"] == frame.loc[300, "nucleus_y"] == 44.5


def test_a_cell_that_reaches_beyond_its_window_is_flagged():
    nucleus, cell = np.zeros((100, 100), np.uint32), np.zeros((100, 100), np.uint32)
    cell[30:70, 30:70], nucleus[45:55, 45:55] = 1, 1
    flags = [bool(measure_labels({}, nucleus, cell, 1.0, side)["exceeds_window"][0]) for side in (38, 40, 42)]
    assert flags == [True, False, False]
    nucleus[:] = 0
    nucleus[32:40, 32:40] = 1  # off centre: the window of 42 follows the nucleus
    assert measure_labels({}, nucleus, cell, 1.0, 42)["exceeds_window"][0]


def test_the_window_may_follow_the_cell():
    nucleus, cell = np.zeros((100, 100), np.uint32), np.zeros((100, 100), np.uint32)
    cell[30:70, 30:70], nucleus[32:40, 32:40] = 1, 1
    frame = measure_shapes(nucleus, cell, 1.0, 42, "cell")
    assert centres(frame, "cell").tolist() == [[49.5, 49.5]]
    assert centres(frame, "nucleus").tolist() == [[35.5, 35.5]]
    assert not frame["exceeds_window"][0]
    assert measure_shapes(nucleus, cell, 1.0, 42, "nucleus")["exceeds_window"][0]


@pytest.mark.parametrize("side", [2, 9, 20, 21, 39, 40, 41, 200])
def test_flags_are_what_the_window_shows(side):
    _, nucleus, cell = field()
    for centre in ("nucleus", "cell"):
        frame = measure_shapes(nucleus, cell, PIXEL, side, centre)
        for row, (y, x) in zip(frame.itertuples(), centres(frame, centre), strict=True):
            own = cell if (cell == row.label).any() else nucleus
            rows, columns = round(y) - side // 2 + np.arange(side), round(x) - side // 2 + np.arange(side)
            in_field = [np.isin(place, np.arange(size)) for place, size in zip((rows, columns), own.shape, strict=True)]
            seen = own[rows[in_field[0]]][:, columns[in_field[1]]]
            assert row.exceeds_window == ((seen == row.label).sum() < (own == row.label).sum())
            assert row.padded == (not (in_field[0].all() and in_field[1].all()))


def test_intensities_are_exact_for_large_16_bit_objects():
    image = np.full((600, 600), 65535, np.uint16)
    mask = np.ones((600, 600), np.uint32)
    assert intensity_sums({"protein": image}, mask, np.array([1]))["protein"][0] == 65535 * 360000


def test_a_field_without_labels_has_no_rows():
    zeros = np.zeros((10, 10), np.uint32)
    frame = measure_labels({"protein": zeros}, zeros, zeros, 0.1, 8)
    assert len(frame) == 0
    assert {"area_um2", "mean_protein", "nucleus_sum_protein"} <= set(frame.columns)


def reasons(settings, needs_nucleus=True, window=40, **changes):
    _, nucleus, cell = field()
    frame = decide(measure_shapes(nucleus, cell, PIXEL, window, "nucleus"), settings | changes, needs_nucleus)
    assert ((frame["reason"] == "kept") == (frame["status"] == "kept")).all()
    return dict(zip(frame["label"], frame["reason"], strict=True))


def test_each_reason_has_its_cell(settings):
    assert reasons(settings) == {1: "kept", 2: "border", 3: "no_nucleus", 5: "kept", 6: "too_small", 300: "no_cell"}


def test_settings_change_the_decision(settings):
    assert reasons(settings, border="keep")[2] == "kept"
    assert reasons(settings, needs_nucleus=False)[3] == "kept"
    assert reasons(settings, multinucleated="reject")[5] == "multinucleated"
    assert reasons(settings, max_cell_um2=200)[1] == "too_large"
    assert reasons(settings, beyond_field="reject") == {
        1: "kept", 2: "border", 3: "no_nucleus", 5: "beyond_field", 6: "beyond_field", 300: "no_cell",
    }  # fmt: skip
    assert reasons(settings, window=28, exceeds_window="reject")[1] == "exceeds_window"
    assert reasons(settings, min_cell_um2=0, min_nucleus_um2=0)[6] == "kept"
    # a nucleus without a cell is judged by its nucleus first
    assert reasons(settings, min_nucleus_um2=26)[300] == "too_small"


def test_only_the_nucleus_counts_at_the_border_by_default(settings):
    nucleus, cell = np.zeros((60, 60), np.uint32), np.zeros((60, 60), np.uint32)
    cell[0:40, 10:40], nucleus[15:30, 20:35] = 1, 1
    cell[40:60, 10:40] = 2
    frame = measure_labels({}, nucleus, cell, 1.0, 40)
    assert decide(frame, settings, True)["reason"].tolist() == ["kept", "border"]
    assert decide(frame, settings | {"border": "cell"}, True)["reason"].tolist() == ["border", "border"]
    assert frame["touches_border"].all()


def test_reasons_are_tried_in_the_order_of_the_list(settings):
    order = list(CELL_REASONS)
    frame = pd.DataFrame(
        {
            "area_um2": [1.0],
            "nucleus_area_um2": [np.nan],
            "touches_border": [True],
            "nucleus_touches_border": [False],
            "n_nuclei": [0],
            "exceeds_window": [True],
            "padded": [True],
        }
    )
    found = [decide(frame, settings | change, True)["reason"][0] for change in ({}, {"border": "keep"})]
    strict = settings | {"beyond_field": "reject", "exceeds_window": "reject"}
    found.insert(1, decide(frame, strict | {"border": "keep"}, True)["reason"][0])
    lax = {"border": "keep", "min_cell_um2": 0}
    found.append(decide(frame, settings | lax, True)["reason"][0])
    found.append(decide(frame, settings | lax | {"exceeds_window": "reject"}, False)["reason"][0])
    assert found == ["border", "beyond_field", "too_small", "no_nucleus", "exceeds_window"]
    assert [order.index(reason) for reason in found] == sorted(order.index(reason) for reason in found)


def test_sources_without_nuclei_have_their_own_settings(settings):
    own, needs = settings_for(settings, ["protein", "reference"])
    assert own["window_um"] == settings["without_nucleus"]["window_um"]
    assert not needs
    own, needs = settings_for(settings, ["nucleus", "protein"])
    assert own["window_um"] == settings["window_um"]
    assert needs
    assert settings_for(settings | {"needs_nucleus": True}, ["reference"])[1]
    assert not settings_for(settings | {"needs_nucleus": False}, ["nucleus"])[1]


def test_a_curators_word_stands_over_every_reason():
    frame = pd.DataFrame(
        {
            "cell_id": ["a@v:1", "a@v:2", "a@v:3"],
            "status": ["kept", "rejected", "rejected"],
            "reason": ["kept", "border", "no_cell"],
            "area_um2": [50.0, 60.0, np.nan],
        }
    )
    words = [
        ["cell", "a@v:1", "reject", "", "Ada", "debris"],
        ["cell", "a@v:2", "keep", "", "Ada", "whole enough"],
        ["cell", "a@v:3", "keep", "", "Ada", "why not"],
        ["cell", "a@v:9", "reject", "", "Ada", "gone"],
    ]
    found, notes = apply_overrides(frame, words)
    assert found["status"].tolist() == ["rejected", "kept", "rejected"]
    assert found["reason"].tolist() == ["overridden", "kept", "no_cell"]
    assert found["override"].tolist() == ["Ada: debris", "Ada: whole enough", "Ada: why not"]
    assert len(notes) == 2
    assert "a@v:9" in notes[1]
    assert frame["reason"].tolist() == ["kept", "border", "no_cell"]
    assert notes[0] == "Ada says keep of a@v:3, but it is a nucleus without a cell"


@pytest.mark.parametrize("reason", ["unreadable", "not_finite", "empty_mask"])
def test_nobody_can_keep_a_crop_with_a_fault_and_the_note_names_it(reason):
    frame = pd.DataFrame({"cell_id": ["a@v:1"], "status": ["rejected"], "reason": [reason], "area_um2": [np.nan]})
    found, notes = apply_overrides(frame, [["cell", "a@v:1", "keep", "", "Ada", "why not"]])
    assert found["reason"].tolist() == [reason]
    assert notes == [f"Ada says keep of a@v:1, but {CELL_REASONS[reason]}"]
