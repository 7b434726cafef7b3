"""GapNet-PL as a network of the registry, for any number of roles and classes."""

from wherein.models.gapnet import DROPOUT, GapNet
from wherein.models.networks.initialization import layers_of, lecun_normal


def build(roles: int, classes: int, size_px: int, dropout: float = DROPOUT) -> GapNet:
    """GapNet-PL with weights drawn for SELU.

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any, so this changes nothing.
        dropout: share dropped between the fully connected layers in training.
    """
    network = GapNet(roles, classes, dropout)
    lecun_normal(layers_of(network))
    return network
