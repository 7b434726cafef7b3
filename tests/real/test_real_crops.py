"""Crops and ledger of real fields, against their own pixels."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from real_data import real_data
from wherein.crops.shard import crop_shard
from wherein.crops.store import CropStore, verify
from wherein.readers import read_plane
from wherein.segmentation.masks import write_masks
from wherein.segmentation.methods import METHODS, MethodContext
from wherein.settings import fill_defaults, schema
from wherein.tables import FIELDS, FILES, qc_schema, write_table

FIELDS_SHOWN = ("800_A6_1", "B2AI_1_untreated_A1_R1", "B2AI_1_untreated_A1_R2", "B2AI_1_untreated_A1_R4")
VERSION, PIXEL = "0123456789ab", 0.08
COLOURS = {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}


def section(name):
    values: dict = {}
    fill_defaults(values, schema()["$defs"][name])
    return values


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Tables and masks of four fields, and what each shows: images by role, labels of nuclei and of cells."""
    data = real_data("smoke_hpa_4ch")
    folder = tmp_path_factory.mktemp("real")
    files, shown = [], {}
    for name in FIELDS_SHOWN:
        paths = {role: str(data / colour / f"{name}_{colour}.jpg") for role, colour in COLOURS.items()}
        images = {role: read_plane(path) for role, path in paths.items()}
        outlines = {role: image for role, image in images.items() if role != "protein"}
        found = METHODS["watershed"].load().outline(outlines, PIXEL, section("segment"), MethodContext())
        shown[name] = (images, found.nucleus, found.cell)
        key = {"field_id": name, "version": VERSION}
        files += [key | {"role": role, "path": path, "z": "max", "status": "ok"} for role, path in paths.items()]
    rows = pd.DataFrame({"field_id": FIELDS_SHOWN, "version": VERSION, "shard": "real-0001", "source": "real"})
    write_table(folder / "files.parquet", pd.DataFrame(files), FILES)
    write_table(folder / "fields.parquet", rows.assign(pixel_size_um=PIXEL), FIELDS)
    verdicts = rows.assign(status="passed", reason="passed", dtype="uint8")
    write_table(folder / "qc.parquet", verdicts, qc_schema(list(COLOURS)))
    masks = [(name, VERSION, nucleus, cell) for name, (_, nucleus, cell) in shown.items()]
    write_masks(folder / "masks.zarr", masks, {"pixel_size_um": PIXEL})
    return folder, shown


def cut(folder, name, **changes):
    (folder / name).mkdir()
    crop_shard(
        "real-0001",
        **{table: folder / f"{table}.parquet" for table in ("fields", "files", "qc")},
        masks=folder / "masks.zarr",
        settings=section("crop") | changes,
        overrides=[],
        crops=folder / name / "crops.zarr",
        cells=folder / name / "cells.parquet",
        summary=folder / name / "crop.json",
    )
    store = CropStore(folder / name / "crops.zarr")
    assert verify(store.path, folder / name / "cells.parquet") == []
    return store, pq.read_table(folder / name / "cells.parquet").to_pandas()


def test_the_ledgers_intensities_are_the_sources(fields):
    folder, shown = fields
    store, ledger = cut(folder, "whole")
    assert len(store) >= 70
    for row in ledger.itertuples():
        images, nucleus, cell = shown[row.field_id]
        for part, labels in (("", cell), ("nucleus_", nucleus)):
            own = labels == row.label
            if not own.any():
                assert np.isnan(getattr(row, f"{part}sum_protein"))
                continue
            for role, image in images.items():
                assert getattr(row, f"{part}sum_{role}") == image[own].sum(dtype=np.int64)
                assert getattr(row, f"{part}mean_{role}") == pytest.approx(image[own].mean())


def test_a_cell_that_fits_its_window_is_in_its_crop_to_the_last_pixel(fields):
    folder, _ = fields
    store, ledger = cut(folder, "fits")
    fitting = ledger[(ledger["status"] == "kept") & ~ledger["exceeds_window"]]
    assert len(fitting) > 0
    for row in fitting.itertuples():
        own = store.masks([row.crop_index])[0, 0] == 1
        crop = store.images([row.crop_index])[0]
        for role, channel in zip(store.roles, crop, strict=True):
            assert channel[own].sum(dtype=np.int64) == getattr(row, f"sum_{role}")


def test_crops_cut_at_another_pixel_size_are_the_views_of_those_cut_whole(fields):
    folder, _ = fields
    whole, _ = cut(folder, "fine")
    coarse, _ = cut(folder, "coarse", pixel_size_um=0.64)
    assert coarse.window_px == 64
    view = whole.view(pixel_size_um=0.64, size_px=64)
    rows = range(len(whole))
    np.testing.assert_array_equal(coarse.images(rows), view.images(rows))
    np.testing.assert_array_equal(coarse.masks(rows), view.masks(rows))
    # what a mean over areas keeps: the intensity of the window
    fine = whole.images(rows).mean((2, 3))
    assert np.abs(view.images(rows).mean((2, 3)) - fine).max() < 0.1
