"""Where a training is, and what came of it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn


class Fitted(NamedTuple):
    """A trained network.

    Attributes:
        network: with its best weights (of the running mean, where there is one), in evaluation mode, on the processor.
        best_epoch: counted from 1, the last where there are no validation rows.
        best_score: macro-F1 or loss on the validation rows, as `select_by` says; None without such rows.
        rows: the history, see `wherein.models.training.history.HISTORY`.
        epochs: that were trained.
        stopped_early: whether it ended before its last epoch, for want of a better score.
        parameters: number of values that were learnt.
        images_per_second: over all processes and epochs, without validation.
        seconds_per_epoch: mean, without validation.
        data_wait_share: of these seconds, without an image to work on.
        peak_mb: MiB, most memory of the GPU's tensors, or of the process where there is no GPU.
        accumulate: parts into which a batch was cut in the end.
        precision: `bf16` or `fp32`.
    """

    network: nn.Module
    best_epoch: int
    best_score: float | None
    rows: list[dict[str, Any]]
    epochs: int
    stopped_early: bool
    parameters: int
    images_per_second: float
    seconds_per_epoch: float
    data_wait_share: float
    peak_mb: float
    accumulate: int
    precision: str


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        epoch: counted from 0.
        batch: number of the next batch.
        images: of this epoch so far, over all processes.
        seconds: of this epoch's steps so far.
        waited: of these seconds, without an image to work on.
        best_epoch: counted from 0; None before the first look.
        best_score: the higher the better.
        best_loss: on the validation rows, of the best epoch.
        stopped: whether it is over early.
        rows: the history.
    """

    epoch: int = 0
    batch: int = 0
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    best_epoch: int | None = None
    best_score: float | None = None
    best_loss: float | None = None
    stopped: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
