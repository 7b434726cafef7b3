"""Do the cells of one sample show more than one pattern? A test with a null of cells dealt anew among samples."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import KDTree
from scipy.special import log_ndtr
from scipy.stats import false_discovery_control, norm, pearson3

from wherein.analysis.aggregate import group_means
from wherein.analysis.spread import cell_residuals

REACH = 0.8
"""Share of the cells of a cell line that lie nearest their field's mean; the others are drawn in to that distance, so
that single cells that are outlined badly, dying or dividing do not make a sample heterogeneous."""

MOST_PATTERNS = 20
"""Most patterns to which cells may turn; HPA's vocabulary of single cells has 19 classes."""

MOST_DIRECTIONS = 20
"""Most dimensions of the space in which patterns differ."""

DRAWS = 2000
"""Samples of cells dealt anew, for each number of cells and cell line."""

SIZES = 8
"""Most numbers of cells for which samples are dealt; between them moments are interpolated."""

CELLS_AT_ONCE = 200_000
"""Cells that are dealt at once."""

NEIGHBOURS = 10
"""Samples of the nearest means that tell how far cells of a pattern scatter anyway."""

OWN_WEIGHT = 5
"""Samples for which the scatter of all samples counts beside them."""

STATISTICS = 4
"""Measures of a sample's scatter; the largest counts."""

LEAST = (-0.1, 0.95)
"""Least location and scale of the usual samples: as large as they come out where nothing but chance is at work, since
no single measure is trusted more than cells dealt anew allow. Few samples could else make themselves look usual."""

CUT = 2.0
"""Standard deviations above the usual samples' centre up to which samples tell what is usual."""

SET_ASIDE = 0.2
"""Samples with a smaller q are left out of what cells are dealt from, in a second pass."""


class Tested(NamedTuple):
    """What was found of each sample.

    Attributes:
        excess: (S,) variance of the cells towards the pattern to which they scatter most, over that of all directions.
        z: (S,) standard normal quantile of the sample among the usual ones.
        p: (S,) one-sided probability of such a sample; NaN where it is not judged.
        axis: (N,) place of each cell between its sample's own pattern and that other one; NaN where not judged.
        spread: location and scale of the usual samples among samples dealt anew, each measure brought to its own.
    """

    excess: np.ndarray
    z: np.ndarray
    p: np.ndarray
    axis: np.ndarray
    spread: tuple[float, float]


@dataclass
class Cells:
    """Residuals of the cells of judged samples in the space in which patterns differ, of unit variance in each line.

    Attributes:
        inside: (N, K) along the directions in which patterns differ.
        outside: (N,) squared length along the M others.
        others: M.
        sample: (N,) number of the sample.
        line: (S,) number of the cell line of each sample.
        towards: (S, P, K) unit vectors from each sample's own pattern to each; 0 to its own.
        freedom: (S,) cells less fields.
    """

    inside: np.ndarray
    outside: np.ndarray
    others: int
    sample: np.ndarray
    line: np.ndarray
    towards: np.ndarray
    freedom: np.ndarray


def judge_samples(
    scores: np.ndarray,
    fields: np.ndarray,
    samples: np.ndarray,
    lines: np.ndarray,
    batches: np.ndarray,
    fewest_cells: int,
    fewest_samples: int,
    seed: int,
    exchanged: bool = False,
) -> Tested:
    """Test whether the cells of each sample scatter towards patterns that other samples show.

    A sample of two kinds of cells, of which one shows another localization, varies along the line from its own pattern
    to that one. Patterns are learned without labels: directions in which the means of samples differ more than their
    cells explain (linear discriminants, Fisher 1936; means are compared within plates, so that staining makes no
    direction), and in them k-means of the samples' means. Cells are measured in units of what is usual for their cell
    line and for samples of the nearest means, since filaments differ from cell to cell and cytosol does not. A sample
    has several measures (see `_statistics`); the largest counts, each as a quantile of its null.

    The null deals cells of one cell line anew among samples of the same sizes, by which p holds whatever the shape of
    the residuals. Samples that are found (SET_ASIDE) are left out of it in a second pass. Samples differ in how
    far their cells scatter though they are not heterogeneous: `usual_samples` tells by how much.

    Args:
        scores: (N, D) residuals or scores of cells, on one scale; differences between fields are taken out here.
        fields: (N,) number of each cell's field.
        samples: (N,) number of each cell's sample, 0 to S - 1.
        lines: (S,) number of each sample's cell line, 0 to L - 1.
        batches: (S,) number of each sample's plate, or of its cell line where no plate is known.
        fewest_cells: cells that a sample needs for a judgement.
        fewest_samples: judged samples that a cell line needs.
        seed: of the draws.
        exchanged: deal the cells anew among samples first: nothing is heterogeneous then, and p has to be uniform.

    Returns:
        What was found.
    """
    number, rng = len(lines), np.random.default_rng(seed)
    nothing = np.full(number, np.nan)
    judged = _judged(scores, fields, samples, lines, fewest_cells, fewest_samples)
    if not judged.any():
        return Tested(nothing, nothing.copy(), nothing.copy(), np.full(len(samples), np.nan), (0.0, 1.0))
    rows = np.flatnonzero(judged[samples] & (np.bincount(fields)[fields] > 1))
    places = np.cumsum(judged) - 1
    kept = (fields[rows], places[samples[rows]], lines[judged], batches[judged])
    clean = np.ones(int(judged.sum()), bool)
    for last in (False, True):
        cells = _in_space_of_patterns(scores[rows], *kept, clean, seed, rng if exchanged else None)
        excess, z, axis, usual = _against_dealt(cells, clean, rng)
        p = norm.sf(z)
        if not last:
            clean = false_discovery_control(p) > SET_ASIDE
            clean |= ~np.isin(cells.line, np.flatnonzero(np.bincount(cells.line, clean) >= fewest_samples))
    found = [nothing.copy() for _ in range(3)]
    for values, into in zip((excess, z, p), found, strict=True):
        into[judged] = values
    along = np.full(len(samples), np.nan)
    along[rows] = axis
    return Tested(*found, along, usual)


