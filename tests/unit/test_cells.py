import numpy as np
import pytest
from scipy import ndimage
from test_nuclei import STEP, ellipse, grid_of_disks, imaged
from wherein.segmentation.cells import cells_on_grid, find_cells, paired
from wherein.segmentation.methods import METHODS, MethodContext, check_methods, method_for
from wherein.segmentation.whole_cells import find_whole_cells, is_bright_field
from wherein.settings import fill_defaults, schema


@pytest.fixture(scope="module")
def settings():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["segment"])
    return values


def outlined(images, step, settings):
    return METHODS["watershed"].load().outline(images, step, settings, MethodContext())[:2]


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_cells_grow_to_their_outline_with_the_numbers_of_their_nuclei(settings):
    shape = (200, 300)
    cells = [ellipse(shape, 100, x, 50, 60) for x in (80, 220)]
    nuclei = np.zeros(shape, np.int32)
    for number, x in enumerate((80, 220), start=1):
        nuclei[ellipse(shape, 100, x, 18, 15)] = number
    marker = imaged([(cells[0], 300), (cells[1], 250)])
    _, grown = cells_on_grid(nuclei, [marker], STEP, settings)
    for number, cell in enumerate(cells, start=1):
        assert iou(grown == number, cell) > 0.85
    assert grown.max() == 2


def test_every_nucleus_lies_in_its_cell_with_more_than_255_of_them(settings):
    side = 17
    nuclei = grid_of_disks(side)
    body = grid_of_disks(side, radius=13)
    found, cells = find_cells(imaged([(nuclei, 500)]), [imaged([(body, 300)])], STEP, settings)
    assert found.max() == side * side == cells.max()
    assert (cells[found > 0] == found[found > 0]).all()
    assert found.dtype == cells.dtype == np.uint32


def test_a_cell_without_nucleus_and_a_nucleus_without_cell_are_reported(settings):
    shape = (250, 400)
    nuclei = imaged([(ellipse(shape, 120, 80, 18, 15), 500), (ellipse(shape, 120, 330, 18, 15), 500)])
    marker = imaged([(ellipse(shape, 120, 80, 45, 50), 300), (ellipse(shape, 120, 210, 40, 45), 300)])
    found, cells = find_cells(nuclei, [marker], STEP, settings)
    both, alone = found[120, 80], found[120, 330]
    assert cells[120, 80] == both > 0
    assert alone > 0
    assert not (cells == alone).any()
    assert cells[120, 210] > 0
    assert not (found == cells[120, 210]).any()
    assert sorted(set(np.unique(found)) | set(np.unique(cells))) == [0, 1, 2, 3]


def test_nuclei_alone_are_widened_by_what_the_settings_say(settings):
    shape = (150, 150)
    nuclei = np.zeros(shape, np.int32)
    nuclei[ellipse(shape, 75, 75, 20, 20)] = 1
    _, cells = cells_on_grid(nuclei, [], STEP, settings)
    widened = np.sqrt((cells == 1).sum() / np.pi) * STEP - 20 * STEP
    assert widened == pytest.approx(settings["cells"]["dilation_um"], abs=0.2)


def test_a_protein_of_the_nucleus_hides_no_cytoplasm(settings):
    shape = (260, 260)
    nuclei = [ellipse(shape, y, x, 18, 16) for y in (70, 190) for x in (70, 190)]
    bodies = [ellipse(shape, y, x, 45, 45) for y in (70, 190) for x in (70, 190)]
    protein = imaged([(mask, 60) for mask in bodies] + [(mask, 900) for mask in nuclei])
    images = {"nucleus": imaged([(mask, 500) for mask in nuclei]), "protein": protein}
    found, cells = outlined(images, STEP, settings)
    assert found.max() == 4
    for body in bodies:
        assert max(iou(cells == number, body) for number in range(1, 5)) > 0.7


def test_an_empty_field_has_neither(settings):
    rng = np.random.default_rng(0)
    noise = rng.normal(300, 20, (160, 180)).astype(np.float32)
    found, _ = outlined({"nucleus": noise}, STEP, settings)
    assert not found.any()
    other = rng.normal(300, 20, noise.shape).astype(np.uint16)
    for images in ({"nucleus": noise * 0, "er": noise * 0}, {"nucleus": noise, "er": other}):
        found, cells = outlined(images, STEP, settings)
        assert not found.any()
        assert not cells.any()


