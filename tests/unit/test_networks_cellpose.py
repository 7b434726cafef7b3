import inspect
import socket
import sys
import types

import numpy as np
import pytest
import torch
from wherein.segmentation.methods import MethodContext
from wherein.segmentation.networks import cellpose
from wherein.segmentation.networks.cellpose import finish, loaded, outline, predict_batch, quality_of, version_of
from wherein.segmentation.networks.weights import WeightsMismatchError
from wherein.settings import fill_defaults, schema


def settings(**words):
    found = {"cellpose": words}
    fill_defaults(found, schema()["$defs"]["segment"])
    return found


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No model is kept from test to test, and nothing reaches out."""

    def refuse(*_):
        raise AssertionError("cellpose reached for the network")

    loaded.cache_clear()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    loaded.cache_clear()


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    """A model of cellpose 3 with random weights, as its own training would save it."""
    from cellpose.resnet_torch import CPnet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "random_model"
    CPnet([2, 32, 64, 128, 256], 3, sz=3, mkldnn=False, max_pool=True, diam_mean=30.0).save_model(str(path))
    return path


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:150, :210]
    nucleus, er = np.zeros((150, 210)), np.zeros((150, 210))
    for cy, cx in ((38, 50), (110, 60), (70, 150)):
        away = np.hypot(y - cy, x - cx)
        nucleus[away < 14], er[away < 32] = 700, 500
    return {
        role: (image + rng.normal(100, 4, image.shape)).astype(np.uint16)
        for role, image in {"nucleus": nucleus, "er": er}.items()
    }


@pytest.mark.parametrize("roles", [("nucleus", "er"), ("er",), ("nucleus",)])
def test_version_3_runs_with_random_weights(random_model, images, roles):
    given = settings(nucleus_weights=str(random_model), cell_weights=str(random_model), cellprob_threshold=-6)
    found = outline({role: images[role] for role in roles}, 0.32, given, MethodContext())
    assert found.nucleus.shape == found.cell.shape == (150, 210)
    assert found.nucleus.dtype == found.cell.dtype == np.uint32
    assert len(found.quality) == max(found.nucleus.max(), found.cell.max())
    assert ((found.quality >= 0) & (found.quality <= 1)).all()


def test_version_3_is_known_by_its_interface():
    import cellpose.models

    assert version_of(cellpose.models) == 3


class AskedError(Exception):
    """A fake model was asked for what it cannot do."""


def fake_version_4(monkeypatch, memory_for=10**9):
    """The module `cellpose.models` with the signatures of version 4.0.8, and what it was asked for."""
    asked = []

    class CellposeModel:
        def __init__(
            self,
            gpu=False,
            pretrained_model="cpsam",
            model_type=None,
            diam_mean=None,
            device=None,
            nchan=None,
            use_bfloat16=True,
        ):
            if model_type is not None or diam_mean is not None or nchan is not None:
                raise AskedError("version 4 ignores these")
            with open(pretrained_model) as file:
                if file.read() != "sam":
                    raise RuntimeError("size mismatch for encoder.pos_embed")
            asked.append({"gpu": gpu, "pretrained_model": pretrained_model, "device": device})

        def eval(
            self,
            x,
            batch_size=8,
            resample=True,
            channels=None,
            channel_axis=None,
            z_axis=None,
            normalize=True,
            invert=False,
            rescale=None,
            diameter=None,
            flow_threshold=0.4,
            cellprob_threshold=0.0,
            do_3D=False,
            anisotropy=None,
            flow3D_smooth=0,
            stitch_threshold=0.0,
            min_size=15,
            max_size_fraction=0.4,
            niter=None,
            augment=False,
            tile_overlap=0.1,
            bsize=256,
            compute_masks=True,
            progress=None,
        ):
            given = {name: value for name, value in locals().items() if name not in ("self", "x")}
            asked.append({"shape": x.shape, **given})
            if bsize != 256 or channels is not None:
                raise AskedError("the transformer takes tiles of 256 px and no channels")
            if x.ndim == 3 and (channel_axis != -1 or x.shape[2] != 3):
                raise AskedError("channels stand last, and there are three")
            if batch_size > memory_for:
                raise torch.cuda.OutOfMemoryError("too much")
            shown = x if x.ndim == 2 else x[..., 0]
            from scipy import ndimage

            labels, _ = ndimage.label(shown > 0.5)
            flows = [None, None, np.where(labels > 0, 4.0, -4.0).astype(np.float32), None]
            return labels.astype(np.uint16), flows, np.zeros(256)

    module = types.ModuleType("cellpose.models")
    module.CellposeModel = CellposeModel
    monkeypatch.setitem(sys.modules, "cellpose.models", module)
    return asked


@pytest.fixture
def sam(tmp_path):
    path = tmp_path / "cpsam"
    path.write_text("sam")
    return path


def test_version_4_gets_what_it_takes(monkeypatch, images, sam):
    asked = fake_version_4(monkeypatch)
    given = settings(nucleus_weights=str(sam), cell_weights=str(sam), nucleus_um=9, cell_um=20, flow_threshold=0.7)
    found = outline(images, 0.32, given, MethodContext())
    assert found.nucleus.max() == found.cell.max() == 3
    assert (found.cell[found.nucleus > 0] == found.nucleus[found.nucleus > 0]).all()
    np.testing.assert_allclose(found.quality, 1 / (1 + np.exp(-4)), atol=0.05)
    calls = [call for call in asked if "shape" in call]
    # one model serves both, loaded once
    assert len(asked) - len(calls) == 1
    assert [call["shape"] for call in calls] == [(150, 210), (150, 210, 3)]
    assert calls[0]["diameter"] == pytest.approx(9 / 0.32)
    assert calls[1]["diameter"] == pytest.approx(20 / 0.32)
    assert all(call["flow_threshold"] == 0.7 and call["max_size_fraction"] == 1 for call in calls)
    assert calls[1]["min_size"] == round(35.2 / 0.32**2)


def test_the_batch_shrinks_when_memory_runs_out(monkeypatch, images, sam):
    asked = fake_version_4(monkeypatch, memory_for=2)
    found = outline(images, 0.32, settings(cell_weights=str(sam), batch=8), MethodContext())
    assert [call["batch_size"] for call in asked if "shape" in call] == [8, 4, 2]
    assert found.cell.max() == 3


def test_tiles_of_version_4_stay_as_they_are(monkeypatch, images, sam):
    fake_version_4(monkeypatch, memory_for=0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        outline(images, 0.32, settings(cell_weights=str(sam)), MethodContext())


def test_cells_grow_from_nuclei_where_there_is_no_model_for_them(monkeypatch, images, sam):
    fake_version_4(monkeypatch)
    found = outline(images, 0.32, settings(nucleus_weights=str(sam)), MethodContext())
    assert found.nucleus.max() == 3
    assert (found.cell > 0).sum() > 2 * (found.nucleus > 0).sum()


def test_nuclei_are_found_as_ever_where_there_is_no_model_for_them(monkeypatch, images, sam):
    asked = fake_version_4(monkeypatch)
    found = outline(images, 0.32, settings(cell_weights=str(sam)), MethodContext())
    assert found.nucleus.max() == 3
    assert [call["shape"] for call in asked if "shape" in call] == [(150, 210, 3)]


def test_fields_of_a_batch_come_in_order(monkeypatch, images, sam):
    fake_version_4(monkeypatch)
    given = settings(cell_weights=str(sam))
    turned = {role: image[::-1].copy() for role, image in images.items()}
    first, second = (
        finish(said, 0.32, given) for said in predict_batch([images, turned], 0.32, given, MethodContext())
    )
    assert compare_masks(first.cell, second.cell[::-1])


def compare_masks(one, other):
    both = (one > 0) & (other > 0)
    return both.sum() > 0.97 * ((one > 0) | (other > 0)).sum()


def test_a_model_that_is_not_there_is_never_fetched(tmp_path, images):
    with pytest.raises(FileNotFoundError, match=r"no cellpose model at .*cyto3"):
        outline(images, 0.32, settings(cell_weights=str(tmp_path / "cyto3")), MethodContext())


def test_without_a_model_the_method_says_what_it_needs(images):
    with pytest.raises(ValueError, match=r"segment\.cellpose\.nucleus_weights"):
        outline(images, 0.32, settings(), MethodContext())


def test_a_model_of_the_other_version_is_named(monkeypatch, tmp_path, images, random_model):
    torch.save({"W2": torch.zeros(1), "output.2.weight": torch.zeros(3)}, tmp_path / "cpsam")
    with pytest.raises(WeightsMismatchError, match="is no model of cellpose 3"):
        outline(images, 0.32, settings(cell_weights=str(tmp_path / "cpsam")), MethodContext())
    fake_version_4(monkeypatch)
    loaded.cache_clear()
    (tmp_path / "cyto3").write_text("cyto")
    with pytest.raises(WeightsMismatchError, match="is no model of cellpose 4"):
        outline(images, 0.32, settings(cell_weights=str(tmp_path / "cyto3")), MethodContext())


def test_the_adapter_passes_only_what_a_version_knows(random_model):
    model = loaded(random_model, "cpu")
    assert model.known == frozenset(inspect.signature(model.network.eval).parameters)
    assert {"channels", "interp", "bsize"} <= model.known
    assert cellpose.SMALLEST_TILE_PX[model.version] < cellpose.TILE_PX[model.version]


def test_quality_is_the_lesser_mean():
    nucleus, cell = np.array([[1, 1, 0, 0]]), np.array([[1, 1, 1, 2]])
    chance = np.array([[0.9, 0.7, 0.3, 0.4]])
    np.testing.assert_allclose(quality_of((nucleus, cell), (chance, None)), [0.8, 1])
    np.testing.assert_allclose(quality_of((nucleus, cell), (chance, chance)), [0.6333333, 0.4], rtol=1e-5)