def _judged(
    scores: np.ndarray,
    fields: np.ndarray,
    samples: np.ndarray,
    lines: np.ndarray,
    fewest_cells: int,
    fewest_samples: int,
) -> np.ndarray:
    """(S,) whether a sample has cells enough, in fields of two at least, and its cell line such samples enough."""
    number = len(lines)
    if not len(samples) or not scores.shape[1]:
        return np.zeros(number, bool)
    together = np.bincount(fields)[fields] > 1
    judged = np.bincount(samples[together], minlength=number) >= fewest_cells
    return judged & (np.bincount(lines, judged)[lines] >= fewest_samples)


def _in_space_of_patterns(
    scores: np.ndarray,
    fields: np.ndarray,
    samples: np.ndarray,
    lines: np.ndarray,
    batches: np.ndarray,
    clean: np.ndarray,
    seed: int,
    exchange: np.random.Generator | None,
) -> Cells:
    residuals = cell_residuals(scores, fields)
    number, sizes = len(lines), np.bincount(samples)
    freedom = sizes - np.bincount(samples, 1 / np.bincount(fields)[fields])
    usual = clean[samples]
    whitening = _whitening(residuals[usual])
    means = group_means(scores, samples, number) @ whitening
    # of many cells a copy is a gigabyte: none is held for longer than it is needed
    del scores
    means = means - group_means(means, batches, batches.max() + 1)[batches]
    spare = max(1, number - len(np.unique(batches)))
    between = means.T @ means / spare - np.eye(means.shape[1]) * float(np.mean(1 / np.maximum(freedom, 1)))
    strength, turn = np.linalg.eigh(between)
    order = np.argsort(-strength)
    count = int(np.clip((strength > 0).sum(), 1, min(MOST_DIRECTIONS, number - 1)))
    white = residuals @ (whitening @ turn[:, order])
    del residuals
    means = means @ turn[:, order[:count]]
    patterns, own = _patterns(means, seed)
    towards = np.zeros((number, len(patterns), count))
    of_line = lines[samples]
    for line in np.unique(lines):
        mine = of_line == line
        scale = _whitening(white[mine & usual][:, :count])
        white[mine, :count] = white[mine, :count] @ scale
        if white.shape[1] > count:
            white[mine, count:] /= max(float(np.sqrt((white[mine, count:] ** 2).mean())), 1e-12)
        white[mine] = _drawn_in(white[mine])
        turned = patterns @ scale
        towards[lines == line] = turned[None] - turned[own[lines == line]][:, None]
    _like_neighbours(white, towards, samples, means, clean)
    length = np.linalg.norm(towards, axis=2)[:, :, None]
    towards = np.where(length > 0, towards / np.where(length > 0, length, 1), 0)
    if exchange is not None:
        white = cell_residuals(white[_dealt(of_line, exchange)], fields)
    outside = (white[:, count:] ** 2).sum(axis=1)
    inside = white[:, :count] - group_means(white[:, :count], fields, fields.max() + 1)[fields]
    return Cells(inside, outside, white.shape[1] - count, samples, lines, towards, np.maximum(freedom, 1))


