import sys
import types

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from test_nuclei import ellipse, imaged
from wherein.decoders.image import UnreadableImage
from wherein.segmentation import methods
from wherein.segmentation.elsewhere import read_labels
from wherein.segmentation.methods import Method, Outlines
from wherein.segmentation.pipeline import FIELDS_AT_A_TIME, FieldTask, Work, outlined
from wherein.settings import fill_defaults, schema

SHAPE = (120, 160)


@pytest.fixture(scope="module")
def settings():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["segment"])
    return values


def task(folder, name, images, shape=SHAPE):
    rows = []
    for role, image in images.items():
        path = folder / f"{name}_{role}.tif"
        if image is None:
            path.write_bytes(b"no image")
        else:
            tifffile.imwrite(path, image)
        rows.append({"role": role, "path": str(path), "status": "ok", "channel": None, "z": "max"})
    return FieldTask(name, "v", pd.DataFrame(rows), 0.32, shape, str(folder))


def field(number, kind=np.uint16):
    nuclei = [ellipse(SHAPE, 60, 30 + 40 * place, 12, 11) for place in range(number)]
    return {"nucleus": imaged([(mask, 500) for mask in nuclei], seed=number).astype(kind)}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    broken = field(2, np.float32)
    broken["nucleus"][4, 5:9] = np.nan
    return [
        task(folder, "one", field(1)),
        task(folder, "nan", broken),
        task(folder, "three", field(3)),
        task(folder, "torn", {"nucleus": None}),
        task(folder, "sizes", field(2) | {"er": np.zeros((50, 60), np.uint16)}),
        task(folder, "empty", {"nucleus": np.full(SHAPE, 100, np.uint16)}),
        task(folder, "dot", {"nucleus": np.full((1, 1), 100, np.uint16)}, (1, 1)),
        task(folder, "two", field(2)),
    ]


EXPECTED = {
    "one": (None, 1),
    "nan": ("failed", 0),
    "three": (None, 3),
    "torn": ("failed", 0),
    "sizes": ("failed", 0),
    "empty": ("no_objects", 0),
    "dot": ("no_objects", 0),
    "two": (None, 2),
}


@pytest.mark.parametrize("threads", [1, 2])
def test_every_field_comes_out_in_order_with_outlines_or_a_reason(tasks, settings, threads):
    told = list(outlined(tasks, Work(["watershed"], settings, threads=threads)))
    assert [task.field_id for task, _ in told] == list(EXPECTED)
    for own, found in told:
        reason, count = EXPECTED[own.field_id]
        assert found.reason == reason
        assert found.nucleus.max() == found.cell.max() == count == len(found.measures)
        assert found.nucleus.shape == found.cell.shape == own.shape
        assert (found.detail is None) == (reason is None)
    details = {own.field_id: found.detail for own, found in told}
    assert "no finite numbers" in details["nan"]
    assert "differ in size" in details["sizes"]


@pytest.fixture
def network(monkeypatch):
    """A method that predicts the number of a field's bright pixels, and cannot bear batches with a certain field."""
    module = types.ModuleType("fake_network")
    module.batches = []

    def predict_batch(fields, pixel_size_um, settings, context):
        module.batches.append(len(fields))
        if any(images["nucleus"].max() > 5000 for images in fields):
            raise MemoryError("too bright")
        return [images["nucleus"] > 300 for images in fields]

    def finish(prediction, pixel_size_um, settings):
        labels = prediction.astype(np.uint32)
        return Outlines(labels, labels, np.full(int(labels.max()), 0.5, np.float32))

    module.predict_batch, module.finish = predict_batch, finish
    monkeypatch.setitem(sys.modules, "fake_network", module)
    fake = Method("fake", (("nucleus",),), (), "this test", "fake_network", network=True)
    monkeypatch.setitem(methods.METHODS, "fake", fake)
    return module


def test_networks_work_in_batches_and_a_field_that_fails_does_so_alone(tmp_path, settings, network):
    glaring = {"nucleus": np.full(SHAPE, 9000, np.uint16)}
    own = [task(tmp_path, f"f{number}", field(1)) for number in range(6)]
    own.insert(1, task(tmp_path, "glaring", glaring))
    own.insert(3, task(tmp_path, "torn", {"nucleus": None}))
    work = Work(["fake", "watershed"], settings | {"fake": {}})
    told = [(own.field_id, found) for own, found in outlined(own, work)]
    assert [name for name, _ in told] == [each.field_id for each in own]
    for name, found in told:
        if name == "glaring":
            assert found.reason == "failed"
            assert "MemoryError: too bright" in found.detail
        elif name == "torn":
            assert found.reason == "failed"
        else:
            assert found.reason is None
            assert found.measures["score"].tolist() == [0.5]
            assert 0 < found.measures["disagreement"].iloc[0] < 1
    # three of the first four could be read, and failed together; then one by one; then the other four
    assert network.batches == [3, 1, 1, 1, 4]
    assert FIELDS_AT_A_TIME == 4


def test_labels_made_elsewhere_take_the_place_of_a_method(tmp_path, settings):
    cells = np.zeros(SHAPE, np.uint16)
    cells[10:50, 10:60], cells[10:50, 80:130] = 40, 7
    own = [task(tmp_path, name, field(2)) for name in ("good", "absent", "wrong")]
    tifffile.imwrite(tmp_path / "good_cells.tif", cells)
    tifffile.imwrite(tmp_path / "wrong_cells.tif", cells[:, :80])
    masks = {"nucleus": None, "cell": "{field_id}_cells.tif"}
    told = [found for _, found in outlined(own, Work(["masks"], settings | {"masks": masks}))]
    np.testing.assert_array_equal(told[0].cell, np.where(cells == 7, 1, np.where(cells == 40, 2, 0)))
    assert not told[0].nucleus.any()
    assert [found.reason for found in told] == [None, "no_labels", "no_labels"]
    assert "absent_cells.tif" in told[1].detail
    assert "120 x 80, the images are 120 x 160" in told[2].detail


def test_labels_are_read_from_every_format(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3000, (30, 41)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", labels)
    np.save(tmp_path / "a.npy", labels.astype(np.int64))
    np.save(tmp_path / "whole.npy", labels.astype(np.float32))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(labels))
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["ome"] = {
        "version": "0.5",
        "image-label": {},
        "multiscales": [
            {
                "axes": axes,
                "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}],
            }
        ],
    }
    group.create_array("0", data=labels.astype(np.uint32), dimension_names=("y", "x"))
    for name in ("a.tif", "a.npy", "whole.npy", "a.png", "a.zarr"):
        found = read_labels(tmp_path / name)
        assert found.dtype == np.uint32
        np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 5), 0.5), "no whole numbers"),
        (np.full((4, 5), -1), "must fit uint32"),
        (np.full((4, 5), np.nan), "no whole numbers"),
        (np.zeros((2, 4, 5), np.uint8), "labels are"),
        (np.full((4, 5), "x"), "labels are whole numbers"),
    ],
)
def test_what_is_no_label_image_is_refused_with_a_sentence(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UnreadableImage, match=message):
        read_labels(tmp_path / "a.npy")


def test_label_files_that_are_not_there_or_have_planes_are_refused(tmp_path):
    with pytest.raises(UnreadableImage) as caught:
        read_labels(tmp_path / "none.npy")
    assert caught.value.reason == "missing_file"
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 8, 9), np.uint16), metadata={"axes": "ZYX"}, ome=True)
    with pytest.raises(UnreadableImage, match="several planes"):
        read_labels(tmp_path / "stack.tif")
