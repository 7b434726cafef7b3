"""Policies of augmentation: which changes an image gets is drawn from a set of operations that leave labels true.

A policy is either random (RandAugment, Cubuk et al. 2020: so many operations of one magnitude) or a list of
sub-policies, each a sequence of operations with probability and magnitude (AutoAugment, Cubuk et al. 2019), that a
search has found (`wherein.models.search_policy`). Operations of these papers that could make a label false are not
among them: inverted, equalized or posterized intensities, and images cut or put together.
"""

import json
from collections.abc import Mapping, Sequence
from math import ceil, pi
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from wherein.models.augmentation import affine, intensity

OPERATIONS = {
    "rotate": 30.0,
    "shear": 0.3,
    "shift": 0.3,
    "scale": 0.4,
    "gain": 1.0,
    "offset": 0.5,
    "blur": 1.5,
    "noise": 0.3,
}
"""Operations, and how much magnitude 1 is. rotate: degrees either way; shear: along one axis; shift: share of the side,
in any direction (the first two as in Cubuk et al. 2020, the third their 10 of 32 pixels); scale: sizes from 1 / 1.4 to
1.4; gain: each channel times 1/2 to 2; offset: standard deviations of the channel that are added, either way; blur:
standard deviation in pixels of the network's image; noise: standard deviations of the channel, in each pixel."""

GEOMETRIC = ("rotate", "shear", "shift", "scale")
"""Those that move pixels, which masks follow."""

NAMES = tuple(OPERATIONS)


class WrongPolicyError(ValueError):
    """A file holds no policy; the message says what is wrong."""


class Step(NamedTuple):
    """One operation of a sub-policy.

    Attributes:
        operation: one of OPERATIONS.
        probability: that an image gets it.
        magnitude: 0 to 1.
    """

    operation: str
    probability: float
    magnitude: float


class Chosen(NamedTuple):
    """What is drawn for N images with C channels, K operations each, one after another.

    Attributes:
        operation: (N, K) int64, number in NAMES; -1 for none.
        magnitude: (N, K) float32.
        direction: (N, K) float32 in [0, 1): sign or angle.
        light: (N, K, C) float32 in [0, 1), of each channel.
        seed: (N, K) int64, of the noise.
    """

    operation: Tensor
    magnitude: Tensor
    direction: Tensor
    light: Tensor
    seed: Tensor

    def of(self, images: slice) -> "Chosen":
        """Those of some of the images."""
        return Chosen(*(part[images] for part in self))


class Policy:
    """Draws and makes the changes of a policy.

    Args:
        steps: operations that an image gets, at most.
        magnitude: of the random policy.
        subpolicies: of which each image gets one, all equally often; None for the random policy.

    Raises:
        WrongPolicyError: an operation is unknown, or a number is out of bounds.
    """

    def __init__(self, steps: int, magnitude: float = 0.0, subpolicies: Sequence[Sequence[Step]] | None = None) -> None:
        for step in (step for subpolicy in subpolicies or () for step in subpolicy):
            if step.operation not in OPERATIONS or not (0 <= step.probability <= 1 and 0 <= step.magnitude <= 1):
                raise WrongPolicyError(
                    f"policy step {tuple(step)}: allowed are operation ({', '.join(OPERATIONS)}), probability and "
                    "magnitude from 0 to 1"
                )
        self.steps, self.magnitude = steps, magnitude
        self.subpolicies = None if subpolicies is None else [list(subpolicy) for subpolicy in subpolicies]

    def draw(self, count: int, channels: int, generator: torch.Generator) -> Chosen:
        """Draw the changes of `count` images, on the processor."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator)

        first, chance = uniform(count, max(self.steps, 1)), uniform(count, self.steps)
        if self.subpolicies is None:
            operation = (first[:, : self.steps] * len(NAMES)).long()
            magnitude = torch.full((count, self.steps), self.magnitude)
        else:
            operation, magnitude = self._of_subpolicies(first[:, 0], chance)
        return Chosen(
            operation=operation,
            magnitude=magnitude,
            direction=uniform(count, self.steps),
            light=uniform(count, self.steps, channels),
            seed=torch.randint(2**62, (count, self.steps), generator=generator),
        )

    def _of_subpolicies(self, first: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
        operation = torch.full(chance.shape, -1, dtype=torch.int64)
        magnitude = torch.zeros(chance.shape)
        for image, own in enumerate((first * len(self.subpolicies)).long().tolist()):
            for place, step in enumerate(self.subpolicies[own] if self.subpolicies else ()):
                if chance[image, place] < step.probability:
                    operation[image, place] = NAMES.index(step.operation)
                    magnitude[image, place] = step.magnitude
        return operation, magnitude

    def apply(self, images: Tensor, chosen: Chosen, masks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Make changes that were drawn.

        Args:
            images: (N, C, H, W) floating point, normalized; left as they are.
            chosen: for these images.
            masks: (N, M, H, W) of the same images, which follow where pixels go; None for none.

        Returns:
            images: (N, C, H, W) of the same type.
            masks: (N, M, H, W), or None.
        """
        images, masks = images.clone(), None if masks is None else masks.clone()
        for step in range(chosen.operation.shape[1]):
            for number, name in enumerate(NAMES):
                places = (chosen.operation[:, step] == number).nonzero()[:, 0]
                if not len(places):
                    continue
                there = places.to(images.device)
                drawn = [part[places, step] for part in chosen[1:]]
                images[there] = change(images[there], name, *drawn)
                if masks is not None and name in GEOMETRIC:
                    masks[there] = change(masks[there], name, *drawn)
        return images, masks


