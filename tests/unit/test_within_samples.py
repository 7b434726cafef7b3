import numpy as np
import pytest
from scipy.stats import false_discovery_control, kstest, norm, pearson3
from wherein.analysis.aggregate import group_means
from wherein.analysis.covariates import explained, standardized, without_covariates
from wherein.analysis.within_samples import (
    NEIGHBOURS,
    OWN_WEIGHT,
    _like_neighbours,
    _quantile,
    judge_samples,
    usual_samples,
)
from wherein.simulate.vectors import COVARIATES, plant_cells


def judged(planted, **over):
    """What the stage does of planted cells: covariates out, then the test, then what the differences follow."""
    lines = planted.line[planted.sample]
    covariates = standardized(planted.covariates, planted.field, lines)
    means = group_means(planted.vectors, planted.field, planted.field.max() + 1)[planted.field]
    left = without_covariates(planted.vectors - means, covariates, planted.field, lines)
    pairs = np.stack([planted.line, planted.plate], axis=1)
    batches = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    found = judge_samples(means + left, planted.field, planted.sample, planted.line, batches, 5, 6, 0, **over)
    follows = explained(found.axis, covariates, COVARIATES, planted.field, planted.sample, len(planted.line))
    return found, follows


def test_planted_samples_are_found_and_badly_outlined_ones_told_apart():
    planted = plant_cells(3, heterogeneous=80, usual=400, outlined=12, separation=5)
    found, follows = judged(planted)
    hits = false_discovery_control(found.p) <= 0.05
    assert hits[planted.heterogeneous].mean() >= 0.9
    told = planted.heterogeneous | planted.outlined
    assert (hits & ~told).sum() <= 0.1 * hits.sum()
    outlined = follows["outline_p"].to_numpy() <= 0.01
    assert (hits & outlined & planted.outlined).sum() >= 0.7 * (hits & planted.outlined).sum()
    assert (outlined & planted.heterogeneous).mean() < 0.02
    # the direction that was found parts the planted minority from the others
    apart = []
    for sample in np.flatnonzero(hits & planted.heterogeneous):
        own = planted.sample == sample
        apart.append(abs(np.corrcoef(found.axis[own], planted.minority[own])[0, 1]))
    assert np.median(apart) > 0.7


def test_p_is_uniform_where_nothing_is_planted():
    p, exchanged = [], []
    for seed in (11, 12):
        planted = plant_cells(seed, heterogeneous=0, usual=300)
        found, follows = judged(planted)
        p += found.p.tolist()
        assert kstest(follows["cycle_p"], "uniform").pvalue > 1e-3
        planted = plant_cells(seed, heterogeneous=60, usual=240)
        exchanged += judged(planted, exchanged=True)[0].p.tolist()
    for values in (p, exchanged):
        assert kstest(values, "uniform").pvalue > 1e-3
        assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.09


def test_samples_that_merely_scatter_more_are_not_found():
    rng = np.random.default_rng(0)
    samples = np.repeat(np.arange(200), 25)
    means = rng.normal(size=(10, 12))[rng.integers(0, 10, 200)] * 2
    wider = np.exp(rng.normal(0, 0.2, 200))
    cells = means[samples] + rng.normal(size=(len(samples), 12)) * wider[samples][:, None]
    lines, batches = np.zeros(200, int), np.zeros(200, int)
    found = judge_samples(cells, samples, samples, lines, batches, 5, 6, 0)
    assert (false_discovery_control(found.p) <= 0.05).sum() <= 2


