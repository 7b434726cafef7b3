"""The structural markers: nucleus, microtubules and ER. They never depend on the protein."""

import numpy as np

from wherein.simulate import filaments
from wherein.simulate.anatomy import Anatomy
from wherein.simulate.streams import MARKERS, stream
from wherein.simulate.texture import blur, noise

_NUCLEUS, _MICROTUBULES, _ER = range(3)


def to_mean_one(anatomy: Anatomy, image: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Scale each cell of an image to a mean over its own area.

    Args:
        anatomy: the field.
        image: (H, W) float32, not negative.
        level: (n + 1,) mean that each cell gets.

    Returns:
        (H, W) float32, 0 outside the cells.
    """
    factor = level * anatomy.area_px / np.maximum(anatomy.cell_sums(image), 1e-6)
    factor[0] = 0
    return image * anatomy.per_cell(factor)


def _levels(rng: np.random.Generator, n: int, deviation: float) -> np.ndarray:
    """(n + 1,) log-normal levels of mean 1."""
    return np.exp(deviation * rng.standard_normal(n + 1) - deviation**2 / 2)


def nucleus_marker(anatomy: Anatomy) -> np.ndarray:
    """(H, W) float32 DNA stain: a usual nucleus has a mean of 1, mitotic chromosomes more."""
    rng = stream(anatomy.seed, MARKERS, _NUCLEUS)
    level = _levels(rng, len(anatomy.cells), 0.1)
    return anatomy.chromatin * anatomy.per_cell(level) + 0.015 * anatomy.cytoplasm


def draw_microtubules(anatomy: Anatomy, rng: np.random.Generator, kept: float, patchy: float) -> np.ndarray:
    """Label the microtubules of a field.

    Args:
        anatomy: the field.
        rng: random stream of the labelling.
        kept: share of the microtubules that are labelled.
        patchy: standard deviation of the labelling's density from place to place.

    Returns:
        (H, W) float32, lines of about 1.
    """
    paths = anatomy.microtubules
    n = len(paths.owner)
    weight = np.where(rng.random(n) < kept, np.exp(0.3 * rng.standard_normal(n)), 0.0)
    thick = max(1, round(0.16 / anatomy.px))
    lines = filaments.draw(paths, weight, anatomy.shape, thick)
    uneven = np.exp(patchy * noise(rng, anatomy.shape, 0.8 / anatomy.px))
    # Where the cell is thick, more of them lie above each other than lines can show.
    depth = (0.4 + 0.9 * anatomy.nearness) * anatomy.over_nucleus(0.15)
    return blur(lines * uneven * depth, 0.06 / anatomy.px)


def microtubule_marker(anatomy: Anatomy) -> np.ndarray:
    """(H, W) float32 tubulin stain: filaments over a little free tubulin, a mean of 1 over a usual cell."""
    rng = stream(anatomy.seed, MARKERS, _MICROTUBULES)
    level = _levels(rng, len(anatomy.cells), 0.18)
    image = draw_microtubules(anatomy, rng, 0.9, 0.2) + 0.22 * anatomy.cytoplasm + 0.03 * anatomy.wall
    return to_mean_one(anatomy, image, level)


def draw_reticulum(anatomy: Anatomy, rng: np.random.Generator, grain: float) -> np.ndarray:
    """Label the endoplasmic reticulum of a field.

    Args:
        anatomy: the field.
        rng: random stream of the labelling.
        grain: standard deviation of the labelling's density from place to place.

    Returns:
        (H, W) float32.
    """
    fine = noise(rng, anatomy.shape, 0.22 / anatomy.px)
    slow = noise(rng, anatomy.shape, 1.1 / anatomy.px)
    return anatomy.reticulum * np.exp(grain * (0.75 * fine + 0.66 * slow))


def er_marker(anatomy: Anatomy) -> np.ndarray:
    """(H, W) float32 ER stain: net and nuclear envelope over a little haze, a mean of 1 over a usual cell."""
    rng = stream(anatomy.seed, MARKERS, _ER)
    level = _levels(rng, len(anatomy.cells), 0.18)
    image = draw_reticulum(anatomy, rng, 0.25) + 0.03 * anatomy.thickness + 0.08 * anatomy.cytoplasm
    return to_mean_one(anatomy, image, level)
