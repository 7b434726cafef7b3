"""Crops made elsewhere: every format, and what is wrong with the files of people."""

import errno
import json
import os
import resource

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
from crops_source import config_of, imported, run_catalog, write_table_of
from wherein.crops.ledger import measure_intensities, measure_shapes
from wherein.crops.store import verify
from wherein.decoders.image import UnreadableImage
from wherein.exchange import arrays
from wherein.exchange.crop_table import Part, span
from wherein.exchange.measures import masks_of, measure_crops, nearest_label
from wherein.settings import ConfigError, check_config
from wherein.sources.table import TableError

TWO = {"protein": {"path": "{file}", "channel": 1}, "nucleus": {"path": "{file}", "channel": 0}}
ONE = {"protein": {"path": "{file}"}}


def pixels(shape, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def ledger_of(found, key="reason"):
    return found.cells[key].tolist()


@pytest.mark.parametrize("axes", ["NCYX", "NYXC", "CNYX", "CYXN", "YXNC", "YXCN"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, ">u2"])
def test_every_order_of_axes_gives_the_same_crops_to_the_last_bit(tmp_path, axes, dtype):
    crops = pixels((5, 2, 12, 12), np.dtype(dtype).newbyteorder("=")).astype(dtype)
    np.save(tmp_path / "all.npy", np.transpose(crops, ["NCYX".index(axis) for axis in axes]))
    write_table_of(tmp_path, [{"file": "all.npy", "genes": "LBR"}])
    found = imported(tmp_path, axes=axes, roles=TWO, full_scale=4095)
    (store,) = found.crops
    assert store.roles == ["nucleus", "protein"]
    assert store.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(store.images(range(5)), crops)
    assert (store.masks(range(5))[:, 0] == 1).all()
    assert not store.masks(range(5))[:, 1].any()
    assert verify(store.path, found.folder / f"{found.shards[0]}-cells.parquet") == []
    assert found.cells["cell_id"].tolist() == [f"all@{found.fields['version'][0]}:{number}" for number in range(1, 6)]
    np.testing.assert_allclose(found.cells["mean_protein"], crops[:, 1].mean((1, 2), dtype=np.float64))


@pytest.mark.parametrize("ending", ["npy", "npz", "tif", "png"])
def test_a_crop_a_file_in_every_format(tmp_path, ending):
    crops = pixels((3, 16, 16), np.uint8)
    rows = []
    for number, crop in enumerate(crops):
        path = tmp_path / f"cell{number}.{ending}"
        if ending == "npy":
            np.save(path, crop)
        elif ending == "npz":
            np.savez_compressed(path, crop=crop)
        elif ending == "tif":
            tifffile.imwrite(path, crop)
        else:
            path.write_bytes(imagecodecs.png_encode(crop))
        rows.append({"field_id": "f", "file": path.name, "genes": "LBR"})
    write_table_of(tmp_path, rows)
    found = imported(tmp_path, axes="YX", roles=ONE)
    np.testing.assert_array_equal(found.crops[0].images(range(3))[:, 0], crops)
    assert len(found.fields) == 1
    assert len(found.files) == 3
    assert found.files["sha256"].str.len().eq(64).all()
    assert found.qc["status"].tolist() == ["passed"]


def test_a_colour_png_and_an_imagej_stack(tmp_path):
    colour = pixels((20, 20, 3), np.uint8)
    (tmp_path / "rgb.png").write_bytes(imagecodecs.png_encode(colour))
    write_table_of(tmp_path, [{"file": "rgb.png"}])
    found = imported(tmp_path, axes="YXC", roles=TWO)
    np.testing.assert_array_equal(found.crops[0].images([0])[0], colour[..., :2].transpose(2, 0, 1))
    other = tmp_path / "other"
    other.mkdir()
    tifffile.imwrite(other / "stack.tif", pixels((2, 16, 16)), imagej=True, metadata={"axes": "CYX"})
    write_table_of(other, [{"file": "stack.tif"}])
    np.testing.assert_array_equal(imported(other, axes="CYX", roles=TWO).crops[0].images([0])[0], pixels((2, 16, 16)))
    with pytest.raises(TableError, match=r"says itself that its axes are CYX .* NYX are declared"):
        imported(other, axes="NYX", roles=ONE)


def test_rows_share_a_file_by_index_and_keep_the_order_of_the_table(tmp_path):
    crops = pixels((10, 2, 8, 8))
    np.savez(tmp_path / "all.npz", images=crops, protein=np.arange(10))
    roles = {role: words | {"key": "{array}"} for role, words in TWO.items()}
    rows = [
        {"field_id": "b", "file": "all.npz", "index": "7:10", "genes": "B", "array": "images"},
        {"field_id": "a", "file": "all.npz", "index": "0:2", "genes": "A", "array": "images"},
        {"field_id": "b", "file": "all.npz", "index": "3", "genes": "B", "array": "images"},
    ]
    write_table_of(tmp_path, rows)
    found = imported(tmp_path, axes="NCYX", roles=roles)
    np.testing.assert_array_equal(found.crops[0].images(range(6)), crops[[0, 1, 7, 8, 9, 3]])
    assert found.cells["field_id"].tolist() == ["a", "a", "b", "b", "b", "b"]
    assert found.cells["label"].tolist() == [1, 2, 1, 2, 3, 4]
    assert [list(genes) for genes in found.fields["genes"]] == [["A"], ["B"]]


def test_not_square_and_of_several_sizes_stand_in_the_middle_of_one_window(tmp_path):
    wide, small = pixels((2, 2, 10, 20), seed=1), pixels((1, 2, 6, 6), seed=2)
    np.save(tmp_path / "wide.npy", wide)
    np.save(tmp_path / "small.npy", small)
    write_table_of(tmp_path, [{"file": "wide.npy"}, {"file": "small.npy"}])
    found = imported(tmp_path, axes="NCYX", roles=TWO)
    (store,) = found.crops
    assert store.window_px == 20
    assert store.attributes["extents"] == [[6, 6], [10, 20], [10, 20]]
    images = store.images(range(3))
    np.testing.assert_array_equal(images[0, :, 7:13, 7:13], small[0])
    np.testing.assert_array_equal(images[1:, :, 5:15], wide)
    assert images[0].astype(int).sum() == small.astype(int).sum()
    assert (store.masks([0])[0, 0] == 1).sum() == 36
    assert found.cells["padded"].all()
    assert found.cells["area_um2"].tolist() == pytest.approx([36 * 0.04, 200 * 0.04, 200 * 0.04])
    assert found.cells[["bbox_y1", "bbox_x1"]].to_numpy().tolist() == [[6, 6], [10, 20], [10, 20]]
    notes = json.loads((tmp_path / "made-0001-import.json").read_text())["notes"]
    assert any("3 crops are smaller than the store's 20 pixels" in note for note in notes)


def test_one_bad_crop_is_a_row_with_a_reason_and_loses_no_other(tmp_path):
    crops = pixels((4, 2, 8, 8), np.float32)
    crops[1, 0, 3, 3] = np.nan
    crops[2, 1, 0, 0] = np.inf
    np.save(tmp_path / "good.npy", crops)
    np.save(tmp_path / "flat.npy", crops[0, 0])
    (tmp_path / "broken.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-40])
    (tmp_path / "word.npy").write_text("not an array at all")
    files = ["good.npy", "flat.npy", "broken.npy", "word.npy", "gone.npy"]
    write_table_of(tmp_path, [{"field_id": "f", "file": name} for name in files])
    found = imported(tmp_path, axes="NCYX", roles=TWO, full_scale=1)
    assert ledger_of(found) == ["kept", "not_finite", "not_finite", "kept", *["unreadable"] * 4]
    assert found.cells["crop_index"].tolist()[:4:3] == [0, 1]
    assert found.cells["crop_index"].isna().tolist() == [False, True, True, False, *[True] * 4]
    np.testing.assert_array_equal(found.crops[0].images([0, 1]), crops[[0, 3]])
    assert found.cells["mean_nucleus"].isna().tolist() == [False, True, True, False, *[True] * 4]
    notes = " ".join(json.loads((tmp_path / "made-0001-import.json").read_text())["notes"])
    assert "has 2 axes (8 x 8), but NCYX are declared" in notes
    assert "gone.npy cannot be opened" in notes
    assert "is no npy, npz, TIFF or PNG" in notes
    counts = json.loads((tmp_path / "made-0001-import.json").read_text())["counts"]
    assert counts["in"] == sum(counts.values()) - counts["in"] == 8


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (None, "missing_file", "cannot be opened"),
        (np.zeros((3, 2, 2, 8, 8)), "unsupported_format", "has 5 axes"),
        (np.zeros((3, 1, 8, 8)), "missing_channel", "1 channels, counted from 0; 1 is none"),
        (np.zeros((0, 2, 8, 8)), "unsupported_format", "no crop"),
        (np.array([["a"]]), "unsupported_format", "has 2 axes"),
        (np.full((2, 2, 2, 2), "a"), "unsupported_format", "numbers are needed"),
        (np.full((1, 2, 2, 2), None), "unsupported_format", "holds Python objects"),
    ],
)
def test_a_field_without_a_readable_crop_fails_with_its_reason(tmp_path, content, reason, says):
    np.save(tmp_path / "good.npy", pixels((1, 2, 8, 8)))
    if content is not None:
        np.save(tmp_path / "bad.npy", content)
    write_table_of(tmp_path, [{"file": "good.npy"}, {"file": "bad.npy"}])
    found = imported(tmp_path, axes="NCYX", roles=TWO)
    judged = found.qc.set_index("field_id").loc["bad"]
    assert (judged["status"], judged["reason"]) == ("failed", reason)
    assert says in judged["detail"]
    assert found.cells["field_id"].unique().tolist() == ["good"]


