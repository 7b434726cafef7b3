import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
from test_nuclei import ellipse, imaged
from wherein.crops.shard import crop_shard
from wherein.crops.store import CropStore, verify
from wherein.segmentation.masks import read_masks, write_masks
from wherein.segmentation.shard import segment_shard
from wherein.settings import fill_defaults, schema
from wherein.tables import FIELDS, FILES, SEGMENTATION, cells_schema, qc_schema, read_metadata, write_table

SHARD, VERSION, PIXEL = "real-0001", "0123456789ab", 0.32
ROLES = ["nucleus", "microtubules", "protein"]
FIELDS_OF = {"good": "passed", "empty": "passed", "broken": "passed", "out": "rejected"}


def section(name, **changes):
    values: dict = {}
    fill_defaults(values, schema()["$defs"][name])
    return values | changes


def drawn():
    """Channels and truth of a field that is not square: three whole cells, one cut by the border."""
    shape = (200, 330)
    centres = [(100, 60), (90, 170), (110, 270), (4, 110)]
    cells, nuclei = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
    for number, (y, x) in enumerate(centres, start=1):
        cells[ellipse(shape, y, x, 42, 48) & (cells == 0)] = number
        nuclei[ellipse(shape, y, x, 18, 15)] = number
    light = {"nucleus": (nuclei > 0, 600), "microtubules": (cells > 0, 400), "protein": (cells > 0, 300)}
    images = {role: imaged([part], seed=i).astype(np.uint16) for i, (role, part) in enumerate(light.items())}
    return images, nuclei, cells


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A shard of four fields, segmented and cut: good, empty, unreadable since qc, and rejected by qc."""
    folder = tmp_path_factory.mktemp("run")
    images, nuclei, cells = drawn()
    files = []
    for field_id in FIELDS_OF:
        for role, image in images.items():
            path = folder / f"{field_id}_{role}.tif"
            if field_id == "empty":
                image = np.random.default_rng(5).normal(100, 5, image.shape).astype(np.uint16)
            if field_id == "broken":
                path.write_bytes(b"no image")
            else:
                tifffile.imwrite(path, image)
            files.append(
                {"field_id": field_id, "version": VERSION, "role": role, "path": str(path), "z": "max", "status": "ok"}
            )
    key = [{"field_id": name, "version": VERSION, "shard": SHARD, "source": "real"} for name in FIELDS_OF]
    write_table(folder / "files.parquet", pd.DataFrame(files), FILES)
    write_table(folder / "fields.parquet", pd.DataFrame(key).assign(pixel_size_um=PIXEL), FIELDS)
    verdicts = [
        row | {"status": status, "reason": status, "dtype": "uint16", "height": 200, "width": 330}
        for row, status in zip(key, FIELDS_OF.values(), strict=True)
    ]
    write_table(folder / "qc.parquet", pd.DataFrame(verdicts), qc_schema(ROLES))
    tables = {name: folder / f"{name}.parquet" for name in ("fields", "files", "qc")}
    segment_shard(
        SHARD,
        **tables,
        settings=section("segment"),
        masks=folder / "masks.zarr",
        quality=folder / "quality.parquet",
        summary=folder / "segment.json",
    )
    words = [
        ["cell", f"good@{VERSION}:2", "reject", "", "Ada", "overlaps"],
        ["cell", "good@x:1", "keep", "", "Ada", "?"],
    ]
    crop_shard(
        SHARD,
        **tables,
        masks=folder / "masks.zarr",
        settings=section("crop"),
        overrides=words,
        crops=folder / "crops.zarr",
        cells=folder / "cells.parquet",
        summary=folder / "crop.json",
    )
    (folder / "truth").mkdir()
    write_masks(folder / "truth/masks.zarr", [(name, VERSION, nuclei, cells) for name in FIELDS_OF], {})
    return folder, images


def test_only_passed_fields_have_masks_and_a_broken_one_has_empty_masks(run):
    folder, _ = run
    nucleus, cell = read_masks(folder / "masks.zarr", "good", VERSION)
    assert nucleus.shape == (200, 330)
    assert nucleus.max() == cell.max() == 4
    for field_id in ("empty", "broken"):
        nucleus, cell = read_masks(folder / "masks.zarr", field_id, VERSION)
        assert nucleus.shape == (200, 330)
        assert not nucleus.any()
        assert not cell.any()
    with pytest.raises(KeyError):
        read_masks(folder / "masks.zarr", "out", VERSION)


def test_the_summary_of_segmentation_counts_and_names_what_failed(run):
    summary = json.loads((run[0] / "segment.json").read_text())
    assert summary["counts"] == {"in": 3, "kept": 1, "no_objects": 1, "failed": 1}
    assert len(summary["notes"]) == 2
    assert f"empty@{VERSION} has no outlines: no nucleus and no cell" in summary["notes"][0]
    assert f"broken@{VERSION} has no outlines" in summary["notes"][1]
    assert summary["objects"]["nuclei"] == 4


def test_the_ledger_has_every_label_and_the_store_every_kept_cell(run):
    folder, images = run
    ledger = pq.read_table(folder / "cells.parquet").to_pandas()
    assert pq.read_schema(folder / "cells.parquet").equals(cells_schema(ROLES))
    assert ledger["cell_id"].tolist() == [f"good@{VERSION}:{label}" for label in (1, 2, 3, 4)]
    assert sorted(ledger["reason"]) == ["border", "kept", "kept", "overridden"]
    assert ledger.loc[1, "override"] == "Ada: overlaps"
    store = CropStore(folder / "crops.zarr")
    kept = ledger[ledger["status"] == "kept"]
    assert store.cell_ids == kept["cell_id"].tolist()
    assert kept["crop_index"].tolist() == [0, 1]
    assert ledger["crop_index"].isna().tolist() == (ledger["status"] != "kept").tolist()
    assert store.roles == ROLES
    assert store.dtype == np.uint16
    assert store.window_px == 128
    assert verify(folder / "crops.zarr") == []
    nucleus, cell = read_masks(folder / "masks.zarr", "good", VERSION)
    for index, row in enumerate(kept.itertuples()):
        y, x = round(row.nucleus_y) - 64, round(row.nucleus_x) - 64
        window = (slice(max(y, 0), y + 128), slice(max(x, 0), x + 128))
        crop = store.images([index])[0][:, max(-y, 0) :, max(-x, 0) :]
        for channel, role in zip(crop, ROLES, strict=True):
            there = images[role][window]
            np.testing.assert_array_equal(channel[: there.shape[0], : there.shape[1]], there)
        mask = store.masks([index])[0]
        assert (mask[0] == 1).sum() == (cell[window] == row.label).sum()
        assert (mask[1] == 1).sum() == (nucleus[window] == row.label).sum()
        assert row.sum_protein == images["protein"][cell == row.label].sum()


def test_the_summary_of_crops_balances(run):
    summary = json.loads((run[0] / "crop.json").read_text())
    assert summary["counts"] == {"in": 4, "kept": 2, "border": 1, "overridden": 1}
    assert any("there is no such cell" in note for note in summary["notes"])


def test_every_label_is_measured_and_every_field_told_of(run):
    folder, _ = run
    table = pq.read_table(folder / "quality.parquet")
    assert table.schema.equals(SEGMENTATION)
    frame = table.to_pandas()
    assert frame["cell_id"].tolist() == pq.read_table(folder / "cells.parquet").to_pandas()["cell_id"].tolist()
    assert (frame["contrast"] > 0.5).all()
    assert (frame["nucleus_solidity"] > 0.9).all()
    assert frame[["disagreement", "score"]].isna().all(axis=None)
    told = read_metadata(folder / "quality.parquet")
    assert (told["method"], told["second"]) == ("watershed", None)
    fields = {row["field_id"]: row for row in told["fields"]}
    assert list(fields) == ["good", "empty", "broken"]
    assert (fields["good"]["n_nuclei"], fields["good"]["n_cells"], fields["good"]["reason"]) == (4, 4, None)
    assert fields["good"]["contrast"] == pytest.approx(frame["contrast"].median(), abs=1e-3)
    assert fields["empty"]["reason"] == "no_objects"
    assert fields["broken"]["reason"] == "failed"
    assert fields["broken"]["detail"]


def test_a_second_method_tells_where_the_first_may_be_wrong(run, tmp_path):
    folder, _ = run
    segment_shard(
        SHARD,
        **{name: folder / f"{name}.parquet" for name in ("fields", "files", "qc")},
        settings=section("segment", second="otsu-nuclei"),
        masks=tmp_path / "masks.zarr",
        quality=tmp_path / "quality.parquet",
        summary=tmp_path / "segment.json",
    )
    frame = pq.read_table(tmp_path / "quality.parquet").to_pandas()
    assert frame["disagreement"].between(0, 0.2).all()
    told = read_metadata(tmp_path / "quality.parquet")
    assert told["second"] == "otsu-nuclei"
    assert told["fields"][0]["lost"] == 0
    first = [read_masks(place / "masks.zarr", "good", VERSION) for place in (folder, tmp_path)]
    np.testing.assert_array_equal(first[0], first[1])


def test_a_shard_without_passed_fields_gives_empty_stores(tmp_path):
    key = {"field_id": "a", "version": VERSION, "shard": SHARD, "source": "real"}
    file = {"field_id": "a", "version": VERSION, "role": "protein", "status": "failed", "reason": "missing_file"}
    write_table(tmp_path / "files.parquet", pd.DataFrame([file]), FILES)
    write_table(tmp_path / "fields.parquet", pd.DataFrame([key | {"pixel_size_um": 0.1}]), FIELDS)
    verdict = key | {"status": "failed", "reason": "missing_file"}
    write_table(tmp_path / "qc.parquet", pd.DataFrame([verdict]), qc_schema(["protein"]))
    tables = {name: tmp_path / f"{name}.parquet" for name in ("fields", "files", "qc")}
    segment_shard(
        SHARD,
        **tables,
        settings=section("segment"),
        masks=tmp_path / "m.zarr",
        quality=tmp_path / "q.parquet",
        summary=tmp_path / "s.json",
    )
    assert pq.read_table(tmp_path / "q.parquet").num_rows == 0
    crop_shard(
        SHARD,
        **tables,
        masks=tmp_path / "m.zarr",
        settings=section("crop"),
        overrides=[],
        crops=tmp_path / "c.zarr",
        cells=tmp_path / "cells.parquet",
        summary=tmp_path / "c.json",
    )
    assert len(CropStore(tmp_path / "c.zarr")) == 0
    assert pq.read_table(tmp_path / "cells.parquet").num_rows == 0
    assert json.loads((tmp_path / "c.json").read_text())["counts"] == {"in": 0, "kept": 0}
