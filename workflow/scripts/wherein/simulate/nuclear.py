"""Places in the nucleus: one drawing for each class of the vocabulary hpa19 that lies there.

In mitotic cells the nuclear envelope is gone: nuclear proteins spread over the cell.
"""

import numpy as np

from wherein.simulate import filaments
from wherein.simulate.anatomy import Anatomy
from wherein.simulate.texture import blur, dots, noise, sample
from wherein.simulate.traits import Traits


def _spread(anatomy: Anatomy) -> np.ndarray:
    """What was in the nucleus spreads over a mitotic cell, the chromosomes left out."""
    return anatomy.in_mitosis * anatomy.cytoplasm


def nucleoplasm(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Whole nucleus, grainy, nucleoli more or less left out."""
    grain = noise(rng, anatomy.shape, 0.22 / anatomy.px)
    clump = noise(rng, anatomy.shape, 0.6 / anatomy.px)
    texture = np.maximum(
        1 + traits.between("size", 0.08, 0.2) * grain + traits.between("form", 0.05, 0.18) * clump, 0.1
    )
    left_out = traits.between("count", 0.45, 0.9)
    return anatomy.nucleoplasm * texture * (1 - left_out * anatomy.nucleoli) + 0.9 * _spread(anatomy)


def nuclear_membrane(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Thin rim around the nucleus, now and then a fold across it."""
    patchy = np.exp(0.22 * noise(rng, anatomy.shape, 0.7 / anatomy.px))
    width = traits.between("size", 0.2, 0.32)
    rim = np.exp(-(((anatomy.depth_um - 0.2) / width) ** 2)) * anatomy.in_nucleus
    cells = anatomy.cells
    chosen = np.flatnonzero((rng.random(len(cells) + 1) < traits.between("form", 0.05, 0.3)) & ~cells.mitotic)
    chosen = chosen[chosen > 0]
    turn = rng.random((len(chosen), 2)) * 2 * np.pi
    ends = [
        np.stack([cells.y[chosen] + r * np.sin(t), cells.x[chosen] + r * np.cos(t)], 1)
        for t, r in ((turn[:, 0], 0.85 * cells.nucleus_px[chosen]), (turn[:, 1], 0.35 * cells.nucleus_px[chosen]))
    ]
    folds = filaments.draw(
        filaments.arcs(*ends, 0.15 * rng.standard_normal(len(chosen)), chosen),
        np.ones(len(chosen)),
        anatomy.shape,
        max(1, round(0.2 / anatomy.px)),
    )
    surface = 0.07 * anatomy.nucleoplasm
    return (rim + 0.5 * folds * anatomy.in_nucleus) * patchy + surface + 0.12 * anatomy.reticulum * anatomy.in_mitosis


def nucleoli(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Whole nucleoli, filled, or brighter at their rim."""
    texture = np.maximum(1 + 0.15 * noise(rng, anatomy.shape, 0.25 / anatomy.px), 0.2)
    filled = anatomy.nucleoli * (0.5 + 0.5 * anatomy.nucleoli)
    if traits.form > 0.75:
        filled = filled * (1 - 0.45 * blur(np.square(anatomy.nucleoli), 0.45 / anatomy.px))
    around = np.exp(-(((anatomy.depth_um - 0.1) / 0.35) ** 2)) * anatomy.chromosomes
    return filled * texture + 0.05 * anatomy.nucleoplasm + 0.25 * _spread(anatomy) + 0.8 * around


def fibrillar_centers(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Groups of small dots within the nucleoli."""
    table = anatomy.nucleoli_table
    number = 2 + rng.poisson(traits.between("count", 1.5, 4.0), len(table))
    owner = np.repeat(np.arange(len(table)), number)
    away, turn = 0.62 * np.sqrt(rng.random(len(owner))), rng.random(len(owner)) * 2 * np.pi
    y = table[owner, 1] + away * table[owner, 4] * np.sin(turn)
    x = table[owner, 2] + away * table[owner, 3] * np.cos(turn)
    weight = np.exp(0.35 * rng.standard_normal(len(owner)))
    size = traits.between("size", 0.15, 0.24) / anatomy.px * np.ones(len(owner))
    kinetochores = sample(rng, anatomy.chromosomes.astype(np.float32), int(anatomy.seen.size * anatomy.px**2 * 0.3))
    mitotic = dots(
        anatomy.shape,
        *kinetochores,
        np.full(len(kinetochores[0]), 0.4),
        np.full(len(kinetochores[0]), 0.15 / anatomy.px),
    )
    spots = dots(anatomy.shape, y, x, weight, size) * anatomy.in_nucleus
    return spots + mitotic


def nuclear_speckles(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Twenty or so irregular blobs in the nucleoplasm, none in nucleoli or at the rim."""
    sheet = noise(rng, anatomy.shape, traits.between("size", 0.38, 0.55) / anatomy.px)
    sheet += 0.25 * noise(rng, anatomy.shape, 0.2 / anatomy.px)
    blobs = 1 / (1 + np.exp(-6 * (sheet - traits.between("count", 1.25, 0.85))))
    allowed = (
        anatomy.nucleoplasm * np.clip(1 - 1.6 * anatomy.nucleoli, 0, 1) * np.clip(anatomy.depth_um / 0.8 - 0.4, 0, 1)
    )
    mitotic = _spread(anatomy) * np.where(sheet > 1.6, np.float32(1.7), np.float32(0.5))
    return blobs * allowed + 0.06 * anatomy.nucleoplasm + 0.4 * mitotic


def nuclear_bodies(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """A few round dots in the nucleoplasm, two to a dozen."""
    cells = anatomy.cells
    number = np.where(cells.mitotic, 3, 2 + rng.poisson(traits.between("count", 0.8, 8.0), len(cells) + 1))
    number[0] = 0
    owner = np.repeat(np.arange(len(cells) + 1), number)
    away, turn = 0.82 * np.sqrt(rng.random(len(owner))), rng.random(len(owner)) * 2 * np.pi
    y, x = _in_nucleus(anatomy, owner, away, turn)
    weight = np.exp(0.4 * rng.standard_normal(len(owner)))
    size = traits.between("size", 0.2, 0.34) * np.exp(0.12 * rng.standard_normal(len(owner))) / anatomy.px
    spots = dots(anatomy.shape, y, x, weight, size)
    return spots * np.where(anatomy.in_mitosis, 0.5, anatomy.in_nucleus * (1 - 0.8 * anatomy.nucleoli))


def _in_nucleus(
    anatomy: Anatomy, owner: np.ndarray, away: np.ndarray, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points at a share `away` of the nucleus' radius in the direction `turn` (from its long axis), in pixels."""
    cells = anatomy.cells
    along = away * cells.nucleus_axes[owner, 0] * np.cos(turn)
    across = away * cells.nucleus_axes[owner, 1] * np.sin(turn)
    cos, sin = np.cos(cells.angle[owner]), np.sin(cells.angle[owner])
    return cells.y[owner] + along * sin + across * cos, cells.x[owner] + along * cos - across * sin