def test_lengths_and_sizes_that_differ_between_roles(tmp_path):
    np.save(tmp_path / "a_pro.npy", pixels((5, 8, 8)))
    np.save(tmp_path / "a_nuc.npy", pixels((4, 8, 8)))
    np.save(tmp_path / "b_pro.npy", pixels((5, 8, 8)))
    np.save(tmp_path / "b_nuc.npy", pixels((5, 9, 8)))
    np.save(tmp_path / "c_pro.npy", pixels((1, 8, 8), np.uint8))
    np.save(tmp_path / "c_nuc.npy", pixels((1, 8, 8), np.uint16))
    write_table_of(tmp_path, [{"field_id": name} for name in "abc"])
    roles = {"protein": {"path": "{field_id}_pro.npy"}, "nucleus": {"path": "{field_id}_nuc.npy"}}
    found = imported(tmp_path, axes="NYX", roles=roles)
    assert found.qc["reason"].tolist() == ["size_mismatch", "size_mismatch", "passed"]
    assert "4 crops" in found.qc["detail"][0]
    assert "9 x 8" in found.qc["detail"][1]
    # types that differ meet in the narrowest that holds both
    assert found.crops[0].dtype == np.uint16
    np.testing.assert_array_equal(found.crops[0].images([0])[0, 1], pixels((1, 8, 8), np.uint8)[0])


