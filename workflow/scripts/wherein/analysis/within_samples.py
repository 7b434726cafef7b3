"""Do the cells of one sample show more than one pattern? A test with a null of cells dealt anew among samples."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
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

SET_ASIDE = 0.2
"""Samples with a smaller q are left out of what cells are dealt from, in a second pass."""


class Tested(NamedTuple):
    """What was found of each sample.

    Attributes:
        excess: (S,) variance of the cells towards the pattern to which they scatter most, over that of all directions.
        z: (S,) standard normal quantile of the sample among samples dealt anew, after `wider_null`.
        p: (S,) one-sided probability of such a sample; NaN where it is not judged.
        axis: (N,) place of each cell between its sample's own pattern and that other one; NaN where not judged.
        spread: location and scale by which the samples themselves widened the null; (0, 1) where they did not.
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
        towards: (L, P, P, K) for each cell line unit vectors from one pattern to another; 0 from one to itself.
        own: (S,) number of each sample's own pattern.
        freedom: (S,) cells less fields.
    """

    inside: np.ndarray
    outside: np.ndarray
    others: int
    sample: np.ndarray
    line: np.ndarray
    towards: np.ndarray
    own: np.ndarray
    freedom: np.ndarray


def test_samples(
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
    direction), and in them k-means of the samples' means. The statistic of a sample is the logarithm of the largest
    variance of its cells' residuals towards another pattern, over their mean variance along all other directions, so
    that a sample whose cells merely scatter more is not told; it is the larger of that and of the largest eigenvalue
    of their covariance, over the same, each as a quantile of its null, for patterns that no other sample shows.

    The null deals cells of one cell line anew among samples of the same sizes, by which p holds whatever the shape of
    the residuals. Samples that are found (SET_ASIDE) are left out of it in a second pass. Where the samples scatter
    more than dealt ones do, though they are not heterogeneous, `wider_null` says so.

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
        excess, z, axis = _against_dealt(cells, clean, rng)
        location, scale = wider_null(z)
        p = norm.sf((z - location) / scale)
        if not last:
            clean = false_discovery_control(p) > SET_ASIDE
            clean |= ~np.isin(cells.line, np.flatnonzero(np.bincount(cells.line, clean) >= fewest_samples))
    found = [nothing.copy() for _ in range(3)]
    for values, into in zip((excess, (z - location) / scale, p), found, strict=True):
        into[judged] = values
    along = np.full(len(samples), np.nan)
    along[rows] = axis
    return Tested(*found, along, (location, scale))


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
    means = means - group_means(means, batches, batches.max() + 1)[batches]
    spare = max(1, number - len(np.unique(batches)))
    between = means.T @ means / spare - np.eye(means.shape[1]) * float(np.mean(1 / np.maximum(freedom, 1)))
    strength, turn = np.linalg.eigh(between)
    order = np.argsort(-strength)
    count = int(np.clip((strength > 0).sum(), 1, min(MOST_DIRECTIONS, number - 1)))
    white = residuals @ (whitening @ turn[:, order])
    means = means @ turn[:, order[:count]]
    patterns, own = _patterns(means, seed)
    towards = np.zeros((lines.max() + 1, len(patterns), len(patterns), count))
    of_line = lines[samples]
    for line in np.unique(lines):
        mine = of_line == line
        scale = _whitening(white[mine & usual][:, :count])
        white[mine, :count] = white[mine, :count] @ scale
        white[mine, count:] /= max(float(np.sqrt((white[mine, count:] ** 2).mean())), 1e-12) if count < len(turn) else 1
        white[mine] = _drawn_in(white[mine])
        turned = patterns @ scale
        away = turned[None] - turned[:, None]
        length = np.linalg.norm(away, axis=2)[:, :, None]
        towards[line] = np.where(length > 0, away / np.where(length > 0, length, 1), 0)
    if exchange is not None:
        white = cell_residuals(white[_dealt(of_line, exchange)], fields)
    outside = (white[:, count:] ** 2).sum(axis=1)
    inside = white[:, :count] - group_means(white[:, :count], fields, fields.max() + 1)[fields]
    return Cells(inside, outside, white.shape[1] - count, samples, lines, towards, own, np.maximum(freedom, 1))


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    number = len(cells.line)
    order = np.argsort(cells.sample, kind="stable")
    ends = np.searchsorted(cells.sample[order], np.arange(number + 1))
    known, new = np.zeros(number), np.zeros(number)
    axis = np.zeros(len(cells.sample))
    for sample in range(number):
        mine = order[ends[sample] : ends[sample + 1]]
        inside = cells.inside[mine]
        covariance = inside.T @ inside / len(mine)
        towards = cells.towards[cells.line[sample], cells.own[sample]]
        left = np.array([cells.outside[mine].mean()])
        one, any_, best = _statistics(covariance[None], left, towards[None], cells.others)
        known[sample], new[sample] = one[0], any_[0]
        axis[mine] = inside @ towards[best[0]]
    z = np.zeros(number)
    for line in np.unique(cells.line):
        mine = np.flatnonzero(cells.line == line)
        pool = np.flatnonzero(clean[cells.sample] & (cells.line[cells.sample] == line))
        z[mine] = _quantiles(cells, mine, pool, known[mine], new[mine], rng)
    return np.exp(known), z, axis


def _statistics(
    covariance: np.ndarray, outside: np.ndarray, towards: np.ndarray, others: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both statistics of B samples, and which pattern is the one that cells scatter towards most.

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
    whole = np.trace(covariance, axis1=1, axis2=2) + outside
    count = max(1, covariance.shape[1] + others - 1)
    known, new = (np.log(one / np.maximum((whole - one) / count, 1e-12)) for one in (first, top))
    return known, new, best


def _quantiles(
    cells: Cells, samples: np.ndarray, pool: np.ndarray, known: np.ndarray, new: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Standard normal quantiles of samples of one cell line among samples that are dealt from its cells."""
    freedom = np.maximum(np.round(cells.freedom[samples]), 2)
    grid = np.unique(np.round(np.geomspace(freedom.min(), freedom.max(), SIZES)).astype(int))
    moments = []
    for size in grid:
        drawn = _deal(cells, samples, pool, size, rng)
        both = [_moments(values) for values in drawn]
        larger = np.maximum(*(_quantile(values, own) for values, own in zip(drawn, both, strict=True)))
        moments.append(np.array([*both, _moments(larger)]))
    at = np.log(freedom)
    found = np.array(
        [
            [np.interp(at, np.log(grid), [own[row, column] for own in moments]) for column in range(3)]
            for row in range(3)
        ]
    )
    return _quantile(np.maximum(_quantile(known, found[0]), _quantile(new, found[1])), found[2])


