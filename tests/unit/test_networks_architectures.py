import pytest
import torch
from wherein.segmentation.networks.architectures import ARCHITECTURES, CLASSES, DualPathUNet, SmallUNet, parameters

TINY = {"stem": 8, "depths": (1, 2, 1, 1), "group_width": 8, "groups": 4, "dense": (4, 4, 4, 4), "residual": 16}


@pytest.mark.parametrize("inputs", [1, 4])
@pytest.mark.parametrize("network", [SmallUNet, lambda inputs: DualPathUNet(inputs, **TINY, decoder=8)])
def test_every_pixel_gets_three_logits(network, inputs):
    built = network(inputs).eval()
    with torch.no_grad():
        assert built(torch.zeros(2, inputs, 32, 64)).shape == (2, len(CLASSES), 32, 64)


def test_dpn92_has_the_published_number_of_values():
    network = DualPathUNet(3)
    channels = network.last[0].num_features
    encoder = sum(parameters(part) for part in (network.stem, network.stages, network.last))
    assert channels == 2688
    # the classifier of the published network has one output for each of 1000 classes: 37.67 million in all
    assert encoder + 1000 * channels + 1000 == 37_668_392


def test_the_small_network_is_small():
    assert parameters(SmallUNet(4)) == 804_524


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_sides_that_are_multiples_fit(name):
    multiple = ARCHITECTURES[name].multiple
    network = SmallUNet(1) if name == "small" else DualPathUNet(1, **TINY, decoder=8)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 1, multiple, 3 * multiple)).shape[2:] == (multiple, 3 * multiple)


def test_a_dual_path_block_adds_one_path_and_appends_the_other():
    network = DualPathUNet(2, **TINY, decoder=8)
    block = network.stages[1][1]
    maps = torch.randn(1, block.body[0][0].num_features, 8, 8, generator=torch.Generator().manual_seed(0))
    block.eval()
    with torch.no_grad():
        out, change = block(maps), block.body(maps)
    torch.testing.assert_close(out[:, :32], maps[:, :32] + change[:, :32])
    torch.testing.assert_close(out[:, 32 : maps.shape[1]], maps[:, 32:])
    torch.testing.assert_close(out[:, maps.shape[1] :], change[:, 32:])
