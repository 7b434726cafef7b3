"""Feeds of a training: units of the training table as normalized, changed batches on the device.

A batch is a function of the seed, the epoch and its number: a training that was stopped goes on as if it had not been.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherein.models.augmentation import Augmentation
from wherein.models.feed import to_device
from wherein.models.images import Units, UnitSource
from wherein.models.policies import make_policy
from wherein.models.training.imbalance import repeats
from wherein.reading.batches import BatchReader
from wherein.reading.normalization import normalize
from wherein.reading.tiling import tiles


class Draw:
    """Which windows of which units make up a batch: (n, 3) rows of unit, first row, first column.

    Args:
        units: the units.
        side: of a window, pixels.
        batch: units of a batch, over all processes.
        seed: of all draws.
        factors: (N,) how often each unit comes in an epoch (`imbalance.oversampling_factors`).
        members: units of each class, for the balanced sampling; in place of `factors`.
        share: number of this process, and of all processes.

    Attributes:
        epoch, batch: the place in the epochs (`wherein.reading.batches`).
        length: units of an epoch.
        widest: a batch that is as large as any: the first.
    """

    widest = 0

    def __init__(
        self,
        units: Units,
        side: int,
        batch: int,
        seed: int,
        factors: np.ndarray | None = None,
        members: Sequence[np.ndarray] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.epoch, self.batch = 0, 0
        self.length = round(float(factors.sum())) if factors is not None else len(units)
        self.size = min(batch, self.length)
        self._room = np.maximum(units.sizes - side, 0)
        self._seed, self._factors, self._members, self._share = seed, factors, members, share
        self._drawn: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Batches of an epoch. What is left over comes up in another one: each epoch is drawn anew."""
        return self.length // self.size

    def whole(self, epoch: int, number: int) -> np.ndarray:
        """A batch of all processes, (n, 3)."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._epoch(np.random.default_rng([self._seed, epoch]))
        return self._drawn[1][number * self.size : (number + 1) * self.size]

    def rows(self, epoch: int, number: int) -> np.ndarray:
        """This process's part of a batch, (n, 3)."""
        rank, world = self._share
        return self.whole(epoch, number)[rank::world]

    def _epoch(self, rng: np.random.Generator) -> np.ndarray:
        if self._members is not None:
            # classes take turns, in another order each time
            turns = ceil(self.length / len(self._members))
            classes = np.concatenate([rng.permutation(len(self._members)) for _ in range(turns)])[: self.length]
            order = np.array([rng.choice(self._members[place]) for place in classes], np.int64)
        elif self._factors is not None:
            order = self._repeated(rng)
        else:
            order = rng.permutation(self.length)
        corner = rng.integers(0, self._room[order], endpoint=True)
        return np.concatenate([order[:, None], corner], axis=1)

    def _repeated(self, rng: np.random.Generator) -> np.ndarray:
        """`length` units, each as often as it should come: its whole number, and once more by chance."""
        order = rng.permutation(repeats(self._factors, rng))
        # an epoch has the same number of batches each time
        share = self._factors / self._factors.sum()
        rest = rng.choice(len(share), max(self.length - len(order), 0), p=share)
        return np.concatenate([order[: self.length], rest])


