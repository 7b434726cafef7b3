"""Proteins of several locations that are in one location at a time: a test against what a model mistakes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaln, gammaln
from scipy.stats import betabinom, binom

PRIOR = 20.0
"""Cells that the mean rate of all locations counts for where the rate of one is estimated."""

LARGEST_RATE = 0.999
"""Rates are held between 1 less this and this: no model is known to be always right."""


class Rates(NamedTuple):
    """What a model makes of cells of one known location.

    Attributes:
        told: (C, C) share of the cells of images of class a alone in which the model tells class b and not a (b = a:
            in which it tells a); NaN where no image has a alone.
        both: share of double labels among the cells of images of several classes, over what `told` of two classes
            expects if each cell had both, at most 1.
        scatter: intraclass correlation of mistakes within samples (beta-binomial).
    """

    told: np.ndarray
    both: float
    scatter: float


class Call(NamedTuple):
    """One protein in one cell line.

    Attributes:
        single: (C,) cells with that label alone.
        several: cells with two labels or more.
        cells: all cells, those without a label included.
    """

    single: np.ndarray
    several: int
    cells: int

    @property
    def exclusive(self) -> bool:
        """The rule of Le et al. 2022 (released code): two single labels at least are seen, and no cell has two."""
        return self.several == 0 and int((self.single > 0).sum()) >= 2


def estimate_rates(told: np.ndarray, image: np.ndarray, samples: np.ndarray) -> Rates:
    """Rates of what a model tells, from images of one class, and from all images of several.

    Args:
        told: (N, C) bool, classes that the model tells of each cell, those that its image does not have included.
        image: (N, C) bool, classes of each cell's image.
        samples: (N,) number of the sample.
    """
    classes = image.shape[1]
    alone = image.sum(axis=1) == 1
    counts, seen = np.zeros((classes, classes)), np.zeros(classes)
    for own in range(classes):
        mine = alone & image[:, own]
        seen[own] = mine.sum()
        hits = told[mine] & ~told[mine][:, [own]]
        hits[:, own] = told[mine][:, own]
        counts[own] = hits.sum(axis=0)
    diagonal = np.eye(classes, dtype=bool)
    usual_hit = counts[diagonal].sum() / max(seen.sum(), 1)
    usual_miss = counts[~diagonal].sum() / max(seen.sum() * max(classes - 1, 1), 1)
    prior = np.where(diagonal, usual_hit, usual_miss)
    rates = (counts + PRIOR * prior) / (seen[:, None] + PRIOR)
    rates = np.clip(rates, 1 - LARGEST_RATE, LARGEST_RATE)
    rates[seen == 0] = np.nan
    return Rates(rates, _double_share(told, image, rates), _scatter(told, image, samples))


def _double_share(told: np.ndarray, image: np.ndarray, rates: np.ndarray) -> float:
    """Double labels in images of two classes, over those expected if the model found each class as it does alone."""
    two = image.sum(axis=1) == 2
    found, expected = 0, 0.0
    for first in range(image.shape[1]):
        for second in range(first + 1, image.shape[1]):
            mine = two & image[:, first] & image[:, second]
            rate = rates[first, first] * rates[second, second]
            if mine.any() and np.isfinite(rate):
                found += int((told[mine, first] & told[mine, second]).sum())
                expected += float(rate * mine.sum())
    return float(np.clip(found / expected, 1 - LARGEST_RATE, 1.0)) if expected > 0 else 1.0


def _scatter(told: np.ndarray, image: np.ndarray, samples: np.ndarray) -> float:
    """Intraclass correlation of being told rightly, over the samples of one class, by maximum likelihood.

    Mistakes come together: a protein that looks like another location does so in most of its cells.
    """
    alone = image.sum(axis=1) == 1
    if not alone.any():
        return 0.0
    own = image[alone].argmax(axis=1)
    right = told[alone][np.arange(len(own)), own]
    group = np.unique(np.stack([own, samples[alone]]), axis=1, return_inverse=True)[1].reshape(-1)
    hits, sizes = np.bincount(group, right), np.bincount(group)
    of_class = np.zeros(len(sizes), int)
    of_class[group] = own
    rate = np.bincount(own, right, image.shape[1]) / np.maximum(np.bincount(own, minlength=image.shape[1]), 1)
    mean = np.clip(rate[of_class], 0.01, 0.99)

    def loss(logit: float) -> float:
        share = 1 / (1 + np.exp(-logit))
        a, b = mean * (1 - share) / share, (1 - mean) * (1 - share) / share
        choose = gammaln(sizes + 1) - gammaln(hits + 1) - gammaln(sizes - hits + 1)
        return -float((choose + betaln(hits + a, sizes - hits + b) - betaln(a, b)).sum())

    found = minimize_scalar(loss, bounds=(-8, 2), method="bounded").x
    return float(1 / (1 + np.exp(-found)))


def exclusive_p(call: Call, image: Sequence[int], rates: Rates) -> float:
    """Probability that a protein that is alike in all cells looks as exclusive as this one.

    Alike in all cells are: a protein that is in one of the image's locations (then the other single labels are the
    model's mistakes, at the rates of images of that location alone), and one that is in two of them in each cell
    (then cells with one label are those in which the model missed the other). Each of these has its p, binomial with
    the mistakes' scatter between samples; the protein is exclusive only if none of them can be true, so p is the
    largest (intersection-union test, Berger 1982).

    Args:
        call: the cells' labels.
        image: numbers of the image's classes, two at least.
        rates: of the model.

    Returns:
        p; NaN where the rates of one of the classes are not known: a protein that is there alone is not ruled out.
    """
    if len(image) < 2 or call.cells == 0 or not np.isfinite(rates.told[image, image]).all():
        return np.nan
    found = []
    for own in image:
        others = [other for other in image if other != own]
        wrong = float(np.clip(rates.told[own, others].sum(), 1 - LARGEST_RATE, LARGEST_RATE))
        seen = int(call.single[others].sum())
        found.append(_at_least(seen, call.cells, wrong, rates.scatter))
    pairs = [
        rates.told[first, first] * rates.told[second, second] * rates.both
        for place, first in enumerate(image)
        for second in image[place + 1 :]
    ]
    # of all pairs the one that is told together least often is hardest to rule out
    double = float(np.clip(min(pairs), 1 - LARGEST_RATE, LARGEST_RATE))
    found.append(_at_most(call.several, call.cells, double, rates.scatter))
    return float(max(found))


def _at_least(count: int, cells: int, rate: float, scatter: float) -> float:
    if scatter < 1e-3:
        return float(binom.sf(count - 1, cells, rate))
    over = (1 - scatter) / scatter
    return float(betabinom.sf(count - 1, cells, rate * over, (1 - rate) * over))


def _at_most(count: int, cells: int, rate: float, scatter: float) -> float:
    if scatter < 1e-3:
        return float(binom.cdf(count, cells, rate))
    over = (1 - scatter) / scatter
    return float(betabinom.cdf(count, cells, rate * over, (1 - rate) * over))
