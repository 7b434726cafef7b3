"""How the learning rate goes from step to step."""

import math
from collections.abc import Mapping
from typing import Any


class Schedule:
    """The learning rate of every step.

    Args:
        settings: `models.<name>.training` of the configuration.
        batches: steps of an epoch.
    """

    def __init__(self, settings: Mapping[str, Any], batches: int) -> None:
        self._settings = settings
        self._batches = batches
        self._fallen = 1.0
        self._best: float | None = None
        self._since = 0

    def rate(self, epoch: int, batch: int) -> float:
        """Learning rate of a step.

        Args:
            epoch: counted from 0.
            batch: number of the batch in the epoch, counted from 0.
        """
        highest, name = self._settings["learning_rate"], self._settings["schedule"]
        step, steps = epoch * self._batches + batch, self._settings["epochs"] * self._batches
        if name == "plateau":
            return highest * self._fallen
        if name == "steps":
            return highest * step_factor(self._settings["steps"], epoch)
        if name == "one_cycle":
            return highest * one_cycle(step, steps, **self._settings["one_cycle"])
        if name == "cosine":
            return highest * cosine(step, steps, **self._settings["cosine"])
        return highest

    def looked(self, epoch: int, score: float) -> None:
        """Hear of a score on the validation rows after an epoch (counted from 0), the higher the better."""
        numbers = self._settings["plateau"]
        if self._best is None or score > self._best + numbers["least"] * abs(self._best):
            self._best, self._since = score, epoch
        elif epoch - self._since >= numbers["epochs"]:
            self._fallen *= numbers["factor"]
            self._since = epoch

    def state_dict(self) -> dict[str, Any]:
        """What was heard so far."""
        return {"fallen": self._fallen, "best": self._best, "since": self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as after the state was taken."""
        self._fallen, self._best, self._since = state["fallen"], state["best"], state["since"]


def step_factor(steps: list[dict[str, Any]], epoch: int) -> float:
    """Factor of an epoch, counted from 0, by a table of `after` (epochs that come before) and `factor`."""
    return next((step["factor"] for step in reversed(steps) if epoch >= step["after"]), 1.0)


def cosine(step: int, steps: int, warm_up: float, end: float) -> float:
    """A linear rise over a share `warm_up` of the steps, then half a cosine from 1 to `end` (Loshchilov, Hutter 2017).

    Args:
        step: counted from 0.
        steps: in all.
        warm_up: share of the steps.
        end: factor of the last step.
    """
    rise = round(warm_up * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return _half_cosine(1.0, end, (step - rise) / max(steps - 1 - rise, 1))


def one_cycle(step: int, steps: int, rise: float, start: float, end: float) -> float:
    """Half a cosine from `start` up to 1 and another down to `end` (Smith and Topin 2018); momentum stays as it is.

    Args:
        step: counted from 0.
        steps: in all.
        rise: share of the steps that go up.
        start: factor of the first step.
        end: factor of the last step.
    """
    top = rise * steps - 1
    if step <= top:
        return _half_cosine(start, 1.0, step / top)
    return _half_cosine(1.0, end, (step - top) / max(steps - 1 - top, 1))


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
