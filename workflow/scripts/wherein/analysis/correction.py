"""Correction for the number of tests of one question."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control


def adjusted(p: Any) -> np.ndarray:
    """Benjamini and Hochberg's q over the tests that were made.

    Args:
        p: (n,) probabilities as an array or a column of a table; nothing known (NaN or null) where no test was made.

    Returns:
        (n,) float64, NaN where p is not known.
    """
    p = pd.to_numeric(pd.Series(p)).to_numpy(np.float64, na_value=np.nan)
    q = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(np.minimum(p[known], 1.0))
    return q
