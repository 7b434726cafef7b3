"""Attention maps: Grad-CAM against a case worked out by hand and against gradients of the whole, and pointing."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from wherein.metrics.pointing import pointing
from wherein.models.attention import OWN, attention_maps, draws_maps, grad_cam, over_images
from wherein.models.networks.build import build
from wherein.models.networks.registry import NETWORKS
from wherein.views.attention import are_own, overlay

VIT = {"width": 48, "layers": 3, "heads": 4, "hidden": 96}


class ByHand(nn.Module):
    """Two maps, which are the two channels; logit k is the weighted sum of their squares' means."""

    def __init__(self, in_place: bool = False) -> None:
        super().__init__()
        self.maps = nn.Identity()
        self.dropout = nn.Dropout(0.5)
        self.weights = nn.Parameter(torch.tensor([[1.0, 0.0], [-1.0, 3.0]]))
        self.in_place = in_place

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.maps(self.dropout(images * 1))
        squared = maps.mul_(maps.clone()) if self.in_place else maps * maps
        vector = squared.mean(dim=(2, 3))
        return vector, vector @ self.weights.T


IMAGE = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[2.0, 0.0], [0.0, 2.0]]]])


@pytest.mark.parametrize("in_place", [False, True])
def test_grad_cam_by_hand(in_place):
    """d logit_0 / d map_0 = 2 map_0 / 4, whose mean is 1.5; that of map_1, for weight 3 in logit_1, is 1.5 as well.

    So class 0 has 1.5 map_0, and class 1 has 1.5 map_1 - 1.5 map_0, where that is above zero.
    """
    found = grad_cam(ByHand(in_place), torch.cat([IMAGE, 2 * IMAGE]), [0, 1], "maps")
    assert found.shape == (2, 2, 2, 2)
    assert found[0, 0].tolist() == [[1.5, 3], [4.5, 9]]
    assert found[0, 1].tolist() == [[1.5, 0], [0, 0]]
    # twice the image has twice the gradient and twice the map
    torch.testing.assert_close(found[1], 4 * found[0])
    assert not found.requires_grad


def test_network_is_left_as_it_was():
    network = ByHand().train()
    expected = grad_cam(network.eval(), IMAGE, [1], "maps")
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with torch.inference_mode(False), torch.no_grad():
        assert torch.equal(grad_cam(network.train(), IMAGE, [1], "maps"), expected)
    assert network.training
    assert not network.maps._forward_hooks
    assert network.weights.grad is None


def whole(network: nn.Module, images: torch.Tensor, number: int, layer: str) -> torch.Tensor:
    """The same from the definition: gradients through the whole network, one image at a time."""
    kept = []
    handle = network.get_submodule(layer).register_forward_hook(lambda module, given, output: kept.append(output))
    found = []
    for image in images:
        kept.clear()
        logit = network(image[None])[1][0, number]
        gradient = torch.autograd.grad(logit, kept[0])[0]
        found.append(functional.relu((gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1))[0].detach())
    handle.remove()
    return torch.stack(found)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "multi-scale"])
