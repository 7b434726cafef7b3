"""What goes wrong in other systems that cut cells out, each a test: cells lost, names cut off, stores torn.

The systems and where they tell of it: scPortrait (issues 200, 203 and 323, and its code), HPA-Cell-Segmentation,
paired_cell_inpainting, zarr-python (issues 3169 and 3682).
"""

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
from wherein.crops.shard import crop_shard
from wherein.crops.store import CropStore, CropWriter, verify
from wherein.segmentation.masks import write_masks
from wherein.settings import fill_defaults, schema
from wherein.tables import FIELDS, FILES, qc_schema, write_table

VERSION, PIXEL = "0123456789ab", 0.2
ROLES = ["nucleus", "protein"]


def disks(shape, labels, radius=5):
    """A field of round cells with a nucleus each: labels of nucleus and cell, by {label: (y, x)}."""
    nucleus, cell = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label, (row, column) in labels.items():
        far = np.hypot(y - row, x - column)
        cell[far <= radius], nucleus[far <= radius / 2] = label, label
    return nucleus, cell


def crop(folder, nucleus, cell, image_shape=None, **changes):
    """The stage crop on one field, whose protein tells each cell's number; store, ledger and summary."""
    folder.mkdir(exist_ok=True)
    key = {"field_id": "f", "version": VERSION}
    number = np.zeros(image_shape or cell.shape, np.uint16)
    part = tuple(slice(0, min(sizes)) for sizes in zip(number.shape, cell.shape, strict=True))
    number[part] = cell[part] % 60_000
    files = []
    for role in ROLES:
        tifffile.imwrite(folder / f"{role}.tif", number)
        files.append({**key, "role": role, "path": str(folder / f"{role}.tif"), "z": "max", "status": "ok"})
    row = {**key, "shard": "s-0001", "source": "s"}
    write_table(folder / "files.parquet", pd.DataFrame(files), FILES)
    write_table(folder / "fields.parquet", pd.DataFrame([{**row, "pixel_size_um": PIXEL}]), FIELDS)
    passed = {**row, "status": "passed", "reason": "passed", "dtype": "uint16"}
    write_table(folder / "qc.parquet", pd.DataFrame([passed]), qc_schema(ROLES))
    write_masks(folder / "masks.zarr", [("f", VERSION, nucleus, cell)], {"pixel_size_um": PIXEL})
    settings: dict = {}
    fill_defaults(settings, schema()["$defs"]["crop"])
    cut(folder, settings | {"window_um": 4.0, "min_cell_um2": 0, "min_nucleus_um2": 0} | changes)
    ledger = pq.read_table(folder / "cells.parquet").to_pandas()
    return CropStore(folder / "s-0001.zarr"), ledger, json.loads((folder / "summary.json").read_text())


def cut(folder, settings):
    crop_shard(
        "s-0001",
        **{table: folder / f"{table}.parquet" for table in ("fields", "files", "qc", "cells")},
        masks=folder / "masks.zarr",
        settings=settings,
        overrides=[],
        crops=folder / "s-0001.zarr",
        summary=folder / "summary.json",
    )


def test_no_cell_is_lost_between_outlines_and_crops(tmp_path):
    # more than 255 cells, numbers with gaps, up to beyond 16 bits, the last one too
    places = [(y, x) for y in range(12, 240, 12) for x in range(12, 240, 12)]
    labels = dict(zip([*range(1, len(places) - 1), 40_000, 70_001], places, strict=True))
    nucleus, cell = disks((246, 252), labels)
    store, ledger, summary = crop(tmp_path / "run", nucleus, cell)
    assert len(labels) == 361
    assert ledger["label"].tolist() == sorted(labels)
    assert len(store) == summary["counts"]["kept"] == summary["counts"]["in"] == 361
    pixels, masks = store.images(range(361)), store.masks(range(361))
    for row in ledger.itertuples():
        own = masks[row.crop_index, 0] == 1
        assert own.sum() == (cell == row.label).sum()
        assert set(pixels[row.crop_index, 1][own]) == {row.label % 60_000}
    assert verify(store.path, tmp_path / "run" / "cells.parquet") == []


