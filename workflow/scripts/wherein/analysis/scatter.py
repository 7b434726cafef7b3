"""How far fields of one protein lie apart, and so how far its mean shifts when others take their place."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import chi2
from scipy.stats import f as fisher

from wherein.analysis.aggregate import group_means

FEWEST = 10
"""Degrees of freedom, over all proteins together, without which no scatter is told."""

POOL = 2048
"""Most deviations of each kind that shifts are drawn from."""

DRAWS = 100
"""Shifts drawn for each protein that is judged."""

FEWEST_DRAWS = 20000
"""Shifts drawn for all of them together, at least: the smallest p is one over their number."""

BLOCK = 8192
"""Rows whose differences are held at once."""


class Exchange(NamedTuple):
    """How a protein's mean changes with its fields: `mean now - mean before = sum of coefficient x field`.

    Attributes:
        fields: (K,) coefficient of each field version of either state; they sum to 0.
        samples: (G,) sums over the fields of each sample.
    """

    fields: np.ndarray
    samples: np.ndarray


@dataclass
class Scatter:
    """Variance components of field means, as traces over all dimensions.

    Attributes:
        field: variance between fields of a sample.
        sample: variance between samples of a protein, beyond that of their fields.
        field_pool: (P, D) float32 deviations of fields, their mean square length being `field`.
        sample_pool: (S, D) float32 likewise of samples.
        dimensions: number of directions of equal variance that the scatter is worth.
        scale: variance of each protein's fields over `field`, moderated.
        freedom: degrees of freedom of each `scale`; infinite where proteins do not differ in it.
    """

    field: float
    sample: float
    field_pool: np.ndarray
    sample_pool: np.ndarray
    dimensions: float
    scale: np.ndarray
    freedom: np.ndarray

    def expected_square(self, exchange: Exchange) -> float:
        """Mean square of the shift of a protein of scale 1 that stays where it is."""
        return float(self.sample * (exchange.samples**2).sum() + self.field * (exchange.fields**2).sum())


class Blocks(NamedTuple):
    """Fields of one preparation.

    Attributes:
        means: (B, D) float64.
        size: (B,) number of fields.
        protein: (B,) number of the protein.
        group: (B,) number of the protein's part that is kept or new, or of the protein where these are not told apart.
    """

    means: np.ndarray
    size: np.ndarray
    protein: np.ndarray
    group: np.ndarray


class Between(NamedTuple):
    """What preparations of one protein differ by: its variance, deviations (S, D), and the protein of each."""

    variance: float
    deviations: np.ndarray
    protein: np.ndarray


def estimate_scatter(
    means: np.ndarray, proteins: np.ndarray, kept: np.ndarray, samples: np.ndarray, number: int, seed: int
) -> Scatter | None:
    """Tell from the present fields how far those of one protein lie apart.

    A protein's fields that are new and those that were there before are looked at by themselves: a protein that moved
    then scatters no more than one that did not. The variance components are those of the nested analysis of variance
    (unweighted means, Searle 1971). Proteins of few fields borrow from all the others: their variances are moderated
    as in Smyth (2004, section 6), each degree of freedom counting as often as the scatter has directions.

    Args:
        means: (F, D) float32 mean vector of each field, on one scale.
        proteins: (F,) number of its protein.
        kept: (F,) whether the other state has the field, too.
        samples: (F,) number of its preparation.
        number: number of proteins.
        seed: seed of the choice of deviations, where there are more than POOL.

    Returns:
        The scatter, or None where there are fewer than FEWEST degrees of freedom.
    """
    rng = np.random.default_rng(seed)
    blocks, block = _blocks(means, proteins, kept, samples)
    size = blocks.size
    square = np.bincount(proteins, _square_distances(means, blocks.means, block), number)
    freedom = np.bincount(proteins, 1 - 1 / size[block], number)
    field = float(square.sum() / freedom.sum()) if freedom.sum() > 0.5 else 0.0
    between = between_samples(blocks, field, rng)
    if between is None:
        everything = np.zeros_like(kept)
        between = between_samples(_blocks(means, proteins, everything, samples)[0], field, rng, few_moved=True)
    between = between or Between(0.0, np.zeros((0, means.shape[1])), np.zeros(0, int))
    if freedom.sum() + len(between.deviations) < FEWEST:
        return None
    several = _some(np.flatnonzero(size[block] > 1), rng)
    grown = np.sqrt(size[block[several]] / (size[block[several]] - 1))
    deviations = (means[several] - blocks.means[block[several]]) * grown[:, None]
    told = (deviations, proteins[several]) if field > 0 else (between.deviations, between.protein)
    dimensions = _directions(*told)
    scale, scale_freedom = moderated(square / field if field > 0 else square, freedom, dimensions)
    return Scatter(
        field,
        between.variance,
        _of_length(deviations / np.sqrt(scale[proteins[several]])[:, None], field),
        _of_length(between.deviations / np.sqrt(scale[between.protein])[:, None], between.variance),
        dimensions,
        scale,
        scale_freedom,
    )


def between_samples(blocks: Blocks, field: float, rng: np.random.Generator, few_moved: bool = False) -> Between | None:
    """What preparations of one protein differ by, beyond what their fields do.

    Args:
        blocks: the preparations.
        field: variance between fields.
        rng: chooses deviations, where there are more than POOL.
        few_moved: whether some proteins have old and new preparations in one group. The median over proteins then
            stands in for the mean, as for most that have not moved, and the quarter of the deviations that are largest
            is left out.

    Returns:
        Variance and deviations; None where groups have fewer than FEWEST preparations to spare.
    """
    count = np.bincount(blocks.group)
    several = count > 1
    freedom = (count - 1)[several]
    if freedom.sum() < FEWEST:
        return None
    middles = group_means(blocks.means, blocks.group, len(count))
    square = np.bincount(blocks.group, _square_distances(blocks.means, middles, blocks.group))[several]
    noise = field * (np.bincount(blocks.group, 1 / blocks.size)[several] / count[several])
    many = _some(np.flatnonzero(several[blocks.group]), rng)
    own = count[blocks.group[many]]
    deviations = (blocks.means[many] - middles[blocks.group[many]]) * np.sqrt(own / (own - 1))[:, None]
    if not few_moved:
        whole = (square.sum() - (freedom * noise).sum()) / freedom.sum()
        return Between(max(0.0, float(whole)), deviations, blocks.protein[many])
    lengths = (deviations**2).sum(axis=1)
    near = lengths <= np.quantile(lengths, 0.75)
    # the median of a chi-square over its degrees of freedom (Wilson and Hilferty 1931)
    usual = (1 - 2 / (9 * _directions(deviations[near], blocks.protein[many][near]) * freedom)) ** 3
    whole = np.median(square / freedom / usual - noise)
    return Between(max(0.0, float(whole)), deviations[near], blocks.protein[many][near])


def moderated(square: np.ndarray, freedom: np.ndarray, dimensions: float) -> tuple[np.ndarray, np.ndarray]:
    """Moderate variances after Smyth (2004, section 6): what all proteins have in common stands in for missing fields.

    Args:
        square: (P,) sums of squares over the common variance.
        freedom: (P,) degrees of freedom of each.
        dimensions: directions that each degree of freedom counts for.

    Returns:
        scale: (P,) moderated variance over the common one.
        freedom: (P,) its degrees of freedom, directions counted; infinite where variances differ by chance alone.
    """
    own = dimensions * freedom
    known = (freedom > 0.5) & (square > 0)
    if known.sum() < 3:
        return np.ones(len(square)), np.full(len(square), np.inf)
    half = own[known] / 2
    logs = np.log(square[known] / freedom[known]) - digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - polygamma(1, half).mean()
    if excess <= polygamma(1, 1e6):
        return np.ones(len(square)), np.full(len(square), np.inf)
    prior = 2 * np.exp(brentq(lambda log: polygamma(1, np.exp(log)) - excess, np.log(1e-3), np.log(1e6)))
    common = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    return (prior * common + dimensions * square) / (prior + own), prior + own


def probabilities(
    squares: np.ndarray, proteins: np.ndarray, exchanges: list[Exchange], scatter: Scatter, seed: int
) -> np.ndarray:
    """Probability of shifts as large as these, if no protein moved.

    Shifts are drawn for each protein by giving its fields and samples deviations that those of others have. A shift is
    measured over its expected size, and by the tail of the F distribution of its degrees of freedom, which makes
    proteins of many and of few fields comparable; drawn and found ones are then compared over all proteins together.

    Args:
        squares: (M,) squared shifts.
        proteins: (M,) number of the protein of each.
        exchanges: how the fields of each changed; the expected square must be above 0.
        scatter: of the present fields.
        seed: seed of the draws.

    Returns:
        (M,) p, at least one over the number of shifts drawn.
    """
    rng = np.random.default_rng(seed)
    draws = max(DRAWS, -(-FEWEST_DRAWS // max(len(exchanges), 1)))
    pool = np.concatenate([scatter.field_pool, scatter.sample_pool])
    drawn, found = [], []
    for square, protein, exchange in zip(squares, proteins, exchanges, strict=True):
        base, freedom = scatter.expected_square(exchange), scatter.freedom[protein]
        lengths = _drawn_squares(exchange, scatter, pool, draws, rng) / base
        if np.isfinite(freedom):
            lengths /= rng.chisquare(freedom, draws) / freedom
        drawn.append(_tail(lengths, scatter.dimensions, freedom))
        found.append(_tail(square / base / scatter.scale[protein], scatter.dimensions, freedom))
    null = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0)
    return (1 + np.searchsorted(null, np.array(found), side="right")) / (1 + len(null))


def _drawn_squares(
    exchange: Exchange, scatter: Scatter, pool: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    fields, samples = len(scatter.field_pool), len(scatter.sample_pool)
    kinds = [(exchange.fields, 0, fields), (exchange.samples, fields, samples)]
    # a variance of 0 has no deviations to draw from
    kinds = [kind for kind in kinds if kind[2]]
    weights = np.concatenate([own for own, _, _ in kinds])
    first = np.concatenate([np.full(len(own), start) for own, start, _ in kinds])
    size = np.concatenate([np.full(len(own), count) for own, _, count in kinds])
    lengths = []
    for start in range(0, draws, BLOCK):
        shape = (min(BLOCK, draws - start), len(weights))
        chosen = first + (rng.random(shape) * size).astype(int)
        signed = weights * rng.choice((-1.0, 1.0), shape)
        rows = np.repeat(np.arange(shape[0]), shape[1])
        sums = scipy.sparse.csr_array((signed.ravel(), (rows, chosen.ravel())), (shape[0], len(pool))) @ pool
        lengths.append((sums**2).sum(axis=1))
    return np.concatenate(lengths)


def _tail(ratio: np.ndarray, dimensions: float, freedom: float) -> np.ndarray:
    """Logarithm of the probability to be above `ratio`: F distribution, or chi-square over its degrees of freedom."""
    if np.isfinite(freedom):
        return fisher.logsf(ratio, dimensions, freedom)
    return chi2.logsf(ratio * dimensions, dimensions)


def _blocks(
    means: np.ndarray, proteins: np.ndarray, parts: np.ndarray, samples: np.ndarray
) -> tuple[Blocks, np.ndarray]:
    """Preparations of each part of a protein, and the number of each field's."""
    groups, of_field = _numbered(proteins, parts)
    pairs, block = _numbered(of_field, samples)
    size = np.bincount(block, minlength=len(pairs))
    return Blocks(group_means(means, block, len(pairs)), size, groups[pairs[:, 0], 0], pairs[:, 0]), block


