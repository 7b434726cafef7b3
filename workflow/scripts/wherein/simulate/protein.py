"""The protein channel: how much of it each cell has, and how it is shared out over its places."""

from dataclasses import dataclass

import numpy as np

from wherein.simulate.anatomy import Anatomy
from wherein.simulate.diffuse import diffuse, specks, unspecific
from wherein.simulate.markers import to_mean_one
from wherein.simulate.organelles import NEGATIVE, PLACES
from wherein.simulate.spec import FieldSpec
from wherein.simulate.streams import PROTEIN, UNSPECIFIC, stream
from wherein.simulate.texture import blur
from wherein.simulate.traits import Traits

BRIGHTEST = 7.0
"""Peak of the brightest structure in a usual cell, before the microscope; after its blur it is less, and so stays below
the 8 that `wherein.simulate.spec` leaves room for."""

_LEVELS, _PLACES = range(2)


@dataclass(frozen=True)
class Labelling:
    """What is a reagent's own, the same in all its fields.

    Attributes:
        specific: share of the signal that marks the protein.
        spread_um: blur of the staining itself.
    """

    specific: float
    spread_um: float

    @classmethod
    def draw(cls, seed: int) -> "Labelling":
        """Draw the labelling of a reagent from its seed."""
        rng = stream(seed, PROTEIN)
        return cls(float(rng.uniform(0.82, 0.97)), float(rng.uniform(0.0, 0.15)))


def cycle_level(cycle: np.ndarray, peak: float) -> np.ndarray:
    """Abundance of a protein that follows the cell cycle, 0.12 at its lowest and 1 at its peak.

    It rises over a third of the cycle and falls off within a fifth, as cyclins do.

    Args:
        cycle: place in the cell cycle, 0 to 1.
        peak: place where the protein is most abundant, 0 to 1.
    """
    before = (peak - cycle) % 1.0
    after = (cycle - peak) % 1.0
    return 0.12 + 0.88 * np.maximum(np.exp(-((before / 0.3) ** 2)), np.exp(-((after / 0.12) ** 2)))


def mean_cycle_level(peak: float) -> float:
    """Mean abundance over a growing population (ages as in `wherein.simulate.cells.draw_cycle`)."""
    age = -np.log2(1 - (np.arange(400) + 0.5) / 800)
    return float(cycle_level(age * 0.96, peak).mean())


def levels(spec: FieldSpec, cycle: np.ndarray, differs: np.ndarray) -> np.ndarray:
    """Mean density of the protein in each cell.

    Args:
        spec: the field.
        cycle: (n + 1,) place in the cell cycle.
        differs: (n + 1,) bool, cells that differ from the others.

    Returns:
        (n + 1,) float64, of mean about 1 over many cells whatever the protein.
    """
    rng = stream(spec.seed, PROTEIN, _LEVELS)
    level = np.exp(0.2 * rng.standard_normal(len(cycle)) - 0.02)
    if spec.cycle_peak is not None:
        level = level * cycle_level(cycle, spec.cycle_peak) / mean_cycle_level(spec.cycle_peak)
    if spec.variable_kind == "intensity":
        usual = 1 / (1 - spec.variable_share * (1 - spec.variable_intensity))
        level = level * usual * np.where(differs, spec.variable_intensity, 1.0)
    return level


def draw_differing(spec: FieldSpec, n: int) -> np.ndarray:
    """(n + 1,) bool, cells that differ from the others: `variable_share` of them, rounded at random."""
    rng = stream(spec.seed, PROTEIN, _LEVELS, 1)
    order = rng.permutation(n) + 1
    differs = np.zeros(n + 1, bool)
    if spec.variable_kind is not None:
        differs[order[: int(spec.variable_share * n + rng.random())]] = True
    return differs


def cell_locations(spec: FieldSpec, differs: np.ndarray) -> list[list[str]]:
    """Places of the protein in each cell, entry 0 left out."""
    usual = [NEGATIVE] if spec.control else list(spec.locations)
    other = list(spec.variable_locations) if spec.variable_kind == "spatial" else usual
    return [list(other if cell else usual) for cell in differs[1:]]


def place_shares(spec: FieldSpec, differs: np.ndarray) -> dict[str, np.ndarray]:
    """How much of each cell's protein is at each place.

    Args:
        spec: the field.
        differs: (n + 1,) bool, cells that differ from the others.

    Returns:
        place -> (n + 1,) float64; in each cell they add up to 1.
    """
    shares: dict[str, np.ndarray] = {}
    usual = dict(zip(spec.locations, spec.location_weights, strict=True))
    if spec.control or not usual:
        usual = {NEGATIVE: 1.0}
    other = {place: 1 / len(spec.variable_locations) for place in spec.variable_locations}
    for cells, places in ((~differs, usual), (differs, other if spec.variable_kind == "spatial" else usual)):
        for place, share in places.items():
            shares.setdefault(place, np.zeros(len(differs)))[cells] += share
    return shares


