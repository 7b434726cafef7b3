"""One vector for many: means, medians and robust means of the units of a field, a sample, a reagent or a protein.

Values are float and NaN where a unit does not show the feature; a feature that no unit of a group shows is NaN. Weights
are not negative; a group whose weights are all 0 counts as if all were 1.
"""

from collections.abc import Callable, Iterator

import numpy as np

METHODS = ("mean", "median", "trimmed", "geometric_median")
"""Ways to put vectors together (`atlas.aggregation`)."""

TRIMMED_SHARE = 0.2
"""Share of the weight left out at each end by `trimmed` (Wilcox 2012, Introduction to Robust Estimation, 3.3)."""

STEPS, NEAR = 200, 1e-6
"""Most steps towards a geometric median, and the share of its spread below which a step ends them."""

LIMIT = 1 << 28
"""Numbers held at once: 1 GB of float32."""

Blocks = Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Reads the vectors of the units that are wanted, (N,) bool: yields their rows, (n,) int, and vectors (n, D)."""


def weighted_mean(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of (n, D) vectors by (n,) weights, feature by feature over the values that are known."""
    known = np.isfinite(vectors)
    share = known * weights[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.where(known, vectors, 0) * share).sum(axis=0) / share.sum(axis=0)


def trimmed_mean(vectors: np.ndarray, weights: np.ndarray, share: float = TRIMMED_SHARE) -> np.ndarray:
    """Mean of each feature without a share of the weight at each end.

    A unit on the border counts with the part of its weight that is inside, so that the result does not jump with the
    number of units. A share just below 1/2 gives the weighted median.

    Args:
        vectors: (n, D).
        weights: (n,).
        share: 0 to less than 1/2.
    """
    order = np.argsort(vectors, axis=0, kind="stable")  # NaN last
    values = np.take_along_axis(vectors, order, axis=0).astype(np.float64)
    mass = np.where(np.isfinite(values), weights[order], 0.0)
    total = mass.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        end = np.cumsum(mass, axis=0) / total
        inside = np.clip(end, share, 1 - share)
        inside = np.diff(inside, axis=0, prepend=np.full((1, vectors.shape[1]), share))
        found = (np.where(np.isfinite(values), values, 0) * inside).sum(axis=0) / inside.sum(axis=0)
    return np.where(total > 0, found, np.nan)


