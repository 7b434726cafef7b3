from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label as components
from simulated_source import source
from wherein.simulate.plan import plan_source
from wherein.simulate.proteins import classes_of, read_proteins
from wherein.simulate.yeast import draw_yeast, gene_style, place_cells
from wherein.simulate.yeast_cell import PATTERNS, Style, YeastCell, anatomy, somewhere, sphere, spots, union

PX = 0.1


@pytest.fixture(scope="module")
def spec():
    plan = plan_source("demo", source(mode="yeast", proteins=75, faults=0, seed=2))
    return next(s for s in plan.specs.values() if s.locations == ("cytosol",))


@pytest.fixture(scope="module")
def drawing(spec):
    return draw_yeast(spec)


def pixels(side=9.0):
    grid = ((np.arange(round(side / PX), dtype=np.float32) + 0.5) * PX)[:, None]
    return grid, grid.T


def budded(**words):
    known = {"y": 4.5, "x": 4.0, "radius": 2.2, "ratio": 1.1, "direction": 0.0, "bud": 1.2, "cycle": 0.7}
    return YeastCell(**{**known, "mitotic": False, **words})


@pytest.fixture(scope="module")
def here():
    return anatomy(budded(), 1.8, *pixels(), np.random.default_rng(0))


def test_every_place_of_the_table_can_be_drawn():
    assert set(classes_of(read_proteins("yeast"))) == set(PATTERNS)


def test_masks_and_cells_agree(drawing):
    assert drawing.cell.dtype == drawing.nucleus.dtype == np.uint32
    numbers = np.unique(drawing.cell)
    assert list(numbers) == list(range(len(drawing.cells) + 1))
    assert list(drawing.cells["label"]) == list(range(1, len(drawing.cells) + 1))
    inside = drawing.nucleus > 0
    assert (drawing.nucleus[inside] == drawing.cell[inside]).all()
    border = set(np.unique([drawing.cell[0], drawing.cell[-1], drawing.cell[:, 0], drawing.cell[:, -1]])) - {0}
    assert set(drawing.cells.loc[~drawing.cells["whole"], "label"]) >= border


def test_cells_are_of_the_lines_size_and_bud(drawing, spec):
    px = spec.pixel_size_um
    whole = drawing.cells.loc[drawing.cells["whole"], "label"].to_numpy()
    area = np.bincount(drawing.cell.ravel())[whole] * px**2
    usual = np.pi / 4 * spec.cell_line.cell_um**2
    assert 0.9 * usual < np.median(area) < 1.7 * usual
    cells = place_cells(spec)
    with_bud = [cell for cell in cells if cell.bud]
    assert 0.5 < len(with_bud) / len(cells) < 0.95
    sizes = np.array([cell.bud / cell.radius for cell in with_bud])
    assert sizes.min() < 0.4
    assert sizes.max() > 0.7


def test_a_bud_is_one_with_its_mother(drawing):
    for number in drawing.cells.loc[drawing.cells["whole"], "label"]:
        assert components(drawing.cell == number, np.ones((3, 3)))[1] == 1


def test_cells_touch_but_do_not_overlap(spec):
    circles = [(i, *circle) for i, cell in enumerate(place_cells(spec)) for circle in cell.circles]
    gaps = [np.hypot(a[1] - b[1], a[2] - b[2]) / (a[3] + b[3]) for a in circles for b in circles if a[0] < b[0]]
    assert min(gaps) > 0.97
    assert np.mean(np.array(gaps) < 1.2) > 0.005


def test_the_same_spec_gives_the_same_drawing(spec, drawing):
    again = draw_yeast(spec)
    for role, image in drawing.density.items():
        np.testing.assert_array_equal(again.density[role], image)


@pytest.mark.parametrize("place", sorted(set(PATTERNS) - {"cytosol"}))
def test_the_protein_changes_neither_cells_nor_reference(spec, drawing, place):
    other = draw_yeast(replace(spec, gene_seed=5, locations=(place,)))
    np.testing.assert_array_equal(other.cell, drawing.cell)
    np.testing.assert_array_equal(other.density["reference"], drawing.density["reference"])
    assert (other.density["protein"] != drawing.density["protein"]).any()