@pytest.mark.parametrize(("fields", "cells", "number"), [(1, 6, 100), (5, 2, 60)])
def test_few_cells_and_p_is_uniform_still(fields, cells, number):
    p = []
    for seed in (1, 2, 7):
        of = np.repeat(np.arange(number * fields), cells)
        scores = np.random.default_rng(seed).normal(size=(len(of), 5))
        lines = np.zeros(number, int)
        found = judge_samples(scores, of, of // fields, lines, lines, 5, 6, seed)
        assert 0.8 < found.spread[1] < 1.3, "one dealt sample made all others look alike"
        p += found.p.tolist()
    assert kstest(p, "uniform").pvalue > 1e-3


def test_a_value_beyond_the_end_of_the_fitted_distribution_is_no_certainty():
    values = np.linspace(-6, 6, 2001)
    for skew in (-1.2, -0.5, 0.0, 0.5, 1.2):
        z = _quantile(values, np.array([0.0, 1.0, skew]))
        assert np.abs(z).max() < 13
        assert (np.diff(z) > 0).all()
        near = np.abs(z) < 3
        assert z[near] == pytest.approx(norm.isf(pearson3.sf(values[near], skew)), abs=1e-6)
    several = _quantile(np.array([5.0, 5.0]), np.array([[0.0, 0.0], [1.0, 1.0], [-0.8, 0.8]]))
    assert several == pytest.approx([_quantile(np.array([5.0]), np.array([0, 1, skew]))[0] for skew in (-0.8, 0.8)])


@pytest.mark.parametrize("number", [4, 40])
def test_neighbours_by_all_distances(number):
    rng = np.random.default_rng(3)
    samples = rng.permutation(np.repeat(np.arange(number), 9))
    white, means = rng.normal(size=(len(samples), 5)), rng.normal(size=(number, 3))
    towards, clean = rng.normal(size=(number, 6, 3)), rng.random(number) < 0.8
    found, turned = white.copy(), towards.copy()
    _like_neighbours(found, turned, samples, means, clean)
    for sample in range(number):
        others = sorted(
            set(np.flatnonzero(clean)) - {sample}, key=lambda other: np.linalg.norm(means[other] - means[sample])
        )
        near = [white[samples == other] for other in others[:NEIGHBOURS]]
        weight = len(near) + OWN_WEIGHT
        scatter = sum((own[:, :3].T @ own[:, :3] / 9 for own in near), OWN_WEIGHT * np.eye(3)) / weight
        values, vectors = np.linalg.eigh(scatter)
        turn = vectors @ np.diag(values**-0.5) @ vectors.T
        rest = (sum((own[:, 3:] ** 2).mean() for own in near) + OWN_WEIGHT) / weight
        own = white[samples == sample]
        assert found[samples == sample] == pytest.approx(np.hstack([own[:, :3] @ turn, own[:, 3:] / np.sqrt(rest)]))
        assert turned[sample] == pytest.approx(towards[sample] @ turn)


def test_what_cannot_be_judged():
    rng = np.random.default_rng(1)
    samples = np.concatenate([np.repeat(np.arange(10), 20), [10, 10], np.repeat([11, 12], 20)])
    lines = np.array([0] * 11 + [1, 1])
    cells = rng.normal(size=(len(samples), 6))
    found = judge_samples(cells, samples, samples, lines, lines, 5, 6, 0)
    assert np.isfinite(found.p[:10]).all()
    assert np.isnan(found.p[10:]).all()
    assert np.isnan(found.axis[samples >= 10]).all()
    none = judge_samples(cells[:0], samples[:0], samples[:0], lines, lines, 5, 6, 0)
    assert np.isnan(none.p).all()
    again = judge_samples(cells, samples, samples, lines, lines, 5, 6, 0)
    assert np.array_equal(found.p, again.p, equal_nan=True)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_usual_samples_in_spite_of_others(share):
    rng = np.random.default_rng(2)
    z = rng.normal(0.3, 1.4, 2000)
    z[: round(share * 2000)] += 8
    location, scale = usual_samples(z)
    assert location == pytest.approx(0.3, abs=0.15)
    assert scale == pytest.approx(1.4, abs=0.15)
    few = usual_samples(norm.ppf([0.2, 0.4, 0.6, 0.8]))
    assert few == pytest.approx((0, 0.8), abs=0.3)
