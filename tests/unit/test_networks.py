"""Networks: the counts of their papers, shapes at any size and number of roles, gradients, seeds, one from outside."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from wherein.channels import ROLES
from wherein.labels import VOCABULARIES
from wherein.models import gapnet
from wherein.models.networks.build import build, parameters
from wherein.models.networks.mil import NoisyAnd
from wherein.models.networks.registry import NETWORKS, Network
from wherein.models.networks.vit import interpolated
from wherein.reading.normalization import NORMALIZATIONS

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"vit": {"width": 48, "layers": 3, "heads": 4, "hidden": 96}}
"""Options with which a network fits into a fast test; its counts are tested without them."""


def counted(name: str, roles: int, classes: int, size_px: int, **options) -> int:
    """Parameters of a network, without the memory for them."""
    with torch.device("meta"):
        return parameters(build(name, roles, classes, 0, size_px, **options))


def small(name: str, roles: int, size_px: int | None = None, seed: int = 0, classes: int = 5) -> torch.nn.Module:
    entry = NETWORKS[name]
    return build(name, roles, classes, seed, size_px or entry.smallest_px, **SMALL.get(name, {}))


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "roles", "classes", "options", "expected"),
    [
        # Rumetshofer et al. 2019, table 6: four channels of 1024 pixels, 13 classes
        ("gapnet-pl", 4, 13, {}, 626_221),
        ("densenet121", 4, 13, {}, 6_970_317),
        ("mcnn", 4, 13, {}, 34_193_853),
        ("deeploc", 4, 13, {"batch_norm": True}, 201_716_967),
        ("mil", 4, 13, {}, 593_143),
        # its released code, with SELU as its text has it; two more for each of 845 units above
        ("deeploc", 4, 13, {}, 201_716_967 - 2 * 845),
        # without the fully connected layer over the map of 32 x 32
        ("mil", 4, 13, {"head": "noisy-and"}, 593_143 - (13 * 32 * 32 * 13 + 13)),
        # a DenseNet-121 without last layer, the fourth channel, two norms and two layers
        ("densenet121-large", 4, 28, {}, 6_953_856 + 3_136 + 4_096 + 2_048 * 1_024 + 1_024 + 2_048 + 1_024 * 28 + 28),
        # as published for images of three channels and 1000 classes
        ("densenet121", 3, 1000, {}, 7_978_856),
        ("inception-v3", 3, 1000, {}, 23_834_568),
        ("se-resnext50", 3, 1000, {}, 27_559_896),
        ("efficientnet-b0", 3, 1000, {}, 5_288_548),
        # ResNet-50 has 25,557,032; here its last layer is another, behind an embedding of 512 with its norm
        ("resnet50", 3, 1000, {}, 25_557_032 - 2_049_000 + 2_048 * 512 + 512 + 1_024 + 512 * 1_000 + 1_000),
        # two scales share the body of Inception-v3
        ("multi-scale", 4, 28, {}, 23_834_568 - 2_049_000 + 288 + 8_192 + 4_097 * 1_024 + 2_048 + 1_025 * 28),
        # each channel has its own path
        ("fcn-seg", 4, 13, {}, 4 * (160 + 4_640 + 18_496) + 73_856 + 129 * 13),
    ],
)
def test_counts_are_those_of_the_papers(name, roles, classes, options, expected):
    assert counted(name, roles, classes, NETWORKS[name].size_px, **options) == expected


def test_count_of_the_vision_transformer_is_that_of_its_paper():
    assert counted("vit", 3, 1000, 224) == 86_567_656


def test_counts_follow_the_size_where_a_layer_sees_a_grid():
    for name, expected in (("mcnn", 34_193_853 - 512 * 1_024 * 60), ("mil", 593_143 - 13 * 13 * 960)):
        assert counted(name, 4, 13, 256) == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_registry_says_what_is_so(name):
    entry = NETWORKS[name]
    assert entry.name == name
    assert entry.normalization in NORMALIZATIONS
    assert entry.vocabulary in VOCABULARIES
    assert entry.size_px % entry.multiple_of_px == 0
    assert entry.smallest_px <= entry.size_px
    with pytest.raises(ValueError, match=f"allowed are {entry.smallest_px} or more"):
        build(name, 4, 13, 0, entry.smallest_px - entry.multiple_of_px)


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes(name):
    """Any number of roles, the smallest size, a larger one that is not square; one image as in a batch."""
    entry = NETWORKS[name]
    length = SMALL.get(name, {}).get("width", entry.embedding)
    for roles in (2, 3, len(ROLES) - 1):
        network = small(name, roles).eval()
        height, width = entry.smallest_px, entry.smallest_px
        if roles == 3:
            height, width = height + 3 * entry.multiple_of_px, width + 14 * entry.multiple_of_px
        images = drawn(2, roles, height, width)
        with torch.inference_mode():
            vectors, logits = network(images)
            alone = network(images[1:])
        assert vectors.shape == (2, length)
        assert logits.shape == (2, 5)
        assert torch.isfinite(vectors).all()
        assert torch.isfinite(logits).all()
        scale = float(logits.abs().max()) + float(vectors.abs().max())
        torch.testing.assert_close(alone[0], vectors[1:], rtol=1e-3, atol=1e-4 * scale)
        torch.testing.assert_close(alone[1], logits[1:], rtol=1e-3, atol=1e-4 * scale)
    assert entry.layer in dict(network.named_modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_reaches_every_parameter(name):
    size = max(NETWORKS[name].smallest_px, 64)
    network = small(name, 4, size).train()
    logits = network(drawn(4, 4, size, size))[1]
    loss = sum(((part - 1) ** 2).sum() for part in (logits, *getattr(network, "auxiliary", ())))
    loss.backward()
    for key, values in network.named_parameters():
        assert values.grad is not None, key
        assert torch.isfinite(values.grad).all(), key
        assert values.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_seeded(name):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (small(name, 2, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected), "the random numbers of others go on as they were"
    assert all(torch.equal(one[key], same[key]) for key in one)
    weights = [key for key in one if one[key].dim() > 1]
    assert weights
    assert not any(torch.equal(one[key], other[key]) for key in weights)


def test_gapnet_is_the_one_of_old():
    built = build("gapnet-pl", 4, 13, 7, 1024)
    old = gapnet.untrained(7)
    assert list(built.state_dict()) == list(old.state_dict())
    for key, values in built.state_dict().items():
        if values.dim() > 1:
            ratio = values.std() / old.state_dict()[key].std()
            assert 0.9 < ratio < 1.1
    built.load_state_dict(old.state_dict())
    image = drawn(1, 4, 65, 50)
    with torch.inference_mode():
        assert torch.equal(built.eval()(image)[1], old(image)[1])


@pytest.mark.parametrize("name", ["mil", "fcn-seg"])
def test_maps_are_probabilities(name):
    network = small(name, 3, 64).eval()
    with torch.inference_mode():
        maps = network.maps(drawn(2, 3, 64, 96))
    step = 32 if name == "mil" else 8
    assert maps.shape == (2, 5, 64 // step, 96 // step)
    assert 0 <= float(maps.min()) < float(maps.max()) <= 1


def test_maps_pool_to_the_logits():
    images = drawn(2, 3, 64, 64)
    pooled = {
        ("fcn-seg", "max"): lambda maps: maps.amax(dim=(2, 3)),
        ("fcn-seg", "mean"): lambda maps: maps.mean(dim=(2, 3)),
    }
    with torch.inference_mode():
        for (name, pooling), expected in pooled.items():
            network = build(name, 3, 5, 0, 64, pooling=pooling).eval()
            torch.testing.assert_close(torch.sigmoid(network(images)[1]), expected(network.maps(images)))
        network = build("mil", 3, 5, 0, 64, head="noisy-and").eval()
        torch.testing.assert_close(torch.sigmoid(network(images)[1]), network.noisy_and(network.maps(images)))
        dense = build("mil", 3, 5, 0, 64).eval()
        torch.testing.assert_close(dense(images)[1], dense.dense(dense.maps(images).flatten(1)))
        assert dense.auxiliary == ()
        dense.train()(images)
        assert [part.shape for part in dense.auxiliary] == [(2, 5)]


def test_noisy_and_by_hand():
    """Nothing gives 0, all gives 1, a fifth of the instances what the formula gives by hand."""
    pool = NoisyAnd(3)
    with torch.no_grad():
        pool.share.copy_(torch.tensor([0.2, 0.2, 0.7]))
        maps = torch.zeros(3, 3, 2, 5)
        maps[1] = 1
        maps[2, :, 0, :2] = 1
        found = pool(maps)
    assert found[0].tolist() == [0, 0, 0]
    torch.testing.assert_close(found[1], torch.ones(3))
    # (0.5 - 0.268941) / (0.982014 - 0.268941), and with b = 0.7 (0.075858 - 0.029312) / (0.817574 - 0.029312)
    torch.testing.assert_close(found[2], torch.tensor([0.324032, 0.324032, 0.059049]), rtol=1e-4, atol=1e-5)


def test_positions_between_the_learned_ones():
    learned = torch.cat([torch.full((1, 1, 1), 9.0), torch.arange(16.0).reshape(1, 16, 1)], dim=1)
    assert interpolated(learned, 4, 4) is learned
    found = interpolated(learned, 8, 4)
    assert found.shape == (1, 33, 1)
    assert found[0, 0] == 9
    grid = found[0, 1:, 0].reshape(8, 4)
    torch.testing.assert_close(grid.mean(), torch.tensor(7.5))
    assert (grid[1:] > grid[:-1]).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {}, "allowed are gapnet-pl, densenet121"),
        ("densenet121", {"dropuot": 0.1}, "unexpected keyword argument 'dropuot'; it has dropout"),
        ("mil", {"head": "max"}, "allowed are dense, noisy-and"),
        ("fcn-seg", {"pooling": "sum"}, "allowed are max, mean"),
        ("multi-scale", {"scales": [0.5]}, "allowed are whole numbers"),
    ],
)
def test_wrong_wishes_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, 4, 13, 0, 512, **options)
    with pytest.raises(ValueError, match="0 roles and 13 classes"):
        build("gapnet-pl", 0, 13, 0, 512)
    with pytest.raises(ValueError, match="16 or more and multiples of 16"):
        build("vit", 4, 13, 0, 100)


def test_a_network_from_outside(tmp_path, monkeypatch):
    """The example of docs/networks.md, as it stands there, is a network."""
    text = (ROOT / "docs" / "networks.md").read_text()
    file, entry = re.findall(r"```python\n(.*?)```", text, re.S)
    (tmp_path / "tiny_net.py").write_text(file)
    monkeypatch.syspath_prepend(tmp_path)
    made = eval(entry.strip().rstrip(","), {"Network": Network, "HERE": "x", "GAPNET": NETWORKS["gapnet-pl"][6:8]})
    monkeypatch.setitem(NETWORKS, made.name, made._replace(module="tiny_net"))
    try:
        assert made.module == "x.tiny_net"
        test_registry_says_what_is_so(made.name)
        test_shapes(made.name)
        test_gradient_reaches_every_parameter(made.name)
        test_weights_are_seeded(made.name)
    finally:
        sys.modules.pop("tiny_net", None)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_running_statistics_follow_trainings_of_some_hundred_steps(name):
    with torch.device("meta"):
        network = build(name, 4, 13, 0, NETWORKS[name].size_px)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    # after 100 steps nothing is left of the random start
    assert all((1 - layer.momentum) ** 100 < 1e-3 for layer in norms)


def test_scales_share_weights_and_have_statistics_of_their_own():
    network = build("multi-scale", 2, 3, 0, 150).train()
    network(torch.randn(2, 2, 150, 150, generator=torch.Generator().manual_seed(0)))
    first, second = network.body, network.further[0]
    assert all(one is other for one, other in zip(first.parameters(), second.parameters(), strict=True))
    statistics = [
        torch.cat([layer.running_var for layer in body.modules() if isinstance(layer, nn.BatchNorm2d)])
        for body in (first, second)
    ]
    assert not torch.allclose(*statistics, rtol=0.05)
    names = {name for name, _ in network.named_parameters()}
    assert not any(name.startswith("further") for name in names)
