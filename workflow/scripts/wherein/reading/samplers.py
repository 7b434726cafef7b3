"""Which cells make up a minibatch. A batch is a function of seed, epoch and its number, so any epoch resumes anywhere.

Every sampler gives rows of the index's table of cells. All draw by numpy's PCG64: the same seed gives the same batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

import numpy as np

from wherein.digest import digest
from wherein.reading.groups import Groups
from wherein.reading.index import Selection

EMPTY = -1
"""Where a bag has fewer cells than places."""


class Sampler(ABC):
    """What all samplers share: batches by number, and a place in the epochs that can be stored.

    Args:
        selection: the cells.
        batch_size: cells, pairs or bags in a batch.
        seed: of all draws.
        last: whether an epoch's last batch is given where it is smaller than the others.

    Attributes:
        length: cells, pairs or bags of an epoch.
        epoch: the epoch that iteration is in, from 0.
        batch: the batch that iteration gives next.
        widest: a batch that is as large as any: the first.

    Raises:
        ValueError: there is nothing to draw from, or a batch would hold nothing.
    """

    widest = 0

    def __init__(self, selection: Selection, batch_size: int, seed: int = 0, last: bool = True) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it has to be 1 or more")
        if not len(selection):
            raise ValueError("no cell is left to draw from: widen the conditions of the selection")
        self.selection = selection
        self.batch_size = batch_size
        self.seed = seed
        self.last = last
        self.length = len(selection)
        self.epoch = 0
        self.batch = 0
        self._drawn: tuple[int, Any] | None = None

    def __len__(self) -> int:
        """Batches of an epoch."""
        return ceil(self.length / self.batch_size) if self.last else self.length // self.batch_size

    def rows(self, epoch: int, batch: int) -> np.ndarray:
        """The cells of one batch.

        Args:
            epoch: from 0.
            batch: from 0 to `len(self) - 1`.

        Returns:
            int64 rows of the index: (n,), or (n, 2) for pairs, (n, k) for bags.

        Raises:
            IndexError: an epoch has no such batch.
        """
        if not 0 <= batch < len(self):
            raise IndexError(f"an epoch has {len(self)} batches, numbered from 0; asked for {batch}")
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(np.random.default_rng([self.seed, epoch]))
        places = slice(batch * self.batch_size, min((batch + 1) * self.batch_size, self.length))
        return self._cells(self._drawn[1], epoch, places)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Batches from the present place to the end of the epoch; then the place is the start of the next one."""
        while self.batch < len(self):
            self.batch += 1
            yield self.rows(self.epoch, self.batch - 1)
        self.epoch, self.batch = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """The place in the epochs, and what it holds for: JSON-able."""
        return {"epoch": self.epoch, "batch": self.batch, "draws": self.draws()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a stored place.

        Raises:
            ValueError: the state is of other cells, or of another kind of sampler, size of batch or seed.
        """
        if state["draws"] != self.draws():
            raise ValueError(
                "the stored place in the epochs is not of this sampler: the index, the chosen cells, the kind of "
                "sampler, its batch_size or its seed differ. Give them as they were, or start a new run"
            )
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])

    def draws(self) -> str:
        """Digest of all that the batches depend on."""
        chosen = [self.selection.digest, self.length, self.batch_size, self.seed, self.last]
        return digest([type(self).__name__, chosen, self._settings()])

    def _settings(self) -> Any:
        """What else the batches depend on, JSON-able."""
        return None

    @abstractmethod
    def _draw(self, rng: np.random.Generator) -> Any:
        """What is drawn once an epoch."""

    @abstractmethod
    def _cells(self, drawn: Any, epoch: int, places: slice) -> np.ndarray:
        """Rows of the index at places 0 to `length` of an epoch, from what `_draw` gave."""

    def _rng(self, epoch: int, number: int) -> np.random.Generator:
        """Random numbers of a part of an epoch alone, so that they do not depend on the parts before it."""
        return np.random.default_rng([self.seed, epoch, number])


class UniformSampler(Sampler):
    """Every cell once an epoch, in random order."""

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.selection.rows)

    def _cells(self, drawn: np.ndarray, epoch: int, places: slice) -> np.ndarray:
        return drawn[places].astype(np.int64)


class SequentialSampler(Sampler):
    """Every cell once, in the order of the index: for inference."""

    def _draw(self, rng: np.random.Generator) -> None:
        return None

    def _cells(self, drawn: None, epoch: int, places: slice) -> np.ndarray:
        return self.selection.rows[places].astype(np.int64)


class BalancedSampler(Sampler):
    """As many cells of one group as of any other: of proteins, or of location classes.

    Groups take turns, in another order each time, so that none comes up a second time before all have come up once.
    Within an epoch each cell of a group is taken once before any is taken twice.

    Args:
        selection: the cells.
        groups: groups of fields, as `groups_of` or `class_groups` give them.
        batch_size: cells in a batch.
        seed: of all draws.
        last: whether an epoch's last batch is given where it is smaller than the others.
        length: cells of an epoch; as many as the groups have together if not given.

    Attributes:
        groups: the groups.
    """

    def __init__(
        self,
        selection: Selection,
        groups: Groups,
        batch_size: int,
        seed: int = 0,
        last: bool = True,
        length: int | None = None,
    ) -> None:
        super().__init__(selection, batch_size, seed, last)
        self.groups = groups
        self._line = _CellsOfGroups(selection, groups)
        if not groups.names or not self._line.sizes.all():
            raise ValueError("there is no group, or one without cells: make the groups from this very selection")
        self.length = length if length is not None else int(self._line.sizes.sum())

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        # cell t of a group is number (start + t * step) modulo its size, which meets all of them if step and size have
        # no divisor in common
        sizes = self._line.sizes
        return (rng.random(len(sizes)) * sizes).astype(np.int64), _coprime(sizes, rng)

    def _cells(self, drawn: tuple[np.ndarray, np.ndarray], epoch: int, places: slice) -> np.ndarray:
        start, step = drawn
        count = len(start)
        turns = range(places.start // count, (places.stop - 1) // count + 1)
        group = np.concatenate([self._rng(epoch, turn).permutation(count) for turn in turns])
        turn = np.repeat(np.arange(turns.start, turns.stop, dtype=np.int64), count)
        part = slice(places.start - turns.start * count, places.stop - turns.start * count)
        group, turn = group[part], turn[part]
        size = self._line.sizes[group]
        return self._line.rows(self._line.first[group] + (start[group] + turn % size * step[group]) % size)

    def _settings(self) -> Any:
        return self.groups.digest


class PairSampler(Sampler):
    """Every cell once an epoch, with another one of the same sample: source and target of Lu et al. 2019.

    The partner is drawn anew in each epoch, every other cell of the sample with the same probability (Lu et al. 2019,
    methods). Cells whose sample has no other cell have no partner and are left out.

    Args:
        selection: the cells.
        groups: samples, as `groups_of(index, selection, "sample")` gives them.
        batch_size: pairs in a batch.
        seed: of all draws.
        last: whether an epoch's last batch is given where it is smaller than the others.

    Attributes:
        left_out: cells without a partner, those without a sample included.
    """

    def __init__(self, selection: Selection, groups: Groups, batch_size: int, seed: int = 0, last: bool = True) -> None:
        super().__init__(selection, batch_size, seed, last)
        self.groups = groups
        self._line = _CellsOfGroups(selection, groups)
        self._sources = np.flatnonzero(np.repeat(self._line.sizes > 1, self._line.sizes))
        self.length = len(self._sources)
        self.left_out = len(selection) - self.length
        if not self.length:
            raise ValueError("no sample has two cells: pairs cannot be drawn")

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self._sources)

    def _cells(self, drawn: np.ndarray, epoch: int, places: slice) -> np.ndarray:
        source = drawn[places]
        group = np.searchsorted(self._line.first, source, side="right") - 1
        first, size = self._line.first[group], self._line.sizes[group]
        # 1 to size - 1 places further on, around the end: never the cell itself
        ahead = self._rng(epoch, places.start).integers(1, size)
        target = first + (source - first + ahead) % size
        return np.stack([self._line.rows(source), self._line.rows(target)], axis=1)

    def _settings(self) -> Any:
        return self.groups.digest


class BagSampler(Sampler):
    """Every field once an epoch, as a bag of its cells: one label for many cells, as in Le et al. 2022.

    Args:
        selection: the cells.
        cells: places in a bag. A field with more cells gives that many of them, drawn anew in each epoch without
            taking one twice; one with fewer leaves places EMPTY, at the end.
        batch_size: bags in a batch.
        seed: of all draws.
        last: whether an epoch's last batch is given where it is smaller than the others.
    """

    def __init__(self, selection: Selection, cells: int, batch_size: int, seed: int = 0, last: bool = True) -> None:
        super().__init__(selection, batch_size, seed, last)
        if cells < 1:
            raise ValueError(f"a bag has {cells} places: it has to have 1 or more")
        self.cells = cells
        self.length = len(selection.fields)

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.length)

    def _cells(self, drawn: np.ndarray, epoch: int, places: slice) -> np.ndarray:
        fields = drawn[places]
        rng = self._rng(epoch, places.start)
        bags = np.full((len(fields), self.cells), EMPTY, np.int64)
        for bag, field in zip(bags, fields.tolist(), strict=True):
            start, end = self.selection.offsets[field : field + 2]
            chosen = rng.permutation(self.selection.rows[start:end])[: self.cells]
            bag[: len(chosen)] = chosen
        return bags

    def _settings(self) -> Any:
        return self.cells


class _CellsOfGroups:
    """The cells of all groups as one line, group after group, of which only the joints between fields are stored.

    Attributes:
        first: place of each group's first cell.
        sizes: cells of each group.
    """

    def __init__(self, selection: Selection, groups: Groups) -> None:
        self._selection = selection
        self._members = groups.members
        self._joints = np.concatenate([[0], np.cumsum(selection.counts[groups.members])]).astype(np.int64)
        self.first = self._joints[groups.offsets[:-1]]
        self.sizes = np.diff(self._joints[groups.offsets])

    def rows(self, places: np.ndarray) -> np.ndarray:
        """Rows of the index at some places of the line, int64."""
        member = np.searchsorted(self._joints, places, side="right") - 1
        start = self._selection.offsets[self._members[member]]
        return self._selection.rows[start + places - self._joints[member]].astype(np.int64)


def _coprime(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random step for each size that has no divisor in common with it."""
    steps = np.ones(len(sizes), np.int64)
    todo = np.flatnonzero(sizes > 2)
    while len(todo):
        drawn = rng.integers(1, sizes[todo])
        fits = np.gcd(drawn, sizes[todo]) == 1
        steps[todo[fits]] = drawn[fits]
        todo = todo[~fits]
    return steps
