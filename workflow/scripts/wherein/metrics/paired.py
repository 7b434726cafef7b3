"""Is one better than the other: paired tests between models, and between a model and people."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binom, chi2, ks_2samp
from scipy.stats import wilcoxon as signed_ranks

EXACT_UP_TO = 50
"""Classes up to which the signed-rank distribution is summed exactly, where no difference is 0 or as large as another
(the bound of scipy's own choice)."""


def wilcoxon_better(first: np.ndarray, second: np.ndarray, normal: bool = False) -> float:
    """One-sided paired Wilcoxon signed-rank test that the first scores higher than the second.

    As between models over their classes' F1 in Rumetshofer et al. 2019 (Table 1), who take the normal approximation
    without correction for continuity.

    Args:
        first: (K,) scores.
        second: (K,) scores of the same classes.
        normal: take the normal approximation in any case; else the exact distribution where there are no ties and at
            most 50 classes.

    Returns:
        p; NaN without a class that both have a score of, 1 where all are equal.
    """
    both = np.isfinite(first) & np.isfinite(second)
    difference = (first - second)[both]
    if not len(difference):
        return float("nan")
    if not difference.any():
        return 1.0
    ties = (difference == 0).any() or len(np.unique(np.abs(difference))) < len(difference)
    exact = not normal and not ties and len(difference) <= EXACT_UP_TO
    found = signed_ranks(
        difference, alternative="greater", method="exact" if exact else "approx", correction=False, zero_method="wilcox"
    )
    return float(found.pvalue)


class McNemar(NamedTuple):
    """How two judges of the same units differ.

    Attributes:
        both: units that both tell rightly.
        first: that only the first does.
        second: that only the second does.
        neither: that neither does.
        p: chi-squared with one degree of freedom and correction for continuity (Edwards 1948), two-sided; 1 where
            they never differ. It gives the figures of Rumetshofer et al. 2019, Table 3.
        p_exact: of the binomial distribution, two-sided; to be preferred where they differ on fewer than 25 units.
    """

    both: int
    first: int
    second: int
    neither: int
    p: float
    p_exact: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's test that two judges are right equally often.

    Args:
        first: (N,) bool, whether the first is right.
        second: (N,) bool, whether the second is.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    differ = b + c
    statistic = max(abs(b - c) - 1, 0) ** 2 / differ if differ else 0.0
    return McNemar(
        both=int((first & second).sum()),
        first=b,
        second=c,
        neither=int((~first & ~second).sum()),
        p=float(chi2.sf(statistic, 1)) if differ else 1.0,
        p_exact=float(min(1.0, 2 * binom.cdf(min(b, c), differ, 0.5))) if differ else 1.0,
    )


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Two-sample, two-sided Kolmogorov-Smirnov test (Ouyang et al. 2019, methods, for scores of two groups of images).

    Args:
        first: scores; NaN are left out.
        second: scores.

    Returns:
        The largest distance of the two distributions, and p; both NaN where a group is empty.
    """
    first, second = (values[np.isfinite(values)] for values in (np.asarray(first, float), np.asarray(second, float)))
    if not len(first) or not len(second):
        return float("nan"), float("nan")
    found = ks_2samp(first, second)
    return float(found.statistic), float(found.pvalue)


class Changed(NamedTuple):
    """What a second model makes of units that a first one tells rightly or not.

    Attributes:
        corrected: units wrong by the first and right by the second.
        corrected_with_partner: those of them that have a partner of the same preparation in the training set.
        broken: units right by the first and wrong by the second.
        broken_with_partner: those of them with such a partner.
    """

    corrected: int
    corrected_with_partner: int
    broken: int
    broken_with_partner: int


def changed(first: np.ndarray, second: np.ndarray, partner: np.ndarray) -> Changed:
    """Predictions that a second model corrects and breaks (Ouyang et al. 2019, methods: 270, 261 of them with a field
    of the same sample in the training set, and 71).

    Args:
        first: (N,) bool, whether the first model is right.
        second: (N,) bool, whether the second is.
        partner: (N,) bool, whether a field of the same sample is in the training set.
    """
    mended, spoilt = ~first & second, first & ~second
    return Changed(int(mended.sum()), int((mended & partner).sum()), int(spoilt.sum()), int((spoilt & partner).sum()))
