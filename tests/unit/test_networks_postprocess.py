import numpy as np
import pytest
from scipy import ndimage
from simulated_source import source
from skimage.segmentation import find_boundaries
from wherein.metrics.segmentation import compare
from wherein.segmentation.networks.examples import labels_on_grid
from wherein.segmentation.networks.inputs import grid_shape
from wherein.segmentation.networks.postprocess import (
    BACKGROUND,
    BODY,
    BORDER,
    Maps,
    cells_from_maps,
    certainty,
    on_field,
    outlines,
)
from wherein.segmentation.networks.targets import classes_of
from wherein.settings import fill_defaults, schema
from wherein.simulate.field import draw_field
from wherein.simulate.plan import plan_source


def settings(**unet):
    found = {"unet": unet}
    fill_defaults(found, schema()["$defs"]["segment"])
    return found


def chances(labels, sharp=4.0, blur=0.7):
    """What a good network says of these labels: soft at the edges."""
    target = classes_of(labels, 2)
    logits = np.stack([ndimage.gaussian_filter(sharp * (target == place).astype(float), blur) for place in range(3)])
    soft = np.exp(2 * logits)
    return (soft / soft.sum(0)).astype(np.float32)


def maps_of(nucleus, cell, shape, step=0.32, signal=None):
    signal = (nucleus > 0).astype(np.float32) if signal is None else signal
    return Maps(chances(nucleus), chances(cell), signal, shape, step)


def disc(labels, number, y, x, radius):
    yy, xx = np.mgrid[: labels.shape[0], : labels.shape[1]]
    labels[(yy - y) ** 2 + (xx - x) ** 2 <= radius**2] = number


@pytest.fixture(scope="module")
def drawn():
    drawn_from = source(mode="four_roles", field_px=1280, pixel_size_um=0.08, proteins=2, seed=41)
    plan = plan_source("maps", drawn_from)
    return draw_field(plan.specs[plan.fields["field_id"][0]])


@pytest.fixture(scope="module")
def found(drawn):
    grid = grid_shape(drawn.cell.shape, 0.08, 0.32)
    nucleus, cell = (labels_on_grid(labels, grid) for labels in (drawn.nucleus, drawn.cell))
    return outlines(maps_of(nucleus, cell, drawn.cell.shape), settings())


def test_sure_maps_give_the_cells_back(drawn, found):
    assert compare(drawn.nucleus, found.nucleus).f1 == 1
    assert compare(drawn.cell, found.cell).f1 >= 0.98
    assert found.nucleus.dtype == found.cell.dtype == np.uint32
    assert len(found.quality) == max(found.nucleus.max(), found.cell.max())
    assert found.quality.min() > 0.5


def test_nuclei_are_in_their_cells(found):
    inside = found.nucleus > 0
    assert (found.cell[inside] == found.nucleus[inside]).all()


def test_outlines_are_those_of_full_resolution_to_a_fifth_of_a_micrometre(drawn):
    grid = grid_shape(drawn.nucleus.shape, 0.08, 0.32)
    coarse = chances(labels_on_grid(drawn.nucleus, grid))
    fine = np.stack([ndimage.zoom(plane, 4, order=1, grid_mode=True, mode="nearest") for plane in coarse])
    blank = np.stack([np.ones(grid), np.zeros(grid), np.zeros(grid)]).astype(np.float32)
    blank_fine = np.stack([np.ones(drawn.cell.shape), *np.zeros((2, *drawn.cell.shape))]).astype(np.float32)
    signal = np.ones(grid, np.float32)
    reduced = outlines(Maps(coarse, blank, signal, drawn.cell.shape, 0.32), settings()).nucleus
    full = outlines(
        Maps(fine, blank_fine, np.ones(drawn.cell.shape, np.float32), drawn.cell.shape, 0.08), settings()
    ).nucleus
    assert reduced.max() == full.max() > 10
    away = ndimage.distance_transform_edt(~find_boundaries(full, mode="inner")) * 0.08
    apart = away[find_boundaries(reduced, mode="inner")]
    assert apart.mean() < 0.1
    assert np.percentile(apart, 95) <= 0.2