def median(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of each feature; with weights the value at half of the weight, the mean of two at exactly half."""
    vectors = np.where(np.isfinite(vectors), vectors, np.nan)
    if (weights == weights[0]).all():
        with np.errstate(invalid="ignore"):
            empty = np.isnan(vectors).all(axis=0)
            return np.where(empty, np.nan, np.nanmedian(np.where(empty, 0, vectors), axis=0))
    return trimmed_mean(vectors, weights, 0.5 - 1e-6)


def geometric_median(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The point with the least weighted sum of distances to the vectors (Vardi and Zhang 2000).

    A unit's distance is over the features that it shows, scaled up to all of them. Half of the units may be anywhere
    without carrying the result away.

    Args:
        vectors: (n, D).
        weights: (n,).
    """
    known = np.isfinite(vectors)
    values = np.where(known, vectors, 0).astype(np.float64)
    point = median(vectors, weights)
    start = np.where(np.isfinite(point), point, 0)
    shown = np.maximum(known.sum(axis=1), 1)
    if len(vectors) < 3 and (weights == weights[0]).all():
        # any point between two is as near to both
        return weighted_mean(vectors, weights)
    here = start
    for _ in range(STEPS):
        apart = np.where(known, values - here, 0)
        distance = np.sqrt((apart**2).sum(axis=1) * (vectors.shape[1] / shown))
        spread = np.average(distance, weights=weights)
        at = distance <= 1e-12 * max(spread, 1e-300)
        pull = np.where(at, 0.0, weights / np.where(at, 1.0, distance))
        if not pull.any():
            break
        with np.errstate(invalid="ignore", divide="ignore"):
            towards = (values * pull[:, None]).sum(axis=0) / (known * pull[:, None]).sum(axis=0)
        towards = np.where(np.isfinite(towards), towards, here)
        force = np.linalg.norm(pull.sum() * (towards - here))
        # a point that is a unit itself stays there unless the others pull harder than its weight
        held = min(1.0, weights[at].sum() / force) if force > 0 else 1.0
        there = (1 - held) * towards + held * here
        moved, here = np.linalg.norm(there - here), there
        if moved <= NEAR * spread:
            break
    return np.where(known.any(axis=0), here, np.nan)


def combine(vectors: np.ndarray, weights: np.ndarray | None = None, method: str = "mean") -> np.ndarray:
    """Put (n, D) vectors, n at least 1, together into one (D,) float64.

    Raises:
        ValueError: the method is none of METHODS.
    """
    if method not in METHODS:
        raise ValueError(f"aggregation {method!r}: allowed are {', '.join(METHODS)}")
    own = np.ones(len(vectors)) if weights is None or not np.any(weights > 0) else np.asarray(weights, np.float64)
    found = {"mean": weighted_mean, "median": median, "trimmed": trimmed_mean, "geometric_median": geometric_median}
    return found[method](vectors, own)


def group_vectors(
    blocks: Blocks,
    codes: np.ndarray,
    groups: int,
    width: int,
    method: str = "mean",
    weights: np.ndarray | None = None,
    limit: int = LIMIT,
) -> np.ndarray:
    """One vector for each group of units, whose vectors are read as often as memory asks for.

    Args:
        blocks: reads vectors.
        codes: (N,) number of each unit's group, 0 to groups - 1; a negative one belongs to none.
        groups: number of groups.
        width: number of features.
        method: one of METHODS.
        weights: (N,); None for all alike.
        limit: numbers held at once; a group that has more is held all the same.

    Returns:
        (groups, width) float32, NaN for a group without units.
    """
    found = np.full((groups, width), np.nan, np.float32)
    for inside in batches(codes, groups, max(1, limit // max(width, 1))):
        chosen = np.zeros(groups + 1, bool)
        chosen[inside] = True
        wanted = chosen[np.where(codes < 0, groups, codes)]
        number, filled = np.count_nonzero(wanted), 0
        # blocks go where they stay: to put them together afterwards would hold all of them twice
        place, vectors = np.empty(number, np.int64), np.empty((number, width), np.float32)
        for rows, part in blocks(wanted):
            place[filled : filled + len(rows)], vectors[filled : filled + len(rows)] = rows, part
            filled += len(rows)
        place, vectors = place[:filled], vectors[:filled]
        if not filled:
            continue
        order = np.argsort(codes[place], kind="stable")
        cuts = np.flatnonzero(np.diff(codes[place][order])) + 1
        for members in np.split(order, cuts):
            own = None if weights is None else weights[place[members]]
            found[codes[place[members[0]]]] = combine(vectors[members], own, method)
    return found


def batches(codes: np.ndarray, groups: int, most: int) -> Iterator[np.ndarray]:
    """Groups that are worked on together: neighbours in the order of their first unit, `most` units at most."""
    counts = np.bincount(codes[codes >= 0], minlength=groups)
    first = np.full(groups, len(codes))
    member = np.flatnonzero(codes >= 0)
    first[codes[member][::-1]] = member[::-1]
    order = np.argsort(first, kind="stable")
    order = order[counts[order] > 0]
    start, held = 0, 0
    for place, group in enumerate(order):
        if held and held + counts[group] > most:
            yield order[start:place]
            start, held = place, 0
        held += counts[group]
    if held:
        yield order[start:]


def in_memory(vectors: np.ndarray) -> Blocks:
    """Blocks of vectors that are in memory, (N, D)."""

    def blocks(wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = np.flatnonzero(wanted)
        yield rows, vectors[rows]

    return blocks
