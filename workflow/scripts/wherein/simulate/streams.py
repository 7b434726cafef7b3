"""Random streams of one field: each part of the drawing has its own, so that none can be told from another."""

import numpy as np

GEOMETRY, STRUCTURE, MARKERS, PROTEIN, UNSPECIFIC, DEBRIS = range(6)
"""Parts of a field that are drawn from separate streams. How much one draws never shifts another."""


def stream(seed: int, *key: int) -> np.random.Generator:
    """Generator of one part of a drawing.

    Args:
        seed: seed of the field, gene or reagent.
        key: the part, then whatever numbers its pieces.

    Returns:
        A generator that depends on seed and key alone.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
