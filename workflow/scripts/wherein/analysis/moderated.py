"""Variances of many small groups, drawn towards what they have in common: moderated t and F.

Smyth 2004 (Statistical Applications in Genetics and Molecular Biology 3, article 3): the variances of all proteins are
taken as draws from one scaled inverse chi-squared distribution, whose two numbers are found from the variances
themselves; each protein's own variance and that prior are then weighed by their degrees of freedom.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, polygamma
from scipy.stats import t as student

SMALLEST = 1e-5
"""Variances below this share of the median are raised to it, so that rounding does not set the prior."""


class Prior(NamedTuple):
    """What the variances of all proteins have in common.

    Attributes:
        df: degrees of freedom, d0 of the paper; infinite where proteins differ no more than chance makes them.
        variance: s0 squared of the paper; NaN where no variance is known.
    """

    df: float
    variance: float


def fit_prior(variances: np.ndarray, df: np.ndarray) -> Prior:
    """Find the prior from sample variances (Smyth 2004, section 6.2: moments of their logarithms).

    Args:
        variances: (G,) sample variances.
        df: (G,) their degrees of freedom; those without any are left out.
    """
    known = (df > 0) & np.isfinite(variances)
    if not known.any():
        return Prior(0.0, np.nan)
    found, half = variances[known].astype(float), df[known] / 2
    middle = np.median(found)
    if middle <= 0:
        middle = found.mean()
    if middle <= 0:
        return Prior(np.inf, 0.0)
    logs = np.log(np.maximum(found, SMALLEST * middle)) - digamma(half) + np.log(half)
    centre = logs.mean()
    if len(found) < 2:
        return Prior(0.0, float(np.exp(centre)))
    excess = logs.var(ddof=1) - polygamma(1, half).mean()
    if excess <= 0:
        return Prior(np.inf, float(np.exp(centre)))
    own = 2 * inverse_trigamma(excess)
    return Prior(own, float(np.exp(centre + digamma(own / 2) - np.log(own / 2))))


def inverse_trigamma(value: float) -> float:
    """The number whose trigamma is `value` (> 0), by Newton's method as in the paper's appendix."""
    if value > 1e7:
        return float(1 / np.sqrt(value))
    if value < 1e-6:
        return float(1 / value)
    guess = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, guess))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, guess))
        guess += step
        if -step / guess < 1e-8:
            break
    return float(guess)


def moderate(variances: np.ndarray, df: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Weigh each variance and the prior by their degrees of freedom.

    Args:
        variances: (G,) sample variances; ignored where `df` is 0.
        df: (G,).
        prior: what they have in common.

    Returns:
        (G,) moderated variances, and their degrees of freedom: at most those of all proteins together.
    """
    own = np.where(df > 0, variances, 0.0)
    if np.isinf(prior.df):
        return np.full(len(df), prior.variance), np.full(len(df), float(df.sum()))
    total = df + prior.df
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (prior.df * prior.variance + df * own) / total
    return found, np.minimum(total, df.sum())


def moderated_t(
    difference: np.ndarray, variances: np.ndarray, df: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Prior]:
    """Moderated t of differences of means.

    Args:
        difference: (G,) differences.
        variances: (G,) residual variances.
        df: (G,) their degrees of freedom.
        weight: (G,) 1 over the variance of the difference where the residual variance is 1: n m / (n + m).

    Returns:
        (G,) t, (G,) two-sided p (NaN where nothing can be said), and the prior.
    """
    asked = (weight > 0) & np.isfinite(difference)
    prior = fit_prior(variances[asked], df[asked])
    found, total = moderate(variances, np.where(asked, df, 0), prior)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = difference * np.sqrt(weight / found)
    sure = asked & np.isfinite(t) & (total > 0)
    p = np.full(len(t), np.nan)
    p[sure] = 2 * student.sf(np.abs(t[sure]), total[sure])
    return np.where(sure, t, np.nan), p, prior
