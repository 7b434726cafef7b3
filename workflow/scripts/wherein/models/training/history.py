"""The history of a training: one row an epoch."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wherein.atomic import atomic_path

HISTORY = (
    "epoch",
    "train_loss",
    "validation_loss",
    "macro_f1",
    "learning_rate",
    "seconds",
    "images_per_second",
    "data_wait_share",
    "peak_mb",
)
"""Columns. epoch: counted from 1. train_loss: mean over the epoch's steps, as they were taken. validation_loss,
macro_f1 (share of right classes where a unit has exactly one): after it, empty where nobody looked. learning_rate: of
its last step. seconds: of its steps, without validation. images_per_second: over all processes. data_wait_share: of
these seconds, without an image to work on. peak_mb: MiB, most memory so far of the GPU's tensors, or of the process."""


def write_history(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of HISTORY as CSV, atomically; figures to 6 digits."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, HISTORY, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows
        )