def test_layout_of_cytoself(tmp_path):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:100, :100]
    distance = np.stack([20 - np.hypot(y - 50 - shift, x - 50) for shift in range(6)]).astype(np.float32)
    for protein in ("LMNB1", "SON"):
        np.save(tmp_path / f"{protein}_pro.npy", rng.random((6, 100, 100), np.float32))
        np.save(tmp_path / f"{protein}_nuc.npy", rng.random((6, 100, 100), np.float32))
        np.save(tmp_path / f"{protein}_nucdist.npy", distance)
        np.save(tmp_path / f"{protein}_label.npy", np.array([["ENSG", protein, "nuclear"]] * 6))
    write_table_of(tmp_path, [{"field_id": name, "genes": name, "labels": "nucleus"} for name in ("LMNB1", "SON")])
    roles = {"protein": {"path": "{field_id}_pro.npy"}, "nucleus": {"path": "{field_id}_nuc.npy"}}
    found = imported(
        tmp_path, axes="NYX", roles=roles, nucleus_distance={"path": "{field_id}_nucdist.npy"}, full_scale=1
    )
    (store,) = found.crops
    assert store.has_nucleus_distance
    assert len(store) == 12
    np.testing.assert_array_equal(store.nucleus_distance(range(6)), (distance * 0.2).astype(np.float16))
    np.testing.assert_array_equal(store.masks(range(6))[:, 1] == 1, distance > 0)
    np.testing.assert_array_equal(store.images([0])[0, 1], np.load(tmp_path / "LMNB1_pro.npy")[0])
    assert (found.cells["n_nuclei"] == 1).all()
    np.testing.assert_allclose(found.cells["nucleus_y"][:6], 50 + np.arange(6), atol=0.01)
    with pytest.raises(TableError, match="the pixels are float32, whose highest intensity nothing tells"):
        imported(tmp_path, axes="NYX", roles=roles, shard_fields=1)


