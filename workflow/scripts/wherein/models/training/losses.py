"""Losses of networks that say which of K classes a unit has, any number of them at once.

All take `logits` (N, K) and `targets` (N, K) of 0 and 1, compute in the logits' type, and give a mean over the units.
Binary cross-entropy also takes probabilities as targets.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wherein.models.training.distill import split_targets, with_soft_targets

MULTI_LABEL = ("bce", "focal", "lovasz", "hard_negative")
"""Losses of units with any number of classes."""

ONE_CLASS = ("arcface", "cross_entropy")
"""Losses of units with exactly one class."""


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, positive: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Binary cross-entropy (Rumetshofer et al. 2019, section 3.1).

    Args:
        logits: (N, K).
        targets: (N, K), 0 to 1.
        positive: (K,) what a positive of each class weighs; None for 1.
        reduction: over the classes of a unit, `sum` (GapNet-PL) or `mean` (the other networks of the paper).
    """
    each = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=positive, reduction="none")
    return _over_classes(each, reduction)


def focal(
    logits: Tensor, targets: Tensor, gamma: float = 2.0, positive: Tensor | None = None, reduction: str = "sum"
) -> Tensor:
    """Binary cross-entropy times (1 - p) ** gamma, p the probability that is given to what is true (Lin et al. 2017).

    Args:
        logits: (N, K).
        targets: (N, K) of 0 and 1.
        gamma: exponent; 0 is binary cross-entropy.
        positive: (K,) what a positive of each class weighs; None for 1.
        reduction: over the classes of a unit, `sum` (the winner of Ouyang et al. 2019) or `mean`.
    """
    each = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=positive, reduction="none")
    # the logarithm of 1 - p does not round to that of 0 where p is near 1
    wrong = functional.logsigmoid(-logits * (2 * targets - 1))
    return _over_classes(torch.exp(gamma * wrong) * each, reduction)


def lovasz_hinge(logits: Tensor, targets: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss of each class over the batch, of hinge errors; mean over the classes.

    Berman et al. 2018, section 3.1. A class that no unit of the batch has costs its largest error.

    Args:
        logits: (N, K).
        targets: (N, K) of 0 and 1.
    """
    errors, order = torch.sort(1 - logits * (2 * targets - 1), dim=0, descending=True)
    have = torch.gather(targets, 0, order)
    total = have.sum(dim=0)
    # Jaccard loss where the first 1, 2, ... units, those with the largest errors, are wrong
    jaccard = 1 - (total - have.cumsum(dim=0)) / (total + (1 - have).cumsum(dim=0))
    steps = torch.cat([jaccard[:1], jaccard.diff(dim=0)])
    return (functional.relu(errors) * steps).sum(dim=0).mean()


def symmetric_lovasz(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of the Lovasz hinge of each class and that of its absence (the winner of Ouyang et al. 2019).

    Args:
        logits: (N, K).
        targets: (N, K) of 0 and 1.
    """
    return (lovasz_hinge(logits, targets) + lovasz_hinge(-logits, 1 - targets)) / 2


def hard_negative(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of all positives and the hardest negatives of each class; mean over those, then classes.

    Of n negatives beside p positives in the batch the hardest min(n, p + max(2, n / 2), 0.7 n + 2) count, each rounded
    down (the winner of Ouyang et al. 2019, released code).

    Args:
        logits: (N, K).
        targets: (N, K) of 0 and 1.
    """
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    positive = targets > 0
    have = positive.sum(dim=0)
    lack = len(targets) - have
    count = torch.minimum(lack, torch.minimum(have + (lack // 2).clamp(min=2), (lack * 7) // 10 + 2))
    hardness = each.detach().masked_fill(positive, -torch.inf)
    # rank of each unit among the negatives of its class, 0 the hardest
    rank = hardness.argsort(dim=0, descending=True).argsort(dim=0)
    kept = positive | (rank < count)
    return ((each * kept).sum(dim=0) / kept.sum(dim=0)).mean()


class Criterion(nn.Module):
    """The weighted sum of losses that the configuration asks for.

    Args:
        settings: `models.<name>.training` of the configuration.
        positive: (K,) what a positive of each class weighs in `bce` and `focal`; None for 1.

    Raises:
        ValueError: no loss has a weight, or losses for one class and for many are mixed.
    """

    def __init__(self, settings: Mapping[str, Any], positive: Tensor | None = None) -> None:
        super().__init__()
        self.weights = {name: weight for name, weight in settings["loss"].items() if weight}
        many, one = (bool(set(self.weights) & set(names)) for names in (MULTI_LABEL, ONE_CLASS))
        if many == one:
            raise ValueError(
                f"training.loss: found {dict(settings['loss'])}; allowed are weights of {', '.join(MULTI_LABEL)} for "
                f"units with any number of classes, or of {', '.join(ONE_CLASS)} for units with one"
            )
        self.one_class = one
        self._reduction = settings["reduction"]
        self._gamma = settings["focal_gamma"]
        self._distillation = settings["distillation"]
        self.register_buffer("positive", positive, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits (N, K), any type, against what a feed gives as targets, in float32."""
        logits = logits.float()
        labels, soft = split_targets(targets)
        value = self.of_labels(logits, labels)
        return value if soft is None else with_soft_targets(value, logits, soft, **self._soft_settings())

    def of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted sum of losses against labels (N, K)."""
        losses = {
            "bce": lambda: binary_cross_entropy(logits, labels, self.positive, self._reduction),
            "focal": lambda: focal(logits, labels, self._gamma, self.positive, self._reduction),
            "lovasz": lambda: symmetric_lovasz(logits, labels),
            "hard_negative": lambda: hard_negative(logits, labels),
        }
        return sum((weight * losses[name]() for name, weight in self.weights.items()), start=logits.new_zeros(()))

    def _soft_settings(self) -> dict[str, float]:
        if self._distillation is None:
            raise ValueError("the feed gives soft targets, and training.distillation says nothing of them")
        return {key: self._distillation[key] for key in ("weight", "temperature")}


def _over_classes(each: Tensor, reduction: str) -> Tensor:
    return each.sum(dim=1).mean() if reduction == "sum" else each.mean()
