"""The stage crop on a drawn shard: settings, killed writers, and whole cells."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
from wherein.crops.cut import distance_of_masks
from wherein.crops.shard import crop_shard
from wherein.crops.store import CropStore, DamagedCropsError, verify
from wherein.crops.whole import whole_cells
from wherein.segmentation.masks import read_masks, write_masks
from wherein.settings import fill_defaults, schema
from wherein.tables import FIELDS, FILES, qc_schema, write_table

SHARD, VERSION, PIXEL, SIDE = "real-0003", "0123456789ab", 0.2, 240
ROLES = ["nucleus", "protein"]
SAMPLES = {"f0": "A", "f1": "A", "f2": "B", "f3": None}


def crop_settings(**changes):
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["crop"])
    return values | {"window_um": 16.0, "min_nucleus_um2": 0} | changes


def drawn(number):
    """Masks and channels of a field with a cell every 40 pixels; field f2 has two cells alone."""
    rng = np.random.default_rng(number)
    nucleus, cell = np.zeros((SIDE, SIDE + 20), np.uint32), np.zeros((SIDE, SIDE + 20), np.uint32)
    y, x = np.mgrid[:SIDE, : SIDE + 20]
    label = 0
    for row in range(30, SIDE, 60):
        for column in range(25, SIDE, 50):
            label += 1
            if number == 2 and label > 2:
                continue
            far = ((y - row) / 24) ** 2 + ((x - column) / 20) ** 2
            cell[(far < 1) & (cell == 0)], nucleus[far < 0.2] = label, label
    image = rng.poisson(40, (2, *cell.shape)).astype(np.uint16) + (np.stack([nucleus, cell]) > 0) * np.uint16(300)
    return image, nucleus, cell


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    files, masks = [], []
    for number, field_id in enumerate(SAMPLES):
        image, nucleus, cell = drawn(number)
        masks.append((field_id, VERSION, nucleus, cell))
        for role, channel in zip(ROLES, image, strict=True):
            path = folder / f"{field_id}_{role}.tif"
            tifffile.imwrite(path, channel)
            file = {"field_id": field_id, "version": VERSION, "role": role, "path": str(path)}
            files.append(file | {"z": "max", "status": "ok"})
    keys = [{"field_id": name, "version": VERSION, "shard": SHARD, "source": "real"} for name in SAMPLES]
    write_table(folder / "files.parquet", pd.DataFrame(files), FILES)
    fields = pd.DataFrame(keys).assign(pixel_size_um=PIXEL, sample=list(SAMPLES.values()))
    write_table(folder / "fields.parquet", fields, FIELDS)
    qc = pd.DataFrame(keys).assign(status="passed", reason="passed", dtype="uint16")
    write_table(folder / "qc.parquet", qc, qc_schema(ROLES))
    write_masks(folder / "masks.zarr", masks, {"pixel_size_um": PIXEL})
    return folder


def cut(shard, folder, overrides=(), **changes):
    crop_shard(
        SHARD,
        fields=shard / "fields.parquet",
        files=shard / "files.parquet",
        qc=shard / "qc.parquet",
        masks=shard / "masks.zarr",
        settings=crop_settings(**changes),
        overrides=list(overrides),
        crops=folder / "crops.zarr",
        cells=folder / "cells.parquet",
        summary=folder / "crop.json",
    )
    return CropStore(folder / "crops.zarr"), pq.read_table(folder / "cells.parquet").to_pandas()


def test_crops_at_another_pixel_size(shard, tmp_path):
    store, ledger = cut(shard, tmp_path, pixel_size_um=0.4)
    assert (store.window_px, store.pixel_size_um, store.window_um) == (40, pytest.approx(0.4), pytest.approx(16))
    assert store.attributes["resampling"] == "area"
    assert store.attributes["source_pixel_size_um"] == PIXEL
    assert verify(tmp_path / "crops.zarr", tmp_path / "cells.parquet") == []
    kept = ledger[ledger["status"] == "kept"]
    image, _, cell = drawn(0)
    for row in kept[(kept["field_id"] == "f0") & ~kept["padded"]].itertuples():
        y, x = round(row.nucleus_y) - 40, round(row.nucleus_x) - 40
        mean = image[:, y : y + 80, x : x + 80].reshape(2, 40, 2, 40, 2).mean((2, 4))
        assert np.abs(store.images([row.crop_index])[0] - mean).max() <= 0.5
        # the ledger's intensities are of the source's pixels, whatever the crops' are
        assert row.sum_protein == image[1][cell == row.label].sum()


def test_padded_cells_are_flagged_and_counted_or_dropped(shard, tmp_path):
    _, ledger = cut(shard, tmp_path)
    kept = ledger[ledger["status"] == "kept"]
    assert 0 < kept["padded"].sum() < len(kept)
    summary = json.loads((tmp_path / "crop.json").read_text())
    assert summary["padded"] == kept["padded"].sum()
    assert any("reaches beyond the field" in note for note in summary["notes"])
    store, strict = cut(shard, tmp_path, beyond_field="reject")
    assert (
        strict.loc[strict["reason"] == "beyond_field", "cell_id"].tolist()
        == kept.loc[kept["padded"], "cell_id"].tolist()
    )
    assert len(store) == len(kept) - kept["padded"].sum()


def test_windows_around_the_cell(shard, tmp_path):
    store, ledger = cut(shard, tmp_path, centre="cell")
    assert store.attributes["centre"] == "cell"
    image, _, _ = drawn(1)
    kept = ledger[(ledger["status"] == "kept") & ~ledger["padded"] & (ledger["field_id"] == "f1")]
    for row in kept.itertuples():
        y, x = round(row.y) - 40, round(row.x) - 40
        np.testing.assert_array_equal(store.images([row.crop_index])[0], image[:, y : y + 80, x : x + 80])


def brute_distance(labels, place):
    """Of one pixel of the padded field, in micrometres."""
    label = labels[place]
    across = np.argwhere(labels != label if label else labels > 0)
    apart = np.hypot(*(across - place).T).min() - 0.5
    return (apart if label else -apart) * PIXEL


@pytest.mark.parametrize("changes", [{}, {"pixel_size_um": 0.4}, {"centre": "cell"}])
def test_stored_distances_are_those_of_the_field(shard, tmp_path, changes):
    store, ledger = cut(shard, tmp_path, nucleus_distance=True, **changes)
    assert store.has_nucleus_distance
    assert verify(tmp_path / "crops.zarr", tmp_path / "cells.parquet") == []
    plain, _ = cut(shard, tmp_path / "plain", **changes)
    kept = ledger[ledger["status"] == "kept"]
    every = kept["crop_index"].astype(int).tolist()
    np.testing.assert_array_equal(store.images(every), plain.images(every))
    found, of_masks = store.nucleus_distance(every), plain.nucleus_distance(every)
    masks = store.masks(every)[:, 1]
    np.testing.assert_array_equal(found > 0, masks > 0)
    assert (found != of_masks).any(axis=(1, 2)).sum() > 10
    rng = np.random.default_rng(0)
    step = 80 // store.window_px
    pad = 60
    for row, crop in zip(kept.itertuples(), found, strict=True):
        _, nucleus, _ = drawn(int(row.field_id[1]))
        nucleus = np.pad(nucleus, pad)
        y, x = (row.y, row.x) if changes.get("centre") == "cell" else (row.nucleus_y, row.nucleus_x)
        corner = round(y) - 40 + pad, round(x) - 40 + pad
        for place in rng.integers(0, store.window_px, (6, 2)):
            under = tuple(start + step * one + step // 2 for start, one in zip(corner, place.tolist(), strict=True))
            assert crop[tuple(place)] == pytest.approx(brute_distance(nucleus, under), rel=2**-11)


def test_a_nucleus_beyond_the_crop_counts_where_distances_are_stored(shard, tmp_path):
    store, ledger = cut(shard, tmp_path, nucleus_distance=True, window_um=10.0)
    row = ledger[(ledger["field_id"] == "f0") & (ledger["status"] == "kept") & ~ledger["padded"]].iloc[0]
    stored = store.nucleus_distance([row["crop_index"]])[0]
    of_masks = distance_of_masks(store.masks([row["crop_index"]]), PIXEL)[0]
    assert (store.masks([row["crop_index"]])[0, 1] != 2).all()
    # nuclei stand 50 pixels apart, so that the neighbour is nearer than its own to what is 25 columns from the middle
    assert (np.abs(of_masks) >= np.abs(stored)).all()
    assert of_masks[25, -1] == pytest.approx(stored[25, -1], rel=1e-3)
    wide, _ = cut(shard, tmp_path / "wide", nucleus_distance=True, window_um=14.0)
    stored = wide.nucleus_distance([row["crop_index"]])[0]
    of_masks = distance_of_masks(wide.masks([row["crop_index"]]), PIXEL)[0]
    assert (wide.masks([row["crop_index"]])[0, 1] != 2).all()
    assert stored[35, -1] > of_masks[35, -1] + 1


def content(folder):
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "crop.json"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_writer_killed_at_any_moment_leaves_nothing_that_passes(shard, tmp_path):
    whole = tmp_path / "whole"
    cut(shard, whole)
    start = time.perf_counter()
    cut(shard, whole)
    seconds = time.perf_counter() - start
    expected = content(whole)
    context = multiprocessing.get_context("fork")
    rng = np.random.default_rng(0)
    killed = 0
    for number, moment in enumerate(rng.random(20)):
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        process = context.Process(target=cut, args=(shard, folder))
        process.start()
        time.sleep(moment * seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if (folder / "crops.zarr").exists():
            assert verify(folder / "crops.zarr") == []
        for torn in folder.glob(".crops.zarr.*.part"):
            with pytest.raises(DamagedCropsError):
                CropStore(torn).images(range(len(CropStore(torn))))
        cut(shard, folder)
        assert content(folder) == expected
        assert verify(folder / "crops.zarr", folder / "cells.parquet") == []
    assert killed >= 10, "most moments lay within the work"


@pytest.mark.parametrize("margin", [0, 7, 500])
def test_whole_cells_come_from_the_field(shard, tmp_path, margin):
    _, ledger = cut(shard, tmp_path, window_um=4.0)
    rows = ledger[ledger["exceeds_window"]].iloc[::-1]
    assert len(rows) > 20
    found = list(
        whole_cells(rows, pq.read_table(shard / "files.parquet").to_pandas(), shard / "masks.zarr", ROLES, margin)
    )
    assert sorted(one.cell_id for one in found) == sorted(rows["cell_id"])
    by_id = rows.set_index("cell_id")
    for one in found:
        row = by_id.loc[one.cell_id]
        image, nucleus, cell = drawn(int(row["field_id"][1]))
        y, x = np.nonzero(cell == row["label"])
        low = np.maximum([y.min() - margin, x.min() - margin], 0)
        high = np.minimum([y.max() + 1 + margin, x.max() + 1 + margin], cell.shape)
        box = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        assert one.corner == tuple(low)
        np.testing.assert_array_equal(one.image, image[(slice(None), *box)])
        assert (one.masks[0] == 1).sum() == (cell == row["label"]).sum()
        np.testing.assert_array_equal(one.masks[1] == 2, (nucleus[box] > 0) & (nucleus[box] != row["label"]))
        assert one.alone()[1].sum() == row["sum_protein"]
        assert read_masks(shard / "masks.zarr", row["field_id"], VERSION)[1].shape == cell.shape


def test_a_whole_cell_is_stretched_to_a_square(shard, tmp_path):
    _, ledger = cut(shard, tmp_path)
    rows = ledger[ledger["field_id"] == "f0"].head(3)
    files = pq.read_table(shard / "files.parquet").to_pandas()
    for one in whole_cells(rows, files, shard / "masks.zarr", ROLES, 3):
        _, height, width = one.image.shape
        assert height != width
        image, masks = one.square(16)
        assert (image.shape, masks.shape, image.dtype) == ((2, 16, 16), (2, 16, 16), np.uint16)
        # means over areas: every pixel of the box spread over as many as it covers, then averaged
        fine = np.repeat(np.repeat(one.alone().astype(float), 16, axis=1), 16, axis=2)
        exact = fine.reshape(2, 16, height, 16, width).mean((2, 4))
        assert np.abs(image - exact).max() <= 0.51
        places = [((2 * np.arange(16) + 1) * length) // 32 for length in (height, width)]
        np.testing.assert_array_equal(masks, one.masks[:, places[0]][:, :, places[1]])
        assert one.square(16, alone=False)[0].sum() > image.sum()


def test_a_nucleus_without_a_cell_has_no_box(shard, tmp_path):
    _, ledger = cut(shard, tmp_path)
    rows = ledger.head(1).assign(area_um2=np.nan)
    with pytest.raises(ValueError, match="nucleus without a cell"):
        list(whole_cells(rows, pq.read_table(shard / "files.parquet").to_pandas(), shard / "masks.zarr", ROLES, 0))