def test_masks_that_came_with_the_crops(tmp_path):
    crops = pixels((3, 2, 20, 20))
    cell = np.zeros((3, 20, 20), np.uint8)
    nucleus = np.zeros_like(cell)
    cell[0, 5:15, 5:15], cell[0, :3, :3], nucleus[0, 8:12, 8:12], nucleus[0, 1, 1] = 7, 3, 255, 255
    cell[1, :, 2:18] = 1
    np.save(tmp_path / "images.npy", crops)
    np.savez(tmp_path / "masks.npz", cell=cell, nucleus=nucleus)
    write_table_of(tmp_path, [{"field_id": "f"}])
    found = imported(
        tmp_path,
        axes="NCYX",
        roles={role: words | {"path": "images.npy"} for role, words in TWO.items()},
        cell_mask={"path": "masks.npz", "key": "cell"},
        nucleus_mask={"path": "masks.npz", "key": "nucleus"},
    )
    assert ledger_of(found) == ["kept", "kept", "empty_mask"]
    masks = found.crops[0].masks([0, 1])
    np.testing.assert_array_equal(masks[0, 0] == 1, cell[0] == 7)
    np.testing.assert_array_equal(masks[0, 0] == 2, cell[0] == 3)
    assert found.cells["exceeds_window"].tolist() == [False, True, False]
    # 255 is one number for the own nucleus and that of a neighbour
    assert (masks[0, 1] == 1).sum() == 17
    assert found.cells["n_nuclei"].tolist() == [2, 0, 0]
    assert found.files["role"].isna().sum() == 2
    expected = crops[0, 1][cell[0] == 7].mean()
    assert found.cells["mean_protein"][0] == pytest.approx(expected)


def test_a_row_without_a_mask_takes_the_whole_crop(tmp_path):
    np.save(tmp_path / "a.npy", pixels((1, 8, 8)))
    np.save(tmp_path / "b.npy", pixels((1, 8, 8)))
    np.save(tmp_path / "a_mask.npy", np.eye(8, dtype=np.uint8)[None])
    rows = [{"field_id": "f", "file": "a.npy", "mask": "a_mask.npy"}, {"field_id": "f", "file": "b.npy", "mask": ""}]
    rows.append({"field_id": "f", "file": "c.npy", "mask": "gone.npy"})
    np.save(tmp_path / "c.npy", pixels((1, 8, 8)))
    write_table_of(tmp_path, rows)
    found = imported(tmp_path, axes="NYX", roles=ONE, cell_mask={"path": "{mask}"})
    assert ledger_of(found) == ["kept", "kept", "unreadable"]
    assert (found.crops[0].masks([0, 1])[:, 0] == 1).sum((1, 2)).tolist() == [8, 64]


def test_a_curators_word_on_crops(tmp_path):
    np.save(tmp_path / "a.npy", pixels((2, 8, 8)))
    write_table_of(tmp_path, [{"file": "a.npy"}])
    version = run_catalog(tmp_path, config_of(tmp_path, axes="NYX", roles=ONE))["version"][0]
    words = [["cell", f"a@{version}:{number}", "reject", "", "me", "dead"] for number in (1, 9)]
    found = imported(tmp_path, axes="NYX", roles=ONE, overrides=words)
    assert ledger_of(found) == ["overridden", "kept"]
    assert found.crops[0].cell_ids == [f"a@{version}:2"]
    notes = json.loads((tmp_path / "made-0001-import.json").read_text())["notes"]
    assert any(":9, but there is no such cell" in note for note in notes)


