"""Where the structures lie that a simulated protein is drawn in: the truth that attention maps are held against.

Nothing is stored of it: a field is a function of what it is drawn from, and is drawn again up to its structures.
"""

import numpy as np

from wherein.simulate.anatomy import Anatomy
from wherein.simulate.cells import draw_cells
from wherein.simulate.faults import spec_with_fault
from wherein.simulate.organelles import NEGATIVE
from wherein.simulate.protein import draw_differing, levels, place_shares, structure_map
from wherein.simulate.spec import FieldSpec

MODES = ("four_roles", "two_roles")
"""Modes whose structures are known: cells of yeast are drawn one by one, each with its structures and the rest at
once."""


def structures(spec: FieldSpec) -> dict[str, np.ndarray]:
    """Density of the protein in each of its structures, without what is diffuse and before the microscope.

    Args:
        spec: the field, in one of MODES.

    Returns:
        place -> (H, W) float32, 0 in cells where the protein is elsewhere; nothing for a control.

    Raises:
        ValueError: the structures of this mode are not known.
    """
    if spec.mode not in MODES:
        raise ValueError(f"structures of the mode {spec.mode!r} are not known; those of {', '.join(MODES)} are")
    spec = spec_with_fault(spec)
    anatomy = Anatomy(draw_cells(spec), spec.seed)
    differs = draw_differing(spec, len(anatomy.cells))
    level = levels(spec, anatomy.cells.cycle, differs)
    return {
        place: structure_map(anatomy, spec, place) * anatomy.per_cell(level * share)
        for place, share in place_shares(spec, differs).items()
        if place != NEGATIVE
    }


def densest(density: np.ndarray, share: float) -> np.ndarray:
    """The smallest region that holds a share of a density.

    Args:
        density: (H, W), zero or more.
        share: of its sum, above 0 and at most 1.

    Returns:
        (H, W) bool; nowhere, where the density is zero everywhere.
    """
    values = np.sort(density, axis=None)[::-1].astype(np.float64)
    held = np.cumsum(values)
    if not held[-1] > 0:
        return np.zeros(density.shape, bool)
    # the last value that is still needed, rounding aside
    last = values[min(int(np.searchsorted(held, share * held[-1] * (1 - 1e-9))), len(values) - 1)]
    return density >= max(last, np.finfo(np.float64).tiny)
