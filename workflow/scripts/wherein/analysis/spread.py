"""Spread of units around their like, and how it compares with that of others."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import t as student

from wherein.analysis.aggregate import NORMAL_MAD
from wherein.analysis.projection import principal_components

MAD_EFFICIENCY = 0.37
"""Information on a normal distribution's scale that its median absolute deviation holds (Hampel 1974)."""

TRIM = 0.1
"""Share of the nearest and of the farthest units that a spread leaves out."""


class Null(NamedTuple):
    """What is usual among the groups of one cell line.

    Attributes:
        z: (G,) standardized distance of each group from what is usual.
        p: (G,) one-sided, to be so far above.
    """

    z: np.ndarray
    p: np.ndarray


def cell_residuals(scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Difference of each unit from the mean of the others of its group, brought to the variance of a single unit.

    A unit pulls its group's mean towards itself: of n units of variance v, the residuals have v (n - 1) / n. They are
    multiplied by the root of n / (n - 1), so that groups of any size compare.

    Args:
        scores: (N, K) float64.
        groups: (N,) number of each unit's group.

    Returns:
        (N, K) float64, NaN for the only unit of a group.
    """
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), scores.shape[1]))
    np.add.at(sums, codes, scores)
    size = sizes[codes][:, None].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = np.where(size > 1, np.sqrt(size / (size - 1)), np.nan)
    # in place: of many cells a further copy is a gigabyte
    found = (sums / sizes[:, None])[codes]
    np.subtract(scores, found, out=found)
    found *= grown
    return found


def from_median(scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Difference of each row of (N, K) scores from the median of its group's rows; float64."""
    found = np.array(scores, np.float64)
    # one column at a time: of many cells a further copy is a gigabyte
    for column in found.T:
        column -= pd.Series(column).groupby(groups).transform("median").to_numpy()
    return found


def limited(scores: np.ndarray, clip: float | None) -> np.ndarray:
    """Limit each column of (N, K) scores to `clip` robust standard deviations around its median; float64."""
    found = np.array(scores, np.float64)
    if clip is None or not len(found):
        return found
    for column in found.T:
        median = np.median(column)
        reach = clip * NORMAL_MAD * np.median(np.abs(column - median))
        if reach > 0:
            np.clip(column, median - reach, median + reach, out=column)
    return found


def whiten(residuals: np.ndarray) -> np.ndarray:
    """Turn and scale residuals so that, over all of them, every direction varies by about 1.

    Differences that all proteins' cells show, such as size and cycle, then count no more than rare ones do. The
    covariance is shrunk after Ledoit and Wolf (2004), so that few cells of many features do not make small directions
    large.

    Args:
        residuals: (N, K), rows of NaN allowed and ignored.

    Returns:
        (N, K) float64, NaN where `residuals` are.
    """
    known = np.isfinite(residuals).all(axis=1)
    if known.sum() < 3 or not residuals.shape[1] or not np.abs(residuals[known]).max() > 0:
        return residuals * np.nan
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(residuals[known], assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    return (residuals @ vectors / np.sqrt(np.maximum(values, 1e-12 * values.max())))[:, ::-1]


def distances(whitened: np.ndarray) -> np.ndarray:
    """Length of (N, K) whitened residuals, in units of the median length; NaN where they are."""
    lengths = np.sqrt((whitened**2).sum(axis=1)) if whitened.shape[1] else np.full(len(whitened), np.nan)
    known = lengths[np.isfinite(lengths)]
    return lengths / np.median(known) if len(known) and np.median(known) > 0 else lengths * np.nan


def trimmed(values: np.ndarray) -> tuple[float, float]:
    """Mean of positive values without a tenth at either end, and what its variance follows from.

    Badly outlined and mitotic cells, a few in every field, then make no protein heterogeneous.

    Returns:
        mean: the trimmed mean.
        squared_cv: squared coefficient of variation of a single value: the variance of the trimmed mean of n values
            is squared_cv x mean^2 / n, from the winsorized variance (Tukey and McLaughlin 1963).
    """
    ordered = np.sort(np.asarray(values, np.float64))
    cut = int(TRIM * len(ordered))
    mean = float(ordered[cut : len(ordered) - cut].mean())
    winsorized = np.clip(ordered, ordered[cut], ordered[len(ordered) - cut - 1])
    return mean, float(winsorized.var(ddof=1) / (1 - 2 * cut / len(ordered)) ** 2 / mean**2) if mean > 0 else np.nan


def main_axis(whitened: np.ndarray) -> np.ndarray:
    """Place of each unit along the direction in which (N, K) whitened residuals vary most; NaN where they are."""
    known = np.isfinite(whitened).all(axis=1)
    place = np.full(len(whitened), np.nan)
    if known.sum() > 1:
        scores, _, _ = principal_components(whitened[known], 1)
        place[known] = scores[:, 0] if scores.shape[1] else 0.0
    return place


def against_others(values: np.ndarray, variances: np.ndarray, lines: np.ndarray, fewest: int) -> Null:
    """Judge groups against the others of their cell line, most of which are taken to be usual.

    The logarithm of a group's value is what is usual in its cell line, plus what groups differ by anyway (variance
    between groups, the same in every line, estimated here), plus the chance of having drawn just these cells (variance
    given). The usual value and the variance between groups come from median and median absolute deviation, so that
    heterogeneous groups, as long as they are the fewer, hide neither themselves nor others; p is that of Student's t
    with the degrees of freedom that the median absolute deviation holds.

    Args:
        values: (G,) positive, NaN where not known.
        variances: (G,) sampling variance of log(values).
        lines: (G,) cell line of each group.
        fewest: known groups that a cell line needs for a judgement.

    Returns:
        z and p, NaN in a cell line with fewer than `fewest` known groups.
    """
    nothing = np.full(len(values), np.nan)
    judged = np.isfinite(values) & (values > 0) & np.isfinite(variances)
    _, codes = np.unique(np.asarray(lines, str), return_inverse=True)
    judged &= np.bincount(codes[judged], minlength=codes.max(initial=-1) + 1)[codes] >= fewest
    if not judged.any():
        return Null(nothing, nothing.copy())
    centred = from_median(np.log(values[judged])[:, None], codes[judged])[:, 0]
    sampling = variances[judged]

    def excess(between: float) -> float:
        return NORMAL_MAD * float(np.median(np.abs(centred / np.sqrt(sampling + between)))) - 1

    smallest, widest = 1e-12, max(float(np.square(centred).max()), 1e-12) * 10
    between = smallest if excess(smallest) <= 0 else brentq(excess, smallest, widest)
    freedom = judged.sum() - len(np.unique(codes[judged]))
    z, p = nothing, nothing.copy()
    z[judged] = centred / np.sqrt(sampling + between)
    p[judged] = student.sf(z[judged], max(1.0, MAD_EFFICIENCY * freedom))
    return Null(z, p)
