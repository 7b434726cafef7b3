"""GapNet-PL as a network of the registry, for any number of roles and classes."""

from wherein.models.gapnet import GapNet
from wherein.models.networks.initialization import layers_of, lecun_normal


def build(roles: int, classes: int, size_px: int) -> GapNet:
    """GapNet-PL with weights drawn for SELU.

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any, so this changes nothing.
    """
    network = GapNet(roles, classes)
    lecun_normal(layers_of(network))
    return network
