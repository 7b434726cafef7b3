"""A drawn field: what depends on the protein and what must not, shares of differing cells, sizes, modes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from test_simulate_cells import spec_of
from wherein.channels import in_order
from wherein.simulate.drawing import CELL_COLUMNS
from wherein.simulate.field import draw_field, draw_human
from wherein.simulate.organelles import NEGATIVE, PLACES
from wherein.simulate.plan import CELL_LINES
from wherein.simulate.protein import cycle_level, draw_differing, levels, mean_cycle_level
from wherein.simulate.spec import FieldSpec

SMALL = {"field_px": 320, "px": 0.2}


def at(*places: str, **changes: object) -> FieldSpec:
    weights = tuple(1 / len(places) for _ in places)
    return spec_of(1, **SMALL, locations=places, location_weights=weights, **changes)


def test_the_same_spec_gives_the_same_pixels():
    one, other = draw_field(at("Golgi apparatus")), draw_field(at("Golgi apparatus"))
    for role, image in one.channels.items():
        assert image.dtype == np.uint16
        assert (image == other.channels[role]).all()
    assert (one.cell == other.cell).all()
    assert one.cells.equals(other.cells)


@pytest.mark.parametrize("place", [*PLACES, NEGATIVE])
def test_markers_and_truth_do_not_depend_on_the_protein(place):
    plain = draw_human(at("Cytosol"))
    other = draw_human(
        at(place, gene="H", gene_seed=77, reagent_seed=78, cycle_peak=0.8, variable_kind="intensity",
           variable_share=0.5, variable_intensity=0.2)
    )  # fmt: skip
    for role in ("nucleus", "microtubules", "er"):
        assert (plain.density[role] == other.density[role]).all()
    assert (plain.cell == other.cell).all()
    assert (plain.nucleus == other.nucleus).all()
    assert plain.cells.drop(columns="locations").equals(other.cells.drop(columns="locations"))
    assert (plain.density["protein"] != other.density["protein"]).any()


def test_total_intensity_tells_no_class():
    sums = [draw_human(at(place)).density["protein"].sum(dtype=np.float64) for place in [*PLACES, NEGATIVE]]
    assert max(sums) / min(sums) < 1.02


def test_intensity_of_each_cell_tells_no_class():
    fields = [draw_human(at(place)) for place in PLACES]
    means = [
        np.bincount(field.cell.ravel(), field.density["protein"].ravel()) / np.bincount(field.cell.ravel())
        for field in fields
    ]
    for mean in means[1:]:
        assert mean[1:] == pytest.approx(means[0][1:], rel=1e-3)


def test_a_control_shows_no_place():
    field = draw_human(at("Nucleoli", control=True))
    negative = draw_human(at(NEGATIVE))
    assert (field.density["protein"] == negative.density["protein"]).all()
    assert field.cells["locations"].map(list).tolist() == [[NEGATIVE]] * len(field.cells)
    unnamed = replace(at(), control=True, gene=None)
    assert (draw_human(unnamed).density["protein"] == negative.density["protein"]).all()


def test_several_places_are_mixed_by_their_weights():
    spec = at("Nucleoplasm", "Mitochondria")
    alone = [draw_human(at(place)).density["protein"] for place in spec.locations]
    mixed = draw_human(replace(spec, location_weights=(0.3, 0.7))).density["protein"]
    assert mixed == pytest.approx(0.3 * alone[0] + 0.7 * alone[1], abs=2e-3)


def test_the_known_share_of_cells_differs_in_place():
    spec = at("Nucleoplasm", variable_kind="spatial", variable_share=0.4, variable_locations=("Golgi apparatus",))
    field = draw_human(replace(spec, field_px=640))
    other = field.cells["locations"].map(lambda places: places == ["Golgi apparatus"]).to_numpy()
    assert abs(other.mean() - 0.4) < 1 / len(other) + 1e-9
    in_nucleus = field.nucleus > 0
    protein = field.density["protein"]
    share = np.bincount(field.cell[in_nucleus], protein[in_nucleus], len(other) + 1) / np.bincount(
        field.cell.ravel(), protein.ravel()
    )
    whole = (field.cells["whole"] & ~field.cells["mitotic"]).to_numpy()
    assert share[1:][whole & ~other].min() > share[1:][whole & other].max()


def test_the_known_share_of_cells_differs_in_intensity():
    spec = at("Cytosol", variable_kind="intensity", variable_share=0.3, variable_intensity=0.2)
    differs = draw_differing(spec, 2000)
    assert not differs[0]
    assert abs(differs[1:].mean() - 0.3) < 0.001
    level = levels(spec, np.full(2001, 0.3), differs)
    assert level[1:][differs[1:]].mean() / level[1:][~differs[1:]].mean() == pytest.approx(0.2, abs=0.01)
    assert level[1:].mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("peak", [0.7, 0.95])
def test_a_cycling_protein_follows_the_phase_with_the_usual_mean(peak):
    spec = at("Cytosol", cycle_peak=peak)
    age = -np.log2(1 - np.random.default_rng(0).random(20000) / 2) * 0.96
    level = levels(spec, np.append(0, age), np.zeros(20001, bool))[1:]
    assert level.mean() == pytest.approx(1, abs=0.02)
    assert level[np.abs(age - peak) < 0.03].mean() > 2.5 * level[np.abs(age - (peak + 0.5) % 1) < 0.03].mean()
    assert cycle_level(np.array([peak]), peak)[0] == pytest.approx(1)
    assert 0.2 < mean_cycle_level(peak) < 0.7


def test_channels_are_what_the_mode_has():
    four, two = draw_field(at("Cytosol")), draw_field(at("Cytosol", mode="two_roles"))
    assert list(four.channels) == ["nucleus", "microtubules", "er", "protein"] == in_order(four.channels)
    assert list(two.channels) == ["nucleus", "protein"]
    assert (four.cell == two.cell).all()


def test_truth_of_the_cells():
    field = draw_field(at("Vesicles and punctate cytosolic patterns"))
    assert tuple(field.cells.columns) == CELL_COLUMNS
    assert field.cells["label"].tolist() == list(range(1, int(field.cell.max()) + 1))
    assert field.cell.dtype == field.nucleus.dtype == np.uint32
    edge = np.concatenate([field.cell[0], field.cell[-1], field.cell[:, 0], field.cell[:, -1]])
    assert set(field.cells.loc[~field.cells["whole"], "label"]) == set(edge) - {0}
    assert field.cells["cycle"].between(0, 1).all()


@dataclass(frozen=True)
class WideSpec(FieldSpec):
    """A field that is not square."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.field_px, 2 * self.field_px