def test_a_changed_file_is_a_new_version_and_an_unchanged_table_none(tmp_path):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", pixels((2, 8, 8)))
    write_table_of(tmp_path, [{"file": "a.npy"}, {"file": "b.npy"}])
    config = config_of(tmp_path, axes="NYX", roles=ONE)
    first = run_catalog(tmp_path, config)
    listed = (tmp_path / "listed.parquet").read_bytes()
    again = run_catalog(tmp_path, config)
    pd.testing.assert_frame_equal(first, again)
    assert (tmp_path / "listed.parquet").read_bytes() == listed
    np.save(tmp_path / "b.npy", pixels((3, 8, 8)))
    changed = run_catalog(tmp_path, config)
    assert changed["retired_in"].notna().sum() == 1
    # the retired version keeps its files in the list
    assert pd.read_parquet(tmp_path / "listed.parquet")["version"].nunique() == 3
    found = imported(tmp_path, axes="NYX", roles=ONE)
    assert sorted(found.qc["reason"]) == ["passed", "passed", "retired"]


@pytest.mark.parametrize(
    ("rows", "source", "says"),
    [
        ([{"file": "a.npy", "genes": "A", "index": 0}, {"file": "a.npy", "genes": "B", "index": 1}], {},
         r"row 3: the field 'a' has another genes than in row 2; .* give the table a column field_id"),
        ([{"file": "a.npy", "index": "0:3"}, {"file": "a.npy", "index": "2"}], {}, "used twice"),
        ([{"file": "a.npy", "index": "x"}], {}, "neither a number from 0 on nor"),
        ([{"file": "a.npy", "index": "3:3"}], {}, "second number has to be above the first"),
        ([{"file": "a.npy", "index": "3"}], {"axes": "YX"}, "have no N to count on"),
        ([{"file": "a.npy"}], {"pixel_size_um": None}, "pixel size of 'a' is None"),
        ([{"file": "gone.npy"}], {}, "not one file of protein exists"),
        ([{"file": "https://x.org/a.npy"}], {}, "read from files on this machine"),
        ([{"file": "a.npy"}, {"file": "sub/a.npy"}], {}, "would both be the field"),
        ([{"file": "a.npy", "genes": "7-Sep"}], {}, "found a date"),
        ([{"file": "a.npy"}], {"roles": {"protein": {"path": "{file}", "channel": 1}}}, "have no C"),
        ([{"file": "a.npy"}], {"roles": {"protein": {"path": "{nothing}"}}}, "no column 'nothing'"),
        ([], {}, "no row below the header"),
    ],
)  # fmt: skip
def test_a_wrong_table_stops_before_any_job_and_says_what_to_mend(tmp_path, rows, source, says):
    np.save(tmp_path / "a.npy", pixels((4, 8, 8)))
    write_table_of(tmp_path, rows) if rows else (tmp_path / "crops.tsv").write_text("file\tgenes\n")
    with pytest.raises(TableError, match=says):
        run_catalog(tmp_path, config_of(tmp_path, **{"axes": "NYX", "roles": ONE, **source}))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"roles": ONE}, "'axes' is missing"),
        ({"roles": ONE, "axes": "NHWC"}, "found 'NHWC'; allowed are 'YX', 'NYX'"),
        ({"roles": {"actin": {"path": "x"}}, "axes": "NYX"}, "actin"),
        ({"roles": ONE, "axes": "NYX", "segment": {}}, "unknown key 'segment'"),
    ],
)
def test_a_wrong_configuration_says_what_is_allowed(tmp_path, source, says):
    with pytest.raises(ConfigError, match=says):
        config_of(tmp_path, **source)


def test_models_of_fields_go_without_crops_and_say_so(tmp_path):
    from wherein.settings import left_out, models_of_source

    config = config_of(tmp_path, axes="NYX", roles=ONE)
    config["models"] = {"cells": {"kind": "classic"}, "fields": {"kind": "classic", "level": "field"}}
    check_config(config)
    assert models_of_source(config, "made") == ["cells"]
    told = [row for row in left_out(config) if row[0] == "model"]
    assert told == [["model", "fields", "made", "describes whole fields; the source has crops made elsewhere"]]


def test_spans():
    assert span("7") == (7, 8)
    assert span("0:60") == (0, 60)
    assert span(None)[0] == 0


def test_the_own_cell_is_the_one_nearest_the_middle():
    labels = np.zeros((11, 11), int)
    labels[0, 0], labels[4, 5], labels[6, 5] = 9, 5, 3
    assert nearest_label(labels) == 3
    assert nearest_label(np.zeros((4, 4))) == 0


