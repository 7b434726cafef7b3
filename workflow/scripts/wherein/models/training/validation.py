"""What a network says of the validation rows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wherein.metrics.classification import macro_f1
from wherein.models.training.distill import split_targets
from wherein.models.training.distributed import Place, gathered, summed
from wherein.models.training.feed import Feed
from wherein.models.training.learner import Learner, answers
from wherein.models.training.memory import out_of_memory
from wherein.models.training.metric import ArcFace
from wherein.models.training.step import BatchTooLargeError, computes_bf16
from wherein.models.training.stream import Watched

CUT = 0.5
"""Probability from which a class counts as predicted while a training is watched."""


class Look(NamedTuple):
    """Scores of a network on the validation rows.

    Attributes:
        loss: mean over the units.
        macro_f1: at probability CUT; for classes of which a unit has exactly one, the share of units that got theirs.
    """

    loss: float
    macro_f1: float


def look(
    network: nn.Module, learner: Learner, feed: Feed, place: Place, settings: Mapping[str, Any], stop: Any = None
) -> Look | None:
    """Score a network on the validation rows of all processes.

    Args:
        network: the learner's, or its running mean.
        learner: for its losses.
        feed: for validation.
        place: this process.
        settings: `models.<name>.training` of the configuration.
        stop: has `asked`, whether to give up; None for never.

    Returns:
        Scores; None if told to stop on the way.

    Raises:
        ValueError: there are no validation rows.
    """
    targets, logits = [], []
    for wanted, said in answered(network, learner.head, feed, place.device, settings):
        targets.append(gathered(place, wanted))
        logits.append(gathered(place, said))
        if summed(place, float(stop is not None and stop.asked))[0]:
            return None
    if not targets or not sum(map(len, targets)):
        raise ValueError("no rows to validate on: give the validation fold some, or take another fold")
    truth, given = torch.cat(targets), torch.cat(logits)
    # a loss of the whole set, not a mean of batches: the last batch may be small
    loss = float(learner.loss_of(given.to(place.device), truth.to(place.device)))
    if truth.ndim == 1:
        return Look(loss, float((given.argmax(dim=1) == truth).float().mean()))
    labels = split_targets(truth)[0].numpy() > 0
    return Look(loss, macro_f1(labels, torch.sigmoid(given).numpy() >= CUT))


def answered(
    network: nn.Module, head: ArcFace | None, feed: Feed, device: torch.device, settings: Mapping[str, Any]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Targets and logits of each batch, on the device.

    Args:
        network: images to vector and logits; on the device.
        head: directions of reagents whose cosines are the logits; None for the network's own.
        feed: for validation.
        device: where to run.
        settings: `models.<name>.training` of the configuration.
    """
    bf16 = computes_bf16(device, settings["precision"])
    for images, targets in Watched(feed, device).batches(0, 0):
        # none of these may be left open while the batch is given away
        with _evaluating(network), torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = _in_parts(network, head, images, settings["channels_last"], targets)
        yield targets, logits


def _in_parts(network: nn.Module, head: ArcFace | None, images: Tensor, channels_last: bool, targets: Tensor) -> Tensor:
    """Logits of a batch; its halves one after another where memory runs out."""
    if not len(images):
        return images.new_zeros((0, *targets.shape[-1:]) if targets.ndim > 1 else (0, head.directions.shape[0]))
    try:
        if channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return answers(network, head, images)
    except Exception as error:
        if not out_of_memory(error):
            raise
        if len(images) == 1:
            raise BatchTooLargeError("one image to validate on exceeds the memory: take smaller images") from error
    if images.device.type == "cuda":
        torch.cuda.empty_cache()
    middle = len(images) // 2
    halves = (images[:middle], images[middle:])
    return torch.cat([_in_parts(network, head, half, channels_last, targets) for half in halves])


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