def test_fields_need_not_be_square():
    plain = replace(at("Microtubules"), field_px=200)
    wide = WideSpec(**{name: getattr(plain, name) for name in plain.__dataclass_fields__ if name != "roles"})
    field = draw_field(wide)
    assert field.cell.shape == field.channels["er"].shape == (200, 400)


@pytest.mark.parametrize("place", [*PLACES, NEGATIVE])
def test_a_field_without_cells_is_empty(place):
    field = draw_human(at(place, max_cells=0))
    assert len(field.cells) == 0
    assert field.cell.max() == 0
    assert all(np.isfinite(image).all() for image in field.density.values())


def test_debris_is_seen_but_is_no_cell():
    clean, dirty = draw_human(at("Cytosol", max_cells=0)), draw_human(at("Cytosol", max_cells=0, debris=60.0))
    assert dirty.density["er"].max() > clean.density["er"].max() + 0.5
    assert dirty.cell.max() == 0


def test_yeast_is_drawn_by_its_own_module():
    spec = spec_of(1, 3, 256, 0.1, mode="yeast", reference="rfp", cell_line=CELL_LINES["yeast"][0], confluence=0.4)
    spec = replace(
        spec, locations=("cytosol",), imaging=replace(spec.imaging, exposure=(1.0,) * 2, background=(0.0,) * 2)
    )
    field = draw_field(spec)
    assert list(field.channels) == ["protein", "reference"]
    assert len(field.cells) > 0
