"""Geometry of simulated cells: sizes, overlaps, phases, and that outlines are neither Voronoi lines nor gaps."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from wherein.simulate.cells import INTERPHASE, Cells, dna_content, draw_cells, draw_cycle, paint, place
from wherein.simulate.outlines import ANAPHASE, METAPHASE, PROMETAPHASE, give_way, nucleus_outlines
from wherein.simulate.plan import CELL_LINES
from wherein.simulate.spec import FieldSpec, Imaging

IMAGING = Imaging((1.0,) * 4, (0.0,) * 4, 0.0, 0.0, (0.5, 0.5), 0.0, 1.0, 1.0, 100.0)


def spec_of(line: int = 1, seed: int = 1, field_px: int = 512, px: float = 0.16, **changes: object) -> FieldSpec:
    cell_line = CELL_LINES["human"][line]
    fixed = FieldSpec(
        "f", seed, 2, 3, "four_roles", None, field_px, px, cell_line, cell_line.confluence, IMAGING,
        gene="G", locations=("Cytosol",), location_weights=(1.0,),
    )  # fmt: skip
    return replace(fixed, **changes)


@pytest.fixture(scope="module")
def drawn() -> list[Cells]:
    return [draw_cells(spec_of(line, seed=5, field_px=768, mitotic_share=0.1)) for line in range(3)]


def test_young_cells_are_the_more_frequent_and_mitosis_has_its_share():
    cycle, stage = draw_cycle(np.random.default_rng(1), 20000, 0.05)
    young = cycle[stage == INTERPHASE] / 0.96
    assert abs((young < 0.5).mean() - 2 * (1 - 2**-0.5)) < 0.015
    assert abs((stage != INTERPHASE).mean() - 0.05) < 0.006
    assert set(np.unique(stage)) == {INTERPHASE, PROMETAPHASE, METAPHASE, ANAPHASE}
    assert cycle[stage != INTERPHASE].min() > 0.96
    assert cycle.max() < 1


def test_dna_doubles_in_s_phase():
    assert dna_content(np.array([0.0, 0.45, 0.6, 0.75, 1.0])).tolist() == pytest.approx([1, 1, 1.5, 2, 2])


@pytest.mark.parametrize("line", [0, 1, 2])
def test_confluence_is_what_the_spec_asks_for(line):
    for confluence in (0.4, 0.7):
        seen = [(draw_cells(spec_of(line, seed, 768, confluence=confluence)).label > 0).mean() for seed in range(4)]
        assert abs(np.mean(seen) - confluence) < 0.1


def test_centres_keep_their_distance():
    spec = spec_of(2, field_px=1024)
    centres = place(np.random.default_rng(0), spec) * spec.pixel_size_um
    distance = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    np.fill_diagonal(distance, np.inf)
    assert len(centres) > 40
    assert distance.min() > 0.75 * spec.cell_line.nucleus_um


def test_a_neighbour_is_in_the_way_on_its_side_alone_and_its_nucleus_is_not_covered():
    centres = np.array([[0.0, 0.0], [0.0, 100.0]])
    radius, nucleus = np.array([70.0, 70.0]), np.array([25.0, 25.0])
    reach = give_way(np.random.default_rng(3), centres, radius, nucleus, 0.05)
    angle = np.linspace(0, 2 * np.pi, reach.shape[1], endpoint=False)
    ahead = np.abs((angle + np.pi) % (2 * np.pi) - np.pi) < 0.2
    behind = np.abs(angle - np.pi) < 1.3
    assert np.isinf(reach[0, behind]).all()
    assert reach[0, ahead].max() < 100 - 25
    mirrored = np.abs(angle - np.pi) < 0.2
    overlap = reach[0, ahead].mean() + reach[1, mirrored].mean() - 100
    assert abs(overlap - 0.05 * 140) < 12  # the wobble of the outlines


def test_nobody_is_in_the_way_of_a_lone_cell():
    reach = give_way(np.random.default_rng(0), np.zeros((1, 2)), np.array([10.0]), np.array([5.0]), 0.1)
    assert np.isinf(reach).all()


def test_anaphase_has_two_plates_and_other_stages_one():
    n = 4
    outlines = nucleus_outlines(
        np.random.default_rng(0), np.full((n, 2), 40.0), np.zeros(n), np.arange(n), 0.16, np.full(n, 60.0)
    )
    assert [len(pieces) for pieces in outlines] == [1, 1, 1, 2]
    first, second = outlines[ANAPHASE]
    assert abs(abs(first.mean(0)[0] - second.mean(0)[0]) - 2 * 0.52 * 60) < 12


def square(y: float, x: float, half: float) -> np.ndarray:
    return np.array([[y - half, x - half], [y - half, x + half], [y + half, x + half], [y + half, x - half]], float)


def test_the_upper_cell_hides_the_lower_one_but_not_its_nucleus():
    bodies = [square(20, 15, 12), square(20, 30, 12)]
    nuclei = [[square(20, 17, 4)], [square(20, 36, 4)]]
    label, under, nucleus = paint((40, 50), bodies, nuclei, np.array([0, 1]))
    assert label[20, 25] == 2
    assert under[20, 25] == 1
    assert label[20, 20] == 1  # nucleus of the lower cell
    assert (nucleus[nucleus > 0] == label[nucleus > 0]).all()


def test_bits_that_a_neighbour_cuts_off_are_left_out():
    bodies = [square(20, 25, 18), np.array([[0, 24], [0, 34], [40, 34], [40, 24]], float)]
    label, _, _ = paint((40, 50), bodies, [[square(20, 14, 3)], [square(20, 29, 3)]], np.array([0, 1]))
    assert (label[:, 35:] != 1).all()
    assert (label[10, 8:20] == 1).all()


def test_numbers_run_without_gaps_and_nuclei_lie_in_their_cells(drawn):
    for cells in drawn:
        n = len(cells)
        assert set(np.unique(cells.label)) == set(range(n + 1))
        inside = cells.nucleus > 0
        assert (cells.nucleus[inside] == cells.label[inside]).all()
        assert len(cells.y) == len(cells.cycle) == len(cells.nucleus_axes) == n + 1
        assert (cells.under[cells.label == 0] == 0).all()


def test_a_cell_hangs_together(drawn):
    for cells in drawn:
        for number in range(1, len(cells) + 1):
            parts, _, stats, _ = cv2.connectedComponentsWithStats(
                (cells.label == number).astype(np.uint8), connectivity=4
            )
            largest = stats[1:, cv2.CC_STAT_AREA].max() / stats[1:, cv2.CC_STAT_AREA].sum()
            assert parts == 2 or largest > 0.6 or cells.mitotic[number]


def test_neighbours_overlap_and_touch(drawn):
    for cells in drawn:
        assert 0.01 < (cells.under > 0).mean() < 0.25
        right, left = cells.label[:, 1:], cells.label[:, :-1]
        assert ((right != left) & (right > 0) & (left > 0)).sum() > 200


def test_outlines_are_no_voronoi_lines(drawn):
    for cells in drawn:
        rows, columns = np.nonzero(cells.label)
        chosen = np.random.default_rng(0).choice(len(rows), 20000)
        rows, columns = rows[chosen], columns[chosen]
        away = np.hypot(rows[:, None] - cells.y[None, 1:], columns[:, None] - cells.x[None, 1:])
        differs = (away.argmin(1) + 1 != cells.label[rows, columns]).mean()
        assert differs > 0.02


def test_cells_have_protrusions_and_differ_between_lines(drawn):
    def shape(cells: Cells) -> tuple[float, float]:
        areas, hollows = [], []
        for number in range(1, len(cells) + 1):
            mask = (cells.label == number).astype(np.uint8)
            touches = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
            if touches or cells.mitotic[number]:
                continue
            outline = max(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
            areas.append(mask.sum() * cells.pixel_size_um**2)
            hollows.append(cv2.contourArea(outline) / cv2.contourArea(cv2.convexHull(outline)))
        return float(np.median(areas)), float(np.median(hollows))

    spread, epithelial, small = (shape(cells) for cells in drawn)
    assert spread[0] > 1.25 * epithelial[0] > 1.25 * 1.1 * small[0]
    assert spread[1] < epithelial[1]


def test_sizes_are_micrometres():
    sizes = []
    for px, field_px in ((0.08, 1024), (0.16, 512), (0.2, 410)):
        areas = []
        for seed in range(3):
            cells = draw_cells(spec_of(1, seed, field_px, px, mitotic_share=0.0))
            edge = np.concatenate([cells.nucleus[0], cells.nucleus[-1], cells.nucleus[:, 0], cells.nucleus[:, -1]])
            area = np.bincount(cells.nucleus.ravel(), minlength=len(cells) + 1)
            inner = np.setdiff1d(np.flatnonzero(area), np.append(edge, 0))
            areas.extend(area[inner] * px * px)
        sizes.append(np.median(areas))
    assert max(sizes) / min(sizes) < 1.25
    assert abs(np.mean(sizes) / (np.pi / 4 * 12.5**2) - 1) < 0.25


def test_nuclei_grow_with_the_cell_cycle():
    cells = draw_cells(spec_of(2, 4, 1024, 0.2, mitotic_share=0.0))
    assert np.corrcoef(cells.cycle[1:], cells.nucleus_px[1:])[0, 1] > 0.2


def test_few_cells_touch_no_border():
    for number in (0, 1, 4):
        cells = draw_cells(spec_of(0, 2, 768, max_cells=number))
        label = cells.label
        assert len(cells) <= number
        assert not np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]).any()
    assert len(cells) >= 2


def test_more_than_255_cells():
    cells = draw_cells(spec_of(2, 1, 1300, 0.25, confluence=0.9))
    assert len(cells) > 255
    assert cells.label.max() == len(cells)


def test_geometry_knows_nothing_of_the_protein():
    one = draw_cells(spec_of())
    other = draw_cells(spec_of(gene="H", gene_seed=99, reagent_seed=98, locations=("Golgi apparatus",), control=True))
    assert (one.label == other.label).all()
    assert (one.nucleus == other.nucleus).all()
    assert (one.cycle == other.cycle).all()
    assert (draw_cells(spec_of(seed=2)).label != one.label).any()
