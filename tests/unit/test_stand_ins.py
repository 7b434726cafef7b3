"""JPEGs of 8 bits in a shard of 16-bit TIFFs: every stage sees one type and one scale."""

import gzip
import io
import json
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
from fault_server import FaultServer
from simulated_source import source
from transfer_settings import SETTINGS
from wherein.channels import ROLES, uri_column
from wherein.crops.shard import crop_shard
from wherein.crops.store import CropStore
from wherein.download import check_shard
from wherein.qc import judge_shard
from wherein.readers import read_field
from wherein.segmentation.shard import segment_shard
from wherein.settings import fill_defaults, schema
from wherein.simulate.plan import plan_source
from wherein.simulate.shard import draw, planned
from wherein.sources.address import Address, to_uri
from wherein.tables import FIELDS, write_table

HUMAN = ("nucleus", "microtubules", "er", "protein")
COLOURS = {"nucleus": 2, "microtubules": 0, "er": 0, "protein": 1}
"""Place of each role's colour in a JPEG; yellow is red and green."""

DOWNLOAD = SETTINGS | {
    "timeout_s": 2,
    "deadline_s": 20,
    "longest_wait_s": 20,
    "retries": 1,
    "patience": 20,
    "unreachable_share": 0,
}


def packed_tiff(plane: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, plane)
    return gzip.compress(buffer.getvalue(), 1)


def jpeg(plane: np.ndarray, role: str) -> bytes:
    """8 bits, grey coded in a colour."""
    colours = np.zeros((*plane.shape, 3), np.uint8)
    colours[..., COLOURS[role]] = np.round(plane / 257)
    if role == "er":
        colours[..., 1] = colours[..., 0]
    return imagecodecs.jpeg8_encode(colours, level=98)


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict[str, np.ndarray]]:
    """Three fields, (384, 384) uint16 by role, of the whole range of 16 bits."""
    settings = source(proteins=3, fields_per_protein=1, controls=0, field_px=384, faults=0, seed=3)
    plan = plan_source("demo", settings)
    fields = [draw(planned(plan, field_id, plan.version(field_id))) for field_id in plan.fields["field_id"][:3]]
    return {f"f{number}": {role: field.channels[role] * 16 for role in HUMAN} for number, field in enumerate(fields)}


@pytest.fixture(scope="module")
def shard(drawn, tmp_path_factory):
    """The shard twice, after `crop`: once from TIFFs alone, and once where the server refuses one of them."""
    server = FaultServer()
    rows = []
    for field_id, planes in drawn.items():
        row = {"field_id": field_id, "version": "0", "shard": "atlas-0001", "source": "atlas", "retired_in": None}
        row |= {"pixel_size_um": 0.16, "full_scale": 65535.0, "control": False, "genes": ["A"], "ensembl_ids": []}
        for role, plane in planes.items():
            path = f"/{field_id}_{role}"
            server.files |= {f"{path}.tif.gz": packed_tiff(plane), f"{path}.jpg": jpeg(plane, role)}
            address = Address(server.url(f"{path}.tif.gz"), None, "max", server.url(f"{path}.jpg"), 257)
            row[uri_column(role)] = to_uri(address)
        rows.append(row)
    folders = {}
    for name in ("tiffs", "refused"):
        if name == "refused":
            server.faults["/f1_er.tif.gz"] = ["always:400"]
        folders[name] = worked_on(tmp_path_factory.mktemp(name), pd.DataFrame(rows))
    server.stop()
    return folders


