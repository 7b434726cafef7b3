"""One step of the optimizer, in as many parts as memory asks for."""

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wherein.models.training.distributed import Place
from wherein.models.training.ema import RunningMean
from wherein.models.training.learner import Learner
from wherein.models.training.memory import out_of_memory
from wherein.models.training.optimizers import add_penalties, clip, make_optimizer, penalized_parameters

LOG = logging.getLogger(__name__)


class BatchTooLargeError(RuntimeError):
    """A batch does not fit into memory; the message says what to do."""


class Stepper:
    """A learner, its optimizer and the running mean of its weights.

    Args:
        learner: on its device.
        settings: `models.<name>.training` of the configuration.
        place: this process.

    Attributes:
        learner: as given.
        optimizer: over its parameters.
        mean: running mean of the network's weights; None for none.
        parts: into which this process cuts its share of a batch.
    """

    def __init__(self, learner: Learner, settings: Mapping[str, Any], place: Place) -> None:
        self.learner = learner
        self.optimizer = make_optimizer(learner, settings)
        self.mean = RunningMean(learner.network, settings["ema"]) if settings["ema"] else None
        self.parts = settings["accumulate"]
        self._settings = settings
        self._place = place
        self._learning = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        self._penalized = penalized_parameters(learner)[0]
        self._computes_bf16 = computes_bf16(place.device, settings["precision"])
        # normalization over the images of a part alone needs two
        self._least = 2 if any(isinstance(module, nn.BatchNorm1d) for module in learner.modules()) else 1
        self._shared: DistributedDataParallel | None = None
        self._run: nn.Module = learner

    def connect(self) -> None:
        """Join the processes and compile, once the state is loaded: all processes take the first one's weights."""
        if self._place.world > 1:
            on_gpu = self._place.device.type == "cuda"
            self._shared = DistributedDataParallel(
                self.learner,
                device_ids=[self._place.device.index] if on_gpu else None,
                gradient_as_bucket_view=True,
                # metric learning has no use for the logits, and further outputs may be switched off
                find_unused_parameters=self.learner.head is not None or not self._settings["auxiliary"],
            )
            self._run = self._shared
        if self._settings["compile"]:
            self._run = torch.compile(self._run)

    def __call__(
        self, images: Tensor, targets: Tensor, total: int, rate: float, moment: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            images: (n, C, H, W), this process's share of a batch.
            targets: of these images.
            total: images of the batch over all processes.
            rate: learning rate.
            moment: epoch and number of the batch, which dropout depends on.

        Returns:
            loss: scalar float64 on the device, sum over this process's images, before the step.
            norm: scalar, global norm of the gradients before clipping.

        Raises:
            BatchTooLargeError: one image alone is too much, or other processes wait for this one.
        """
        seed_of_step(self._settings["seed"], *moment, self._place.rank)
        loss = self._gradients(images, targets, total)
        while loss is None:
            self._cut_smaller(len(images))
            # dropout is drawn anew from the start, as if there had been no first try
            seed_of_step(self._settings["seed"], *moment, self._place.rank)
            loss = self._gradients(images, targets, total)
        add_penalties(self._penalized, self._settings)
        norm = clip(self._learning, self._settings["clip_norm"])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.mean is not None:
            self.mean.update(self.learner.network)
        return loss, norm

    def _gradients(self, images: Tensor, targets: Tensor, total: int) -> Tensor | None:
        """Gradients of the mean loss over the whole batch; None where memory ran out. Gives the sum of the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), dtype=torch.float64, device=images.device)
        # evenly: batch normalization cannot learn from the one image that may be left over
        parts = max(min(self.parts, len(images) // self._least), 1)
        pieces = list(zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True))
        try:
            for number, (part, wanted) in enumerate(pieces):
                with self._alone(unless=number == len(pieces) - 1):
                    value = self._loss(part, wanted)
                    # processes take the mean of their gradients, wherefore each counts `world` times
                    (value * (len(part) * self._place.world / total)).backward()
                loss += value.detach().double() * len(part)
        except Exception as error:
            if not out_of_memory(error):
                raise
            # what failed is held by the error until this block is left
            return None
        return loss

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        if self._settings["channels_last"]:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._computes_bf16):
            return self._run(images, targets)

    def _alone(self, unless: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are exchanged with the last part alone."""
        return contextlib.nullcontext() if self._shared is None or unless else self._shared.no_sync()

    def _cut_smaller(self, images: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self._place.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.parts >= images // self._least:
            size = (
                "one image" if self._least == 1 else f"{self._least} images, the fewest that this network learns from,"
            )
            raise BatchTooLargeError(
                f"a batch cut into {self.parts} parts of {size} each does not fit into memory: take smaller images "
                "or a larger GPU, or set precision to bf16"
            )
        self.parts = min(2 * self.parts, images // self._least)
        if self._place.world > 1:
            raise BatchTooLargeError(
                "a GPU ran out of memory, and the other processes wait for its gradients: start again, and each share "
                f"of a batch goes in {self.parts} parts"
            )
        LOG.warning("out of memory: from now on a batch goes in %d parts, one after another", self.parts)


def seed_of_step(seed: int, epoch: int, batch: int, rank: int) -> None:
    """Seed torch for one step, so that dropout depends on nothing that came before: no state has to be kept."""
    drawn = np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(drawn))


def computes_bf16(device: torch.device, name: str) -> bool:
    """Whether a training computes in bfloat16.

    Args:
        device: where.
        name: `fp32`, `bf16`, or `auto`: bfloat16 on a GPU made for it, else fp32, so that processors of any make give
            the same network.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return name == "bf16" or (name == "auto" and able)