def test_measures_are_those_of_the_ledger():
    """Brute force: the same crops, one by one, as fields of their own."""
    rng = np.random.default_rng(5)
    cell = (rng.random((12, 15, 18)) < 0.4).astype(np.uint8)
    nucleus = cell * (rng.random(cell.shape) < 0.3)
    images = {"nucleus": pixels(cell.shape), "protein": pixels(cell.shape, seed=1)}
    masks = masks_of(cell.shape, cell, nucleus, None)
    measured = measure_crops(images, masks, 0.3, given=True)
    for row in range(len(cell)):
        labels = [(masks[row, part] == 1).astype(np.uint32) for part in (1, 0)]
        expected = measure_shapes(*labels, 0.3, 32, "cell")
        planes = {role: image[row] for role, image in images.items()}
        expected = measure_intensities(expected, planes, *labels).iloc[0]
        for name in measured.columns.difference(["fault", "exceeds_window"]):
            assert measured[name][row] == pytest.approx(expected[name], nan_ok=True), name
        assert measured["exceeds_window"][row] == expected["touches_border"]


def test_a_network_scales_crops_by_all_crops_of_their_field_without_what_was_put_around(tmp_path):
    from wherein.models.embed import statistics_of_crops

    wide, small = pixels((3, 2, 10, 24), np.uint8, seed=1), pixels((2, 2, 6, 6), np.uint8, seed=2)
    np.save(tmp_path / "wide.npy", wide)
    np.save(tmp_path / "small.npy", small)
    write_table_of(tmp_path, [{"field_id": "f", "file": name} for name in ("wide.npy", "small.npy")])
    (store,) = imported(tmp_path, axes="NCYX", roles=TWO).crops
    mean, deviation = statistics_of_crops(store, np.arange(5), [1, 0])
    for found, channel in zip(zip(mean, deviation, strict=True), (1, 0), strict=True):
        together = np.concatenate([wide[:, channel].ravel(), small[:, channel].ravel()]).astype(float)
        assert found == pytest.approx((together.mean(), together.std()))


@pytest.mark.parametrize("kind", ["classic", "gapnet-pl"])
def test_models_of_cells_describe_imported_crops(tmp_path, kind):
    from wherein.models.embed import embed_shard
    from wherein.tables import read_vectors

    np.save(tmp_path / "a.npy", pixels((3, 4, 64, 64), np.uint8))
    write_table_of(tmp_path, [{"file": "a.npy"}])
    four = ("nucleus", "microtubules", "er", "protein")
    roles = {role: {"path": "{file}", "channel": place} for place, role in enumerate(four)}
    masks = {"cell_mask": {"path": "mask.npy"}}
    np.save(tmp_path / "mask.npy", np.pad(np.ones((3, 40, 40), np.uint8), [(0, 0), (12, 12), (12, 12)]))
    found = imported(tmp_path, axes="NCYX", roles=roles, **masks)
    config = config_of(tmp_path, axes="NCYX", roles=roles, **masks)
    config["models"] = {"m": {"kind": kind, **({"weights": "untrained"} if kind != "classic" else {})}}
    check_config(config)
    shard = found.shards[0]
    paths = [str(tmp_path / f"{shard}-{name}.parquet") for name in ("files", "qc", "cells")]
    out = [str(tmp_path / name) for name in ("v.parquet", "p.parquet", "s.json")]
    fields, crops = str(tmp_path / "fields.parquet"), str(tmp_path / f"{shard}.zarr")
    embed_shard(shard, "m", fields, *paths, crops, None, config["models"]["m"], "cpu", *out)
    units, vectors = read_vectors([tmp_path / "v.parquet"])
    assert units["unit_id"].tolist() == found.cells["cell_id"].tolist()
    assert np.isfinite(vectors).mean() > 0.9
    assert np.ptp(vectors, axis=0).max() > 0