def change(images: Tensor, name: str, magnitude: Tensor, direction: Tensor, light: Tensor, seed: Tensor) -> Tensor:
    """One operation on some images.

    Args:
        images: (n, C, H, W).
        name: one of OPERATIONS.
        magnitude, direction: (n,).
        light: (n, C).
        seed: (n,).

    Returns:
        (n, C, H, W) of the same type.
    """
    amount = magnitude * OPERATIONS[name]
    if name in GEOMETRIC:
        return affine(images, _matrix(name, amount, direction))
    if name == "gain":
        return intensity(images, (1 + amount)[:, None] ** (2 * light - 1), torch.zeros_like(light))
    if name == "offset":
        return intensity(images, torch.ones_like(light), amount[:, None] * (2 * light - 1))
    if name == "blur":
        return blurred(images, amount)
    spread = images.std(dim=(-2, -1), correction=0, keepdim=True) * amount.to(images)[:, None, None, None]
    return images + spread * _noise(images, seed)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Each image (n, C, H, W) smoothed by a Gaussian of its own standard deviation (n,) in pixels, edges repeated."""
    radius = min(ceil(3 * float(sigma.max())), *(side - 1 for side in images.shape[-2:]))
    steps = torch.arange(-radius, radius + 1)
    weights = torch.exp(-((steps / sigma.clamp(min=1e-3)[:, None]) ** 2) / 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], dim=0).to(images)
    # each channel of each image is a group with a kernel of its own
    flat = functional.pad(images.flatten(0, 1)[None], (radius,) * 4, mode="replicate")
    for kernel in (weights[:, None, :, None], weights[:, None, None, :]):
        flat = functional.conv2d(flat, kernel, groups=len(weights))
    return flat[0].unflatten(0, images.shape[:2])


def read_policy(path: str | Path) -> Policy:
    """A policy from a file, `{"subpolicies": [[[operation, probability, magnitude], ...], ...]}`.

    Raises:
        WrongPolicyError: the file is none.
    """
    try:
        found = json.loads(Path(path).read_text())["subpolicies"]
        subpolicies = [[Step(*step) for step in subpolicy] for subpolicy in found]
        return Policy(max((len(subpolicy) for subpolicy in subpolicies), default=0), subpolicies=subpolicies)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongPolicyError(
            f"{path} holds no policy ({error}): a policy is JSON with `subpolicies`, a list of lists of "
            "[operation, probability, magnitude]"
        ) from error


def make_policy(settings: Mapping[str, Any] | None) -> Policy | None:
    """The policy that `augmentation.policy` of the configuration asks for; None for none."""
    if settings is None:
        return None
    if settings["kind"] == "random":
        return Policy(settings["operations"], settings["magnitude"])
    return read_policy(settings["file"])


def _matrix(name: str, amount: Tensor, direction: Tensor) -> Tensor:
    """Maps (n, 2, 3) of places of the result to places of the image, where each side goes from -1 to 1."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    sign = torch.where(direction < 0.5, -one, one)
    if name == "rotate":
        angle = sign * amount * pi / 180
        rows = (torch.cos(angle), -torch.sin(angle), zero, torch.sin(angle), torch.cos(angle), zero)
    elif name == "shear":
        along_x = (direction * 4).long() % 2 == 0
        rows = (one, sign * amount * along_x, zero, sign * amount * ~along_x, one, zero)
    elif name == "shift":
        angle = 2 * pi * direction
        # a side is 2 long
        rows = (one, zero, 2 * amount * torch.cos(angle), zero, one, 2 * amount * torch.sin(angle))
    else:
        size = (1 + amount) ** -sign
        rows = (size, zero, zero, zero, size, zero)
    return torch.stack(rows, dim=1).unflatten(1, (2, 3))


def _noise(images: Tensor, seed: Tensor) -> Tensor:
    """Normal noise like the images, that of each from its own seed, drawn on the processor."""
    drawn = [
        torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(own), dtype=torch.float32)
        for own in seed.tolist()
    ]
    return torch.stack(drawn).to(images)
