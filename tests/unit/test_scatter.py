"""How far means shift by chance: variance components, moderation, and the calibration of p."""

import numpy as np
import pytest
from scipy.stats import kstest
from wherein.analysis.scatter import (
    DRAWS,
    FEWEST_DRAWS,
    Exchange,
    Scatter,
    _directions,
    estimate_scatter,
    moderated,
    probabilities,
)


def drawn(rng, proteins=800, width=12, sample=0.7, own=None):
    """Present fields of proteins with 1 to 3 samples of 1 to 4 fields, none of them new."""
    rows, of_protein, of_sample = [], [], []
    for protein in range(proteins):
        spread = 1.0 if own is None else own[protein]
        place = rng.normal(size=width) * 5
        for _ in range(rng.integers(1, 4)):
            centre = place + spread * sample * rng.normal(size=width)
            number = max(of_sample, default=-1) + 1
            for _ in range(rng.integers(1, 5)):
                rows.append(centre + spread * rng.normal(size=width))
                of_protein.append(protein)
                of_sample.append(number)
    return np.array(rows, np.float32), np.array(of_protein), np.array(of_sample)


def estimated(rng, kept=None, **words):
    means, proteins, samples = drawn(rng, **words)
    kept = np.ones(len(means), bool) if kept is None else kept(proteins, samples)
    return estimate_scatter(means, proteins, kept, samples, proteins.max() + 1, 0)


def test_variances_that_were_drawn_are_found():
    scatter = estimated(np.random.default_rng(0))
    assert scatter.field == pytest.approx(12, rel=0.05)
    assert scatter.sample == pytest.approx(12 * 0.49, rel=0.1)
    assert scatter.dimensions == pytest.approx(12, rel=0.1)
    assert (scatter.field_pool**2).sum(1).mean() == pytest.approx(scatter.field, rel=1e-3)
    assert (scatter.sample_pool**2).sum(1).mean() == pytest.approx(scatter.sample, rel=1e-3)
    # alike proteins are all worth the common variance
    assert np.abs(np.log(scatter.scale)).max() < 0.5


def test_variances_by_brute_force():
    rng = np.random.default_rng(1)
    means, proteins, samples = drawn(rng, proteins=40)
    kept = rng.random(len(means)) < 0.5
    scatter = estimate_scatter(means, proteins, kept, samples, 40, 0)
    within = within_freedom = between = between_freedom = noise = 0.0
    for protein in range(40):
        for part in (False, True):
            mine = (proteins == protein) & (kept == part)
            blocks = [means[mine & (samples == number)].astype(float) for number in np.unique(samples[mine])]
            for block in blocks:
                within += ((block - block.mean(0)) ** 2).sum()
                within_freedom += len(block) - 1
            if len(blocks) > 1:
                centres = np.stack([block.mean(0) for block in blocks])
                between += ((centres - centres.mean(0)) ** 2).sum()
                between_freedom += len(blocks) - 1
                noise += (len(blocks) - 1) * np.mean([1 / len(block) for block in blocks])
    field = within / within_freedom
    assert scatter.field == pytest.approx(field, rel=1e-5)
    assert scatter.sample == pytest.approx(max(0, (between - field * noise) / between_freedom), rel=1e-4)


def test_proteins_that_moved_scatter_no_more():
    rng = np.random.default_rng(2)
    means, proteins, samples = drawn(rng)
    kept = samples % 2 == 0
    still = estimate_scatter(means, proteins, kept, samples, 800, 0)
    means[~kept] += 100
    moved = estimate_scatter(means, proteins, kept, samples, 800, 0)
    assert moved.field == pytest.approx(still.field, rel=1e-3)
    assert moved.sample == pytest.approx(still.sample, rel=1e-3)


def test_samples_of_two_states_tell_what_samples_differ_by_where_nothing_else_does():
    rng = np.random.default_rng(3)
    rows, of_protein, of_sample, kept = [], [], [], []
    for protein in range(600):
        place = rng.normal(size=12)
        for sample, old in enumerate((True, False)):
            # every tenth moved far
            step = 50.0 if protein % 10 == 0 and not old else 0.0
            centre = place + step + 2 * rng.normal(size=12)
            for _ in range(3):
                rows.append(centre + rng.normal(size=12))
                of_protein.append(protein)
                of_sample.append(2 * protein + sample)
                kept.append(old)
    scatter = estimate_scatter(
        np.array(rows, np.float32), np.array(of_protein), np.array(kept), np.array(of_sample), 600, 0
    )
    assert scatter.field == pytest.approx(12, rel=0.1)
    assert scatter.sample == pytest.approx(12 * 4, rel=0.15)
    assert (scatter.sample_pool**2).sum(1).max() < 12 * 4 * 5


def test_uneven_proteins_are_told_from_even_ones():
    rng = np.random.default_rng(4)
    own = np.exp(0.8 * rng.normal(size=800))
    uneven, even = estimated(rng, own=own), estimated(rng)
    assert np.corrcoef(np.log(uneven.scale), np.log(own))[0, 1] > 0.8
    assert np.median(even.freedom) > 10 * np.median(uneven.freedom)