def worked_on(folder: Path, rows: pd.DataFrame) -> Path:
    config = {"sources": {"atlas": {"kind": "simulated"}}}
    fill_defaults(config, schema())
    config["qc"]["min_cells"] = 1  # fields are small
    path = {name: str(folder / f"{name}.parquet") for name in ("fields", "files", "qc", "cells")}
    path |= {name: str(folder / f"{name}.zarr") for name in ("masks", "crops")}
    write_table(path["fields"], rows, FIELDS)
    named = {"shard": "atlas-0001", "fields": path["fields"], "files": path["files"]}
    summary = {stage: str(folder / f"{stage}.json") for stage in ("download", "qc", "segment", "crop")}
    check_shard(**named, summary=summary["download"], settings={**DOWNLOAD, "cache": str(folder / "cache")})
    judge_shard(**named, settings=config["qc"], overrides=[], qc=path["qc"], summary=summary["qc"])
    named["qc"] = path["qc"]
    segment_shard(
        **named,
        settings=config["segment"],
        masks=path["masks"],
        quality=folder / "quality.parquet",
        summary=summary["segment"],
    )
    crop_shard(
        **named,
        masks=path["masks"],
        settings=config["crop"],
        overrides=[],
        crops=path["crops"],
        cells=path["cells"],
        summary=summary["crop"],
    )
    return folder


def test_the_table_says_which_fields_are_stand_ins(shard):
    files = pd.read_parquet(shard["refused"] / "files.parquet")
    assert files["status"].eq("ok").all()
    taken = files["field_id"] == "f1"
    assert files.loc[taken, "url"].str.endswith(".jpg").all(), "all of a field's images or none"
    assert files.loc[~taken, "url"].str.endswith(".tif.gz").all()
    assert set(files.loc[taken, "gain"]) == {257}
    assert set(files.loc[~taken, "gain"]) == {1}
    told = json.loads((shard["refused"] / "download.json").read_text())
    assert told["from_alternatives"] == ["f1"]
    assert any(note.startswith("1 fields from their alternative files") for note in told["notes"])
    assert "from_alternatives" not in json.loads((shard["tiffs"] / "download.json").read_text())


def test_pixels_are_of_one_type_and_scale(shard, drawn):
    files = pd.read_parquet(shard["refused"] / "files.parquet")
    for field_id, rows in files.groupby("field_id"):
        found = read_field(rows)
        assert list(found) == [role for role in ROLES if role in HUMAN]
        for role, plane in found.items():
            assert plane.dtype == np.uint16
            if field_id != "f1":
                np.testing.assert_array_equal(plane, drawn[field_id][role])
                continue
            eight_bits = imagecodecs.jpeg8_decode(jpeg(drawn[field_id][role], role)).max(-1)
            np.testing.assert_array_equal(plane, eight_bits.astype(np.int64) * 65535 // 255)
            error = np.abs(plane.astype(float) - drawn[field_id][role])
            assert error.mean() < 3 * 257, "off by less than three steps of 8 bits"


def test_quality_control_judges_stand_ins_alike(shard):
    tiffs, refused = (pd.read_parquet(shard[name] / "qc.parquet").set_index("field_id") for name in shard)
    assert refused["status"].tolist() == tiffs["status"].tolist() == ["passed"] * 3
    assert set(refused["dtype"]) == {"uint16"}
    assert refused.loc["f1", "contrast"] == pytest.approx(tiffs.loc["f1", "contrast"], rel=0.05)
    for role in HUMAN:
        assert refused.loc["f1", f"saturated_{role}"] == pytest.approx(tiffs.loc["f1", f"saturated_{role}"], abs=0.002)
    assert abs(refused.loc["f1", "n_marker"] - tiffs.loc["f1", "n_marker"]) <= 1


def test_cells_of_stand_ins_have_the_intensities_of_the_tiffs(shard):
    tiffs, refused = (pd.read_parquet(shard[name] / "cells.parquet") for name in shard)
    for role in HUMAN:
        for field_id, own in tiffs[tiffs["status"] == "kept"].groupby("field_id"):
            other = refused[(refused["field_id"] == field_id) & (refused["status"] == "kept")]
            assert other[f"mean_{role}"].mean() == pytest.approx(own[f"mean_{role}"].mean(), rel=0.1)
    store = CropStore(shard["refused"] / "crops.zarr")
    crops = store.images(np.arange(len(store)))
    assert crops.dtype == np.uint16
    assert crops.max() > 30_000
