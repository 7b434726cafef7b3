"""What a training is fed with."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class Feed(Protocol):
    """Batches of images with what is to be learnt, on the device where the network is.

    Where several processes train together, each has a feed of its own: of every batch it gives the units number rank,
    rank + world, rank + 2 world and so on (`wherein.models.training.distributed.Place`), and all feeds have as many
    batches. For training each process has to get one unit of every batch at least.

    A batch depends on the seed, the epoch and its number alone: not on `first`, not on what was given before, and on no
    global random state. On a GPU a feed works on torch's current stream and waits for nothing: its copies and
    augmentation then run beside the network.

    Attributes:
        classes: K, number of classes.
    """

    classes: int

    def __len__(self) -> int:
        """Batches of an epoch, the same in all processes."""
        ...

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch, from number `first` to the end.

        Args:
            epoch: counted from 0; always 0 for validation.
            first: number of the first batch to give, counted from 0.

        Yields:
            images: (n, C, H, W) float32, normalized, and augmented for training. For validation also
                (n, T, C, H, W): T tiles of each unit, whose probabilities are averaged.
            targets: (n, K) float32, 1 for the classes of a unit and 0 for others. For distillation (n, 2, K) float32:
                the same, then the probabilities of the model to learn from, NaN for a unit that it does not know. For
                classes of which a unit has exactly one: their numbers, (n,) int64.
        """
        ...
