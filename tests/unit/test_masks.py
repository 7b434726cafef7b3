import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from wherein.segmentation.masks import DamagedMasksError, group_name, read_masks, write_masks


def labels(seed: int, shape: tuple[int, int] = (40, 55), top: int = 700) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape).astype(np.uint32)


def chunk_files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json")


def test_masks_read_back_as_written_with_more_than_255_cells(tmp_path):
    fields = [("a", "0" * 12, labels(1), labels(2)), ("b/c d", "1" * 12, labels(3, (7, 3)), labels(4, (7, 3)))]
    write_masks(tmp_path / "m.zarr", iter(fields), {"method": "watershed"})
    for field_id, version, nucleus, cell in fields:
        found = read_masks(tmp_path / "m.zarr", field_id, version)
        assert found[0].dtype == found[1].dtype == np.uint32
        np.testing.assert_array_equal(found[0], nucleus)
        np.testing.assert_array_equal(found[1], cell)


def test_plain_zarr_reads_the_store_as_ome_zarr_labels(tmp_path):
    write_masks(tmp_path / "m.zarr", [("a b", "v1", labels(1), labels(2))], {"method": "x", "pixel_size_um": 0.16})
    root = zarr.open_group(tmp_path / "m.zarr", mode="r")
    assert root.attrs["fields"] == ["a_b@v1"]
    assert root.attrs["method"] == "x"
    field = root["a_b@v1"]
    assert dict(field.attrs) == {"field_id": "a b", "version": "v1"}
    assert field["labels"].attrs["ome"]["labels"] == ["nucleus", "cell"]
    ome = field["labels/cell"].attrs["ome"]
    assert ome["version"] == "0.5"
    assert "image-label" in ome
    assert ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] == [0.16, 0.16]
    assert field["labels/cell/0"].metadata.dimension_names == ("y", "x")
    np.testing.assert_array_equal(field["labels/nucleus/0"][...], labels(1))


def test_a_field_is_few_files(tmp_path):
    write_masks(tmp_path / "m.zarr", [("a", "v", labels(1, (1500, 300)), labels(2, (1500, 300)))], {})
    assert len([file for file in (tmp_path / "m.zarr/a@v").rglob("*") if file.is_file()]) <= 8


def test_a_shard_without_fields_is_a_store(tmp_path):
    write_masks(tmp_path / "m.zarr", [], {"method": "x"})
    assert zarr.open_group(tmp_path / "m.zarr", mode="r").attrs["fields"] == []
    with pytest.raises(KeyError, match="no masks of a@v"):
        read_masks(tmp_path / "m.zarr", "a", "v")


def test_an_empty_field_is_zeros_and_a_lost_chunk_is_an_error(tmp_path):
    zeros = np.zeros((9, 9), np.uint32)
    write_masks(tmp_path / "m.zarr", [("a", "v", zeros, zeros)], {})
    assert not read_masks(tmp_path / "m.zarr", "a", "v")[0].any()
    chunk_files(tmp_path / "m.zarr")[0].unlink()
    with pytest.raises(DamagedMasksError, match="missing"):
        read_masks(tmp_path / "m.zarr", "a", "v")


def test_a_damaged_chunk_is_an_error(tmp_path):
    write_masks(tmp_path / "m.zarr", [("a", "v", labels(1), labels(2))], {})
    file = chunk_files(tmp_path / "m.zarr")[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(DamagedMasksError):
        read_masks(tmp_path / "m.zarr", "a", "v")


def test_a_failure_leaves_the_old_store(tmp_path):
    write_masks(tmp_path / "m.zarr", [("a", "v", labels(1), labels(2))], {})

    def broken():
        yield "a", "v", labels(5), labels(5)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_masks(tmp_path / "m.zarr", broken(), {})
    np.testing.assert_array_equal(read_masks(tmp_path / "m.zarr", "a", "v")[0], labels(1))
    assert [path.name for path in tmp_path.iterdir()] == ["m.zarr"]


@pytest.mark.parametrize(
    ("nucleus", "cell", "message"),
    [
        (labels(1, (4, 4)), labels(1, (4, 5)), "shape"),
        (np.zeros((4, 4)), np.zeros((4, 4)), "integers"),
        (np.full((4, 4), -1), np.zeros((4, 4), int), "uint32"),
    ],
)
def test_what_is_no_label_image_is_refused(tmp_path, nucleus, cell, message):
    with pytest.raises(ValueError, match=message):
        write_masks(tmp_path / "m.zarr", [("a", "v", nucleus, cell)], {})


def test_two_fields_may_not_share_a_group(tmp_path):
    assert group_name("a b", "v") == group_name("a_b", "v")
    with pytest.raises(ValueError, match=r"'a b' and 'a_b'"):
        write_masks(tmp_path / "m.zarr", [("a b", "v", labels(1), labels(1)), ("a_b", "v", labels(1), labels(1))], {})


def test_root_metadata_is_json(tmp_path):
    write_masks(tmp_path / "m.zarr", [("a", "v", labels(1), labels(2))], {"settings": {"x_um": 1.5}})
    assert json.loads((tmp_path / "m.zarr/zarr.json").read_text())["attributes"]["settings"] == {"x_um": 1.5}