@pytest.mark.parametrize("side", [16, 18, 23])
def test_no_object_is_lost_to_the_width_of_labels(side):
    labels = np.zeros((side * 18, side * 18), np.int32)
    for number in range(side * side):
        disc(labels, number + 1, 9 + 18 * (number // side), 9 + 18 * (number % side), 6)
    found = outlines(maps_of(labels, labels, labels.shape), settings())
    assert found.cell.max() == found.nucleus.max() == side * side
    assert len(np.unique(found.cell)) == side * side + 1


def test_a_nucleus_without_a_cell_and_a_cell_without_a_nucleus_stay():
    nucleus, cell = np.zeros((120, 200), np.int32), np.zeros((120, 200), np.int32)
    disc(nucleus, 1, 60, 40, 12)
    disc(cell, 1, 60, 40, 28)
    disc(nucleus, 2, 60, 100, 12)
    disc(cell, 3, 60, 160, 25)
    found = outlines(maps_of(nucleus, cell, (120, 200)), settings())
    assert set(np.unique(found.nucleus)) - {0} == {found.nucleus[60, 40], found.nucleus[60, 100]}
    assert found.cell[60, 100] == 0
    assert found.cell[60, 160] > 0
    assert found.cell[60, 160] not in np.unique(found.nucleus)
    assert len(found.quality) == 3


def test_a_cell_without_a_nucleus_beside_one_with_it_is_not_swallowed():
    nucleus, cell = np.zeros((100, 160), np.int32), np.zeros((100, 160), np.int32)
    cell[20:80, 10:75], cell[20:80, 75:140] = 1, 2
    disc(nucleus, 1, 50, 40, 10)
    found = outlines(maps_of(nucleus, cell, (100, 160)), settings())
    assert found.cell[50, 40] != found.cell[50, 110] > 0


def test_the_two_plates_of_an_anaphase_are_one_nucleus():
    nucleus, cell = np.zeros((160, 300), np.int32), np.zeros((160, 300), np.int32)
    nucleus[60:90, 60:66], nucleus[60:90, 84:90] = 1, 1
    disc(cell, 1, 75, 75, 40)
    for number, x in ((2, 160), (3, 240)):
        disc(nucleus, number, 75, x, 18)
        disc(cell, number, 75, x, 34)
    signal = np.where(nucleus == 1, 1.0, np.where(nucleus > 0, 0.4, 0)).astype(np.float32)
    found = outlines(maps_of(nucleus, cell, nucleus.shape, signal=signal), settings())
    assert found.nucleus.max() == 3
    assert found.nucleus[75, 62] == found.nucleus[75, 87] > 0


def test_glow_much_dimmer_than_nuclei_is_none():
    nucleus = np.zeros((80, 200), np.int32)
    signal = np.zeros((80, 200), np.float32)
    for number, (x, light) in enumerate(((40, 1.0), (100, 0.5), (160, 0.06)), start=1):
        disc(nucleus, number, 40, x, 14)
        signal[nucleus == number] = light
    found = outlines(maps_of(nucleus, nucleus, nucleus.shape, signal=signal), settings())
    assert found.nucleus[40, 40]
    assert found.nucleus[40, 100]
    assert not found.nucleus[40, 160]
    assert outlines(maps_of(nucleus, nucleus, nucleus.shape, signal=signal), settings(dimmest=0)).nucleus[40, 160]


def test_an_empty_field_stays_empty():
    empty = np.zeros((40, 50), np.int32)
    found = outlines(maps_of(empty, empty, (160, 200)), settings())
    assert found.nucleus.shape == (160, 200)
    assert not found.nucleus.any()
    assert not found.cell.any()
    assert found.quality.shape == (0,)


def test_one_object_that_fills_the_field_is_one():
    full = np.ones((40, 50), np.int32)
    found = outlines(maps_of(full, full, (160, 200)), settings())
    assert (found.nucleus == 1).all()
    assert (found.cell == 1).all()


def test_holes_are_filled_and_specks_dropped():
    nucleus = np.zeros((80, 80), np.int32)
    disc(nucleus, 1, 40, 40, 20)
    disc(nucleus, 0, 40, 40, 5)
    disc(nucleus, 2, 8, 8, 3)
    found = outlines(maps_of(nucleus, nucleus, (80, 80)), settings())
    assert found.nucleus.max() == 1
    assert found.nucleus[40, 40] == 1


def test_a_coarser_field_gets_the_labels_at_its_centres():
    labels = np.zeros((64, 96), np.int32)
    disc(labels, 5, 30, 40, 15)
    np.testing.assert_array_equal(on_field(labels, (32, 48)), labels_on_grid(labels, (32, 48)))
    assert on_field(labels, (128, 192)).shape == (128, 192)


def test_borders_stop_a_cell_where_distance_would_not():
    nuclei, cell = np.zeros((60, 120), np.int32), np.zeros((60, 120), np.int32)
    cell[10:50, 5:30], cell[10:50, 30:115] = 1, 2
    disc(nuclei, 1, 30, 15, 6)
    disc(nuclei, 2, 30, 100, 6)
    _, found = cells_from_maps(nuclei, chances(cell), 0.32, settings()["unet"])
    assert found[30, 60] == found[30, 45] == 2
    assert found[30, 20] == 1


def test_certainty_is_the_lesser_mean_of_nucleus_and_cell():
    nuclei = np.array([[1, 1, 0, 0, 0]])
    cells = np.array([[1, 1, 1, 2, 2]])
    maps = [np.zeros((3, 1, 5), np.float32) for _ in range(2)]
    maps[0][BACKGROUND] = [[0.1, 0.3, 0, 0, 0]]
    maps[1][BACKGROUND] = [[0.1, 0.1, 0.1, 0.5, 0.3]]
    maps[1][BODY], maps[1][BORDER] = 0.5, 0.2
    np.testing.assert_allclose(certainty(nuclei, cells, *maps), [0.8, 0.6], rtol=1e-6)
