"""Sheets of tiles, and which fields and cells are shown."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from wherein.views.cell_pictures import choose_cells
from wherein.views.examples import in_turns, most_saturated, sharpest
from wherein.views.field_pictures import choose_fields
from wherein.views.sheets import SheetWriter, rows_for


def tiles(values, size=8):
    return np.stack([np.full((size, size, 3), value, np.uint8) for value in values])


def test_every_tile_is_where_the_writer_says(tmp_path):
    writer = SheetWriter(tmp_path, "cells", 8, 4, 5, 100)
    places = {}
    shade = 0
    for count in (3, 9, 1, 4, 6, 17):
        values = [10 * (shade + number) % 250 for number in range(count)]
        shade += count
        sheet, first = writer.add(tiles(values))
        places.update({(sheet, first + number): value for number, value in enumerate(values)})
    writer.flush()
    assert len(places) == 40
    for number, rows in enumerate(writer.heights):
        picture = np.asarray(Image.open(tmp_path / f"cells-{number:03d}.webp").convert("RGB"))
        assert picture.shape == (8 * rows, 32, 3)
        for (sheet, index), value in places.items():
            if sheet == number:
                y, x = divmod(index, 4)
                middle = picture[8 * y + 2 : 8 * y + 6, 8 * x + 2 : 8 * x + 6].astype(int)
                assert abs(middle.mean() - value) < 8


def test_a_block_is_never_torn(tmp_path):
    writer = SheetWriter(tmp_path, "cells", 8, 4, 3, 80)
    assert writer.add(tiles([1] * 8)) == (0, 0)
    assert writer.add(tiles([1] * 8)) == (1, 0)
    assert writer.add(tiles([1] * 4)) == (1, 8)
    assert writer.add(tiles([1] * 40)) == (2, 0)
    writer.flush()
    assert writer.heights == [2, 3, 10]


def test_nothing_makes_no_file(tmp_path):
    writer = SheetWriter(tmp_path, "cells", 8, 4, 3, 80)
    writer.flush()
    assert writer.heights == []
    assert list(tmp_path.iterdir()) == []


def test_tiles_of_another_size_and_endless_blocks_are_errors(tmp_path):
    writer = SheetWriter(tmp_path, "cells", 8, 1, 3, 80)
    with pytest.raises(ValueError, match="this sheet takes"):
        writer.add(tiles([1], size=9))
    with pytest.raises(ValueError, match="taller than WebP"):
        writer.add(tiles([1] * 2048))


def test_rows_for_a_number_of_sheets():
    assert rows_for(1000, 10, 24) == 100
    assert rows_for(1001, 10, 24) == 101
    assert rows_for(5, 10, 24) == 24


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, "x", "y"])), max_size=30), st.integers(0, 35))
def test_groups_take_turns(rows, most):
    frame = pd.DataFrame(rows, columns=["one", "two"])
    picked = in_turns(frame, ["one", "two"], most)
    assert len(picked) == min(most, len(rows))
    assert picked.index.is_unique
    taken = picked.fillna("").value_counts()
    there = frame.fillna("").value_counts()
    if len(picked):
        # nobody has a second turn before everybody who can has had as many
        assert all(taken.get(group, 0) >= min(count, taken.max() - 1) for group, count in there.items())


def ledger(rows):
    columns = ["cell_id", "protein", "field_id", "label", "status", "crop_index"]
    return pd.DataFrame(rows, columns=columns).assign(version="v", source="s")


def test_cells_are_chosen_over_fields_with_wanted_ones_first():
    rows = [
        (f"{protein}{field}{n}", protein, field, n, "kept", n) for protein in "PQ" for field in "fg" for n in range(5)
    ]
    rows += [("out", "P", "f", 9, "rejected", None), ("nobody", None, "f", 8, "kept", 8)]
    chosen = choose_cells(ledger(rows), ["Pf4", "out", "Pf3"], 4)
    assert chosen[chosen["protein"] == "P"]["cell_id"].tolist() == ["Pf0", "Pf3", "Pf4", "Pg0"]
    assert chosen[chosen["protein"] == "Q"]["cell_id"].tolist() == ["Qf0", "Qf1", "Qg0", "Qg1"]


def test_choosing_from_no_cells():
    assert len(choose_cells(ledger([]), ["x"], 4)) == 0


def test_fields_are_shown_all_or_reasons_in_turns():
    judged = pd.DataFrame(
        [("a", "passed", "passed")] * 20 + [("b", "rejected", "empty")] * 10 + [("c", "failed", "corrupt")] * 2,
        columns=["name", "status", "reason"],
    ).assign(source="s")
    assert len(choose_fields(judged, 100)) == 32
    chosen = choose_fields(judged, 8)
    assert len(chosen) == 8
    assert chosen["reason"].value_counts().to_dict() == {"passed": 4, "empty": 2, "corrupt": 2}
    assert chosen.index.is_monotonic_increasing


def test_sharpness_is_that_of_the_sharpest_structural_channel():
    judged = pd.DataFrame({"focus_nucleus": [0.2, None], "focus_er": [0.5, None], "focus_protein": [0.9, 0.4]})
    assert sharpest(judged).tolist() == [0.5, 0.4]
    assert sharpest(judged[["focus_nucleus"]]).fillna(-1).tolist() == [0.2, -1]
    worst = pd.DataFrame({"saturated_er": [0.1, 0.0], "saturated_protein": [0.0, 0.3]})
    assert most_saturated(worst).tolist() == [0.1, 0.3]
