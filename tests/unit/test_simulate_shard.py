import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from simulated_source import source
from wherein.readers import UnreadableImage, read_field
from wherein.segmentation.masks import read_masks
from wherein.simulate.plan import plan_source
from wherein.simulate.shard import TRUTH_CELLS, TRUTH_FIELDS, draw, simulate_shard
from wherein.tables import FIELDS, read_tables, write_table

SHARD = "demo-0001"


def drawn_shard(folder, config, change=lambda fields: fields):
    plan = plan_source("demo", config)
    fields = plan.fields.assign(version=[plan.version(i) for i in plan.fields["field_id"]], shard=SHARD, source="demo")
    write_table(folder / "fields.parquet", change(fields), FIELDS)
    simulate_shard(
        shard=SHARD,
        source=config,
        fields=str(folder / "fields.parquet"),
        images=str(folder / "images" / SHARD),
        truth=str(folder / "truth" / SHARD),
        files=str(folder / "download" / f"{SHARD}.parquet"),
        summary=str(folder / "summary.json"),
    )
    return plan, fields


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    config = source(proteins=3, fields_per_protein=1, controls=1, faults=21, mislabelled=0.4, seed=5)
    plan, fields = drawn_shard(folder, config)
    return folder, plan, fields, read_tables([folder / "download" / f"{SHARD}.parquet"])


def truth(folder, name):
    return read_tables([folder / "truth" / SHARD / f"{name}.parquet"])


def test_every_field_has_a_row_a_role_and_a_file(shard):
    folder, plan, fields, files = shard
    expected = [(i, role) for i in fields["field_id"] for role in plan.specs[i].roles]
    assert list(files[["field_id", "role"]].itertuples(index=False, name=None)) == expected
    assert set(files["status"]) == {"ok"}
    assert files["reason"].isna().all()
    for row in files.itertuples():
        path = Path(row.path)
        assert path.parent == folder / "images" / SHARD
        assert path.name == f"{row.field_id}_{row.role}.tif"
        assert row.bytes == path.stat().st_size
        assert row.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(list((folder / "images" / SHARD).iterdir())) == len(files)


def test_images_hold_what_was_drawn(shard):
    _, plan, fields, files = shard
    field_id = next(i for i in fields["field_id"] if plan.specs[i].fault is None)
    drawn = draw(plan.specs[field_id]).channels
    read = read_field(files[files["field_id"] == field_id])
    for role, image in drawn.items():
        np.testing.assert_array_equal(read[role], image)
    assert tifffile.TiffFile(files["path"].iloc[0]).pages[0].compression.name == "ADOBE_DEFLATE"


def test_truncated_files_are_the_only_ones_that_cannot_be_read(shard):
    _, plan, fields, files = shard
    for field_id in fields["field_id"]:
        rows = files[files["field_id"] == field_id]
        if plan.specs[field_id].fault == "corrupt":
            with pytest.raises(UnreadableImage) as error:
                read_field(rows)
            assert error.value.reason == "corrupt"
        else:
            assert {image.shape for image in read_field(rows).values()} == {(256, 256)}


def test_truth_of_fields(shard):
    folder, plan, fields, _ = shard
    known = truth(folder, "fields")
    assert list(known.columns) == TRUTH_FIELDS.names
    assert list(known["field_id"]) == list(fields["field_id"])
    for row in known.itertuples():
        spec = plan.specs[row.field_id]
        assert (row.gene, row.mislabelled, list(row.protein_locations)) == (
            spec.gene,
            spec.mislabelled,
            list(spec.protein_locations),
        )
        assert row.heterogeneous_share == spec.variable_share
        assert (row.fault if isinstance(row.fault, str) else None) == spec.fault
        assert (0 if pd.isna(row.severity) else row.severity) == spec.severity
    assert known["mislabelled"].any()


def test_truth_of_cells_names_every_label_of_the_masks(shard):
    folder, _, fields, _ = shard
    cells = truth(folder, "cells")
    assert list(cells.columns) == TRUTH_CELLS.names
    for field_id, version in zip(fields["field_id"], fields["version"], strict=True):
        nucleus, cell = read_masks(folder / "truth" / SHARD / "masks.zarr", field_id, version)
        assert nucleus.shape == cell.shape == (256, 256)
        labels = cells.loc[cells["field_id"] == field_id, "label"]
        assert set(np.unique(cell)) - {0} <= set(labels)
        assert labels.tolist() == sorted(labels)


def test_summary_counts_fields(shard):
    folder, _, fields, _ = shard
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["stage"], summary["item"]) == ("download", SHARD)
    assert summary["counts"] == {"in": len(fields), "kept": len(fields)}
    assert summary["seed"] == 5


def test_no_public_table_or_name_tells_the_fault(shard):
    folder, plan, fields, files = shard
    names = " ".join(path.name for path in (folder / "images" / SHARD).iterdir())
    for spec in plan.specs.values():
        if spec.fault:
            assert spec.fault not in names
            assert spec.fault not in fields.to_csv()
    assert files["reason"].isna().all()


def test_the_same_input_gives_the_same_content(tmp_path):
    config = source(proteins=1, fields_per_protein=1, controls=0, faults=1)
    sums = []
    for name in ("one", "two"):
        drawn_shard(tmp_path / name, config)
        sums.append(list(read_tables([tmp_path / name / "download" / f"{SHARD}.parquet"])["sha256"]))
    assert sums[0] == sums[1]


def test_a_version_that_the_configuration_no_longer_gives_is_retired(tmp_path):
    config = source(proteins=1, fields_per_protein=2, controls=0, faults=0)

    def older(fields):
        return fields.assign(version=["000000000000", *fields["version"][1:]])

    _, fields = drawn_shard(tmp_path, config, older)
    files = read_tables([tmp_path / "download" / f"{SHARD}.parquet"])
    old = files[files["version"] == "000000000000"]
    assert list(old["role"]) == ["nucleus", "microtubules", "er", "protein"]
    assert set(old["status"]) == {"failed"}
    assert set(old["reason"]) == {"retired"}
    assert old["path"].isna().all()
    assert json.loads((tmp_path / "summary.json").read_text())["counts"] == {
        "in": len(fields),
        "kept": len(fields) - 1,
        "retired": 1,
    }
    assert list(truth(tmp_path, "fields")["version"]) == list(fields["version"][1:])


@pytest.mark.parametrize("mode", ["two_roles", "yeast"])
def test_other_modes_write_their_roles(tmp_path, mode):
    config = source(mode=mode, reference="brightfield", proteins=1, fields_per_protein=1, controls=0, faults=0)
    plan, _ = drawn_shard(tmp_path, config)
    files = read_tables([tmp_path / "download" / f"{SHARD}.parquet"])
    assert list(files["role"]) == list(next(iter(plan.specs.values())).roles)
    assert len(truth(tmp_path, "cells")) > 3


def test_a_failed_drawing_leaves_nothing_half_written(tmp_path, monkeypatch):
    config = source(proteins=1, fields_per_protein=2, controls=0, faults=0)

    def broken(spec):
        raise RuntimeError("out of ink")

    monkeypatch.setattr("wherein.simulate.shard.draw_field", broken)
    with pytest.raises(RuntimeError, match="out of ink"):
        drawn_shard(tmp_path, config)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["fields.parquet"]