def test_grad_cam_of_every_network(name):
    size = max(NETWORKS[name].smallest_px, 96)
    network = build(name, 3, 6, 0, size, **(VIT if name == "vit" else {})).eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    classes = [5, 0, 2, 1]
    found = grad_cam(network, images, classes, NETWORKS[name].layer)
    assert found.shape[:2] == (2, 4)
    expected = torch.stack([whole(network, images, number, NETWORKS[name].layer) for number in classes], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    assert found.max() > 0


@pytest.mark.parametrize("name", ["fcn-seg", "mil", "gapnet-pl"])
def test_own_maps_stand_for_gradients_where_a_network_draws_some(name):
    network = build(name, 3, 6, 0, 64).train()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    layer = NETWORKS[name].layer
    torch.testing.assert_close(
        attention_maps(network, images, [4, 1], layer), grad_cam(network, images, [4, 1], layer), rtol=0, atol=0
    )
    assert draws_maps(network) == (name != "gapnet-pl")
    if not draws_maps(network):
        with pytest.raises(ValueError, match="layer 'maps': the network has none of that name"):
            attention_maps(network, images, [4, 1], OWN)
        return
    found = attention_maps(network, images, [4, 1], OWN)
    # as in inference, and the network is left as it was
    assert network.training
    with torch.no_grad():
        torch.testing.assert_close(found, network.eval().maps(images)[:, [4, 1]], rtol=0, atol=0)
    assert attention_maps(network, images, [], OWN).shape == (2, 0, *found.shape[2:])


def test_a_layer_that_is_called_as_own_maps_are():
    assert not draws_maps(ByHand())
    torch.testing.assert_close(attention_maps(ByHand(), IMAGE, [0], OWN), grad_cam(ByHand(), IMAGE, [0], "maps"))


def test_several_scales_are_put_together():
    """A layer that sees the image and its half: with equal weights both count alike."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Identity()

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            fine, coarse = self.maps(images * 1), self.maps(functional.avg_pool2d(images, 2))
            vector = fine.mean(dim=(2, 3)) + coarse.mean(dim=(2, 3))
            return vector, vector

    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, :2, :2] = 1
    found = grad_cam(Twice(), image, [0], "maps")[0, 0]
    # the gradient is 1/16 at each of 16 fine places and 1/4 at each of 4 coarse ones: 1/16 of the mean each
    torch.testing.assert_close(found[0, 0], torch.tensor(2 / 16))
    assert found[3, 3] == 0
    assert found.shape == (4, 4)
    network = build("multi-scale", 3, 4, 0, 160).eval()
    found = grad_cam(network, torch.randn(1, 3, 160, 160), [0], "body.Mixed_7c")
    assert found.shape == (1, 1, 3, 3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("mapps", "none of that name; it has maps, dropout"),
        ("maps.7", "none of that name; maps has no layers in it"),
        ("unused", "do not depend"),
        ("flat", "gives no maps"),
    ],
)
def test_layers_that_will_not_do(layer, message):
    network = ByHand()
    if layer == "unused":
        network.unused = nn.Conv2d(2, 2, 1)
    if layer == "flat":
        network.flat, given = nn.Flatten(), network.forward
        network.forward = lambda images: (network.flat(images), given(images)[1])
    with pytest.raises(ValueError, match=message):
        grad_cam(network, IMAGE, [0], layer)
    assert not any(module._forward_hooks for module in network.modules())


def test_maps_over_images():
    maps = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]])
    found = over_images(maps, 2, 8)
    assert found.shape == (1, 2, 2, 8)
    # the places of a map are the middles of its pixels: 2 and 6 of 8
    np.testing.assert_allclose(found[0, 0, 0], [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4])
    assert (found[0, 1] == 0).all()


def test_pointing_by_hand():
    maps = np.array([[[1.0, 3.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    mask = np.array([[True, True], [False, False]])
    found = pointing(maps, mask)
    np.testing.assert_array_equal(found.share, [0.5, np.nan])
    np.testing.assert_array_equal(found.by_chance, [0.5, 0.5])
    # two fields, two classes, one mask a field
    rng = np.random.default_rng(0)
    many, masks = rng.random((2, 3, 8, 9)), rng.random((2, 1, 8, 9)) < 0.3
    found = pointing(many, masks)
    assert found.share.shape == found.by_chance.shape == (2, 3)
    assert found.share[1, 2] == pytest.approx(many[1, 2][masks[1, 0]].sum() / many[1, 2].sum())
    # an even map has what chance has
    even = pointing(np.ones((2, 3, 8, 9)), masks)
    np.testing.assert_allclose(even.share, even.by_chance)
    with pytest.raises(ValueError, match="below zero"):
        pointing(-maps, mask)
    with pytest.raises(ValueError, match="bring maps to the masks' size"):
        pointing(maps, mask[:1])


def test_pointing_finds_what_the_class_depends_on():
    """Of a network whose class is the brightness of one channel's spots, attention lies on the spots."""
    image = torch.zeros(1, 2, 64, 64)
    image[0, 0, 8:16, 40:56] = 1
    image[0, 1, 40:56, 8:16] = 1
    network = build("fcn-seg", 2, 2, 0, 64, pooling="mean")
    with torch.no_grad():
        for number, path in enumerate(network.paths):
            for layer in path:
                if isinstance(layer, nn.Conv2d):
                    layer.weight.zero_()
                    layer.weight[number, min(number, layer.in_channels - 1), 1, 1] = 1
        for layer in (network.combine[0], network.classify):
            layer.weight.zero_()
            middle = layer.kernel_size[0] // 2
            layer.weight[0, 0, middle, middle] = layer.weight[1, 1, middle, middle] = 1
    maps = over_images(grad_cam(network, image, [0, 1], NETWORKS["fcn-seg"].layer), 64, 64)
    found = pointing(maps[0].numpy(), image[0].numpy() > 0)
    assert (found.share > 0.5).all()
    assert (found.by_chance < 0.04).all()
    crossed = pointing(maps[0].numpy(), image[0].numpy()[::-1] > 0)
    assert (crossed.share < 0.01).all()


def test_pages_know_own_maps(tmp_path):
    for own in (True, False):
        about = json.dumps({"layer": OWN, "own_maps": own, "pictures": []}).encode()
        np.savez(tmp_path / "attention.npz", about=np.frombuffer(about, np.uint8))
        assert are_own(str(tmp_path / "attention.npz")) is own


def test_overlay():
    image, heat = np.arange(16.0).reshape(4, 4), np.zeros((4, 4))
    heat[0, 0], heat[0, 1] = 1, 1 / 3
    drawn = overlay(image, heat)
    assert (drawn.shape, drawn.dtype) == ((4, 4, 3), np.uint8)
    assert (drawn[1:] == drawn[1:, :, :1]).all(), "grey where there is no attention"
    assert (drawn[0, 0] == round(0.7 * 255)).all(), "white where there is most"
    assert drawn[0, 1, 0] > drawn[0, 1, 1] == drawn[0, 1, 2], "red where there is some"
    assert (overlay(np.full((3, 3), 7), np.zeros((3, 3))) == 0).all()