@pytest.mark.parametrize("place", sorted(PATTERNS))
def test_total_intensity_does_not_depend_on_the_place(spec, drawing, place):
    clean = replace(spec, debris=0.0, variable_kind=None, variable_share=0.0)
    density = draw_yeast(replace(clean, locations=(place,))).density["protein"]
    assert density.min() >= 0
    inside = density[drawing.cell > 0].sum()
    plain = draw_yeast(replace(clean, locations=("cytosol",))).density["protein"]
    assert inside == pytest.approx(plain[drawing.cell > 0].sum(), rel=0.1)
    assert density.max() < 14


INSIDE = {
    "nucleus": "nucleus",
    "nucleolus": "nucleus",
    "vacuole": "vacuole",
}


@pytest.mark.parametrize("place", sorted(PATTERNS))
def test_patterns_lie_where_they_belong(here, place):
    image = PATTERNS[place](here, Style(1.0, 1.0, 1.0), np.random.default_rng(1))
    assert image.shape == here.depth.shape
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image[here.edge > -0.4].sum() > 0.95 * image.sum()
    share = {
        "nucleus": image[here.nucleus_edge > 0].sum() / image.sum(),
        "vacuole": image[here.vacuole_edge > 0].sum() / image.sum(),
        "bud": image[here.in_bud].sum() / image.sum(),
    }
    if place in INSIDE:
        assert share[INSIDE[place]] > 0.9
    if place in ("golgi", "endosome", "peroxisome", "lipid particle", "cytosol", "mitochondria"):
        assert share["nucleus"] < 0.3
    if place == "actin":
        assert share["bud"] > 0.5
    if place == "cytosol":
        assert share["vacuole"] < 0.25


def test_rings_are_dark_inside(here):
    for place, edge in (
        ("nuclear periphery", here.nucleus_edge),
        ("vacuole membrane", here.vacuole_edge),
        ("cell periphery", here.edge),
    ):
        image = PATTERNS[place](here, Style(1.0, 1.0, 1.0), np.random.default_rng(1))
        assert image[np.abs(edge) < 0.1].mean() > 2 * image[edge > 0.5].mean()


def test_the_neck_is_between_mother_and_bud(here):
    image = PATTERNS["bud neck"](here, Style(1.0, 1.0, 1.0), np.random.default_rng(1))
    y, x = np.unravel_index(image.argmax(), image.shape)
    assert (y + 0.5) * PX == pytest.approx(4.5, abs=0.5)
    assert (x + 0.5) * PX == pytest.approx(4.0 + 2.2 * np.sqrt(1.1), abs=0.2)


def test_a_dividing_nucleus_is_in_mother_and_bud():
    parts = anatomy(budded(mitotic=True, cycle=0.97, bud=1.6), 1.8, *pixels(), np.random.default_rng(0))
    assert components(parts.nucleus_edge > 0)[1] == 2
    assert (parts.in_bud & (parts.nucleus_edge > 0)).any()
    poles = PATTERNS["spindle pole"](parts, Style(1.0, 1.0, 1.0), np.random.default_rng(1))
    assert components(poles > 0.5 * poles.max())[1] == 2


def test_sphere_and_union_by_brute_force():
    y, x = pixels(4.0)
    balls = [(1.5, 1.5, 1.0), (2.5, 2.0, 0.7)]
    edge, depth = union(balls, y, x)
    for row in range(0, len(y), 5):
        for column in range(0, len(y), 5):
            gaps = [r - np.hypot(y[row, 0] - b, x[0, column] - a) for b, a, r in balls]
            chords = [2 * np.sqrt(max(r**2 - (r - gap) ** 2, 0)) for gap, (_, _, r) in zip(gaps, balls, strict=True)]
            assert edge[row, column] == pytest.approx(max(gaps), abs=1e-4)
            assert depth[row, column] == pytest.approx(max(chords), abs=1e-2)
    volume = sphere((2.0, 2.0, 1.0), y, x)[1].sum() * PX**2
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.01)


