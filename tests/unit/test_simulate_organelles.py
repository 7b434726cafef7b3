"""Each place of a protein has the marks that a biologist names it by, whatever the pixel size."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
from test_simulate_cells import spec_of
from wherein.simulate import filaments
from wherein.simulate.anatomy import Anatomy
from wherein.simulate.cells import draw_cells
from wherein.simulate.markers import er_marker, microtubule_marker, nucleus_marker, to_mean_one
from wherein.simulate.organelles import PLACES
from wherein.simulate.protein import BRIGHTEST, negative_map, place_map
from wherein.simulate.spec import FieldSpec
from wherein.simulate.texture import blur, dots, noise, sample, web

HPA19 = (
    "Nucleoplasm", "Nuclear membrane", "Nucleoli", "Nucleoli fibrillar center", "Nuclear speckles", "Nuclear bodies",
    "Endoplasmic reticulum", "Golgi apparatus", "Intermediate filaments", "Actin filaments", "Microtubules",
    "Mitotic spindle", "Centrosome", "Plasma membrane", "Mitochondria", "Aggresome", "Cytosol",
    "Vesicles and punctate cytosolic patterns",
)  # fmt: skip
NUCLEAR = HPA19[:6]
GRID = ((0.08, 512), (0.16, 448), (0.2, 384))


@lru_cache
def anatomy_of(
    px: float = 0.16, field_px: int = 448, line: int = 1, mitotic_share: float = 0.12
) -> tuple[Anatomy, FieldSpec]:
    spec = spec_of(line, 11, field_px, px, mitotic_share=mitotic_share)
    return Anatomy(draw_cells(spec), spec.seed), spec


@lru_cache
def drawn(place: str, px: float = 0.16, field_px: int = 448, line: int = 1) -> np.ndarray:
    anatomy, spec = anatomy_of(px, field_px, line)
    return place_map(anatomy, spec, place)


def inner(anatomy: Anatomy) -> np.ndarray:
    """Pixels of interphase cells."""
    return anatomy.seen & ~anatomy.in_mitosis


def test_every_class_of_the_vocabulary_is_drawn_in_its_order():
    assert tuple(PLACES) == HPA19


@pytest.mark.parametrize("place", HPA19)
@pytest.mark.parametrize(("px", "field_px"), GRID)
def test_every_cell_has_the_same_mean_wherever_the_protein_is(place, px, field_px):
    anatomy, _ = anatomy_of(px, field_px)
    image = drawn(place, px, field_px)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert (image[~anatomy.seen] == 0).all()
    means = anatomy.cell_sums(image)[1:] / anatomy.area_px[1:]
    assert means == pytest.approx(np.ones(len(means)), abs=1e-3)
    assert np.percentile(blur(image, 0.11 / px)[anatomy.seen], 99.99) < BRIGHTEST + 2.5


@pytest.mark.parametrize("place", NUCLEAR)
@pytest.mark.parametrize("line", [0, 1, 2])
def test_nuclear_places_lie_in_the_nucleus(place, line):
    anatomy, _ = anatomy_of(line=line)
    image = drawn(place, line=line) - 1
    bright = image > np.percentile(image[inner(anatomy)], 99.8)
    assert anatomy.in_nucleus[bright & inner(anatomy)].mean() > 0.9


@pytest.mark.parametrize("place", [*HPA19[6:10], "Microtubules", *HPA19[12:]])
@pytest.mark.parametrize("line", [0, 1, 2])
def test_other_places_lie_outside_the_nucleus(place, line):
    anatomy, _ = anatomy_of(line=line)
    image = drawn(place, line=line)
    deep = anatomy.in_nucleus & (anatomy.depth_um > 1)
    if PLACES[place].share[0] > 0.5 and place != "Actin filaments":  # else what is diffuse decides the mean
        assert image[deep].mean() < 0.9
    bright = (image > np.percentile(image[inner(anatomy)], 99.5)) & inner(anatomy)
    assert deep[bright].mean() < 0.25


def contrast(image: np.ndarray, here: np.ndarray, there: np.ndarray) -> float:
    return float(image[here].mean() / image[there].mean())


@pytest.mark.parametrize(("px", "field_px"), GRID)
class TestMarks:
    def test_nucleoplasm_leaves_nucleoli_out(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        image = drawn("Nucleoplasm", px, field_px)
        deep = anatomy.in_nucleus & (anatomy.depth_um > 0.8)
        assert contrast(image, deep & (anatomy.nucleoli < 0.1), deep & (anatomy.nucleoli > 0.8)) > 1.25
        assert contrast(image, deep, inner(anatomy) & ~anatomy.in_nucleus) > 3

    def test_nuclear_membrane_is_a_rim(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        image = drawn("Nuclear membrane", px, field_px)
        rim = anatomy.in_nucleus & (anatomy.depth_um < 0.5)
        assert contrast(image, rim, anatomy.in_nucleus & (anatomy.depth_um > 1.2)) > 2.5

    def test_nucleoli_and_their_fibrillar_centers(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        inside, outside = anatomy.nucleoli > 0.8, anatomy.in_nucleus & (anatomy.nucleoli < 0.05)
        whole, centers = drawn("Nucleoli", px, field_px), drawn("Nucleoli fibrillar center", px, field_px)
        assert contrast(whole, inside, outside) > 3
        bright = (centers > np.percentile(centers[inside], 90)) & anatomy.in_nucleus
        assert (anatomy.nucleoli[bright] > 0.3).mean() > 0.85
        spread = [image[inside].std() / image[inside].mean() for image in (whole, centers)]
        assert spread[1] > 1.4 * spread[0]  # dots, not blobs

    def test_speckles_avoid_nucleoli(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        image = drawn("Nuclear speckles", px, field_px)
        bright = (image > np.percentile(image[anatomy.in_nucleus], 92)) & anatomy.in_nucleus
        assert (anatomy.nucleoli[bright] > 0.5).mean() < 0.05

    def test_nuclear_bodies_are_few(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        image = blur(drawn("Nuclear bodies", px, field_px), 0.1 / px)
        bright = ((image > 2.5) & anatomy.in_nucleus).astype(np.uint8)
        spots = cv2.connectedComponents(bright)[0] - 1
        nuclei = len(np.setdiff1d(np.unique(anatomy.cells.nucleus[anatomy.in_nucleus]), [0]))
        assert 0.7 < spots / nuclei < 14
        assert bright.sum() / anatomy.in_nucleus.sum() < 0.06

    def test_golgi_centrosome_and_aggresome_lie_on_one_side_of_the_nucleus(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        cells = anatomy.cells
        rows, columns = np.indices(anatomy.shape)
        angle = np.arctan2(rows - cells.y[anatomy.label], columns - cells.x[anatomy.label])
        facing = np.cos(angle - cells.pole[anatomy.label])
        for place, least in (("Golgi apparatus", 0.8), ("Aggresome", 0.9), ("Centrosome", 0.75)):
            image = drawn(place, px, field_px)
            bright = (image > 3.5) & inner(anatomy) & (anatomy.outside_um > 0)
            assert bright.any()
            assert (facing[bright] > 0.3).mean() > least, place
            assert np.median(anatomy.outside_um[bright]) < 3.5, place

    def test_plasma_membrane_outlines_the_cell(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        image = drawn("Plasma membrane", px, field_px)
        assert contrast(image, inner(anatomy) & (anatomy.edge_um < 0.5), inner(anatomy) & (anatomy.edge_um > 2)) > 2.5
        contact = inner(anatomy) & (anatomy.contact_um < 0.4) & (anatomy.free_um > 2)
        free = inner(anatomy) & (anatomy.free_um < 0.4) & (anatomy.contact_um > 2)
        assert contrast(image, contact, free) > 1.1

    def test_cytosol_is_even_with_a_dimmer_nucleus(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        image = drawn("Cytosol", px, field_px)
        beside = inner(anatomy) & (anatomy.outside_um > 0.5) & (anatomy.outside_um < 3) & (anatomy.edge_um > 1.5)
        assert contrast(image, beside, anatomy.in_nucleus & (anatomy.depth_um > 1)) > 1.3
        assert image[beside].std() / image[beside].mean() < 0.45

    def test_fibres_threads_and_puncta_are_not_even(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        middle = inner(anatomy) & (anatomy.edge_um > 1) & (anatomy.outside_um > 0.5)
        for place in ("Actin filaments", "Intermediate filaments", "Mitochondria", HPA19[-1]):
            image = blur(drawn(place, px, field_px), 0.1 / px)
            assert image[middle].std() / image[middle].mean() > 0.5, place

    def test_spindle_shows_in_mitosis_alone(self, px, field_px):
        anatomy, spec = anatomy_of(px, field_px, mitotic_share=0.5)
        image = blur(place_map(anatomy, spec, "Mitotic spindle"), 0.1 / px)
        assert anatomy.in_mitosis.any()
        assert np.percentile(image[anatomy.in_mitosis], 99) > 3.5
        assert np.percentile(image[inner(anatomy)], 99) < 3

    def test_stress_fibres_run_in_one_direction(self, px, field_px):
        anatomy, _ = anatomy_of(px, field_px)
        image = blur(drawn("Actin filaments", px, field_px), 0.15 / px)
        gy, gx = np.gradient(image)
        inside = (inner(anatomy) & (anatomy.edge_um > 2)).ravel()
        number = anatomy.label.ravel()[inside]
        xx, yy, xy = (
            np.bincount(number, v.ravel()[inside], len(anatomy.cells) + 1) for v in (gx * gx, gy * gy, gx * gy)
        )
        large = np.bincount(number, minlength=len(xx)) * px * px > 60
        coherence = np.hypot(xx - yy, 2 * xy)[large] / (xx + yy)[large]
        assert np.median(coherence) > 0.4


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize(("px", "field_px"), GRID)
@pytest.mark.parametrize(
    ("place", "marker"), [("Endoplasmic reticulum", er_marker), ("Microtubules", microtubule_marker)]
)
def test_proteins_share_a_markers_structure_but_not_its_image(place, marker, px, field_px, line):
    anatomy, _ = anatomy_of(px, field_px, line)
    protein, shown = blur(drawn(place, px, field_px, line), 0.1 / px), blur(marker(anatomy), 0.1 / px)
    correlation = np.corrcoef(protein[anatomy.seen], shown[anatomy.seen])[0, 1]
    assert 0.6 < correlation < 0.9


def test_markers_are_what_they_stand_for():
    anatomy, _ = anatomy_of(0.16, 448)
    nucleus, tubulin, er = nucleus_marker(anatomy), microtubule_marker(anatomy), er_marker(anatomy)
    inside = anatomy.in_nucleus
    assert abs(nucleus[inside].mean() - 1) < 0.25
    assert contrast(nucleus, anatomy.chromosomes, inside) > 1.5
    deep = anatomy.in_nucleus & (anatomy.depth_um > 1)
    for body in (tubulin, er):
        means = anatomy.cell_sums(body)[1:] / anatomy.area_px[1:]
        assert abs(means.mean() - 1) < 0.15
        beside = inner(anatomy) & (anatomy.outside_um > 0.5) & (anatomy.outside_um < 3)
        assert contrast(body, beside, deep) > 2
        edge = inner(anatomy) & (anatomy.edge_um > 1) & (anatomy.edge_um < 2)
        assert body[edge].mean() > 0.25  # cells can be told from the background up to their edge


def test_no_ridge_of_marker_runs_along_borders():
    for line in range(3):
        anatomy, _ = anatomy_of(line=line)
        for marker in (microtubule_marker, er_marker):
            image = marker(anatomy)
            border = anatomy.seen & (anatomy.contact_um < 0.4)
            beside = anatomy.seen & (anatomy.contact_um > 1) & (anatomy.contact_um < 2)
            assert image[border].mean() < image[beside].mean()


def test_dna_follows_the_cell_cycle():
    spec = spec_of(2, 3, 1024, 0.2, mitotic_share=0.0)
    anatomy = Anatomy(draw_cells(spec), spec.seed)
    sums = np.bincount(anatomy.cells.nucleus.ravel(), anatomy.chromatin.ravel(), len(anatomy.cells) + 1)
    area = np.bincount(anatomy.cells.nucleus.ravel(), minlength=len(sums))
    whole = area > 0.9 * np.pi * anatomy.cells.nucleus_px**2
    whole[0] = False
    early, late = whole & (anatomy.cells.cycle < 0.4), whole & (anatomy.cells.cycle > 0.78)
    assert sums[late].mean() / sums[early].mean() == pytest.approx(2, abs=0.25)


def test_negative_has_the_sum_of_the_others_and_no_structure():
    anatomy, spec = anatomy_of(0.16, 448)
    image = negative_map(anatomy, spec, np.ones(len(anatomy.cells) + 1))
    assert image.mean() == pytest.approx(anatomy.seen.mean(), rel=0.01)
    assert image[~anatomy.seen].min() > 0.2
    assert image[anatomy.seen].std() / image[anatomy.seen].mean() < 0.4


def test_scaling_to_a_mean_of_one_leaves_nothing_outside():
    anatomy, _ = anatomy_of(0.16, 448)
    level = np.linspace(0.5, 1.5, len(anatomy.cells) + 1)
    image = to_mean_one(anatomy, np.ones(anatomy.shape, np.float32), level)
    for cell in (1, len(anatomy.cells)):
        assert image[anatomy.label == cell].mean() == pytest.approx(level[cell], rel=1e-4)
    assert (image[~anatomy.seen] == 0).all()


def test_distances_match_brute_force():
    anatomy, _ = anatomy_of(0.16, 448)
    label = np.pad(anatomy.label, 1, mode="edge")
    contact, free = anatomy._borders
    for y, x in np.random.default_rng(0).integers(0, 448, (300, 2)):
        here = label[y + 1, x + 1]
        around = {label[y, x + 1], label[y + 2, x + 1], label[y + 1, x], label[y + 1, x + 2]} - {here}
        assert contact[y, x] == (here > 0 and any(other > 0 for other in around))
        assert free[y, x] == (here > 0 and 0 in around)


def test_threads_stay_in_their_cells_and_turn_back_from_the_edge():
    home = np.zeros((100, 120), np.int32)
    home[20:80, 10:60] = 1
    home[20:80, 60:110] = 2
    rng = np.random.default_rng(0)
    starts = np.array([[50.0, 30.0], [50.0, 90.0], [5.0, 5.0]])
    owner = np.array([1, 2, 1])
    paths = filaments.grow(rng, home, starts, rng.random(3) * 6, owner, 60, 2.0, 0.2)
    assert paths.length[2] == 0
    for i in range(2):
        y, x = paths.points[i, : paths.length[i]].astype(int).T
        assert (home[y, x] == owner[i]).all()
    step = np.hypot(*np.diff(paths.points[0], axis=0).T)
    assert step == pytest.approx(np.full(60, 2.0), abs=1e-3)


def test_arcs_end_where_they_should_and_crossings_are_brighter():
    across = filaments.arcs(
        np.array([[20.0, 2.0], [2.0, 20.0]]), np.array([[20.0, 38.0], [38.0, 20.0]]), np.zeros(2), np.array([1, 1])
    )
    assert across.points[0, -1].tolist() == [20.0, 38.0]
    image = filaments.draw(across, np.array([1.0, 2.0]), (40, 40), 1, layers=2)
    assert image[20, 10] == pytest.approx(1, abs=0.25)  # some of it lies beside the line: it is anti-aliased
    assert image[10, 20] == pytest.approx(2 * image[20, 10], rel=0.01)
    assert image[20, 20] == pytest.approx(3 * image[20, 10], rel=0.01)
    longer = filaments.join(across, filaments.arcs(*np.zeros((2, 1, 2)), np.zeros(1), np.array([2]), steps=30))
    assert longer.points.shape == (3, 31, 2)
    assert longer.length.tolist() == [15, 15, 31]


@pytest.mark.parametrize("scale", [0.6, 3.0, 20.0])
def test_noise_has_unit_variance_and_its_scale(scale):
    sheet = noise(np.random.default_rng(0), (400, 300), scale)
    assert sheet.shape == (400, 300)
    assert sheet.dtype == np.float32
    assert abs(sheet.mean()) < 1e-3
    assert sheet.std() == pytest.approx(1, abs=1e-2)
    lag = max(1, round(2 * scale))
    expected = np.exp(
        -(lag**2) / (4 * scale**2)
    )  # white noise blurred with sigma correlates as a Gaussian of sqrt(2) sigma
    assert np.mean(sheet[:, lag:] * sheet[:, :-lag]) == pytest.approx(expected, abs=0.2)


def test_web_is_a_net_in_zero_to_one():
    net = web(np.random.default_rng(0), (200, 200), 8.0)
    assert 0 <= net.min() < 0.2
    assert 0.95 < net.max() <= 1


def test_dots_keep_their_signal():
    y, x = np.array([30.0, 60.0, -5.0]), np.array([40.0, 20.0, 10.0])
    image = dots((100, 100), y, x, np.array([2.0, 3.0, 9.0]), np.array([1.0, 4.0, 1.0]))
    assert image.sum() == pytest.approx(5, rel=1e-3)
    assert image[30, 40] == pytest.approx(2 / (2 * np.pi), rel=0.1)
    assert dots((10, 10), np.empty(0), np.empty(0), np.empty(0), np.empty(0)).sum() == 0


def test_points_follow_the_map():
    weight = np.zeros((50, 60))
    weight[:, :20], weight[:, 20:40] = 1.0, 0.25
    y, x = sample(np.random.default_rng(0), weight, 30000)
    dense, thin = (x < 20).sum(), ((x >= 20) & (x < 40)).sum()
    assert x.max() < 40
    assert y.max() < 50
    assert dense / thin == pytest.approx(4, rel=0.1)
