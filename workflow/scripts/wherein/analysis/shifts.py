"""How far the mean vectors of proteins differ between two sides of a contrast, with replicates as the unit.

A replicate is a preparation (a well), never a cell. Of each protein, x = block + side + what all proteins of its batch
and side share + noise. What is shared (staining, exposure, a plate's or a treatment's general effect) is the median
over proteins and is taken out, so that it makes no protein move. What is left of a protein's two sides is measured
against the scatter of replicates: the pooled covariance within proteins makes all directions alike, and a protein's own
scatter is drawn towards that of all others (`wherein.analysis.moderated`).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import comb
from scipy.stats import f as fisher

from wherein.analysis.correction import adjusted
from wherein.analysis.moderated import Prior, fit_prior, moderate

LEAST_SHARED = 10
"""Fewest replicates of a batch and side for a median of their own; smaller ones are put together by side."""

ROUNDS = 30
"""Most rounds in which proteins and what batches share are found in turn."""

TAIL = 20
"""Different partings beyond which p is continued by the F distribution."""

CLEARLY = 0.1
"""False discovery rate of the moderated F at which a protein has no say in the null: relabelled, what moved would look
like scatter of replicates, and make the null too small."""

DF_PER_COMPONENT = 10
"""Degrees of freedom within proteins for each component whose scatter is estimated."""


class Design(NamedTuple):
    """Which replicate is what; all of length R unless said otherwise.

    Attributes:
        block: number of the replicate's block, within which sides are compared (a reagent of a protein).
        side: bool, whether it is of side b.
        shared: number of the group whose members share a shift (batch and side).
        protein: (B,) number of the protein that each block belongs to.
        proteins: G, how many proteins there are.
    """

    block: np.ndarray
    side: np.ndarray
    shared: np.ndarray
    protein: np.ndarray
    proteins: int


class Fit(NamedTuple):
    """Sides of each protein, compared within its blocks.

    Attributes:
        difference: (G, K) b less a; 0 where a protein has no block with both.
        weight: (G,) 1 over the variance of a difference where the residual variance is 1; 0 where there is none.
        df: (G,) residual degrees of freedom.
        middle: (R, K) midpoint of the two sides of the replicate's block.
        residual: (R, K) what is left of each replicate.
    """

    difference: np.ndarray
    weight: np.ndarray
    df: np.ndarray
    middle: np.ndarray
    residual: np.ndarray


class Moved(NamedTuple):
    """What is told of each protein's shift.

    Attributes:
        distance: (G,) Euclidean distance of the two sides.
        shift: (G,) root mean square distance of the sides over the components, in standard deviations of a replicate.
        statistic: (G,) moderated F; NaN for a protein that cannot be asked.
        p: (G,) against the pooled statistics of relabelled replicates.
        p_moderated: (G,) against the F distribution.
        components: directions that were used.
        prior: of the scatter.
        null: (N,) sorted statistics of relabelled replicates.
    """

    distance: np.ndarray
    shift: np.ndarray
    statistic: np.ndarray
    p: np.ndarray
    p_moderated: np.ndarray
    components: int
    prior: Prior
    null: np.ndarray


def fit_sides(values: np.ndarray, design: Design, side: np.ndarray | None = None) -> Fit:
    """Least squares of block and side for every protein.

    Args:
        values: (R, K).
        design: what each replicate is.
        side: (R,) other sides than the design's.
    """
    side = design.side if side is None else side
    blocks = len(design.protein)
    counts = np.stack([np.bincount(design.block[side == own], minlength=blocks) for own in (False, True)])
    sums = np.stack([group_sums(values, np.where(side == own, design.block, -1), blocks) for own in (False, True)])
    both = (counts > 0).all(axis=0)
    total = counts.sum(axis=0)
    means = sums / np.maximum(counts, 1)[:, :, None]
    weight = np.where(both, counts[0] * counts[1] / np.maximum(total, 1), 0.0)
    apart = np.where(both[:, None], means[1] - means[0], 0.0)
    weights = np.bincount(design.protein, weight, design.proteins)
    difference = group_sums(weight[:, None] * apart, design.protein, design.proteins)
    difference /= np.where(weights > 0, weights, 1.0)[:, None]
    df = np.bincount(design.protein, np.maximum(total - 1, 0), design.proteins) - (weights > 0)
    middle = sums.sum(axis=0) / np.maximum(total, 1)[:, None]
    own = difference[design.protein]
    middle += (0.5 - counts[1] / np.maximum(total, 1))[:, None] * own
    fitted = middle[design.block] + np.where(side, 0.5, -0.5)[:, None] * own[design.block]
    return Fit(difference, weights, df.astype(float), middle[design.block], values - fitted)


def group_sums(values: np.ndarray, codes: np.ndarray, groups: int) -> np.ndarray:
    """(groups, K) sums of the rows of (n, K) values by their group, negative for none."""
    found = np.zeros((groups, values.shape[1]))
    np.add.at(found, codes[codes >= 0], values[codes >= 0])
    return found


def shared_groups(batch: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Number of each replicate's batch and side; those of fewer than LEAST_SHARED members are one group a side."""
    _, codes, counts = np.unique(batch * 2 + side, return_inverse=True, return_counts=True)
    few = counts[codes] < LEAST_SHARED
    return np.where(few, np.where(side, -1, -2), codes)