def _numbered(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs (P, 2) of integers, and the (N,) number of each row's pair."""
    pairs = np.stack([first, second], axis=1).astype(np.int64)
    found, number = np.unique(pairs, axis=0, return_inverse=True)
    return found, number.reshape(-1)


def _square_distances(rows: np.ndarray, centres: np.ndarray, of: np.ndarray) -> np.ndarray:
    found = np.zeros(len(rows))
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        found[part] = ((rows[part] - centres[of[part]]) ** 2).sum(axis=1)
    return found


def _some(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= POOL else np.sort(rng.choice(rows, POOL, replace=False))


def _of_length(rows: np.ndarray, square: float) -> np.ndarray:
    """(N, D) rows, brought to this mean square length; none where it is 0."""
    length = (rows**2).sum(axis=1).mean() if len(rows) else 0.0
    if not length > 0 or square <= 0:
        return np.zeros((0, rows.shape[1]), np.float32)
    return (rows * np.sqrt(square / length)).astype(np.float32)


def _directions(rows: np.ndarray, proteins: np.ndarray) -> float:
    """Squared trace of a covariance over the trace of its square, from inner products of different proteins' rows."""
    products = (rows @ rows.T) ** 2
    other = proteins[:, None] != proteins[None, :]
    lengths = (rows**2).sum(axis=1).mean() if len(rows) else 0.0
    if not other.any() or not lengths > 0:
        return 1.0
    return float(np.clip(lengths**2 / max(products[other].mean(), np.finfo(float).tiny), 1.0, rows.shape[1]))
