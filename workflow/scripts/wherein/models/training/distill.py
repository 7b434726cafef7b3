"""Learning from another model: its stored probabilities, those of an ensemble say, are targets beside the labels."""

import torch
from torch import Tensor
from torch.nn import functional

SURE = 1e-6
"""Probabilities are kept this far from 0 and 1, where their logits have no end."""


def split_targets(targets: Tensor) -> tuple[Tensor, Tensor | None]:
    """Labels and soft targets of what a feed gives.

    Args:
        targets: (N, K) labels; or (N, 2, K) labels and probabilities.

    Returns:
        labels: (N, K).
        soft: (N, K), or None.
    """
    return (targets[:, 0], targets[:, 1]) if targets.ndim == 3 else (targets, None)


def soft_loss(logits: Tensor, soft: Tensor, temperature: float) -> Tensor:
    """Binary cross-entropy of each class against a teacher's probabilities, both sides at a temperature.

    Times the square of the temperature, so that gradients keep their size (Hinton et al. 2015, section 2, there for one
    softmax); mean over classes and units.

    Args:
        logits: (N, K) float32.
        soft: (N, K) probabilities; a unit with NaN does not count.
        temperature: divisor of the logits of both sides.

    Returns:
        Scalar; 0 where no unit counts.
    """
    known = ~torch.isnan(soft).any(dim=1)
    probabilities = torch.nan_to_num(soft).clamp(SURE, 1 - SURE)
    # a logit is divided, not a probability: at temperature 1 the targets are the probabilities themselves
    targets = torch.sigmoid(torch.logit(probabilities) / temperature)
    each = functional.binary_cross_entropy_with_logits(logits / temperature, targets, reduction="none").mean(dim=1)
    return temperature**2 * (each * known).sum() / known.sum().clamp(min=1)


def with_soft_targets(of_labels: Tensor, logits: Tensor, soft: Tensor, weight: float, temperature: float) -> Tensor:
    """Loss against labels and teacher.

    Args:
        of_labels: scalar, loss against the labels.
        logits: (N, K) float32.
        soft: (N, K) probabilities of the teacher; NaN for a unit that it does not know.
        weight: of the soft targets; that of the labels is 1 minus it.
        temperature: divisor of the logits of both sides.
    """
    return (1 - weight) * of_labels + weight * soft_loss(logits, soft, temperature)