def test_a_sheet_of_crops_stands_in_for_the_field(tmp_path):
    from wherein.views.examples import FieldImages

    crops = pixels((40, 2, 8, 8))
    np.save(tmp_path / "a.npy", crops)
    np.save(tmp_path / "b.npy", np.zeros(3))
    write_table_of(tmp_path, [{"file": "a.npy"}, {"file": "b.npy"}])
    found = imported(tmp_path, axes="NCYX", roles=TWO)
    images = FieldImages([tmp_path / f"{shard}-files.parquet" for shard in found.shards], tmp_path / "listed.parquet")
    first, second = found.fields["version"]
    sheet = images.read("a", first)
    assert {role: plane.shape for role, plane in sheet.items()} == {"nucleus": (48, 48), "protein": (48, 48)}
    np.testing.assert_array_equal(sheet["protein"][8:16, :8], crops[6, 1])
    with pytest.raises(UnreadableImage, match="has 1 axes"):
        images.read("b", second)


def test_the_balance_finds_a_lost_crop(tmp_path):
    from wherein.tallies import BalanceError, import_check

    np.save(tmp_path / "a.npy", pixels((3, 8, 8)))
    write_table_of(tmp_path, [{"file": "a.npy"}])
    found = imported(tmp_path, axes="NYX", roles=ONE)
    summaries = [tmp_path / "made-0001-import.json"]
    import_check(summaries, found.qc, found.cells)
    with pytest.raises(BalanceError, match="3 crops found, but 2 rows in the ledger"):
        import_check(summaries, found.qc, found.cells[1:])


def test_a_role_with_several_files_is_lost_with_the_last_of_them():
    from wherein.tallies import download_fates

    rows = [
        ("a", "protein", "ok"), ("a", "protein", "missing_file"), ("a", "nucleus", "ok"),
        ("b", "protein", "ok"), ("b", "nucleus", "missing_file"), ("b", "nucleus", "missing_file"),
        ("c", "protein", "ok"), ("c", None, "missing_file"),
    ]  # fmt: skip
    files = pd.DataFrame(rows, columns=["field_id", "role", "reason"]).assign(version="1")
    files["status"] = np.where(files["reason"] == "ok", "ok", "failed")
    files["reason"] = files["reason"].replace("ok", None)
    assert download_fates(files).tolist() == ["kept", "missing_file", "missing_file"]


def test_a_row_for_each_crop_keeps_the_order_of_the_table(tmp_path):
    crops = pixels((150, 8, 8))
    np.save(tmp_path / "all.npy", crops)
    np.save(tmp_path / "small.npy", crops[:1, :6])
    order = np.random.default_rng(1).permutation(150)
    rows = [{"field_id": "f", "file": "all.npy", "index": place} for place in order]
    rows[70:70] = [
        {"field_id": "f", "file": "gone.npy", "index": 0},
        {"field_id": "f", "file": "small.npy", "index": 0},
    ]
    write_table_of(tmp_path, rows)
    found = imported(tmp_path, axes="NYX", roles=ONE)
    assert found.cells["label"].tolist() == list(range(1, 153))
    assert found.cells["reason"].tolist() == ["kept"] * 70 + ["unreadable"] + ["kept"] * 81
    stored = found.crops[0].images(range(151))[:, 0]
    np.testing.assert_array_equal(stored[[*range(70), *range(71, 151)]], crops[order])
    np.testing.assert_array_equal(stored[70, 1:7], crops[0, :6])


