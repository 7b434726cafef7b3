"""Structures that a simulated protein is drawn in: what the protein's image is made of, where they should be."""

import numpy as np
import pytest
from simulated_source import source
from wherein.simulate.anatomy import Anatomy
from wherein.simulate.cells import draw_cells
from wherein.simulate.plan import plan_source
from wherein.simulate.protein import draw_protein
from wherein.simulate.structures import densest, structures

PLAN = plan_source("demo", source(proteins=24, fields_per_protein=1, controls=1, faults=0, seed=5))
SPECS = list(PLAN.specs.values())


@pytest.mark.parametrize("number", range(0, len(SPECS), 6))
def test_structures_are_what_the_protein_is_drawn_from(number):
    """The image is its structures and, on top, what is diffuse: it lies nowhere below them."""
    spec = SPECS[number]
    anatomy = Anatomy(draw_cells(spec), spec.seed)
    image, _ = draw_protein(anatomy, spec)
    found = structures(spec)
    assert set(found) == {*spec.locations, *spec.variable_locations}
    total = sum(found.values(), np.zeros(spec.shape, np.float32))
    assert spec.control or total.max() > 0.2 * image.max()
    assert (image - total).min() > -1e-3
    assert (total[anatomy.label == 0] == 0).all()


def test_nucleoli_lie_in_nuclei_and_membranes_at_the_edge():
    """By what the classes mean, not by how they are drawn."""
    seen = set()
    for spec in SPECS:
        for place in {"Nucleoli", "Plasma membrane"} & set(spec.locations) - seen:
            seen.add(place)
            anatomy = Anatomy(draw_cells(spec), spec.seed)
            where = densest(structures(spec)[place], 0.8)
            assert where.any()
            if place == "Nucleoli":
                assert anatomy.in_nucleus[where].mean() > 0.9
            else:
                inside = anatomy.seen & ~anatomy.in_mitosis
                assert anatomy.edge_um[where & inside].mean() < 0.75 * anatomy.edge_um[inside].mean()
    assert seen == {"Nucleoli", "Plasma membrane"}


def test_a_place_is_shown_in_the_cells_that_have_it_alone():
    varied = next(spec for spec in SPECS if spec.variable_kind == "spatial")
    anatomy = Anatomy(draw_cells(varied), varied.seed)
    _, places = draw_protein(anatomy, varied)
    own = set(varied.locations) - set(varied.variable_locations) or set(varied.variable_locations)
    place = sorted(own)[0]
    sums = anatomy.cell_sums(structures(varied)[place])[1:]
    has = np.array([place in cell for cell in places])
    assert not has.all()
    assert (sums[~has] == 0).all()


def test_controls_and_yeast():
    control = next(spec for spec in SPECS if spec.control)
    assert structures(control) == {}
    yeast = plan_source("y", source(mode="yeast", proteins=3, fields_per_protein=1, controls=0, faults=0)).specs
    with pytest.raises(ValueError, match="mode 'yeast' are not known"):
        structures(next(iter(yeast.values())))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 1.0])
def test_densest_region_by_adding_one_pixel_after_the_other(share):
    density = np.random.default_rng(3).gamma(0.5, size=(23, 31))
    found = densest(density, share)
    order = np.argsort(-density, axis=None)
    held, number = 0.0, 0
    while held < share * density.sum() * (1 - 1e-9):
        held += density.ravel()[order[number]]
        number += 1
    assert found.sum() == number
    assert found.ravel()[order[:number]].all()


def test_densest_region_of_nothing_and_of_ties():
    assert not densest(np.zeros((4, 5)), 0.8).any()
    flat = np.zeros((4, 5))
    flat[1, :3] = 2
    assert (densest(flat, 0.4) == (flat > 0)).all(), "equal values belong together, and what is 0 to none"
