"""Signal without structure: what of a protein is diffuse, and what a reagent shows without its target."""

import numpy as np

from wherein.simulate.anatomy import Anatomy
from wherein.simulate.texture import dots, noise


def diffuse(anatomy: Anatomy) -> np.ndarray:
    """(H, W) signal in the whole body, nucleus and cytoplasm about alike."""
    return anatomy.thickness * anatomy.over_nucleus(0.65)


def even(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Weak signal all over the cell, somewhat grainy."""
    return diffuse(anatomy) * np.maximum(1 + 0.12 * noise(rng, anatomy.shape, 0.35 / anatomy.px), 0.1)


def unspecific(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """What an antibody shows without its target: a haze over the cells, blotchy, that follows no structure."""
    blotches = np.exp(
        0.25 * noise(rng, anatomy.shape, 1.5 / anatomy.px) + 0.12 * noise(rng, anatomy.shape, 0.3 / anatomy.px)
    )
    return (0.45 * anatomy.wall + 0.55 * anatomy.thickness) * blotches


def specks(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """(H, W) bright specks of precipitated antibody anywhere in the field, peaks of about 3 to 7."""
    height, width = anatomy.shape
    number = 3 + rng.poisson(height * width * anatomy.px**2 / 1000)
    y, x = rng.random(number) * height, rng.random(number) * width
    sigma = (0.14 + 0.12 * rng.random(number)) / anatomy.px
    return dots(anatomy.shape, y, x, (2.5 + 4 * rng.random(number)) * 2 * np.pi * sigma**2, sigma)
