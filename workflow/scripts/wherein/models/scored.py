"""What scoring works on: units, what is published of them, and what a model says."""

from typing import NamedTuple

import numpy as np
import pandas as pd

KEY = ["field_id", "version"]
"""Columns that name a field version."""


class Scored(NamedTuple):
    """Units with what is published of them and what a model says.

    Attributes:
        units: unit_id, field_id, version, gene_group, control, fold (float, NaN for none).
        truth: (N, K) bool, the published locations.
        labelled: (N,) bool, units whose location is known in the vocabulary.
        probabilities: (N, K) float32; NaN where nothing could be learned.
        thresholds: (N, K) probability from which a class counts as predicted.
    """

    units: pd.DataFrame
    truth: np.ndarray
    labelled: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray

    @property
    def scorable(self) -> np.ndarray:
        """(N,) bool, units with a known location and a prediction."""
        return self.labelled & np.isfinite(self.probabilities).all(axis=1)

    def only(self, rows: np.ndarray) -> "Scored":
        """The same units, of which only some are predicted: (N,) bool. The others' probabilities become NaN."""
        return self._replace(probabilities=np.where(rows[:, None], self.probabilities, np.float32(np.nan)))
