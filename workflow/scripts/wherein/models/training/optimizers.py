"""Optimizers, and what is done to gradients before them: penalties of the weights, and a limit to the norm."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def make_optimizer(module: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer that the configuration asks for, over all parameters that learn.

    Args:
        module: on its device.
        settings: `models.<name>.training` of the configuration.
    """
    penalized, free = penalized_parameters(module)
    decoupled = settings["weight_decay"] if settings["optimizer"] == "adamw" else 0.0
    groups = [{"params": penalized, "weight_decay": decoupled}, {"params": free, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    # one kernel over all parameters, on processors too
    options = {"lr": settings["learning_rate"], "fused": True}
    if settings["optimizer"] == "sgd":
        return torch.optim.SGD(groups, momentum=settings["momentum"], **options)
    kind = torch.optim.AdamW if settings["optimizer"] == "adamw" else torch.optim.Adam
    return kind(groups, **options)


def penalized_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that penalties draw to 0, and those that they leave alone: biases, and gains of normalization.

    Returns:
        Parameters with two axes or more, and the others; those that do not learn in neither.
    """
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]


def add_penalties(parameters: list[nn.Parameter], settings: Mapping[str, Any]) -> None:
    """Add the gradients of l1 * sum |w| and weight_decay / 2 * sum w ** 2 to those of the loss, in place.

    They are part of the loss that is clipped, as in the released code of Rumetshofer et al. 2019. AdamW decays weights
    by itself.

    Args:
        parameters: those to penalize.
        settings: `models.<name>.training` of the configuration.
    """
    l1, l2 = settings["l1"], 0.0 if settings["optimizer"] == "adamw" else settings["weight_decay"]
    learnt = [parameter for parameter in parameters if parameter.grad is not None]
    weights, gradients = [p.detach() for p in learnt], [p.grad for p in learnt]
    if l2 and learnt:
        torch._foreach_add_(gradients, weights, alpha=l2)
    if l1 and learnt:
        torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=l1)


def clip(parameters: list[nn.Parameter], most: float | None) -> Tensor:
    """Scale gradients down, in place, so that their global L2 norm is at most `most` (Rumetshofer et al. 2019, 3.1).

    Args:
        parameters: all that learn.
        most: the limit; None for none.

    Returns:
        Scalar, the norm before; left on the device, since asking for its value would wait for the device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if most is not None:
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm
