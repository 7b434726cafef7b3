"""How weights are drawn before training: each for the activation that follows its layer."""

from collections.abc import Iterable

import torch
from torch import nn

Layer = nn.Conv2d | nn.Linear


def lecun_normal(layers: Iterable[Layer], generator: torch.Generator | None = None) -> None:
    """Normal with variance 1 / inputs and zero biases, as SELU asks for (Klambauer et al. 2017, section 2).

    Args:
        layers: changed in place.
        generator: draws the weights; None for torch's own.
    """
    for layer in layers:
        inputs = layer.weight[0].numel()
        nn.init.normal_(layer.weight, 0.0, inputs**-0.5, generator=generator)
        _no_bias(layer)


def he_normal(layers: Iterable[Layer]) -> None:
    """Normal with variance 2 / inputs and zero biases, for ReLU (He et al. 2015, "Delving deep into rectifiers").

    Args:
        layers: changed in place.
    """
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        _no_bias(layer)


def xavier_uniform(layers: Iterable[Layer]) -> None:
    """Uniform with variance 2 / (inputs + outputs) and zero biases (Glorot and Bengio 2010, section 4.2.1).

    Args:
        layers: changed in place.
    """
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        _no_bias(layer)


def layers_of(network: nn.Module) -> list[Layer]:
    """All convolutions and fully connected layers of a network."""
    return [layer for layer in network.modules() if isinstance(layer, Layer)]


def _no_bias(layer: Layer) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
