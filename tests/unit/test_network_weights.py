"""Weights from elsewhere: own files, published names, other numbers of channels and classes, files that do not fit."""

import json
import logging
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from real_data import real_data
from wherein.models import gapnet
from wherein.models.networks.build import WeightsMismatchError, build, load, repeated
from wherein.models.networks.registry import NETWORKS

VIT = {"width": 48, "layers": 2, "heads": 4, "hidden": 96}

State = dict[str, torch.Tensor]


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def logits(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network.eval()(images)[1]


def learned(name: str, roles: int, classes: int, size_px: int, **options) -> torch.nn.Module:
    """A network whose norms and biases have values too, as if it had been trained."""
    network = build(name, roles, classes, 11, size_px, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for values in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
            if values.dim() == 1:
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return network


@pytest.mark.parametrize("wrapped", [None, "network", "state_dict", "model"])
def test_own_file(tmp_path, wrapped):
    network = learned("densenet121", 2, 5, 32)
    state = network.state_dict()
    torch.save({wrapped: state, "epoch": 3} if wrapped else state, tmp_path / "weights.pt")
    found = load(build("densenet121", 2, 5, 0, 32), tmp_path / "weights.pt")
    assert torch.equal(logits(found, image(1, 2, 40, 40)), logits(network, image(1, 2, 40, 40)))


def test_names_of_several_processes_and_of_compiled_networks(tmp_path):
    network = learned("fcn-seg", 2, 5, 32)
    for prefix in ("module.", "_orig_mod.", "_orig_mod.module."):
        torch.save({prefix + name: values for name, values in network.state_dict().items()}, tmp_path / "w.pt")
        found = load(build("fcn-seg", 2, 5, 0, 32), tmp_path / "w.pt")
        assert torch.equal(logits(found, image(1, 2, 32, 32)), logits(network, image(1, 2, 32, 32)))


def test_published_gapnet(tmp_path):
    path = real_data("weights/gapnet-pl_weights.npz")
    images = image(1, 4, 70, 90)
    expected = gapnet.published(path)
    found = load(build("gapnet-pl", 4, 13, 0, 1024), path)
    assert torch.equal(logits(found, images), logits(expected, images))
    # two roles and other classes: the body serves
    other = load(build("gapnet-pl", 2, 7, 0, 1024), path).eval()
    with torch.inference_mode():
        assert torch.equal(other.convolutions[0].weight, expected.convolutions[0].weight[:, :2])
        silent = torch.cat([images[:, :2], torch.zeros_like(images[:, :2])], dim=1)
        torch.testing.assert_close(other(images[:, :2])[0], expected(silent)[0])
    assert logits(other, images[:, :2]).shape == (1, 7)


def densenet_of_others(state: State) -> State:
    plain = {name.removeprefix("body."): values for name, values in state.items()}
    plain = {re.sub(r"\.layers\.(norm|conv)(\d)", r".\1.\2", name): values for name, values in plain.items()}
    return {name.replace("class_layers.out", "classifier"): values for name, values in plain.items()}


def inception_of_others(state: State) -> State:
    plain = {name.removeprefix("body.").replace(".layers.", "."): values for name, values in state.items()}
    return plain | {"AuxLogits.fc.weight": torch.zeros(9, 768), "AuxLogits.conv0.conv.weight": torch.zeros(128, 768)}


def se_resnext_of_others(state: State) -> State:
    named = {}
    for name, values in state.items():
        new = name.removeprefix("body.")
        new = re.sub(r"\.conv(\d)\.conv\.", r".conv\1.", new)
        new = re.sub(r"\.conv(\d)\.adn\.N\.", r".bn\1.", new)
        new = new.replace("project.conv", "downsample.0").replace("project.adn.N", "downsample.1")
        squeezed = re.sub(r"\.se_layer\.fc\.0\.", ".se_module.fc1.", new)
        squeezed = re.sub(r"\.se_layer\.fc\.2\.", ".se_module.fc2.", squeezed)
        named[squeezed] = values[..., None, None] if squeezed != new and values.dim() == 2 else values
    return named


def efficientnet_of_others(state: State) -> State:
    return {re.sub(r"^body\.(_blocks\.)?(?(1)\d+\.)", r"\1", name): values for name, values in state.items()}


def vit_of_timm(state: State) -> State:
    names = (("token", "cls_token"), ("positions", "pos_embed"), ("patches.", "patch_embed.proj."),
             ("layers.", "blocks."), (".self_attn.in_proj_", ".attn.qkv."), (".self_attn.out_proj.", ".attn.proj."),
             (".linear1.", ".mlp.fc1."), (".linear2.", ".mlp.fc2."), ("out.", "head."))  # fmt: skip
    return renamed(state, names)


def vit_of_torchvision(state: State) -> State:
    names = (("token", "class_token"), ("positions", "encoder.pos_embedding"), ("patches.", "conv_proj."),
             ("layers.", "encoder.layers.encoder_layer_"), (".self_attn.", ".self_attention."),
             (".linear1.", ".mlp.0."), (".linear2.", ".mlp.3."), (".norm1.", ".ln_1."), (".norm2.", ".ln_2."),
             ("norm.", "encoder.ln."), ("out.", "heads.head."))  # fmt: skip
    return renamed(state, names)


def renamed(state: State, names: tuple[tuple[str, str], ...]) -> State:
    found = {}
    for name, values in state.items():
        for own, other in names:
            name = re.sub(rf"^{re.escape(own)}" if not own.startswith(".") else re.escape(own), other, name)
        found[name] = values
    return found


@pytest.mark.parametrize(
    ("name", "options", "others", "known"),
    [
        ("densenet121", {}, densenet_of_others,
         ["features.denseblock1.denselayer2.norm.1.weight", "features.transition3.conv.weight", "classifier.bias"]),
        ("inception-v3", {}, inception_of_others,
         ["Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch5x5_2.bn.running_var", "Mixed_6a.branch3x3dbl_3.conv.weight",
          "Mixed_6e.branch7x7dbl_5.conv.weight", "Mixed_7a.branch7x7x3_4.bn.bias", "Mixed_7c.branch3x3dbl_3b.bn.weight",
          "Mixed_7c.branch_pool.conv.weight", "fc.weight"]),
        ("se-resnext50", {}, se_resnext_of_others,
         ["layer0.conv1.weight", "layer1.0.conv2.weight", "layer3.5.bn3.running_mean", "layer4.2.se_module.fc1.weight",
          "layer2.0.downsample.1.weight", "last_linear.bias"]),
        ("efficientnet-b0", {}, efficientnet_of_others,
         ["_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_blocks.15._bn2.running_var",
          "_blocks.7._se_reduce.bias", "_conv_head.weight", "_fc.weight"]),
        ("vit", VIT, vit_of_timm,
         ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.1.attn.qkv.bias", "blocks.0.norm2.weight",
          "blocks.1.mlp.fc2.weight", "norm.bias", "head.weight"]),
        ("vit", VIT, vit_of_torchvision,
         ["class_token", "encoder.pos_embedding", "conv_proj.bias", "encoder.ln.weight", "heads.head.bias",
          "encoder.layers.encoder_layer_1.self_attention.in_proj_weight",
          "encoder.layers.encoder_layer_0.mlp.3.weight", "encoder.layers.encoder_layer_0.ln_1.bias"]),
    ],
)  # fmt: skip
def test_published_names(tmp_path, name: str, options: dict, others: Callable[[State], State], known: list[str]):
    """Weights of three channels and 9 classes by the names they are published with."""
    network = learned(name, 3, 9, 96, **options)
    state = others(network.state_dict())
    assert not [one for one in known if one not in state]
    torch.save(state, tmp_path / "published.pth")
    found = load(build(name, 3, 9, 0, 96, **options), tmp_path / "published.pth")
    images = image(1, 3, 96, 96)
    assert torch.equal(logits(found, images), logits(network, images))
    # a fourth channel of zeros changes nothing of the vector, and 4 classes have a last layer of their own
    adapted = load(build(name, 4, 4, 0, 96, **options), tmp_path / "published.pth")
    with torch.inference_mode():
        four = torch.cat([images, torch.zeros(1, 1, 96, 96)], dim=1)
        vector, answers = adapted.eval()(four)
        torch.testing.assert_close(vector, network(images)[0])
        assert answers.shape == (1, 4)


def test_body_alone(tmp_path, caplog):
    """Published weights of a plain body serve networks with a head of their own."""
    plain = {name: learned(name, 3, 9, 96) for name in ("densenet121", "inception-v3")}
    cases = {
        "densenet121-large": densenet_of_others(plain["densenet121"].state_dict()),
        "multi-scale": inception_of_others(plain["inception-v3"].state_dict()),
        "resnet50": {
            **{name[5:]: v for name, v in learned("resnet50", 3, 9, 96).state_dict().items() if name[:5] == "body."},
            "fc.weight": torch.zeros(1000, 2048),
            "fc.bias": torch.zeros(1000),
        },
    }
    for name, state in cases.items():
        torch.save(state, tmp_path / "body.pth")
        fresh = build(name, 3, 5, 0, 160)
        bodies = tuple(f"{body}." for body in getattr(fresh, "bodies", ("body",)))
        kept = {key: values.clone() for key, values in fresh.state_dict().items() if not key.startswith(bodies)}
        with caplog.at_level(logging.INFO):
            found = load(fresh, tmp_path / "body.pth").state_dict()
        assert "begins anew, the file has none" in caplog.messages[-1]
        assert kept
        assert all(torch.equal(found[key], values) for key, values in kept.items())
        first = next(key for key in found if key.startswith("body.") and found[key].dim() == 4)
        weights = next(values for values in state.values() if values.dim() == 4)
        assert all(torch.equal(found[first.replace("body.", body, 1)], weights) for body in bodies)


def test_channels_and_classes_are_told(tmp_path, caplog):
    torch.save(learned("densenet121", 3, 9, 32).state_dict(), tmp_path / "w.pt")
    with caplog.at_level(logging.INFO):
        load(build("densenet121", 4, 5, 0, 32), tmp_path / "w.pt")
    text = caplog.messages[-1]
    assert "body.features.conv0.weight from 3 to 4 channels" in text
    assert "body.class_layers.out.weight begins anew, for 5 classes in place of 9" in text


def test_filters_are_repeated_in_order():
    filters = torch.arange(6.0).reshape(2, 3, 1, 1)
    assert repeated(filters, 4)[:, :, 0, 0].tolist() == [[0, 1, 2, 0], [3, 4, 5, 3]]
    assert repeated(filters, 2)[:, :, 0, 0].tolist() == [[0, 1], [3, 4]]


def test_every_first_and_last_layer_adapts(tmp_path):
    for name, options in (("gapnet-pl", {}), ("mcnn", {}), ("deeploc", {"batch_norm": True}), ("mil", {}),
                          ("fcn-seg", {}), ("resnet50", {}), ("multi-scale", {})):  # fmt: skip
        network = learned(name, 2, 5, 160, **options)
        torch.save(network.state_dict(), tmp_path / "w.pt")
        found = load(build(name, 4, 3, 0, 160, **options), tmp_path / "w.pt")
        images = image(1, 2, 160, 160)
        with torch.inference_mode():
            twice = torch.cat([images, torch.zeros_like(images)], dim=1)
            vector = found.eval()(twice)[0]
            if name != "fcn-seg":  # the paths of its empty channels add their biases
                torch.testing.assert_close(vector, network.eval()(images)[0], msg=name)
    kept = found.state_dict()
    torch.save(build("fcn-seg", 2, 5, 1, 32).state_dict(), tmp_path / "w.pt")
    kept = load(build("fcn-seg", 3, 5, 0, 32), tmp_path / "w.pt").state_dict()
    assert torch.equal(kept["paths.2.3.weight"], kept["paths.0.3.weight"])
    assert not torch.equal(kept["paths.1.3.weight"], kept["paths.0.3.weight"])


def test_positions_of_another_grid(tmp_path):
    network = learned("vit", 3, 5, 64, **VIT)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    found = load(build("vit", 3, 5, 0, 96, **VIT), tmp_path / "w.pt")
    assert found.positions.shape == (1, 37, 48)
    torch.testing.assert_close(logits(found, image(1, 3, 96, 96)), logits(network, image(1, 3, 96, 96)))


def test_files_that_do_not_fit(tmp_path):
    network = build("gapnet-pl", 4, 13, 0, 64)
    state = network.state_dict()
    cases = {
        "it lacks dense.1.bias": {key: values for key, values in state.items() if key != "dense.1.bias"},
        "the network has no other": state | {"other": torch.zeros(2)},
        r"shapes differ: dense.0.weight is \(256, 200\) for \(256, 224\)": state
        | {"dense.0.weight": torch.zeros(256, 200)},
        r"it lacks .* and 19 more": {},
    }
    before = {key: values.clone() for key, values in state.items()}
    for message, content in cases.items():
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(WeightsMismatchError, match=message):
            load(network, tmp_path / "w.pt")
    (tmp_path / "text.pt").write_text("no weights")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("text.pt", "missing.pt", "objects.npz", "list.pt"):
        with pytest.raises(WeightsMismatchError, match=f"{name} holds no weights"):
            load(network, tmp_path / name)
    assert all(torch.equal(before[key], values) for key, values in network.state_dict().items())
    torch.save(build("mil", 4, 13, 0, 64).state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsMismatchError, match=r"dense.weight is .* trained at the same size"):
        load(build("mil", 4, 13, 0, 128), tmp_path / "w.pt")


def own_file(path, kind: str, network: torch.nn.Module, inputs: list[str], classes: list[str]):
    """A file as a training leaves it."""
    about = {"kind": kind, "inputs": inputs, "classes": classes}
    torch.save({"network": network.state_dict(), "about": json.dumps(about)}, path)
    return about


OLD = {"inputs": ["nucleus", "protein", "er"], "classes": ["A", "B", "C", "D"]}
"""What a network was trained on."""

SMALL = {"vit": VIT}


@pytest.mark.parametrize("kind", ["gapnet-pl", "mcnn", "deeploc", "mil", "fcn-seg", "efficientnet-b0", "vit"])
def test_roles_and_classes_go_to_their_names(tmp_path, kind: str):
    """A start with the same roles and classes in another order says the same of the same images."""
    side = max(NETWORKS[kind].smallest_px, 64) // NETWORKS[kind].multiple_of_px * NETWORKS[kind].multiple_of_px
    options = SMALL.get(kind, {})
    network = learned(kind, 3, 4, side, **options)
    own_file(tmp_path / "w.pt", kind, network, OLD["inputs"], OLD["classes"])
    about = {"kind": kind, "inputs": ["er", "nucleus", "protein"], "classes": ["C", "A", "D", "B"]}
    other = load(build(kind, 3, 4, 0, side, **options), tmp_path / "w.pt", about)
    images = image(2, 3, side, side)
    told, said = logits(network, images), logits(other, images[:, [2, 0, 1]])
    torch.testing.assert_close(said, told[:, [2, 0, 3, 1]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["gapnet-pl", "mil", "fcn-seg"])
def test_a_class_that_the_start_has_not_begins_anew(tmp_path, kind: str):
    network = learned(kind, 3, 4, 64)
    own_file(tmp_path / "w.pt", kind, network, OLD["inputs"], OLD["classes"])
    about = {"kind": kind, "inputs": ["protein", "nucleus"], "classes": ["D", "new", "B"]}
    built = build(kind, 2, 3, 0, 64)
    before = {name: values.clone() for name, values in built.state_dict().items()}
    found, was = load(built, tmp_path / "w.pt", about).state_dict(), network.state_dict()
    bias = {"gapnet-pl": "dense.2.bias", "mil": "dense.bias", "fcn-seg": "classify.bias"}[kind]
    assert torch.equal(found[bias], torch.stack([was[bias][3], before[bias][1], was[bias][1]]))
    if kind == "mil":
        # the last layer has 4 columns for each class, and one row for each
        old, new, kept = (state["dense.weight"] for state in (was, found, before))
        assert torch.equal(new[0, 8:12], old[3, 4:8])
        assert torch.equal(new[1], kept[1])
        assert torch.equal(new[:, 4:8], kept[:, 4:8])
    if kind == "fcn-seg":
        first = next(name for name in was if name.startswith("paths.1."))
        assert torch.equal(found[first.replace("paths.1.", "paths.0.")], was[first])


def test_a_start_that_cannot_serve_is_refused(tmp_path):
    own_file(tmp_path / "w.pt", "gapnet-pl", learned("gapnet-pl", 3, 4, 32), OLD["inputs"], OLD["classes"])
    other = build("gapnet-pl", 2, 4, 0, 32)
    with pytest.raises(WeightsMismatchError, match="nucleus, protein, er and knows no microtubules"):
        load(other, tmp_path / "w.pt", {"kind": "gapnet-pl", "inputs": ["nucleus", "microtubules"], "classes": ["A"]})
    with pytest.raises(WeightsMismatchError, match="is a network of the kind gapnet-pl; a mil was asked for"):
        load(other, tmp_path / "w.pt", {"kind": "mil", "inputs": ["nucleus", "protein"], "classes": ["A"]})
