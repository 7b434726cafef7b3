from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from wherein.segmentation.networks import predict
from wherein.segmentation.networks.architectures import SmallUNet
from wherein.segmentation.networks.predict import loaded, predict_fields, shrinking, tile_starts, tiled
from wherein.segmentation.networks.weights import WeightsMismatchError, load_weights, read_card, save_weights
from wherein.settings import fill_defaults, schema

UNET = {}
fill_defaults(UNET, schema()["$defs"]["segment"]["properties"]["unet"])


def local(inputs):
    """A network whose answer for a pixel depends on that pixel alone."""
    torch.manual_seed(0)
    return nn.Conv2d(inputs, 3, 1).eval()


def test_tiles_give_what_the_whole_field_gives():
    image = np.random.default_rng(0).random((2, 300, 421), np.float32)
    network = local(2)
    with torch.no_grad():
        whole = torch.softmax(network(torch.from_numpy(image[None])), 1)[0].numpy()
    for tile, batch in ((1024, 1), (128, 3), (160, 8)):
        found = tiled(network, image, "cpu", batch, tile, 16, "auto")
        np.testing.assert_allclose(found, whole, atol=1e-5)
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (16, 16)])
def test_fields_of_any_size_go_through_a_network(shape):
    found = tiled(SmallUNet(1).eval(), np.zeros((1, *shape), np.float32), "cpu", 1, 128, 16, "fp32")
    assert found.shape == (3, *shape)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(("length", "side"), [(100, 128), (128, 128), (129, 128), (3000, 256), (1000, 176)])
def test_tiles_cover_a_length_with_something_in_common(length, side):
    starts = tile_starts(length, side)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - side)
    assert all(b - a <= side - 64 for a, b in pairwise(starts))


def test_less_is_tried_when_memory_runs_out():
    tried = []

    def attempt(batch, tile):
        tried.append((batch, tile))
        if batch * tile * tile > 256 * 256:
            raise torch.cuda.OutOfMemoryError("too much")
        return "done"

    assert shrinking(attempt, 4, 1024, 128) == "done"
    assert tried == [(4, 1024), (2, 1024), (1, 1024), (1, 512), (1, 256)]


def test_memory_that_is_too_small_for_one_tile_is_an_error():
    def attempt(batch, tile):
        raise torch.cuda.OutOfMemoryError("too much")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        shrinking(attempt, 4, 256, 128)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "weights.npz"
    networks = {"nucleus": SmallUNet(1), "cell": SmallUNet(4)}
    save_weights(path, networks, {"architecture": "small", "grid_um": 0.32, "note": "µ"}, half=False)
    return path, networks


def test_weights_come_back(weights):
    path, networks = weights
    found, card = load_weights(path)
    assert card == {"architecture": "small", "grid_um": 0.32, "note": "µ"} == read_card(path)
    for part, network in networks.items():
        assert not found[part].training
        for name, values in network.state_dict().items():
            torch.testing.assert_close(found[part].state_dict()[name], values)


def test_half_digits_change_little(weights, tmp_path):
    path, networks = weights
    save_weights(tmp_path / "half.npz", networks, {"architecture": "small", "grid_um": 0.32})
    assert (tmp_path / "half.npz").stat().st_size < 0.6 * path.stat().st_size
    seen = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pair = [torch.softmax(load_weights(file)[0]["cell"](seen), 1) for file in (path, tmp_path / "half.npz")]
    assert float((pair[0] - pair[1]).abs().max()) < 0.01


def test_other_files_are_refused(tmp_path, weights):
    (tmp_path / "text.npz").write_text("no weights")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(WeightsMismatchError, match="holds no weights of a segmenter"):
        load_weights(tmp_path / "text.npz")
    with pytest.raises(WeightsMismatchError, match="holds no weights of a segmenter"):
        load_weights(tmp_path / "other.npz")
    with pytest.raises(WeightsMismatchError, match="holds no weights of a segmenter"):
        load_weights(tmp_path / "missing.npz")
    save_weights(tmp_path / "part.npz", {"nucleus": weights[1]["nucleus"]}, {"architecture": "small", "grid_um": 0.32})
    with pytest.raises(WeightsMismatchError, match=r"cell/.* has the shape None"):
        load_weights(tmp_path / "part.npz")


def test_maps_know_their_field(weights):
    rng = np.random.default_rng(2)
    fields = [
        {"nucleus": rng.integers(0, 900, (130, 200), np.uint16), "er": rng.integers(0, 900, (130, 200), np.uint16)},
        {"nucleus": rng.integers(0, 900, (64, 80), np.uint16)},
    ]
    found = predict_fields(fields, 0.16, weights[0], "cpu", UNET, 0)
    assert [maps.shape for maps in found] == [(130, 200), (64, 80)]
    assert [maps.cell.shape for maps in found] == [(3, 65, 100), (3, 32, 40)]
    assert all(maps.step_um == 0.32 for maps in found)
    alone = predict_fields(fields[1:], 0.16, weights[0], "cpu", UNET, 0)[0]
    np.testing.assert_array_equal(alone.cell, found[1].cell)


class Bright(nn.Module):
    """Says body where its last channel, which for both networks is the nucleus, is in the upper half of its range."""

    def forward(self, seen):
        body = seen[:, -1:] - 0.75
        return 40 * torch.cat([-body, torch.full_like(body, -1), body], 1)


@pytest.mark.parametrize("bad", [0, np.nan, np.inf])
def test_what_does_not_stand_out_from_noise_is_no_nucleus(monkeypatch, bad):
    networks = {"nucleus": Bright(), "cell": Bright()}
    monkeypatch.setattr(predict, "loaded", lambda path, device: (networks, {"grid_um": 0.32, "architecture": "small"}))
    rng = np.random.default_rng(0)
    light = np.linspace(0, 100, 160)[:, None] + rng.normal(300, 20, (160, 160))
    shown = light.copy()
    shown[40:80, 50:100] += 400
    er = shown.astype(np.uint16)
    shown[0, 0] = bad
    fields = [{"nucleus": image.astype(np.float32), "er": er} for image in (light, shown)]
    empty, full = predict_fields(fields, 0.32, Path("any"), "cpu", UNET, 5)
    for chances in (empty.nucleus, empty.cell):
        np.testing.assert_allclose(chances[0].astype(float), 1, atol=1e-3)
        assert not (chances[2] > 0.01).any()
    assert not empty.signal.any()
    body = full.nucleus[2] > 0.5
    assert body[45:75, 55:95].all()
    assert body.sum() < 60 * 70
    assert (full.cell[2] > 0.5)[45:75, 55:95].all()
    # without a demand, uneven light and noise are nuclei
    anything = predict_fields(fields[:1], 0.32, Path("any"), "cpu", UNET, 0)[0]
    assert (anything.nucleus[2] > 0.5).any()
    none = predict_fields([{"er": fields[0]["er"]}], 0.32, Path("any"), "cpu", UNET, 5)[0]
    assert not (none.nucleus[2] > 0.01).any()


def test_networks_are_loaded_once(weights, monkeypatch):
    loaded.cache_clear()
    count = []
    monkeypatch.setattr(predict, "load_weights", lambda path: count.append(path) or load_weights(path))
    for _ in range(3):
        predict_fields([{"nucleus": np.zeros((32, 32), np.uint8)}], 0.32, weights[0], "cpu", UNET, 0)
    assert len(count) == 1
    loaded.cache_clear()
