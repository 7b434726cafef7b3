"""Correction for the number of tests: over what was tested, and nothing else."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control
from wherein.analysis.correction import adjusted

P = [0.01, None, 0.2, 0.03, None]


@pytest.mark.parametrize(
    "p",
    [np.array(P, float), pd.Series(P, dtype=object), pd.Series(P), pd.Series(P, dtype="Float64")],
    ids=["array", "object", "float", "nullable"],
)
def test_only_tests_that_were_made_count(p):
    found = adjusted(p)
    known = [0, 2, 3]
    assert np.isnan(found[[1, 4]]).all()
    np.testing.assert_array_equal(found[known], false_discovery_control([0.01, 0.2, 0.03]))


@pytest.mark.parametrize("p", [np.zeros(0), pd.Series([], dtype=object), [None, None]], ids=["array", "table", "none"])
def test_where_nothing_was_tested_there_is_no_q(p):
    assert len(adjusted(p)) == len(p)
    assert np.isnan(adjusted(p)).all()


def test_a_p_that_rounding_put_over_one_counts_as_one():
    assert adjusted([1.0 + 1e-12, 1e-3]) == pytest.approx([1.0, 2e-3])
