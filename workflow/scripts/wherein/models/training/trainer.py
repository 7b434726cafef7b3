"""Training a network: from its first step, or from where a killed training was, to its best weights."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wherein.atomic import atomic_path
from wherein.models.training.checkpoint import load_checkpoint, save_checkpoint, training_digest
from wherein.models.training.distributed import Place, same_buffers, summed
from wherein.models.training.feed import Feed
from wherein.models.training.history import write_history
from wherein.models.training.learner import make_learner
from wherein.models.training.memory import peak_mb
from wherein.models.training.progress import Fitted, Progress
from wherein.models.training.schedules import Schedule
from wherein.models.training.signals import Interrupted, StopSignals
from wherein.models.training.step import BatchTooLargeError, Stepper, computes_bf16
from wherein.models.training.stream import Watched
from wherein.models.training.together import PARTS_WANTED
from wherein.models.training.validation import Look, look

LOG = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
TELL_SECONDS = 30.0
"""Seconds between two lines of progress."""


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a number; the last good state is kept, and the message says what to do."""


def fit(
    network: nn.Module,
    training: Feed,
    validation: Feed | None,
    settings: Mapping[str, Any],
    state: str | Path,
    place: Place,
    tell: Callable[[str], None] = LOG.info,
    class_weights: np.ndarray | None = None,
) -> Fitted:
    """Train a network, going on from the state of an earlier try where there is one.

    On a processor a training that was stopped at any step and goes on gives, bit for bit, what one without a stop does.
    Being told to stop (SIGTERM, SIGUSR1) saves the state and raises `Interrupted`.

    Args:
        network: images (N, C, H, W) float32 to the vector (N, D) and logits (N, K).
        training: batches to learn from.
        validation: batches by which the best epoch is chosen; None to keep the last.
        settings: `models.<name>.training` of the configuration.
        state: folder of the state and of history.csv; the caller removes it when all is done.
        place: this process, from `wherein.models.training.distributed.processes`, with its device.
        tell: gets lines of progress.
        class_weights: (K,) what a positive of each class weighs; None for 1.

    Returns:
        The trained network, and how it went.

    Raises:
        ValueError: settings contradict each other, or there are no rows.
        WrongStateError: the state is of another training.
        TrainingDivergedError: the loss is no longer a number.
        BatchTooLargeError: one image alone does not fit, or one process of several had to stop.
        Interrupted: told to stop; the state is saved.
    """
    _check(settings, training, validation)
    on_gpu = place.device.type == "cuda"
    benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, on_gpu
    try:
        with StopSignals() as stop:
            run = _Training(network, training, validation, settings, Path(state), place, tell, stop, class_weights)
            run.to_the_end()
        return run.fitted(network)
    finally:
        torch.backends.cudnn.benchmark = benchmark