def test_pairing_puts_nuclei_in_their_cells_and_leaves_no_gap_in_the_numbers():
    nuclei = np.array([[0, 2, 2, 0, 5, 9]])
    cells = np.array([[2, 2, 7, 7, 7, 0]])
    n, c = paired(nuclei, cells)
    np.testing.assert_array_equal(n, [[0, 1, 1, 0, 2, 4]])
    # 5 has no cell: its pixels belong to nobody's cell
    np.testing.assert_array_equal(c, [[1, 1, 1, 3, 0, 0]])


def test_the_method_follows_the_roles(settings):
    assert method_for(["nucleus", "protein"], settings) == "watershed"
    assert method_for(["protein", "reference"], settings) == "yeast"
    assert method_for(["protein", "er"], settings) == "whole_cells"
    assert method_for(["nucleus"], settings | {"method": "whole_cells"}) == "whole_cells"
    said = check_methods("mine", ["reference", "protein"], settings | {"method": "log-mce"})
    assert "'log-mce' needs the role nucleus" in said
    assert "the source has reference, protein" in said
    assert "whole_cells, yeast" in said
    said = check_methods("mine", ["reference"], settings | {"second": "watershed"})
    assert "'watershed' needs the role nucleus" in said
    assert "sources.mine.segment.masks" in check_methods("mine", ["reference"], settings | {"method": "masks"})
    assert check_methods("mine", ["nucleus"], settings | {"second": "otsu-nuclei"}) is None


def budding(shape=(300, 300), pitch=60):
    """Yeast at 0.1 um a pixel: mothers of 4 um, every second one with a bud; each cell as a list of its parts."""
    cells = []
    for row in range(5):
        for column in range(5):
            y, x = (row + 0.5) * pitch, (column + 0.45) * pitch
            bud = [ellipse(shape, y, x + 26, 9, 9)] if (row + column) % 2 else []
            cells.append([ellipse(shape, y, x, 20, 18), *bud])
    return cells


def whole(cells):
    return [np.any(parts, axis=0) for parts in cells]


def agreement(cells, found):
    return np.mean([max(iou(cell, found == number) for number in np.unique(found[cell])) > 0.6 for cell in cells])


def test_yeast_on_a_cytosolic_reference_keeps_buds_with_their_mothers(settings):
    cells = whole(budding())
    found = find_whole_cells(imaged([(cell, 400) for cell in cells]), 0.1, settings)
    assert found.max() == 25
    assert agreement(cells, found) == 1


def test_yeast_on_a_nuclear_pore_reference_is_outlined_by_its_dim_body(settings):
    cells = whole(budding())
    rings = [ellipse((300, 300), *ndimage.center_of_mass(cell), 6, 6) for cell in cells]
    found = find_whole_cells(imaged([(cell, 100) for cell in cells] + [(ring, 1200) for ring in rings]), 0.1, settings)
    assert agreement(cells, found) > 0.9
    assert found.max() <= 27


def test_yeast_in_bright_field_is_filled_from_its_dark_outline(settings):
    cells = whole(budding())
    image = np.full((300, 300), 1000.0)
    for part in (part for parts in budding() for part in parts):
        image[part & ~ndimage.binary_erosion(part, iterations=4)] = 500
    image = ndimage.gaussian_filter(image, 1.0) + np.random.default_rng(0).normal(0, 8, image.shape)
    assert is_bright_field(image)
    assert not is_bright_field(imaged([(cell, 400) for cell in cells]))
    found = find_whole_cells(image, 0.1, settings)
    assert agreement(cells, found) > 0.9
    assert found.max() <= 27


@pytest.mark.parametrize("look", ["bright", "outlines"])
def test_an_empty_yeast_field_has_no_cells(settings, look):
    noise = np.random.default_rng(0).normal(500, 20, (300, 300))
    own = settings | {"whole_cells": settings["whole_cells"] | {"look": look}}
    assert find_whole_cells(noise, 0.1, own).max() == 0