def place_map(anatomy: Anatomy, spec: FieldSpec, location: str) -> np.ndarray:
    """(H, W) float32 density of the protein at one place, a mean of 1 in every cell.

    What the structure does not hold, or could hold only by being brighter than BRIGHTEST, is diffuse.
    """
    structure = structure_map(anatomy, spec, location)
    haze = unspecific(anatomy, stream(spec.seed, UNSPECIFIC, 0))
    rest = 0.6 * diffuse(anatomy) + 0.4 * haze
    missing = 1 - anatomy.cell_sums(structure) / anatomy.area_px
    return structure + to_mean_one(anatomy, rest, np.maximum(missing, 0))


def structure_map(anatomy: Anatomy, spec: FieldSpec, location: str) -> np.ndarray:
    """(H, W) float32 density of the protein in the structure of one place, without what is diffuse."""
    number = list(PLACES).index(location)
    traits = Traits.draw(stream(spec.gene_seed, PROTEIN, _PLACES, number))
    labelling = Labelling.draw(spec.reagent_seed)
    low, high = PLACES[location].share
    share = traits.between("share", low, high) * labelling.specific
    ones = np.ones(len(anatomy.cells) + 1)
    structure = PLACES[location].draw(anatomy, traits, stream(spec.seed, PROTEIN, _PLACES, number))
    structure = blur(structure.astype(np.float32), labelling.spread_um / anatomy.px) * anatomy.seen
    return _tamed(anatomy, to_mean_one(anatomy, structure, share * ones))


def _tamed(anatomy: Anatomy, structure: np.ndarray) -> np.ndarray:
    """Keep a structure below BRIGHTEST.

    A cell whose peak is higher is dimmed as a whole by half of what is missing (in the logarithm), so that the form
    stays, and what is still too bright levels off, so that one bright spot does not dim all others away.
    """
    highest = np.float32(BRIGHTEST - 1)  # the rest, about 1, lies under it
    seen = blur(structure, 0.09 / anatomy.px)
    bright = np.flatnonzero(seen.ravel() > 0.7 * highest)
    if not len(bright):
        return structure
    peak = np.zeros(len(anatomy.cells) + 1)
    np.maximum.at(peak, anatomy.label.ravel()[bright], seen.ravel()[bright])
    dimmed = anatomy.per_cell(np.sqrt(np.minimum(1, highest / np.maximum(peak, 1e-6))))
    image = structure * dimmed
    image.ravel()[bright] /= (1 + (seen.ravel()[bright] * dimmed.ravel()[bright] / highest) ** 6) ** (1 / 6)
    return image


def negative_map(anatomy: Anatomy, spec: FieldSpec, level: np.ndarray) -> np.ndarray:
    """Unspecific signal with the sum that a specific signal has over the field.

    Part of it lies on the cells, the rest everywhere, so that the field's intensity does not tell it.

    Args:
        anatomy: cells of the field.
        spec: the field.
        level: (n + 1,) mean density of a specific signal in each cell.

    Returns:
        (H, W) float32.
    """
    haze = to_mean_one(anatomy, unspecific(anatomy, stream(spec.seed, UNSPECIFIC, 0)), level)
    on_cells = anatomy.area_px * level * (np.arange(len(level)) > 0)
    return 0.4 * haze + np.float32(0.6 * on_cells.sum() / haze.size)


def draw_protein(anatomy: Anatomy, spec: FieldSpec) -> tuple[np.ndarray, list[list[str]]]:
    """Draw the protein channel.

    Args:
        anatomy: cells of the field.
        spec: the field.

    Returns:
        (H, W) float32 density, and the places of the protein in each cell, cells in order.
    """
    differs = draw_differing(spec, len(anatomy.cells))
    level = levels(spec, anatomy.cells.cycle, differs)
    shares = place_shares(spec, differs)
    image = np.zeros(anatomy.shape, np.float32)
    for place, share in shares.items():
        if place == NEGATIVE:
            image += negative_map(anatomy, spec, level * share)
        else:
            image += place_map(anatomy, spec, place) * anatomy.per_cell(level * share)
    return image + specks(anatomy, stream(spec.seed, UNSPECIFIC, 1)), cell_locations(spec, differs)
