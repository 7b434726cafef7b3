from itertools import product

import numpy as np
import pytest
from wherein.metrics.paired import changed, kolmogorov_smirnov, mcnemar, wilcoxon_better

TABLE_7 = np.array(
    [
        [0.682, 0.651, 0.719, 0.125, 0.341, 0.000],
        [0.659, 0.522, 0.598, 0.039, 0.299, 0.000],
        [0.776, 0.805, 0.789, 0.784, 0.701, 0.735],
        [0.672, 0.629, 0.645, 0.538, 0.301, 0.338],
        [0.754, 0.689, 0.750, 0.428, 0.497, 0.331],
        [0.800, 0.625, 0.490, 0.000, 0.222, 0.000],
        [0.767, 0.901, 0.853, 0.696, 0.438, 0.712],
        [0.866, 0.818, 0.843, 0.758, 0.652, 0.608],
        [0.922, 0.907, 0.756, 0.675, 0.553, 0.692],
        [0.873, 0.816, 0.826, 0.613, 0.544, 0.802],
        [0.949, 0.945, 0.943, 0.925, 0.897, 0.945],
        [0.766, 0.756, 0.656, 0.597, 0.525, 0.538],
        [0.683, 0.685, 0.682, 0.551, 0.547, 0.435],
    ]
)
"""F1 of GapNet-PL, M-CNN, DenseNet-121, DeepLoc, FCN-Seg and Convolutional MIL (Rumetshofer et al. 2019, Table 7)."""


@pytest.mark.parametrize(("column", "p"), [(1, 0.0232), (2, 0.0434), (3, 0.0009), (4, 0.0007), (5, 0.0007)])
def test_the_published_p_of_every_network(column, p):
    """Rumetshofer et al. 2019, Table 1."""
    assert round(wilcoxon_better(TABLE_7[:, 0], TABLE_7[:, column], normal=True), 4) == p


def test_exact_wilcoxon_by_all_signs():
    first = np.array([0.5, 0.62, 0.7, 0.31, 0.9, 0.44])
    second = np.array([0.4, 0.64, 0.55, 0.26, 0.7, 0.47])
    difference = first - second
    ranks = np.argsort(np.argsort(np.abs(difference))) + 1
    observed = ranks[difference > 0].sum()
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in product([0, 1], repeat=6)]
    assert wilcoxon_better(first, second) == pytest.approx(np.mean(np.array(sums) >= observed))


def test_wilcoxon_without_anything_to_compare():
    assert np.isnan(wilcoxon_better(np.array([np.nan, 0.5]), np.array([0.5, np.nan])))
    assert wilcoxon_better(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 1.0
    assert wilcoxon_better(np.array([0.5, 0.6, 0.7]), np.array([0.5, 0.5, 0.6])) < 0.5


def judged(both, first, second, neither):
    cells = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return np.array(cells).T


@pytest.mark.parametrize(
    ("counts", "p"),
    [((133, 48, 10, 9), 1.18e-6), ((124, 57, 8, 11), 2.6e-9), ((121, 60, 7, 12), 2.1e-10)],
)
def test_the_published_mcnemar_of_the_experts(counts, p):
    """Rumetshofer et al. 2019, Table 3, which gives 1.1e-6, 2.6e-9 and 2.1e-10."""
    found = mcnemar(*judged(*counts))
    assert (found.both, found.first, found.second, found.neither) == counts
    assert found.p == pytest.approx(p, rel=0.02)


def test_exact_mcnemar_by_all_outcomes():
    found = mcnemar(*judged(5, 7, 2, 3))
    extreme = [sum(flips) for flips in product([0, 1], repeat=9)]
    assert found.p_exact == pytest.approx(np.mean([heads <= 2 or heads >= 7 for heads in extreme]))
    assert mcnemar(*judged(5, 0, 0, 3)).p == 1.0
    assert mcnemar(*judged(0, 3, 3, 0)).p_exact == 1.0


def test_kolmogorov_smirnov_of_ten_teams_in_two_groups():
    """Ten teams whose scores on single-label images are all higher: P < 1.08e-5 (Ouyang et al. 2019, methods)."""
    distance, p = kolmogorov_smirnov(np.arange(10) + 20.0, np.arange(10.0))
    assert distance == 1
    assert p == pytest.approx(1.0825e-5, rel=1e-3)
    assert np.isnan(kolmogorov_smirnov(np.array([np.nan]), np.arange(3.0))).all()


def test_what_a_second_model_corrects_and_breaks():
    first = np.array([True, False, False, True, False, True])
    second = np.array([True, True, True, False, False, False])
    partner = np.array([True, True, False, True, True, False])
    assert changed(first, second, partner) == (2, 1, 2, 1)