class TilePlan:
    """Tiles that cover units, unit by unit, as few as possible: for validation and inference.

    The units of a batch have the same number of tiles; the largest batches come first.

    Args:
        units: the units.
        side: of a tile, pixels.
        batch: tiles of a batch; a unit with more is a batch of its own.
        share: number of this process, and of all processes.

    Attributes:
        epoch, batch: the place in the epochs.
        groups: for each batch the numbers of its units, those of other processes included.
        widest: the batch of which this process has the most tiles.
    """

    def __init__(self, units: Units, side: int, batch: int, share: tuple[int, int] = (0, 1)) -> None:
        self.epoch, self.batch = 0, 0
        self._share = share
        self._corners = [
            [(rows.start, columns.start) for rows, columns in tiles(*size, side)] for size in units.sizes.tolist()
        ]
        counts = np.array([len(corners) for corners in self._corners], np.int64)
        self.groups: list[np.ndarray] = []
        for count in np.unique(counts).tolist():
            alike = np.flatnonzero(counts == count)
            step = max(batch // count, 1)
            self.groups += [alike[start : start + step] for start in range(0, len(alike), step)]
        # the largest batch first: who decodes ahead makes room for that (`wherein.reading.batches`)
        self.groups.sort(key=lambda group: -len(group) * int(counts[group[0]]))
        # of this process's share: one tile more in a later batch is more than it has of the first
        own = [len(group[share[0] :: share[1]]) * int(counts[group[0]]) for group in self.groups]
        self.widest = int(np.argmax(own)) if own else 0

    def __len__(self) -> int:
        """Batches."""
        return len(self.groups)

    def units(self, number: int) -> np.ndarray:
        """Units of this process in a batch."""
        rank, world = self._share
        return self.groups[number][rank::world]

    def rows(self, epoch: int, number: int) -> np.ndarray:
        """Tiles of a batch, (n * T, 3), those of a unit together."""
        found = [(unit, *corner) for unit in self.units(number).tolist() for corner in self._corners[unit]]
        return np.array(found, np.int64).reshape(-1, 3)


class Pixels:
    """Normalized images of units on a device, batch by batch. Use as a context manager where there are workers.

    Args:
        units: the units.
        source: where their images are.
        plan: which windows make up a batch.
        normalization: one of `wherein.reading.normalization.NORMALIZATIONS`.
        device: where to.
        workers: processes that decode; 0 for this one.
        centred: whether images smaller than the side stand in its middle (cells), not at its corner (fields).
    """

    def __init__(
        self,
        units: Units,
        source: UnitSource,
        plan: Draw | TilePlan,
        normalization: str,
        device: torch.device,
        workers: int = 0,
        centred: bool = False,
    ) -> None:
        self.plan, self.device = plan, device
        self._units, self._name, self._centred = units, normalization, centred
        self._roles, self._side = source.reader.layout.roles, source.reader.layout.size_px
        self._source, self._workers = source, workers
        self._reader: BatchReader | None = None

    def __enter__(self) -> "Pixels":
        return self

    def __exit__(self, *error: object) -> None:
        if self._reader is not None:
            self._reader.close()

    def batches(self, epoch: int, first: int) -> Iterator[tuple[int, np.ndarray, Tensor]]:
        """Batches of an epoch: number, (n, 3) rows, (n, C, side, side) float32 images; 0 beyond a unit's own pixels."""
        if self._reader is None:
            self._reader = BatchReader(self._source, self.plan, self._workers, reuse=True)
        self.plan.epoch, self.plan.batch = epoch, first
        for batch in self._reader:
            images, _, _ = to_device(batch, self.device)
            yield batch.number, batch.rows, self._normalized(images, batch.rows)

    def _normalized(self, images: Tensor, rows: np.ndarray) -> Tensor:
        own = self._units.of(rows[:, 0])
        values = normalize(
            images,
            self._name,
            self._roles,
            full_scale=own.full_scale,
            moments=(own.means, own.deviations),
            limits=own.limits,
        )
        have = np.minimum(own.sizes - rows[:, 1:], self._side)
        if (have == self._side).all():
            return values
        start = (self._side - have) // 2 if self._centred else np.zeros_like(have)
        steps = torch.arange(self._side, device=self.device)
        within = []
        for axis in (0, 1):
            low, high = (torch.as_tensor(bound[:, axis, None], device=self.device) for bound in (start, start + have))
            within.append((steps >= low) & (steps < high))
        return values * (within[0][:, None, :, None] & within[1][:, None, None, :])


class TrainingFeed:
    """Random windows of units with random changes (`wherein.models.training.feed.Feed`).

    Args:
        pixels: their images; its plan is a `Draw`.
        targets: (N, K) labels, (N, 2, K) labels and soft targets, or (N,) class numbers.
        classes: K.
        augmentation: settings of `wherein.models.augmentation.Augmentation`, and `policy` for
            `wherein.models.policies.make_policy`.
        seed: of the changes.
        share: number of this process, and of all processes.
    """

    def __init__(
        self,
        pixels: Pixels,
        targets: np.ndarray,
        classes: int,
        augmentation: Mapping[str, Any],
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.classes = classes
        self._pixels, self._share, self._seed = pixels, share, seed
        self._targets = torch.from_numpy(targets)
        self._augmentation = {key: value for key, value in augmentation.items() if key != "policy"}
        self._policy = make_policy(augmentation.get("policy"))

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._pixels.plan)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch from number `first` on."""
        rank, world = self._share
        for number, rows, images in self._pixels.batches(epoch, first):
            first, second = np.random.SeedSequence([self._seed, epoch, number]).generate_state(2).tolist()
            changes, own = Augmentation(self._augmentation, first), slice(rank, None, world)
            # drawn for the units of all processes: how many there are changes nothing
            count = len(self._pixels.plan.whole(epoch, number))
            drawn = changes.draw(count, images.shape[1]).of(own)
            if self._policy is not None:
                chosen = self._policy.draw(count, images.shape[1], torch.Generator().manual_seed(second))
                images, _ = self._policy.apply(images, chosen.of(own))
            images, _ = changes.apply(images, drawn)
            yield images, self._targets[rows[:, 0]].to(self._pixels.device, non_blocking=True)


class TileFeed:
    """Units as they are, each as the tiles that cover it (`wherein.models.training.feed.Feed`), for validation.

    Args:
        pixels: their images; its plan is a `TilePlan`.
        targets: (N, K) labels.
    """

    def __init__(self, pixels: Pixels, targets: np.ndarray) -> None:
        self.classes = targets.shape[1]
        self._pixels = pixels
        self._targets = torch.from_numpy(targets)

    def __len__(self) -> int:
        """Batches."""
        return len(self._pixels.plan)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from number `first` on: (n, T, C, side, side) images and (n, K) labels."""
        for number, rows, images in self._pixels.batches(epoch, first):
            units = self._pixels.plan.units(number)
            tiled = images.reshape(len(units), -1, *images.shape[1:]) if len(rows) else images[:, None]
            yield tiled, self._targets[units].to(self._pixels.device, non_blocking=True)


def class_members(labels: np.ndarray) -> list[np.ndarray]:
    """Units of each class that some unit has: (N, K) bool."""
    return [np.flatnonzero(column) for column in labels.T if column.any()]