def without_shared(values: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Take out what all proteins of a batch and side share: the median of how far replicates lie from the midpoint.

    Proteins that have both sides tell the median; as long as fewer than half of them move one way, those that move do
    not pull the others along.

    Args:
        values: (R, K).
        design: what each replicate is.

    Returns:
        (R, K) values without it, and (K,) the shift of side b against a that all proteins share.
    """
    values = values.astype(float).copy()
    start = values.copy()
    telling = fit_sides(values, design).weight[design.protein[design.block]] > 0
    groups = [np.flatnonzero(design.shared == own) for own in np.unique(design.shared)]
    size = np.median(np.abs(values - np.median(values, axis=0)), axis=0).max(initial=0) if len(values) else 0.0
    for _ in range(ROUNDS):
        apart = values - fit_sides(values, design).middle
        largest = 0.0
        for own in groups:
            if not telling[own].any():
                continue
            step = np.median(apart[own][telling[own]], axis=0)
            values[own] -= step
            largest = max(largest, float(np.abs(step).max(initial=0)))
        if largest <= 1e-4 * size:
            break
    taken = start - values
    sides = [taken[telling & (design.side == own)] for own in (False, True)]
    shift = sides[1].mean(axis=0) - sides[0].mean(axis=0) if telling.any() else np.zeros(values.shape[1])
    return values, shift


def whitening(residual: np.ndarray, df: float) -> np.ndarray:
    """(K, K) matrix that makes the scatter of residuals 1 in all directions.

    Args:
        residual: (R, K).
        df: their degrees of freedom, those of all proteins together.
    """
    covariance = residual.T @ residual / max(df, 1.0)
    size, directions = np.linalg.eigh(covariance)
    size = np.maximum(size, 1e-8 * max(size.max(initial=0), np.finfo(float).tiny))
    return directions / np.sqrt(size)


def statistics(
    values: np.ndarray,
    design: Design,
    asked: np.ndarray,
    side: np.ndarray | None = None,
    telling: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Prior]:
    """Moderated F of every protein that is asked.

    Args:
        values: (R, K) without what is shared.
        design: what each replicate is.
        asked: (G,) bool, proteins with replicates enough.
        side: (R,) other sides than the design's.
        telling: (G,) bool, proteins whose scatter counts; all by default.

    Returns:
        (G,) statistic (NaN where not asked), (G,) squared length of the whitened difference, (G,) degrees of freedom
        of the scatter, and its prior.
    """
    found = fit_sides(values, design, side)
    width = values.shape[1]
    owner = design.protein[design.block]
    telling = np.ones(design.proteins, bool) if telling is None else telling
    own = whitening(found.residual[telling[owner]], found.df[telling].sum())
    squares = np.bincount(owner, ((found.residual @ own) ** 2).sum(axis=1), design.proteins)
    df = width * found.df
    with np.errstate(invalid="ignore", divide="ignore"):
        scatter = np.where(df > 0, squares / df, np.nan)
    prior = fit_prior(scatter[asked & telling], df[asked & telling])
    moderated, total = moderate(scatter, np.where(asked, df, 0.0), prior)
    length = ((found.difference @ own) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = np.where(asked & (found.weight > 0), found.weight * length / width / moderated, np.nan)
    return statistic, length, total, prior


def relabelled(design: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Deal the sides of each block anew among its replicates.

    Returns:
        (R,) sides, and (G,) bool: proteins whose replicates are parted otherwise than they are.
    """
    order = np.lexsort((rng.random(len(design.block)), design.block))
    place = np.argsort(design.block, kind="stable")
    side = np.empty_like(design.side)
    side[order] = design.side[place]
    owner = design.protein[design.block]
    members = np.bincount(owner, minlength=design.proteins)
    differs = np.bincount(owner, side != design.side, design.proteins)
    return side, (differs > 0) & (differs < members)


def partings(design: Design, asked: np.ndarray) -> float:
    """In how many other ways the replicates of the proteins that are asked can be parted, mirror images counted once.

    Args:
        design: what each replicate is.
        asked: (G,) bool.
    """
    blocks = len(design.protein)
    total = np.bincount(design.block, minlength=blocks)
    ones = np.bincount(design.block[design.side], minlength=blocks)
    ways = np.bincount(design.protein, np.log(np.maximum(comb(total, ones), 1)), design.proteins)
    mirrored = np.bincount(design.protein, total != 2 * ones, design.proteins) == 0
    found = np.round(np.exp(np.minimum(ways, 40.0))) / np.where(mirrored, 2, 1) - 1
    return float(found[asked].sum())


def tail(statistic: np.ndarray, width: int, total: np.ndarray, df: float) -> np.ndarray:
    """Probability of a moderated F as large, with Hotelling's correction for a covariance found on the same replicates.

    Args:
        statistic: (n,) moderated F.
        width: components.
        total: (n,) degrees of freedom of the moderated scatter.
        df: those of the covariance: of all proteins together.
    """
    left = max(df - width + 1, 1.0)
    return fisher.sf(statistic * left / max(df, 1.0), width, np.clip(total, 1, left))


def tail_q(statistic: np.ndarray, width: int, total: np.ndarray, df: float) -> np.ndarray:
    """(G,) Benjamini-Hochberg of `tail`; NaN where there is no statistic."""
    return adjusted(tail(statistic, width, total, df))


def pooled_p(
    statistic: np.ndarray, pool: np.ndarray, ways: float, width: int, total: np.ndarray, df: float
) -> np.ndarray:
    """Probability against the pooled statistics of relabelled replicates, continued beyond the largest of them.

    Where fewer than TAIL of the different partings reach, p falls as the moderated F's does (after Knijnenburg et al.
    2009, who continue permutations by a fitted tail): two replicates a side can be parted otherwise in two ways only.

    Args:
        statistic: (n,) of the proteins that are asked.
        pool: (N,) sorted, of relabelled replicates.
        ways: how many different ones there are among them.
        width, total, df: as `tail` takes them.
    """
    above = 1 - np.searchsorted(pool, statistic) / len(pool)
    p = (1 + ways * above) / (1 + ways)
    start = min(TAIL / ways, 0.5)
    border = float(np.quantile(pool, 1 - start))
    beyond = statistic > border
    reached = tail(np.full(len(statistic), border), width, total, df)
    p[beyond] = start * (tail(statistic, width, total, df) / np.maximum(reached, 1e-300))[beyond]
    return np.maximum(p, 1e-300)


def find_moved(
    values: np.ndarray,
    design: Design,
    asked: np.ndarray,
    permutations: int,
    seed: int,
    places: np.ndarray | None = None,
) -> Moved:
    """Ask of every protein whether its sides differ by more than replicates do.

    Statistics of relabelled replicates are pooled over proteins: few replicates can be parted in few ways, and a p of
    one protein alone could not get small. Partings that are the real one, or its mirror image, are left out, and so
    are proteins that clearly moved (CLEARLY).

    Args:
        values: (R, K) components, the most important first, without what is shared.
        design: what each replicate is.
        asked: (G,) bool, proteins with replicates enough.
        permutations: rounds of relabelling.
        seed: of the relabelling.
        places: (R, D) the same in all dimensions, for the distance; the components by default.
    """
    df = fit_sides(values[:, :1], design).df
    width = int(np.clip(df.sum() // DF_PER_COMPONENT, 1, values.shape[1]))
    used = values[:, :width]
    statistic, length, total, prior = statistics(used, design, asked)
    still = ~(tail_q(statistic, width, total, float(df.sum())) <= CLEARLY)
    if df[still].sum() >= DF_PER_COMPONENT * width / 2:
        statistic, length, total, prior = statistics(used, design, asked, None, still)
    else:
        still = np.ones_like(asked)
    within = float(df[still].sum())
    rng = np.random.default_rng(seed)
    null = []
    for _ in range(permutations):
        side, other = relabelled(design, rng)
        again = statistics(used, design, asked, side, still)[0]
        null.append(again[other & still & np.isfinite(again)])
    pool = np.sort(np.concatenate(null)) if null else np.zeros(0)
    known = np.isfinite(statistic)
    p, p_moderated = np.full(len(statistic), np.nan), np.full(len(statistic), np.nan)
    p_moderated[known] = tail(statistic[known], width, total[known], within)
    if len(pool):
        ways = min(float(len(pool)), partings(design, asked & still))
        p[known] = pooled_p(statistic[known], pool, ways, width, total[known], within)
    apart = fit_sides(values if places is None else places, design).difference
    distance = np.where(known, np.linalg.norm(apart, axis=1), np.nan)
    shift = np.where(known, np.sqrt(length / width), np.nan)
    return Moved(distance, shift, statistic, p, p_moderated, width, prior, pool)