def test_a_lone_cell_is_cut(tmp_path):
    store, ledger, _ = crop(tmp_path / "run", *disks((40, 60), {1: (20, 30)}))
    assert (len(store), ledger["status"].tolist()) == (1, ["kept"])


def test_cells_at_each_border_fall_out_and_those_beside_it_stay(tmp_path):
    # a cell of radius 5 reaches from 1 to 11 around 6, and from 0 to 10 around 5
    inside = {1: (6, 40), 2: (53, 40), 3: (30, 6), 4: (30, 93)}
    touching = {5: (5, 70), 6: (54, 70), 7: (15, 5), 8: (45, 94)}
    store, ledger, summary = crop(tmp_path / "run", *disks((60, 100), {**inside, **touching}), border="cell")
    found = ledger.set_index("label")["reason"].to_dict()
    assert found == dict.fromkeys(inside, "kept") | dict.fromkeys(touching, "border")
    assert summary["counts"] == {"in": 8, "kept": 4, "border": 4}
    assert len(store) == 4


def test_an_image_of_another_size_than_its_outlines_is_told(tmp_path):
    nucleus, cell = disks((40, 60), {1: (20, 30)})
    with pytest.raises(ValueError, match=r"f@0123456789ab:1: the masks are \(40, 60\), the image \(60, 40\).*download"):
        crop(tmp_path / "run", nucleus, cell, image_shape=(60, 40))
    assert not list((tmp_path / "run").glob("*s-0001.zarr*")), "nothing half written stays"


def test_long_names_are_kept_whole(tmp_path):
    roles = ["endoplasmic reticulum of the fixed cell", "endoplasmic reticulum of the living cell"]
    name = "plate of the year 2026 / " * 12 + "@0123456789ab:7"
    with CropWriter(tmp_path / "c.zarr", roles, 4, np.dtype(np.uint8)) as writer:
        writer.add(name, np.ones((2, 4, 4), np.uint8), np.ones((2, 4, 4), np.uint8))
        writer.finish({"pixel_size_um": 0.1, "window_um": 0.4})
    store = CropStore(tmp_path / "c.zarr")
    assert (store.roles, store.cell_ids) == (roles, [name])


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_two_jobs_that_cut_one_shard_at_once_leave_one_whole_store(tmp_path):
    places = [(y, x) for y in range(12, 240, 12) for x in range(12, 240, 12)]
    whole, *_ = crop(tmp_path / "run", *disks((246, 252), dict(enumerate(places, start=1))))
    expected = content(whole.path)
    settings: dict = {}
    fill_defaults(settings, schema()["$defs"]["crop"])
    settings |= {"window_um": 4.0, "min_cell_um2": 0, "min_nucleus_um2": 0}
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=cut, args=(tmp_path / "run", settings)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert any(job.exitcode == 0 for job in jobs)
    assert verify(whole.path, tmp_path / "run" / "cells.parquet") == []
    assert content(whole.path) == expected
    assert not list((tmp_path / "run").glob("*.part"))


def test_threads_read_one_store_at_once(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60_000, (90, 2, 16, 16)).astype(np.uint16)
    with CropWriter(tmp_path / "c.zarr", ROLES, 16, images.dtype, shard_crops=7) as writer:
        for number, image in enumerate(images):
            writer.add(f"a@v:{number}", image, np.zeros((2, 16, 16), np.uint8))
        writer.finish({"pixel_size_um": 0.1, "window_um": 1.6})
    store = CropStore(tmp_path / "c.zarr")
    orders = [rng.permutation(90) for _ in range(40)]
    with ThreadPoolExecutor(8) as threads:
        for order, found in zip(orders, threads.map(store.images, orders), strict=True):
            np.testing.assert_array_equal(found, images[order])