def test_moderation_lies_between_a_proteins_own_variance_and_the_common_one():
    rng = np.random.default_rng(5)
    freedom = rng.integers(0, 6, 500).astype(float)
    true = rng.chisquare(4, 500) / 4
    square = np.array([rng.chisquare(3 * f) / 3 if f else 0.0 for f in freedom]) * true
    scale, known = moderated(square, freedom, 3.0)
    without = freedom == 0
    assert np.ptp(scale[without]) < 1e-9
    prior = known[without][0]
    assert known[~without] == pytest.approx(prior + 3 * freedom[~without])
    common = scale[without][0]
    raw = square[~without] / freedom[~without]
    low, high = np.minimum(raw, common), np.maximum(raw, common)
    assert ((scale[~without] >= low - 1e-9) & (scale[~without] <= high + 1e-9)).all()


def test_directions_of_a_known_covariance():
    rng = np.random.default_rng(6)
    spread = np.array([3.0, 1, 1, 0.1])
    rows = rng.normal(size=(1500, 4)) * spread
    expected = (spread**2).sum() ** 2 / (spread**4).sum()
    assert _directions(rows, np.arange(1500)) == pytest.approx(expected, rel=0.1)
    # a spread of each row's own makes no difference
    scaled = rows * np.exp(0.5 * rng.normal(size=(1500, 1)))
    assert _directions(scaled, np.arange(1500)) == pytest.approx(expected, rel=0.25)
    assert _directions(rows[:1], np.arange(1)) == 1
    assert _directions(rows[:0], np.arange(0)) == 1


@pytest.mark.parametrize("sample", [0.0, 0.7])
def test_p_is_uniform_if_nothing_moved(sample):
    rng = np.random.default_rng(7)
    scatter = estimated(rng, sample=sample)
    assert scatter.sample < 0.2 if sample == 0 else scatter.sample > 4
    squares, exchanges = [], []
    for _ in range(400):
        # two of three fields of one sample are exchanged, or a sample of two fields is added to one of three
        if rng.random() < 0.5:
            fields, blocks = np.array([-1, -1, 1, 1]) / 3, [[0, 1, 2, 3]]
        else:
            fields, blocks = np.array([-2, -2, -2, 3, 3]) / 15, [[0, 1, 2], [3, 4]]
        shift = sum(share * rng.normal(size=12) for share in fields)
        sums = np.array([fields[rows].sum() for rows in blocks])
        shift = shift + sum(share * sample * rng.normal(size=12) for share in sums)
        squares.append((shift**2).sum())
        exchanges.append(Exchange(fields, sums))
    expected = np.mean([scatter.expected_square(exchange) for exchange in exchanges])
    assert np.mean(squares) == pytest.approx(expected, rel=0.1)
    p = probabilities(np.array(squares), rng.integers(0, 800, 400), exchanges, scatter, 0)
    assert kstest(p, "uniform").pvalue > 0.01


def test_p_of_a_shift_that_no_draw_reaches_is_one_over_their_number():
    scatter = estimated(np.random.default_rng(8))
    exchange = Exchange(np.array([-0.5, 0.5]), np.array([0.0]))
    one = probabilities(np.array([1e6]), np.array([3]), [exchange], scatter, 0)
    assert one == pytest.approx(1 / (FEWEST_DRAWS + 1))
    many = probabilities(np.full(300, 1e6), np.arange(300), [exchange] * 300, scatter, 0)
    assert many == pytest.approx(1 / (300 * DRAWS + 1))
    assert probabilities(np.zeros(1), np.array([3]), [exchange], scatter, 0) == pytest.approx(1)
    assert np.array_equal(
        probabilities(np.array([9.0]), np.array([3]), [exchange], scatter, 0),
        probabilities(np.array([9.0]), np.array([3]), [exchange], scatter, 0),
    )
    assert len(probabilities(np.zeros(0), np.zeros(0, int), [], scatter, 0)) == 0


def test_too_few_fields_tell_nothing():
    rng = np.random.default_rng(9)
    alone = rng.normal(size=(50, 3)).astype(np.float32)
    assert estimate_scatter(alone, np.arange(50), np.ones(50, bool), np.arange(50), 50, 0) is None
    assert estimate_scatter(alone[:0], np.zeros(0, int), np.zeros(0, bool), np.zeros(0, int), 0, 0) is None


def test_one_field_a_sample():
    """Fields of no known sample: the scatter is all between samples."""
    rng = np.random.default_rng(10)
    proteins = np.repeat(np.arange(300), 3)
    means = (rng.normal(size=(300, 8)) * 4)[proteins] + rng.normal(size=(900, 8))
    scatter = estimate_scatter(means.astype(np.float32), proteins, np.ones(900, bool), np.arange(900), 300, 0)
    assert isinstance(scatter, Scatter)
    assert scatter.field == 0
    assert scatter.sample == pytest.approx(8, rel=0.1)
    exchange = Exchange(np.array([-1.0, 1]), np.array([-1.0, 1]))
    squares = (rng.normal(size=(300, 8)) * np.sqrt(2)) ** 2
    p = probabilities(squares.sum(1), np.arange(300), [exchange] * 300, scatter, 0)
    assert kstest(p, "uniform").pvalue > 0.01