def _like_neighbours(
    white: np.ndarray, towards: np.ndarray, samples: np.ndarray, means: np.ndarray, clean: np.ndarray
) -> None:
    """Bring each sample's cells to the scatter of cells of samples with the nearest means, in place.

    Each pattern has its own scatter: filaments look different in every cell, the cytosol does not. NEIGHBOURS other
    samples tell what is usual for a pattern, with OWN_WEIGHT times that of all samples.
    """
    number, count = means.shape
    order = np.argsort(samples, kind="stable")
    ends = np.searchsorted(samples[order], np.arange(number + 1))
    rows = [order[ends[sample] : ends[sample + 1]] for sample in range(number)]
    inside = np.array([white[own, :count].T @ white[own, :count] / len(own) for own in rows])
    outside = np.array([(white[own, count:] ** 2).mean() if white.shape[1] > count else 1.0 for own in rows])
    usual = np.flatnonzero(clean)
    # one more, as a sample is its own neighbour
    nearest = KDTree(means[usual]).query(means, min(NEIGHBOURS + 1, len(usual)))[1].reshape(number, -1)
    for sample in range(number):
        near = usual[nearest[sample]]
        near = near[near != sample][:NEIGHBOURS]
        weight = len(near) + OWN_WEIGHT
        scatter = (inside[near].sum(axis=0) + OWN_WEIGHT * np.eye(count)) / weight
        values, vectors = np.linalg.eigh(scatter)
        turn = (vectors / np.sqrt(values)) @ vectors.T
        white[rows[sample], :count] = white[rows[sample], :count] @ turn
        white[rows[sample], count:] /= np.sqrt((outside[near].sum() + OWN_WEIGHT) / weight)
        towards[sample] = towards[sample] @ turn