def _deal(
    cells: Cells, samples: np.ndarray, pool: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Both statistics of DRAWS samples of `size` + 1 cells of one field."""
    known, new = [], []
    step = max(1, CELLS_AT_ONCE // (size + 1))
    for start in range(0, DRAWS, step):
        count = min(step, DRAWS - start)
        chosen = pool[rng.integers(0, len(pool), (count, size + 1))]
        inside = cells.inside[chosen]
        inside -= inside.mean(axis=1, keepdims=True)
        covariance = np.matmul(inside.transpose(0, 2, 1), inside) / size
        like = samples[rng.integers(0, len(samples), count)]
        towards = cells.towards[cells.line[like], cells.own[like]]
        one, any_, _ = _statistics(covariance, cells.outside[chosen].mean(axis=1), towards, cells.others)
        known.append(one)
        new.append(any_)
    return np.concatenate(known), np.concatenate(new)


def _moments(values: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and skewness."""
    mean, deviation = values.mean(), max(float(values.std()), 1e-12)
    return np.array([mean, deviation, (((values - mean) / deviation) ** 3).mean()])


def _quantile(values: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of values of a Pearson type III distribution with these moments."""
    mean, deviation, skew = moments
    upper = pearson3.logsf((values - mean) / deviation, skew)
    # the upper tail is exact to p of 1e-300; below the median its complement is
    return np.where(upper > np.log(0.5), norm.ppf(-np.expm1(upper)).clip(-30), norm.isf(np.exp(upper)).clip(max=37))


def wider_null(z: np.ndarray) -> tuple[float, float]:
    """Location and scale of the usual ones among samples, most of which are usual (empirical null, Efron 2004).

    Maximum likelihood of a normal distribution that is cut off one standard deviation above its centre, where samples
    that differ begin to count. Values of few samples are held near 0 and 1 by normal priors of standard deviation 0.3.
    The null is never made narrower than that of cells dealt anew, nor lowered.

    Args:
        z: (S,) finite.
    """
    location, log_scale = float(np.median(z)), 0.0

    def loss(at: np.ndarray, cut: float, below: np.ndarray) -> float:
        middle, logs = at
        scale = np.exp(logs)
        fit = 0.5 * (((below - middle) / scale) ** 2).sum() + len(below) * (logs + log_ndtr((cut - middle) / scale))
        return float(fit + 0.5 * (middle / 0.3) ** 2 + 0.5 * (logs / 0.3) ** 2)

    for _ in range(15):
        cut = location + np.exp(log_scale)
        below = z[z <= cut]
        found = minimize(loss, [location, log_scale], (cut, below), method="Nelder-Mead").x
        moved = abs(found[0] - location) + abs(found[1] - log_scale)
        location, log_scale = float(found[0]), float(found[1])
        if moved < 1e-3:
            break
    return max(0.0, location), max(1.0, float(np.exp(log_scale)))
