"""What is a protein's own at one place: how many structures, how large, how much of the signal they hold."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Traits:
    """What is a protein's own, the same in all its fields; each is uniform in 0 to 1.

    Attributes:
        count: how many structures.
        size: how large they are.
        share: how much of the signal they hold.
        form: which of the usual forms of the pattern.
    """

    count: float
    size: float
    share: float
    form: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Traits":
        """Draw the traits of one protein at one place."""
        return cls(*rng.random(4))

    def between(self, trait: str, low: float, high: float) -> float:
        """A trait on another scale."""
        return low + (high - low) * float(getattr(self, trait))