def _whitening(residuals: np.ndarray) -> np.ndarray:
    """(D, D) symmetric matrix that brings residuals to unit covariance, shrunk after Ledoit and Wolf (2004)."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(np.maximum(values, 1e-10 * values.max() + 1e-300))) @ vectors.T


def _patterns(means: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (P, K) of the samples' means, and the number of each sample's own."""
    from sklearn.cluster import KMeans

    count = min(MOST_PATTERNS, max(2, len(means) // 2), len(means))
    found = KMeans(count, n_init=3, random_state=seed).fit(means)
    return found.cluster_centers_, found.labels_


def _drawn_in(white: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(white, axis=1)
    reach = np.quantile(length, REACH)
    return white * np.minimum(1, reach / np.maximum(length, 1e-12))[:, None]


def _dealt(lines: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A permutation of cells that leaves each in its cell line."""
    order = np.arange(len(lines))
    for line in np.unique(lines):
        mine = np.flatnonzero(lines == line)
        order[mine] = rng.permutation(mine)
    return order


def _against_dealt(
    cells: Cells, clean: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:
    """Excess and z of each sample, place of each cell, and the final location and scale of the usual samples."""
    number = len(cells.line)
    order = np.argsort(cells.sample, kind="stable")
    ends = np.searchsorted(cells.sample[order], np.arange(number + 1))
    found = np.zeros((STATISTICS, number))
    axis = np.zeros(len(cells.sample))
    for sample in range(number):
        mine = order[ends[sample] : ends[sample + 1]]
        inside = cells.inside[mine]
        covariance = inside.T @ inside / len(mine)
        towards = cells.towards[sample]
        left = np.array([cells.outside[mine].mean()])
        values, best = _statistics(covariance[None], left, towards[None], cells.others)
        found[:, sample] = values[:, 0]
        axis[mine] = inside @ towards[best[0]]
    z, larger = np.zeros_like(found), np.zeros((number, 3))
    for line in np.unique(cells.line):
        mine = np.flatnonzero(cells.line == line)
        pool = np.flatnonzero(clean[cells.sample] & (cells.line[cells.sample] == line))
        z[:, mine], larger[mine] = _quantiles(cells, mine, pool, found[:, mine], rng)
    for row in z:
        location, scale = usual_samples(row)
        # no measure is trusted more than cells dealt anew allow
        row[:] = (row - max(0.0, location)) / max(1.0, scale)
    together = _quantile(z.max(axis=0), larger.T)
    location, scale = (max(least, own) for least, own in zip(LEAST, usual_samples(together), strict=True))
    return np.exp(found[0]), (together - location) / scale, axis, (location, scale)


def _statistics(
    covariance: np.ndarray, outside: np.ndarray, towards: np.ndarray, others: int
) -> tuple[np.ndarray, np.ndarray]:
    """(STATISTICS, B) of B samples, and (B,) which pattern is the one that cells scatter towards most.

    In this order: variance towards the pattern to which it is largest, over the mean variance along all other
    directions; that variance itself; the largest variance along any direction (patterns that no other sample shows);
    the variance along all directions in which patterns differ (several patterns).

    Args:
        covariance: (B, K, K).
        outside: (B,) mean squared length along the `others` remaining directions.
        towards: (B, P, K) unit vectors.
        others: number of remaining directions.
    """
    along = np.einsum("bpk,bkl,bpl->bp", towards, covariance, towards, optimize=True)
    best = along.argmax(axis=1)
    first = np.maximum(along.max(axis=1), 1e-12)
    top = np.maximum(np.linalg.eigvalsh(covariance)[:, -1], 1e-12)
    inside = np.maximum(np.trace(covariance, axis1=1, axis2=2), 1e-12)
    count = max(1, covariance.shape[1] + others - 1)
    rest = np.maximum((inside + outside - first) / count, 1e-12)
    return np.log(np.stack([first / rest, first, top, inside])), best


def _quantiles(
    cells: Cells, samples: np.ndarray, pool: np.ndarray, found: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal quantiles of samples of one cell line among samples that are dealt from its cells.

    Returns:
        z: (STATISTICS, S).
        larger: (S, 3) moments of the largest of a dealt sample's z.
    """
    freedom = np.maximum(np.round(cells.freedom[samples]), 2)
    grid = np.unique(np.round(np.geomspace(freedom.min(), freedom.max(), SIZES)).astype(int))
    moments = []
    for size in grid:
        drawn = _deal(cells, samples, pool, size, rng)
        each = [_moments(values) for values in drawn]
        largest = np.max([_quantile(values, own) for values, own in zip(drawn, each, strict=True)], axis=0)
        moments.append(np.array([*each, _moments(largest)]))
    at = np.log(freedom)
    # (STATISTICS + 1, 3, S)
    between = np.array(
        [
            [np.interp(at, np.log(grid), [own[row, column] for own in moments]) for column in range(3)]
            for row in range(STATISTICS + 1)
        ]
    )
    return np.array([_quantile(values, own) for values, own in zip(found, between, strict=False)]), between[-1].T


def _deal(cells: Cells, samples: np.ndarray, pool: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(STATISTICS, DRAWS) of samples of `size` + 1 cells of one field."""
    found = []
    step = max(1, CELLS_AT_ONCE // (size + 1))
    for start in range(0, DRAWS, step):
        count = min(step, DRAWS - start)
        chosen = pool[rng.integers(0, len(pool), (count, size + 1))]
        inside = cells.inside[chosen]
        inside -= inside.mean(axis=1, keepdims=True)
        covariance = np.matmul(inside.transpose(0, 2, 1), inside) / size
        like = samples[rng.integers(0, len(samples), count)]
        towards = cells.towards[like]
        found.append(_statistics(covariance, cells.outside[chosen].mean(axis=1), towards, cells.others)[0])
    return np.concatenate(found, axis=1)


def _moments(values: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and skewness."""
    mean, deviation = values.mean(), max(float(values.std()), 1e-12)
    return np.array([mean, deviation, (((values - mean) / deviation) ** 3).mean()])


def _quantile(values: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of values of a Pearson type III distribution with these moments.

    The distribution ends on one side, that of few degrees of freedom not far from its mean. A value beyond the end is
    no certainty: from where dealt samples no longer reach, one standard deviation more is one more towards that side.
    """
    mean, deviation, skew = moments
    place = (values - mean) / deviation
    upper = pearson3.logsf(place, skew)
    # the upper tail is exact to p of 1e-300; below the median its complement is
    found = np.where(upper > np.log(0.5), norm.ppf(-np.expm1(upper)).clip(-30), norm.isf(np.exp(upper)).clip(max=37))
    last = -np.sign(skew) * norm.isf(1 / DRAWS)
    edge = pearson3.ppf(norm.cdf(last), skew)
    return np.where((place - edge) * last > 0, last + place - edge, found)


def usual_samples(z: np.ndarray) -> tuple[float, float]:
    """Location and scale of the usual ones among samples, most of which are usual (empirical null, Efron 2004).

    Maximum likelihood of a normal distribution that is cut off CUT standard deviations above its centre, where
    samples that differ begin to count. Values of few samples are held near 0 and 1 by normal priors of standard
    deviation 0.5.

    Args:
        z: (S,) finite.
    """
    location, log_scale = float(np.median(z)), 0.0

    def loss(at: np.ndarray, cut: float, count: int, mean: float, variance: float) -> float:
        middle, logs = float(at[0]), float(at[1])
        scale = math.exp(logs)
        fit = 0.5 * (variance + (mean - middle) ** 2) / scale**2 + logs + float(log_ndtr((cut - middle) / scale))
        return count * fit + 2 * middle**2 + 2 * logs**2

    for _ in range(15):
        cut = location + CUT * math.exp(log_scale)
        below = z[z <= cut]
        told = (cut, len(below), float(below.mean()), float(below.var()))
        found = minimize(loss, [location, log_scale], told, method="Nelder-Mead").x
        moved = abs(found[0] - location) + abs(found[1] - log_scale)
        location, log_scale = float(found[0]), float(found[1])
        if moved < 1e-3:
            break
    return location, math.exp(log_scale)
