import importlib.util
import warnings

import numpy as np
import pytest
from scipy import ndimage
from test_nuclei import ellipse, grid_of_disks, imaged
from wherein.reasons import SEGMENT_REASONS
from wherein.segmentation.grid import enlarge_labels, shrink
from wherein.segmentation.log_mce import closed_and_filled, running_in
from wherein.segmentation.methods import (
    AUTO,
    METHODS,
    MethodContext,
    label_paths,
    method_for,
    methods_of,
    missing_roles,
    own_settings,
)
from wherein.segmentation.otsu_nuclei import components_above_otsu
from wherein.segmentation.pairing import occurring, paired_by_overlap
from wherein.settings import ConfigError, check_config, fill_defaults, schema

STEP = 0.32
OF_NUCLEI = ("watershed", "log-mce", "otsu-nuclei")
WITHOUT_WEIGHTS = (*OF_NUCLEI, "yeast", "whole_cells")


@pytest.fixture(scope="module")
def settings():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["segment"])
    return values


def outlined(name, images, step, settings):
    return METHODS[name].load().outline(images, step, settings, MethodContext())


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_the_configuration_knows_every_method():
    keys = schema()["$defs"]["segment"]["properties"]
    assert keys["method"]["enum"] == [AUTO, *METHODS]
    assert keys["second"]["enum"] == [*METHODS, None]
    for name, method in METHODS.items():
        assert method.name == name
        assert importlib.util.find_spec(method.module), name
        assert method.source


def test_needs_are_groups_of_which_one_role_is_enough():
    assert missing_roles(METHODS["watershed"], ["protein"]) == ["nucleus"]
    assert missing_roles(METHODS["yeast"], ["nucleus"]) == ["reference or protein"]
    assert missing_roles(METHODS["yeast"], ["protein"]) == []
    assert missing_roles(METHODS["masks"], []) == []


def test_a_source_keeps_only_the_settings_of_its_own_methods(settings):
    own = own_settings(["nucleus"], settings)
    assert "watershed" in [method.name for method in methods_of(["nucleus"], settings)]
    assert {"nuclei", "cells", "grid_um", "quality"} <= own.keys()
    assert not {"yeast", "whole_cells", "log-mce", "unet"} & own.keys()
    own = own_settings(["reference"], settings | {"second": "whole_cells"})
    assert {"yeast", "whole_cells"} <= own.keys()
    assert method_for(["reference"], settings) == "yeast"


def test_a_run_stops_before_any_job_if_a_method_lacks_a_role():
    source = {"kind": "simulated", "mode": "yeast", "segment": {"method": "log-mce"}}
    with pytest.raises(ConfigError, match=r"source 'mine': segment.method 'log-mce' needs the role nucleus"):
        check_config({"sources": {"mine": source}})
    source["segment"] = {"second": "watershed"}
    with pytest.raises(ConfigError, match=r"segment.second 'watershed' needs the role nucleus"):
        check_config({"sources": {"mine": source}})


@pytest.mark.parametrize("side", [16, 18, 23])
@pytest.mark.parametrize("name", OF_NUCLEI)
def test_no_method_loses_a_cell_to_the_width_of_a_label(settings, side, name):
    nuclei, bodies = grid_of_disks(side), grid_of_disks(side, radius=13)
    images = {"nucleus": imaged([(nuclei, 500)]), "microtubules": imaged([(bodies, 300)])}
    found = outlined(name, images, STEP, settings)
    count = side * side
    for labels in found[:2]:
        assert labels.dtype == np.uint32
        assert len(np.unique(labels)) - 1 == labels.max() == count
    middle = (np.arange(side) * 30 + 14)[:, None], np.arange(side) * 30 + 14
    assert len(np.unique(found.nucleus[middle])) == count
    np.testing.assert_array_equal(found.nucleus[middle], found.cell[middle])


@pytest.mark.parametrize("side", [16, 23])
def test_yeast_and_labels_made_elsewhere_keep_as_many(settings, side):
    cells = grid_of_disks(side, pitch=40, radius=12)
    found = outlined("yeast", {"reference": imaged([(cells, 400)])}, 0.16, settings)
    assert len(np.unique(found.cell)) - 1 == side * side
    labels, _ = ndimage.label(cells)
    images = {"protein": cells.astype(np.uint8), "labels_cell": labels.astype(np.uint32)}
    found = outlined("masks", images, 0.16, settings)
    np.testing.assert_array_equal(found.cell, labels)
    assert not found.nucleus.any()