class _Training:
    """A training under way. One class although long: all it does turns on the same state."""

    def __init__(
        self,
        network: nn.Module,
        training: Feed,
        validation: Feed | None,
        settings: Mapping[str, Any],
        folder: Path,
        place: Place,
        tell: Callable[[str], None],
        stop: StopSignals,
        class_weights: np.ndarray | None,
    ) -> None:
        self.training, self.validation, self.settings = training, validation, settings
        self.folder, self.place, self.tell, self.stop = folder, place, tell, stop
        self.learner = make_learner(network, training, settings, place, class_weights)
        self.stepper = Stepper(self.learner, settings, place)
        self.schedule = Schedule(settings, len(training))
        self.watched = Watched(training, place.device)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.belongs = training_digest(settings, self.learner, len(training))
        self.loss = torch.zeros((), dtype=torch.float64, device=place.device)
        self.norms = torch.zeros_like(self.loss)
        self._load()
        self.stepper.connect()
        self._clock = self._saved = self._told = time.monotonic()

    def to_the_end(self) -> None:
        """All epochs that are left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = self.progress
        if at.epoch or at.batch:
            self.tell(f"going on in epoch {at.epoch + 1} of {self.settings['epochs']} at batch {at.batch + 1}")
        begun = at.epoch
        while at.epoch < self.settings["epochs"] and not at.stopped:
            rate = self._steps()
            self._end_epoch(rate)
        if at.epoch > begun:
            self._save()

    def fitted(self, network: nn.Module) -> Fitted:
        """What came of it, with the best weights in `network`."""
        network.load_state_dict(self.best or self._network().state_dict())
        network.to(device="cpu", memory_format=torch.contiguous_format).eval()
        at, rows = self.progress, self.progress.rows
        seconds = sum(row["seconds"] for row in rows)
        best = at.best_score
        return Fitted(
            network=network,
            best_epoch=at.epoch if at.best_epoch is None else at.best_epoch + 1,
            best_score=-best if best is not None and self.settings["select_by"] == "loss" else best,
            rows=rows,
            epochs=at.epoch,
            stopped_early=at.stopped,
            parameters=sum(value.numel() for value in self.learner.parameters() if value.requires_grad),
            images_per_second=sum(row["images_per_second"] * row["seconds"] for row in rows) / max(seconds, 1e-9),
            seconds_per_epoch=seconds / max(len(rows), 1),
            data_wait_share=sum(row["data_wait_share"] * row["seconds"] for row in rows) / max(seconds, 1e-9),
            peak_mb=max((row["peak_mb"] for row in rows), default=float("nan")),
            accumulate=self.stepper.parts,
            precision="bf16" if computes_bf16(self.place.device, self.settings["precision"]) else "fp32",
        )

    def _network(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.learner.network if self.stepper.mean is None else self.stepper.mean.network

    def _steps(self) -> float:
        """The steps that an epoch has left; gives the learning rate of its last one."""
        self.learner.train()
        at = self.progress
        self._clock = time.monotonic()
        for images, targets in self.watched.batches(at.epoch, at.batch):
            if not len(images):
                raise ValueError(
                    f"batch {at.batch} of epoch {at.epoch} has no image for process {self.place.rank} of "
                    f"{self.place.world}: take a larger batch or fewer processes"
                )
            due = time.monotonic() - self._saved >= 60 * self.settings["checkpoint_minutes"]
            total, stopping, saving = summed(
                self.place, len(images), float(self.stop.asked), float(due and self.place.first)
            )
            self._step(images, targets, int(total))
            if stopping or (self.stop.asked and self.place.world == 1):
                self._leave()
            if saving:
                self._save()
        return self.schedule.rate(at.epoch, len(self.training) - 1)

    def _step(self, images: Tensor, targets: Tensor, total: int) -> None:
        at = self.progress
        rate = self.schedule.rate(at.epoch, at.batch)
        try:
            loss, norm = self.stepper(images, targets, total, rate, (at.epoch, at.batch))
        except BatchTooLargeError:
            with atomic_path(self.folder / PARTS_WANTED) as partial:
                partial.write_text(str(self.stepper.parts))
            raise
        self.loss += loss
        self.norms += norm
        at.batch += 1
        at.images += total
        if at.batch % steps_unseen(self.place.device) == 0:
            self._check_numbers()
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._tell_progress(rate)

    def _end_epoch(self, rate: float) -> None:
        """Look at the validation rows, write history, and turn to the next epoch."""
        at = self.progress
        self._check_numbers()
        self._count_time()
        seen = self._look() if self._looks_now() else None
        if seen is not None:
            self._judge(seen)
        (loss,) = summed(self.place, float(self.loss))
        at.rows.append(self._row(loss, seen, rate))
        if self.place.first:
            write_history(self.folder / "history.csv", at.rows)
        self.tell(self._line_of_epoch())
        at.epoch, at.batch, at.images, at.seconds, at.waited = at.epoch + 1, 0, 0, 0.0, 0.0
        self.loss.zero_()

    def _looks_now(self) -> bool:
        done = self.progress.epoch + 1
        every, epochs = self.settings["validation_epochs"], self.settings["epochs"]
        return self.validation is not None and (done % every == 0 or done == epochs)

    def _look(self) -> Look:
        same_buffers(self.place, self._network())
        seen = look(self._network(), self.learner, self.validation, self.place, self.settings, self.stop)
        if seen is None:
            self._leave()
        if not math.isfinite(seen.loss):
            raise TrainingDivergedError(self._diverged("the loss on the validation rows"))
        if not math.isfinite(seen.macro_f1):
            raise ValueError(
                "no row to validate on has a label: take another validation fold, or set select_by to loss"
            )
        return seen

    def _judge(self, seen: Look) -> None:
        at = self.progress
        score = -seen.loss if self.settings["select_by"] == "loss" else seen.macro_f1
        # scores come in steps, and of equal ones the surer network is taken
        if at.best_score is None or (score, -seen.loss) > (at.best_score, -at.best_loss):
            at.best_score, at.best_loss, at.best_epoch = score, seen.loss, at.epoch
            self.best = {name: value.detach().cpu().clone() for name, value in self._network().state_dict().items()}
        self.schedule.looked(at.epoch, score)
        patience = self.settings["early_stopping_epochs"]
        at.stopped = patience is not None and at.epoch - at.best_epoch >= patience

    def _row(self, loss: float, seen: Look | None, rate: float) -> dict[str, Any]:
        at = self.progress
        seconds = max(at.seconds, 1e-9)
        return {
            "epoch": at.epoch + 1,
            "train_loss": loss / max(at.images, 1),
            "validation_loss": None if seen is None else seen.loss,
            "macro_f1": None if seen is None else seen.macro_f1,
            "learning_rate": rate,
            "seconds": at.seconds,
            "images_per_second": at.images / seconds,
            "data_wait_share": at.waited / seconds,
            "peak_mb": peak_mb(self.place.device),
        }

    def _count_time(self) -> None:
        """Add the time since the clock was set last to the epoch's, and set the clock."""
        if self.place.device.type == "cuda":
            torch.cuda.synchronize(self.place.device)
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self.progress.waited += self.watched.waited()
        self._clock = now

    def _check_numbers(self) -> None:
        """Stop if a loss or a gradient of any step so far was no number."""
        if not math.isfinite(float(self.loss + self.norms)):
            raise TrainingDivergedError(self._diverged("the loss or its gradient"))

    def _diverged(self, what: str) -> str:
        at, path = self.progress, self.folder / CHECKPOINT
        kept = f"the last good state is kept in {path}" if path.is_file() else "no state had been saved yet"
        unseen = steps_unseen(self.place.device) - 1
        earlier = f" or up to {unseen} before it" if unseen else ""
        rate = self.schedule.rate(at.epoch, max(at.batch - 1, 0))
        return (
            f"{what} is no longer a number in epoch {at.epoch + 1}, at batch {at.batch} of {len(self.training)}"
            f"{earlier}, learning rate {rate:.3g}; {kept}. Lower learning_rate or clip_norm, or set precision to fp32; "
            "look for images that are not numbers"
        )

    def _leave(self) -> None:
        """Save, and end so that the training is started again."""
        self._save()
        summed(self.place, 0.0)  # no process goes before the first one has saved
        raise Interrupted

    def _save(self) -> None:
        self._check_numbers()
        self._count_time()
        (loss,) = summed(self.place, float(self.loss))
        if self.place.first:
            stepper = self.stepper
            state = {
                "learner": self.learner.state_dict(),
                "optimizer": stepper.optimizer.state_dict(),
                "mean": None if stepper.mean is None else stepper.mean.state_dict(),
                "schedule": self.schedule.state_dict(),
                "progress": asdict(self.progress),
                "loss": loss,
                "parts": stepper.parts,
                "best": self.best,
            }
            save_checkpoint(self.folder / CHECKPOINT, state, self.belongs)
        self._saved = self._clock = time.monotonic()

    def _load(self) -> None:
        state = load_checkpoint(self.folder / CHECKPOINT, self.belongs)
        stepper, wanted = self.stepper, self.folder / PARTS_WANTED
        if state is not None:
            self.learner.load_state_dict(state["learner"])
            stepper.optimizer.load_state_dict(state["optimizer"])
            if stepper.mean is not None:
                stepper.mean.load_state_dict(state["mean"])
            self.schedule.load_state_dict(state["schedule"])
            self.progress = Progress(**state["progress"])
            self.best = state["best"]
            stepper.parts = state["parts"]
            self.loss += state["loss"] if self.place.first else 0.0
        if wanted.is_file():
            stepper.parts = max(stepper.parts, int(wanted.read_text()))

    def _tell_progress(self, rate: float) -> None:
        self._count_time()
        self._told = time.monotonic()
        at = self.progress
        left = at.seconds / at.batch * (len(self.training) - at.batch)
        self.tell(
            f"epoch {at.epoch + 1} of {self.settings['epochs']}, batch {at.batch} of {len(self.training)}: loss "
            f"{float(self.loss) * self.place.world / at.images:.4f}, learning rate {rate:.2e}, "
            f"{at.images / at.seconds:.1f} images/s, {at.waited / at.seconds:.0%} of the time waiting for images, "
            f"{left / 60:.1f} min left of the epoch"
        )

    def _line_of_epoch(self) -> str:
        row = self.progress.rows[-1]
        seen = "" if row["macro_f1"] is None else f", held out {row['validation_loss']:.4f}, F1 {row['macro_f1']:.4f}"
        return (
            f"epoch {row['epoch']} of {self.settings['epochs']}: loss {row['train_loss']:.4f}{seen}, "
            f"{row['seconds']:.1f} s, {row['images_per_second']:.1f} images/s, {row['data_wait_share']:.0%} waiting"
        )


def steps_unseen(device: torch.device) -> int:
    """Steps from one look whether the loss is a number to the next: on a GPU each look waits for all that is queued."""
    return 1 if device.type == "cpu" else 50


def _check(settings: Mapping[str, Any], training: Feed, validation: Feed | None) -> None:
    if not len(training):
        raise ValueError("no rows to train on: give the training folds some, or take a smaller batch")
    if validation is not None and not len(validation):
        raise ValueError("no rows to validate on: give the validation fold some, or take another fold")
    if validation is None and (settings["schedule"] == "plateau" or settings["early_stopping_epochs"] is not None):
        raise ValueError(
            "the schedule 'plateau' and early_stopping_epochs follow the score on validation rows, and there are none: "
            "name a validation fold, or take another schedule"
        )
