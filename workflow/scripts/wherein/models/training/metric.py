"""Metric learning: vectors of units of one class (a reagent) come together, those of others part."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class ArcFace(nn.Module):
    """Cosines between vectors and one direction for each class, with a margin in angle (Deng et al. 2019, section 2).

    Args:
        length: D, length of a vector.
        classes: K.
        scale: factor of the cosines.
        margin: radians added to the angle between a unit and its own class.
    """

    def __init__(self, length: int, classes: int, scale: float, margin: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.empty(classes, length))
        nn.init.xavier_uniform_(self.directions)
        self.scale, self.margin = scale, margin

    def forward(self, vectors: Tensor) -> Tensor:
        """Scaled cosines (N, K) of vectors (N, D), without margin; in float32, where angles are still told apart."""
        with torch.autocast(vectors.device.type, enabled=False):
            return self.scale * functional.linear(
                functional.normalize(vectors.float()), functional.normalize(self.directions)
            )

    def with_margin(self, cosines: Tensor, classes: Tensor) -> Tensor:
        """The same with the margin at each unit's own class.

        Where angle and margin together pass pi, cos(angle) - margin sin(margin) goes on in their place, which falls on
        as the angle grows.

        Args:
            cosines: (N, K) scaled, as `forward` gives them.
            classes: (N,) int64, number of each unit's class.
        """
        own = cosines.gather(1, classes[:, None]) / self.scale
        # a root has no gradient at 0
        sine = (1 - own**2).clamp(min=1e-12).sqrt()
        moved = torch.where(
            own > -math.cos(self.margin),
            own * math.cos(self.margin) - sine * math.sin(self.margin),
            own - self.margin * math.sin(self.margin),
        )
        return cosines.scatter(1, classes[:, None], self.scale * moved)


def metric_loss(head: ArcFace, vectors: Tensor, classes: Tensor, arcface: float, cross_entropy: float) -> Tensor:
    """Weighted sum of cross-entropy with margin and without (team 1 of Ouyang et al. 2019: half each).

    Args:
        head: directions of the classes.
        vectors: (N, D).
        classes: (N,) int64.
        arcface: weight of cross-entropy over the cosines with margin.
        cross_entropy: weight of cross-entropy over the cosines alone.
    """
    cosines = head(vectors)
    return arcface * functional.cross_entropy(head.with_margin(cosines, classes), classes) + (
        cross_entropy * functional.cross_entropy(cosines, classes)
    )