def test_a_field_of_3072_pixels_and_a_narrow_one_keep_their_shape_and_cells(settings):
    tile = grid_of_disks(8, pitch=96, radius=36)[:768, :768]
    rng = np.random.default_rng(0)
    for shape, count in (((3072, 3072), 1024), ((768, 3072), 256)):
        image = np.tile(tile, (shape[0] // 768, shape[1] // 768)) * np.uint16(600)
        image += rng.integers(90, 110, shape, dtype=np.uint16)
        found = outlined("watershed", {"nucleus": image}, 0.16, settings)
        assert found.cell.shape == shape
        assert found.nucleus.max() == count
        assert found.cell.max() == count


def test_counts_agree_between_pixel_sizes(settings):
    rng = np.random.default_rng(4)
    side, pitch = 12, 210
    fine = np.zeros((side * pitch, side * pitch), np.float32)
    for row in range(side):
        for column in range(side):
            y, x = (place * pitch + 105 + rng.integers(-12, 13) for place in (row, column))
            own = fine[y - 100 : y + 100, x - 100 : x + 100]
            a, b = rng.uniform(62, 80, 2)
            own += ellipse(own.shape, 100, 100, a, b, rng.uniform(0, 3)) * rng.uniform(300, 900)
    fine = ndimage.gaussian_filter(fine, 5)
    counts = {}
    for pixel, factor in ((0.04, 1), (0.08, 2), (0.16, 4)):
        image = shrink(fine, (fine.shape[0] // factor, fine.shape[1] // factor)) + rng.normal(100, 8, (1, 1))
        image = image + rng.normal(0, 8, image.shape)
        for name in OF_NUCLEI:
            found = outlined(name, {"nucleus": image.astype(np.uint16)}, pixel, settings)
            counts.setdefault(name, []).append(int(found.nucleus.max()))
    for name, found in counts.items():
        assert max(found) - min(found) <= 0.03 * side * side, (name, found)
        assert abs(found[0] - side * side) <= 0.05 * side * side, (name, found)


def edges(labels):
    """Pixels on the inner side of any outline."""
    padded = np.pad(labels, 1, mode="edge")
    here = padded[1:-1, 1:-1]
    others = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (here > 0) & np.any([other != here for other in others], axis=0)


def test_outlines_brought_back_from_the_working_grid_are_exact_to_a_fifth_of_a_micrometre():
    pixel, shape = 0.08, (500, 701)
    truth = np.zeros(shape, np.int32)
    for number, (y, x, a, b, angle) in enumerate(
        [(120, 130, 90, 70, 0.4), (120, 290, 75, 85, 1.1), (350, 180, 110, 80, 2.0), (360, 520, 60, 120, 0.2)], start=1
    ):
        truth[ellipse(shape, y, x, a, b, angle) & (truth == 0)] = number
    small = (round(shape[0] * pixel / 0.32), round(shape[1] * pixel / 0.32))
    cover = np.stack([shrink(truth == number, small) for number in range(1, 5)])
    coarse = np.where(cover.max(axis=0) >= 0.5, cover.argmax(axis=0) + 1, 0)
    fine = enlarge_labels(coarse, shape)
    away = [ndimage.distance_transform_edt(~edges(labels)) * pixel for labels in (truth, fine)]
    apart = np.concatenate([away[0][edges(fine)], away[1][edges(truth)]])
    assert np.percentile(apart, 99) <= 0.2
    assert apart.max() <= 0.32
    for number in range(1, 5):
        area = [(labels == number).sum() for labels in (truth, fine)]
        # the mean shift of an outline is the difference in area over its length
        assert abs(area[1] - area[0]) / edges(truth == number).sum() * pixel <= 0.05


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
@pytest.mark.parametrize("kind", ["empty", "zero", "one nucleus", "saturated", "one pixel", "one row"])
def test_bad_input_gives_no_objects_and_no_warning(settings, name, kind):
    rng = np.random.default_rng(0)
    image = {
        "empty": rng.normal(300, 20, (200, 240)).astype(np.uint16),
        "zero": np.zeros((200, 240), np.uint16),
        "one nucleus": rng.normal(3000, 30, (200, 240)).astype(np.uint16),
        "saturated": np.full((200, 240), 65535, np.uint16),
        "one pixel": np.array([[7]], np.uint16),
        "one row": rng.normal(300, 20, (1, 500)).astype(np.uint16),
    }[kind]
    roles = ("nucleus", "er") if name in OF_NUCLEI else ("reference", "protein")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outlined(name, dict.fromkeys(roles, image), 0.16, settings)
    for labels in found[:2]:
        assert labels.shape == image.shape
        assert labels.dtype == np.uint32
        assert not labels.any()


def test_otsu_keeps_touching_nuclei_together_and_drops_small_ones(settings):
    shape = (150, 260)
    parts = [(ellipse(shape, 70, 60, 20, 16), 500), (ellipse(shape, 70, 97, 20, 16), 500)]
    # 4.2 um2: above the 2.56 of the paper's text, below the 10.24 of its code
    parts += [(ellipse(shape, 70, 190, 20, 20), 500), (ellipse(shape, 120, 230, 3.6, 3.6), 900)]
    image = {"nucleus": imaged(parts)}
    assert outlined("otsu-nuclei", image, STEP, settings).nucleus.max() == 2
    own = settings | {"otsu-nuclei": settings["otsu-nuclei"] | {"min_um2": 2.56}}
    assert outlined("otsu-nuclei", image, STEP, own).nucleus.max() == 3


def test_components_are_those_above_the_threshold_of_greatest_variance_between_classes():
    rng = np.random.default_rng(1)
    image = np.where(rng.random((60, 80)) < 0.3, rng.normal(200, 9, (60, 80)), rng.normal(60, 9, (60, 80)))
    image = image.round().astype(np.float32)
    best = max(
        np.unique(image)[:-1],
        key=lambda cut: (
            (image <= cut).mean() * (image > cut).mean() * (image[image > cut].mean() - image[image <= cut].mean()) ** 2
        ),
    )
    labels, count = ndimage.label(image > best, np.ones((3, 3)))
    size = np.bincount(labels.ravel())[1:]
    found = components_above_otsu(image, 3)
    assert found.max() == (size >= 3).sum()
    assert count > found.max()
    assert not (found > 0)[image <= best - 2].any()


def test_log_mce_cuts_touching_nuclei_and_leaves_nucleoli_in(settings):
    shape = (160, 300)
    pair = [dome(shape, 80, x, 22) for x in (60, 103)]
    lone = ellipse(shape, 80, 220, 26, 22)
    nucleolus = ellipse(shape, 84, 216, 6, 5)
    image = imaged([(np.maximum(*pair), 500), (lone, 500), (nucleolus, -330)])
    found = outlined("log-mce", {"nucleus": image}, 0.2, settings).nucleus
    assert found[80, 60] != found[80, 103]
    own = found == found[80, 205]
    assert iou(own, lone) > 0.85
    assert own[84, 216]


def test_valleys_cut_only_where_they_run_in_from_outside():
    body = np.zeros((20, 30), bool)
    body[3:17, 3:27] = True
    valleys = np.zeros_like(body)
    valleys[0:9, 10] = True
    valleys[9:12, 20:23] = True
    cut = running_in(valleys, body)
    assert cut[5, 10]
    assert not cut[10, 21]
    ring = np.zeros((40, 40), bool)
    ring[8:32, 8:32], ring[14:26, 14:26] = True, False
    assert closed_and_filled(ring, 2)[20, 20]


def dome(shape, y, x, radius):
    """How thick a ball is at each pixel, 0 to 1: what a microscope sees of it."""
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return np.sqrt(np.maximum(0, 1 - ((yy - y) ** 2 + (xx - x) ** 2) / radius**2))


def yeast_field(buds, shape=(240, 420)):
    """Mothers of 4 um at 0.1 um a pixel in a row, with a bud of the given radius each (0 for none)."""
    cells, rings = [], []
    for place, radius in enumerate(buds):
        y, x = 120, 60 + 100 * place
        cell = dome(shape, y, x, 20)
        if radius:
            cell = np.maximum(cell, dome(shape, y - 20 - 0.8 * radius, x, radius) * radius / 20)
        cells.append(cell)
        rings.append(ellipse(shape, y + 5, x, 9, 9) & ~ellipse(shape, y + 5, x, 7, 7))
    return cells, rings


@pytest.mark.parametrize("buds", [(0, 8, 12, 15), (14, 10, 6, 0)])
def test_a_bud_belongs_to_its_mother(settings, buds):
    cells, _ = yeast_field(buds)
    found = outlined("yeast", {"reference": imaged([(cell, 400) for cell in cells])}, 0.1, settings)
    assert found.cell.max() == 4
    for cell in cells:
        y, x = np.unravel_index(cell.argmax(), cell.shape)
        assert iou(found.cell == found.cell[y, x], cell > 0) > 0.85


@pytest.mark.parametrize("side", range(4))
def test_a_part_that_the_border_cuts_is_no_bud(settings, side):
    # a neighbour as large as the cell, of which an edge shows a cap that is as small as a bud
    shape, radius = (100, 66), 20
    cell, neighbour = dome(shape, 30, 33, radius), dome(shape, 30 + 2 * radius - 1, 33, radius)
    image = imaged([(np.maximum(cell, neighbour), 400)])
    for height in (63, 69, 75):
        seen = np.rot90(image[:height], side)
        found = outlined("yeast", {"reference": seen}, 0.1, settings).cell
        found, alone = np.rot90(found, -side), cell[:height] > 0
        assert found.max() == 2, height
        assert iou(found == found[30, 33], alone) > 0.85
        assert found[height - 1, 33] not in (0, found[30, 33])
    # the same part in full view is a bud
    bud = dome(shape, 30 + radius + 6, 33, 9)
    whole = outlined("yeast", {"reference": np.rot90(imaged([(np.maximum(cell, bud), 400)]), side)}, 0.1, settings)
    assert whole.cell.max() == 1


def test_rings_at_the_border_make_no_bud_of_a_cell_whose_nucleus_is_out_of_view(settings):
    cells, rings = yeast_field((0, 16), shape=(240, 220))
    image = imaged([(cell, 90) for cell in cells] + [(ring, 900) for ring in rings])
    tip = np.flatnonzero((cells[1] > 0).any(axis=1))[0]
    for top, parts in ((tip - 15, 2), (tip + 8, 3)):
        assert outlined("yeast", {"reference": image[top:]}, 0.1, settings).cell.max() == parts, top


def test_two_grown_cells_that_touch_are_two(settings):
    shape = (160, 240)
    cells = [dome(shape, 80, x, 20.5) for x in (90, 131)]
    found = outlined("yeast", {"reference": imaged([(cell, 400) for cell in cells])}, 0.1, settings)
    assert found.cell.max() == 2
    assert found.cell[80, 90] != found.cell[80, 131]


def test_rings_of_nuclear_pores_give_nuclei_and_tell_buds(settings):
    cells, rings = yeast_field((0, 12, 16, 17))
    image = imaged([(cell, 90) for cell in cells] + [(ring, 900) for ring in rings])
    found = outlined("yeast", {"reference": image}, 0.1, settings)
    assert found.cell.max() == 4 == found.nucleus.max()
    for cell, ring in zip(cells, rings, strict=True):
        number = found.cell[ring].max()
        assert iou(found.cell == number, cell > 0) > 0.8
        assert iou(found.nucleus == number, ndimage.binary_fill_holes(ring)) > 0.6


def test_rings_without_bodies_give_cells_around_their_centres(settings):
    _, rings = yeast_field((0, 0, 0, 0))
    found = outlined("yeast", {"reference": imaged([(ring, 900) for ring in rings])}, 0.1, settings)
    assert found.cell.max() == 4
    assert found.nucleus.max() == 4
    # 0.9 um of nucleus and 1.4 um around it
    areas = np.bincount(found.cell.ravel())[1:] * 0.01
    assert areas == pytest.approx(np.full(4, np.pi * 2.3**2), rel=0.35)


def test_pairing_by_overlap_against_brute_force():
    rng = np.random.default_rng(2)
    for _ in range(20):
        nuclei = rng.integers(0, 6, (7, 9)) * 10
        cells = rng.integers(0, 4, (7, 9)) * 3
        found, bodies = paired_by_overlap(nuclei, cells)
        numbers = np.unique(np.concatenate([found.ravel(), bodies.ravel()]))
        np.testing.assert_array_equal(numbers, np.arange(numbers.size))
        for nucleus in np.unique(nuclei[nuclei > 0]):
            own = nuclei == nucleus
            shares = {cell: (own & (cells == cell)).sum() for cell in np.unique(cells[cells > 0])}
            best = max(shares, key=lambda cell: (shares[cell], -cell))
            if shares[best] * 2 >= own.sum():
                number = bodies[cells == best].max()
                assert (found[own & (cells == best)] == number).all()
                assert (bodies[own & (cells == 0)] == number).all()
                assert not found[own & (cells > 0) & (cells != best)].any()
            else:
                number = found[own].max()
                assert (found[own] == number).all()
                assert not (bodies == number).any()


def test_two_nuclei_of_one_cell_have_its_number():
    cells = np.ones((10, 20), int)
    nuclei = np.zeros_like(cells)
    nuclei[3:6, 3:6], nuclei[3:6, 12:15] = 7, 9
    found, bodies = paired_by_overlap(nuclei, cells)
    assert (found[nuclei > 0] == 1).all()
    assert (bodies == 1).all()
    found, bodies = paired_by_overlap(nuclei, np.zeros_like(cells))
    assert sorted(np.unique(found)) == [0, 1, 2]
    assert not bodies.any()
    found, bodies = paired_by_overlap(np.zeros_like(cells), cells)
    assert not found.any()
    assert (bodies == 1).all()


def test_occurring_numbers():
    labels = np.random.default_rng(3).integers(0, 40, (13, 17)) * 2
    there = occurring(labels, 80)
    np.testing.assert_array_equal(np.flatnonzero(there), np.unique(labels[labels > 0]))
    assert not occurring(np.zeros((0, 4), int), 3).any()


def test_paths_of_label_images_are_those_of_the_field():
    found = label_paths({"nucleus": None, "cell": "labels/{field_id}_c.tif"}, "/data", "a{1}")
    assert {name: str(path) for name, path in found.items()} == {"cell": "/data/labels/a{1}_c.tif"}


def test_every_reason_is_said_in_words():
    assert set(SEGMENT_REASONS) == {"failed", "no_labels", "no_objects"}