def test_places_are_drawn_by_weight(here):
    weight = np.zeros(here.depth.shape)
    weight[10, 20] = 1
    weight[30, 40] = 3
    found = somewhere(here, weight, 4000, np.random.default_rng(0))
    second = np.isclose(found[:, 0], here.y[30, 0])
    np.testing.assert_allclose(found[second, 1], here.x[0, 40])
    assert second.mean() == pytest.approx(0.75, abs=0.03)


def test_spots_add_up(here):
    image = spots(here, np.array([[4.5, 4.5], [4.5, 4.5]]), 0.3)
    assert image.max() == pytest.approx(2, rel=0.05)
    assert image.sum() * PX**2 == pytest.approx(2 * 2 * np.pi * 0.09, rel=0.01)


def test_a_known_share_of_cells_differs(spec):
    varied = replace(
        spec,
        locations=("cytosol",),
        variable_kind="spatial",
        variable_share=0.3,
        variable_locations=("nucleus",),
        field_px=512,
    )
    found = draw_yeast(varied)
    differs = np.array([places == ["nucleus"] for places in found.cells["locations"]])
    assert differs.mean() == pytest.approx(0.3, abs=0.12)
    px = found.nucleus > 0
    inside = np.bincount(found.cell[px], found.density["protein"][px], len(differs) + 1)[1:]
    inside /= np.maximum(np.bincount(found.cell[px], minlength=len(differs) + 1)[1:], 1)
    seen = np.bincount(found.cell[px], minlength=len(differs) + 1)[1:] > 20
    assert inside[differs & seen].mean() > 2.5 * inside[~differs & seen].mean()


def test_intensity_variation_keeps_the_mean(spec):
    known = {"variable_kind": "intensity", "variable_share": 0.4, "variable_locations": spec.locations}
    varied = replace(spec, variable_intensity=0.25, field_px=512, debris=0.0, **known)
    plain = replace(varied, variable_kind=None, variable_share=0.0)
    one, other = draw_yeast(varied), draw_yeast(plain)
    inside = one.cell > 0
    assert one.density["protein"][inside].mean() == pytest.approx(other.density["protein"][inside].mean(), rel=0.12)
    spread = [np.std(np.bincount(d.cell[inside], d.density["protein"][inside])[1:]) for d in (one, other)]
    assert spread[0] > 1.2 * spread[1]


@pytest.mark.parametrize("reference", ["rfp", "nuclear_pore", "brightfield"])
def test_references(spec, reference):
    found = draw_yeast(replace(spec, reference=reference))
    image = found.density["reference"]
    inner, outer = image[found.nucleus > 0].mean(), image[found.cell == 0].mean()
    body = image[(found.cell > 0) & (found.nucleus == 0)].mean()
    if reference == "rfp":
        assert outer == 0
        assert body > 0.5
    if reference == "nuclear_pore":
        assert inner > 2 * body
    if reference == "brightfield":
        assert outer == pytest.approx(1, abs=0.1)
        # the wall is dark, the halo around it bright
        assert image.min() < 0.7
        assert image[found.cell == 0].max() > 1.15


def test_few_cells_lie_away_from_the_border(spec):
    for number in (0, 1, 3):
        found = draw_yeast(replace(spec, max_cells=number))
        assert len(found.cells) == number
        assert found.cells["whole"].all()


def test_a_control_has_no_place(spec):
    found = draw_yeast(replace(spec, control=True, gene=None, locations=(), location_weights=()))
    assert all(places == [] for places in found.cells["locations"])
    image = found.density["protein"]
    assert image[found.cell > 0].mean() > 2 * image[found.cell == 0].mean()


def test_style_is_the_genes_own(spec):
    assert gene_style(spec) == gene_style(replace(spec, seed=1, field_px=300))
    assert gene_style(spec) != gene_style(replace(spec, gene_seed=1))