@pytest.fixture
def few_descriptors():
    """A limit of open files that 200 mapped ones would break, beside those that are open now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_more_files_than_a_process_may_open(tmp_path, few_descriptors, monkeypatch):
    crops = pixels((200, 8, 8))
    paths = [str(tmp_path / f"{number}.npy") for number in range(len(crops))]
    for path, crop in zip(paths, crops, strict=True):
        np.save(path, crop)
    files = arrays.ArrayFiles()
    for number, path in enumerate(paths):
        np.testing.assert_array_equal(files.crops(Part(0, "protein", path, None, None, "YX", None))[0], crops[number])
    assert len(files._open) == arrays.CACHE_FILES
    # without the bound the process runs out, and that is no fault of the files
    monkeypatch.setattr(arrays, "CACHE_FILES", 1000)
    files = arrays.ArrayFiles()
    with pytest.raises(OSError, match="Too many open files"):
        [files.crops(Part(0, "protein", path, None, None, "YX", None)) for path in paths]


def test_crops_that_wait_for_others_hold_no_file_open(tmp_path, few_descriptors):
    crops = pixels((150, 2, 8, 8))
    for number, crop in enumerate(crops):
        for name, plane in zip(("nuc", "pro"), crop, strict=True):
            np.save(tmp_path / f"{number}_{name}.npy", plane)
    write_table_of(tmp_path, [{"field_id": "f", "cell": number} for number in range(len(crops))])
    roles = {"protein": {"path": "{cell}_pro.npy"}, "nucleus": {"path": "{cell}_nuc.npy"}}
    found = imported(tmp_path, axes="YX", roles=roles)
    assert ledger_of(found) == ["kept"] * len(crops)
    np.testing.assert_array_equal(found.crops[0].images(range(len(crops))), crops)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_process_lacks_is_no_reason_of_a_file(tmp_path, monkeypatch, number):
    np.save(tmp_path / "a.npy", pixels((8, 8)))

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(arrays.np, "load", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        arrays.read_array(str(tmp_path / "a.npy"))
    number = errno.EIO
    with pytest.raises(UnreadableImage, match="cannot be decoded") as told:
        arrays.read_array(str(tmp_path / "a.npy"))
    assert told.value.reason == "corrupt"


def test_the_bytes_of_kept_files_are_bounded_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CACHE_BYTES", 300)
    files = arrays.ArrayFiles()
    for number in [0, 1, 2, 0, 3, 3, 4, 1]:
        path = tmp_path / f"{number}.npy"
        np.save(path, np.full((1, 100 + number), number, np.uint8))
        files.crops(Part(0, "protein", str(path), None, None, "YX", None))
        kept = sum(array.nbytes for array, _ in files._open.values())
        assert files._bytes == kept <= 300
    assert [os.path.basename(path) for path, *_ in files._open] == ["4.npy", "1.npy"]


def write_series(path, images):
    with tifffile.TiffWriter(path) as tiff:
        for image in images:
            tiff.write(image, metadata={"axes": "CYX"[-image.ndim :]})


@pytest.mark.parametrize("axes", ["NCYX", "CNYX"])
def test_the_images_of_a_tiff_of_several_are_its_crops(tmp_path, axes):
    crops = pixels((4, 2, 16, 12))
    write_series(tmp_path / "all.tif", crops)
    write_table_of(tmp_path, [{"file": "all.tif"}])
    found = imported(tmp_path, axes=axes, roles=TWO)
    assert ledger_of(found) == ["kept"] * 4
    np.testing.assert_array_equal(found.crops[0].images(range(4))[:, :, :, 2:14], crops)


@pytest.mark.parametrize(
    ("images", "axes", "says"),
    [
        ([pixels((8, 8))] * 3, "YX", r"holds 3 images \(series\), but the axes YX are of one"),
        ([pixels((8, 8)), pixels((8, 9))], "NYX", r"holds 2 images \(series\) of 8 x 8 uint16, 8 x 9 uint16;"),
        ([pixels((8, 8)), pixels((8, 8), np.uint8)], "NYX", r"holds 2 images \(series\) of 8 x 8 uint16, 8 x 8 uint8;"),
        ([pixels((2, 8, 8))] * 3, "NYX", r"holds 3 images \(series\) of 2 x 8 x 8 uint16; for the axes NYX each has"),
    ],
)
def test_images_of_a_tiff_that_are_no_crops_are_counted_in_the_reason(tmp_path, images, axes, says):
    write_series(tmp_path / "a.tif", images)
    with pytest.raises(UnreadableImage, match=says) as told:
        arrays.read_array(str(tmp_path / "a.tif"), None, axes)
    assert told.value.reason == "unsupported_format"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_distances_that_are_not_finite_are_a_reason(tmp_path, value):
    distance = pixels((3, 8, 8), np.float32)
    distance[1, 2, 3] = value
    np.save(tmp_path / "a.npy", pixels((3, 8, 8)))
    np.save(tmp_path / "a_nucdist.npy", distance)
    write_table_of(tmp_path, [{"file": "a.npy", "near": "a_nucdist.npy"}])
    found = imported(tmp_path, axes="NYX", roles=ONE, nucleus_distance={"path": "{near}"})
    assert ledger_of(found) == ["kept", "not_finite", "kept"]
    assert np.isfinite(found.crops[0].nucleus_distance([0, 1])).all()
