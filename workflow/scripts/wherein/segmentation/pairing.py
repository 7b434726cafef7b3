"""Giving nuclei and cells that were outlined apart the same numbers."""

import numpy as np


def paired(nuclei: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put nuclei inside their cells and number both from 1 without gaps, in the order that they have.

    Args:
        nuclei: (H, W) of integers.
        cells: (H, W) of integers, the same number for a nucleus and its cell.

    Returns:
        nuclei, cells: (H, W) uint32.
    """
    count = int(max(nuclei.max(initial=0), cells.max(initial=0)))
    # nuclei are a small part of a field: what need not be done on all pixels is not
    where = np.flatnonzero(nuclei)
    of_nuclei = nuclei.ravel()[where]
    in_cells = occurring(cells, count)
    cells = np.array(cells, np.uint32)
    # a nucleus without a cell lies in nobody's cell
    cells.ravel()[where] = np.where(in_cells[of_nuclei], of_nuclei, 0)
    there = occurring(of_nuclei, count) | occurring(cells, count)
    if there[1:].all():
        return nuclei.astype(np.uint32), cells
    table = np.where(there, np.cumsum(there), 0).astype(np.uint32)
    return table[nuclei], table[cells]


def paired_by_overlap(nuclei: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair nuclei and cells that have numbers of their own.

    A nucleus belongs to the cell that holds most of it, if that is at least half of it; several nuclei may belong to
    one cell. What of a nucleus lies in another cell is taken off it; what lies in none is added to its cell.

    Args:
        nuclei: (H, W) of non-negative integers.
        cells: (H, W) of non-negative integers.

    Returns:
        nuclei, cells: (H, W) uint32, numbered from 1 without gaps: the cells in the order that they have, then the
        nuclei without a cell.
    """
    nuclei, cells = (np.unique(labels, return_inverse=True) for labels in (nuclei, cells))
    own, within = (_dense(*part) for part in (nuclei, cells))
    n_nuclei, n_cells = int(own.max(initial=0)), int(within.max(initial=0))
    joint = np.bincount(own.ravel().astype(np.int64) * (n_cells + 1) + within.ravel())
    joint = np.pad(joint, (0, (n_nuclei + 1) * (n_cells + 1) - joint.size)).reshape(n_nuclei + 1, n_cells + 1)
    best = 1 + joint[:, 1:].argmax(axis=1) if n_cells else np.zeros(n_nuclei + 1, np.int64)
    held = joint[np.arange(n_nuclei + 1), best] * 2 >= joint.sum(axis=1)
    alone = np.arange(n_nuclei + 1) + n_cells
    number = np.where(held & (n_cells > 0), best, alone)
    number[0] = 0
    numbered = number[own]
    has_cell = (numbered > 0) & (numbered <= n_cells)
    numbered[has_cell & (within > 0) & (within != numbered)] = 0
    return paired(numbered, np.where(has_cell & (within == 0), numbered, within))


def _dense(found: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Numbers 1 to n in place of the `found` ones, 0 staying 0."""
    return places + (0 if found.size and found[0] == 0 else 1)


def occurring(labels: np.ndarray, count: int) -> np.ndarray:
    """Which of the numbers up to `count` occur: (count + 1,) bool; 0 does not count."""
    there = np.zeros(count + 1, bool)
    flat = labels.ravel()
    if flat.size:
        # one pixel of each run is enough, and runs are long
        there[flat[0]] = True
        there[flat[1:][flat[1:] != flat[:-1]]] = True
    there[0] = False
    return there
