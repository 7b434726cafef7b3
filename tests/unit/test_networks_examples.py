import numpy as np
import pytest
import tifffile
from wherein.segmentation.networks.examples import (
    any_line,
    drawn_examples,
    drawn_specs,
    example,
    labels_on_grid,
    load_examples,
    save_examples,
    table_examples,
)
from wherein.segmentation.networks.inputs import INPUTS, on_grid
from wherein.simulate.plan import CELL_LINES

OPTIONS = {"fields": 3, "field_um": 45, "pixel_sizes_um": [0.2, 0.3]}


@pytest.mark.parametrize(("shape", "grid"), [((10, 7), (5, 3)), ((6, 6), (12, 18)), ((5, 9), (5, 9)), ((1, 1), (1, 1))])
def test_labels_are_those_at_the_centres(shape, grid):
    labels = np.random.default_rng(0).integers(0, 90000, shape).astype(np.uint32)
    found = labels_on_grid(labels, grid)
    for i in range(grid[0]):
        for j in range(grid[1]):
            y, x = int((i + 0.5) * shape[0] / grid[0]), int((j + 0.5) * shape[1] / grid[1])
            assert found[i, j] == labels[y, x]


def test_drawn_fields_repeat_and_differ():
    first, again = (list(drawn_examples(OPTIONS, 5, 0.32)) for _ in range(2))
    other = next(drawn_examples(OPTIONS, 6, 0.32))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.channels, two.channels)
        np.testing.assert_array_equal(one.cell, two.cell)
    assert not np.array_equal(first[0].channels, other.channels)
    assert all(item.channels.shape == (4, 141, 141) for item in first)
    assert any(item.cell.any() for item in first)


def test_drawn_fields_have_the_protein_beside_the_markers():
    shown = [item.channels.any(axis=(1, 2)) for item in drawn_examples(OPTIONS, 5, 0.32)]
    assert all(found.all() for found in shown)


def test_seeds_for_held_out_checks_are_refused():
    with pytest.raises(ValueError, match="tuning source 1000"):
        drawn_specs(OPTIONS, 1000)


def test_drawn_cells_lie_around_those_of_the_lines():
    lines = [any_line(np.random.default_rng(seed)) for seed in range(200)]
    known = [line.nucleus_um for line in CELL_LINES["human"]]
    margin = 0.15 * (max(known) - min(known))
    sizes = [line.nucleus_um for line in lines]
    assert min(known) - margin <= min(sizes) < min(known) + 0.3
    assert max(known) - 0.3 < max(sizes) <= max(known) + margin
    assert all(line.nucleus_elongation >= 1 and line.overlap >= 0 for line in lines)


def test_examples_are_stored_and_read(tmp_path):
    items = list(drawn_examples(OPTIONS, 5, 0.32))
    save_examples(tmp_path / "examples.npz", items)
    for item, found in zip(items, load_examples(tmp_path / "examples.npz"), strict=True):
        assert found.name == item.name
        np.testing.assert_allclose(found.channels, item.channels, atol=1e-3)
        np.testing.assert_array_equal(found.nucleus, item.nucleus)
        np.testing.assert_array_equal(found.cell, item.cell)


def write_table(folder, rows):
    columns = sorted({name for row in rows for name in row})
    lines = ["\t".join(columns)] + ["\t".join(str(row.get(name, "")) for name in columns) for row in rows]
    (folder / "fields.tsv").write_text("\n".join(lines) + "\n")
    return folder / "fields.tsv"


@pytest.fixture
def field(tmp_path):
    rng = np.random.default_rng(3)
    nucleus = np.zeros((60, 80), np.uint16)
    nucleus[20:30, 20:32], nucleus[40:50, 50:64] = 300, 70
    cell = np.zeros_like(nucleus)
    cell[10:38, 10:44], cell[38:56, 40:75] = 300, 70
    images = {"nucleus": 900 * (nucleus > 0), "protein": 500 * (cell > 0)}
    images = {role: (image + rng.normal(100, 4, image.shape)).astype(np.uint16) for role, image in images.items()}
    for name, image in {**images, "nucleus_mask": nucleus, "cell_mask": cell}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    return images, nucleus, cell


def test_a_users_masks_are_read(tmp_path, field):
    images, nucleus, cell = field
    row = {name: f"{name}.tif" for name in (*images, "nucleus_mask", "cell_mask")} | {"pixel_size_um": 0.16}
    found = list(table_examples(write_table(tmp_path, [row]), 0.32))
    assert len(found) == 1
    wanted = example("x", images, nucleus, cell, 0.16, 0.32)
    np.testing.assert_array_equal(found[0].channels, wanted.channels)
    assert set(np.unique(found[0].cell)) == {0, 70, 300}
    np.testing.assert_array_equal(found[0].nucleus, labels_on_grid(nucleus, (30, 40)))


def test_markers_do_not_push_out_the_stand_in(field):
    images, nucleus, cell = field
    with_er = example("x", {**images, "er": images["protein"]}, nucleus, cell, 0.16, 0.32)
    place = INPUTS["cell"].index("stand_in")
    np.testing.assert_array_equal(with_er.channels[place], on_grid(images, 0.16, 0.32)[place])
    assert with_er.channels[INPUTS["cell"].index("er")].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_size_um": ""}, "line 2: pixel_size_um is ''"),
        ({"pixel_size_um": "-1"}, "line 2: pixel_size_um is '-1'"),
        ({"cell_mask": None}, "the column cell_mask is missing"),
        ({"cell_mask": "small.tif"}, "nucleus 60 x 80.*cell mask 5 x 5"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, field, change, message):
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((5, 5), np.uint16))
    row = {name: f"{name}.tif" for name in (*field[0], "nucleus_mask", "cell_mask")} | {"pixel_size_um": 0.16} | change
    path = write_table(tmp_path, [{name: value for name, value in row.items() if value is not None}])
    with pytest.raises(ValueError, match=message):
        list(table_examples(path, 0.32))
