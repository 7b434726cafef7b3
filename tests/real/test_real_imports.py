"""Published crops come into the store as they are: yeast of two laboratories, human cells of the Protein Atlas."""

import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from real_data import real_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from crops_source import imported, write_table_of
from wherein.crops.store import verify


def roles(**channels):
    return {role: {"path": "{file}", "key": "images", "channel": channel} for role, channel in channels.items()}


def fields_of(names):
    """First crop and the one after the last of each run of names."""
    runs = [(name, [number for number, _ in run]) for name, run in groupby(enumerate(names), key=lambda pair: pair[1])]
    return [(str(name), f"{numbers[0]}:{numbers[-1] + 1}") for name, numbers in runs]


def same_crops(found, images, roles_of_channels):
    """Whether the stores hold all crops, bit by bit, whatever their order: fields are sorted by name."""
    for store in found.crops:
        assert verify(store.path, found.folder / f"{store.path.stem}-cells.parquet") == []
    stored = np.concatenate([store.images(range(len(store))) for store in found.crops])
    assert stored.dtype == images.dtype
    assert stored.shape == (len(images), len(roles_of_channels), *images.shape[2:])
    wanted = images[:, [channel for _, channel in roles_of_channels]]
    assert found.crops[0].roles == [role for role, _ in roles_of_channels]
    assert sorted(crop.tobytes() for crop in stored) == sorted(crop.tobytes() for crop in wanted)
    return stored


def test_yeast_of_five_proteins(tmp_path):
    path = real_data("crops/yeast_5proteins.npz")
    with np.load(path) as arrays:
        images, cells = arrays["images"], arrays["cell"]
    spans = fields_of([cell.split("_rfp_")[0] for cell in cells])
    rows = [{"field_id": name, "file": path, "index": span, "genes": name.split("_")[0]} for name, span in spans]
    write_table_of(tmp_path, rows)
    found = imported(tmp_path, axes="NYXC", roles=roles(reference=0, protein=1), pixel_size_um=0.16)
    assert len(found.fields) == 7
    assert found.cells["status"].value_counts().to_dict() == {"kept": 300}
    same_crops(found, images.transpose(0, 3, 1, 2), [("protein", 1), ("reference", 0)])
    # within the field AAC1_1 the order is the file's
    own = found.cells[found.cells["field_id"] == "AAC1_1"]
    rows = own["crop_index"].to_numpy()
    np.testing.assert_array_equal(found.crops[0].images(rows)[:, 0], images[:60, ..., 1])
    np.testing.assert_allclose(own["mean_protein"], images[:60, ..., 1].mean((1, 2)))
    # the reference is RFP in the cytosol: a deaminase of the cytosol looks like it, a carrier of mitochondria does not
    likeness = [np.corrcoef(*crop.reshape(2, -1))[0, 1] for crop in found.crops[0].images(range(300))]
    of_gene = pd.Series(likeness).groupby(found.cells["field_id"].str[:4]).median()
    assert of_gene["AAH1"] > 0.9
    assert of_gene["AAC1"] < of_gene["AAH1"] - 0.1


def test_labelled_yeast_of_schuldiner(tmp_path):
    path = real_data("crops/yeast_schuldiner36.npz")
    with np.load(path) as arrays:
        images, classes = arrays["images"], arrays["onehot"].argmax(1)
    rows = [
        {"field_id": f"class{number}", "file": path, "index": place, "labels": f"class {number}"}
        for place, number in enumerate(classes)
    ]
    write_table_of(tmp_path, rows)
    # the second channel is the bright field
    found = imported(tmp_path, axes="NCYX", roles=roles(protein=0, reference=1), pixel_size_um=0.16)
    stored = same_crops(found, images, [("protein", 0), ("reference", 1)])
    assert stored.dtype == np.uint16
    assert found.fields.set_index("field_id")["full_scale"].eq(65535).all()
    counts = found.cells.groupby("field_id").size()
    assert counts.to_dict() == {f"class{number}": int((classes == number).sum()) for number in set(classes)}
    for name, own in found.cells.groupby("field_id"):
        expected = images[classes == int(name[5:]), 0].mean((1, 2), dtype=np.float64)
        np.testing.assert_allclose(own["mean_protein"], expected)


def test_human_cells_of_three_proteins(tmp_path):
    path = real_data("crops/hpa_toy_3proteins.npz")
    with np.load(path) as arrays:
        images, proteins = arrays["images"], arrays["protein"]
    rows = [
        {"field_id": name, "file": path, "index": span, "genes": name.split("_")[0]}
        for name, span in fields_of(proteins)
    ]
    write_table_of(tmp_path, rows)
    own = roles(microtubules=0, protein=1, nucleus=2)
    found = imported(tmp_path, axes="NYXC", roles=own, pixel_size_um=0.32)
    assert found.cells.groupby("field_id").size().to_dict() == {
        "A1CF_762_F2": 34,
        "A4GALT_1645_H1_6": 6,
        "AAAS_413_A12": 22,
    }
    channels = [("nucleus", 2), ("microtubules", 0), ("protein", 1)]
    stored = same_crops(found, images.transpose(0, 3, 1, 2), channels)
    # a nucleus stands in the middle of these crops
    nucleus = stored[:, 0].astype(float)
    assert nucleus[:, 48:80, 48:80].mean() > 1.5 * nucleus.mean()


def test_masked_human_cells_a_file_a_field(tmp_path):
    path = real_data("crops/hpa_56_F11_1_U2OS_MTM1_13cells.npz")
    with np.load(path) as arrays:
        images, channels = arrays["images"], [str(name) for name in arrays["channels"]]
    write_table_of(tmp_path, [{"file": path, "genes": "MTM1", "cell_line": "U-2 OS", "labels": "Cytosol"}])
    place = {
        role: channels.index(colour)
        for role, colour in {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}.items()
    }
    found = imported(tmp_path, axes="NYXC", roles=roles(**place), pixel_size_um=0.16)
    assert found.fields["field_id"].tolist() == ["hpa_56_F11_1_U2OS_MTM1_13cells"]
    assert len(found.cells) == 13
    stored = same_crops(found, images.transpose(0, 3, 1, 2), list(place.items()))
    np.testing.assert_array_equal(stored[:, 3], images[..., 1])


def test_the_same_crops_as_a_folder_of_pictures(tmp_path):
    """The atlas' crops, a PNG a cell, are the same as from the array."""
    import imagecodecs

    path = real_data("crops/hpa_56_F11_1_U2OS_MTM1_13cells.npz")
    with np.load(path) as arrays:
        images = arrays["images"]
    rows = []
    for number, image in enumerate(images):
        (tmp_path / f"cell{number:02d}.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))
        rows.append({"field_id": "56_F11_1", "file": f"cell{number:02d}.png", "genes": "MTM1"})
    write_table_of(tmp_path, rows)
    own = {role: words | {"key": None} for role, words in roles(protein=1, nucleus=2).items()}
    found = imported(tmp_path, axes="YXC", roles=own, pixel_size_um=0.16)
    np.testing.assert_array_equal(found.crops[0].images(range(13)), images[..., [2, 1]].transpose(0, 3, 1, 2))


def test_wrong_axes_of_real_crops_stop_the_catalog(tmp_path):
    write_table_of(tmp_path, [{"file": real_data("crops/yeast_5proteins.npz")}])
    with pytest.raises(ValueError, match="300 x 64 x 64 x 2"):
        imported(tmp_path, axes="NYX", roles={"protein": {"path": "{file}", "key": "images"}})
