import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from drawn_shard import draw_shard
from indexed_run import NAMES, indexed_run
from wherein import tables
from wherein.reading.build_index import index_run
from wherein.reading.index import CELLS, FIELDS, CropIndex, CropIndexError, ranges


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return indexed_run(tmp_path_factory.mktemp("run"))


def ledger(run):
    """Kept cells of current fields with all that is known of them, joined by pandas: the brute force."""
    cells = tables.read_tables([run.root / "cells" / f"{name}.parquet" for name in NAMES])
    split = tables.read_tables([run.root / "split.parquet"]).drop(columns="phash")
    samples = tables.read_tables([run.root / "samples.parquet"]).drop(columns=["source", "sample", "status", "reason"])
    known = run.fields[run.fields["retired_in"].isna()].merge(split, on=["field_id", "version"])
    known = known.merge(samples, on=["field_id", "version"])
    return cells.drop(columns=["shard", "source"]).merge(known, on=["field_id", "version"])


def known(value):
    return None if pd.isna(value) else value


def test_every_kept_cell_of_a_current_field_has_its_row(run):
    index, wanted = run.index, ledger(run)
    every = index.select()
    assert index.cell_ids(every.rows) == wanted["cell_id"].tolist()
    assert index.n_cells == len(wanted) == len(every)
    assert index.n_fields == len(wanted.groupby(["field_id", "version"]))
    found = index.table(
        every.rows, ["cell_id", "shard", "crop_index", "cell_line", "gene_fold", "area_um2", "sample", "field_id"]
    )
    for name in found:
        if name == "area_um2":
            np.testing.assert_allclose(found[name], wanted[name].astype(np.float32))
        else:
            assert [known(value) for value in found[name]] == [known(value) for value in wanted[name]]
    summary = json.loads((run.root / "summary.json").read_text())
    assert summary["counts"] == {"in": len(wanted) + 9, "kept": len(wanted), "retired": 9}


def test_tables_are_as_documented(run):
    assert pq.read_schema(run.root / "index" / "fields.parquet").remove_metadata().equals(FIELDS)
    assert pq.read_schema(run.root / "index" / "cells.parquet").remove_metadata().equals(CELLS)
    cells = pd.read_parquet(run.root / "index" / "cells.parquet")
    fields = pd.read_parquet(run.root / "index" / "fields.parquet")
    assert cells.groupby("field").size().tolist() == fields["n_cells"].tolist()
    assert (cells["field"].drop_duplicates(keep="first").index == fields["first_cell"]).all()


CONDITIONS = [
    ({"cell_line": "U2OS"}, lambda row: row.cell_line == "U2OS"),
    (
        {"cell_line": ["U2OS", "A-431"], "gene_fold": [0, 3]},
        lambda row: isinstance(row.cell_line, str) and row.gene_fold in (0, 3),
    ),
    ({"genes": ["G01", "G22"]}, lambda row: bool({"G01", "G22"} & set(row.genes))),
    ({"labels": ["Vesicles"], "control": False}, lambda row: "Vesicles" in row.labels and not row.control),
    ({"control": True}, lambda row: row.control),
    ({"area_um2": {"min": 50, "max": 120}}, lambda row: 50 <= row.area_um2 <= 120),
    ({"area_um2": {"min": 150}, "exceeds_window": False}, lambda row: row.area_um2 >= 150 and not row.exceeds_window),
    (
        {"n_nuclei": 2, "source": "near", "field_fold": 1},
        lambda row: row.n_nuclei == 2 and row.source == "near" and row.field_fold == 1,
    ),
    ({"gene_fold": {"max": 2}, "n_nuclei": [1]}, lambda row: row.gene_fold <= 2 and row.n_nuclei == 1),
    ({"area_um2": {"min": 1e9}}, lambda row: False),
    ({"padded": False}, lambda row: False),
    ({"small_sample": False}, lambda row: row.sample_cells >= row.least_cells),
    ({"small_sample": True, "source": "near"}, lambda row: row.sample_cells < 18 and row.source == "near"),
]


@pytest.mark.parametrize(("where", "holds"), CONDITIONS, ids=[json.dumps(where) for where, _ in CONDITIONS])
def test_a_selection_is_what_a_loop_over_all_cells_chooses(run, where, holds):
    index = run.index
    wanted = [row.cell_id for row in ledger(run).itertuples() if holds(row)]
    found = index.select(where)
    assert index.cell_ids(found.rows) == wanted
    assert len(found.offsets) == len(found.fields) + 1
    for field, start, end in zip(found.fields, found.offsets, found.offsets[1:], strict=False):
        assert start < end
        assert set(index.field_of(found.rows[start:end])) == {field}
    assert found.counts.sum() == len(wanted)


def test_what_is_not_there_is_told(run):
    index = run.index
    with pytest.raises(CropIndexError, match=r"cannot be chosen by gene: allowed are .*genes"):
        index.select({"gene": "G01"})
    with pytest.raises(CropIndexError, match="has cell_line U20S; did you mean U2OS"):
        index.select({"cell_line": ["U20S", "A-431"]})
    with pytest.raises(CropIndexError, match="cell_line is text and has no limits"):
        index.select({"cell_line": {"min": "A"}})
    with pytest.raises(CropIndexError, match="allowed are min and max"):
        index.select({"area_um2": {"above": 3}})
    with pytest.raises(CropIndexError, match="1 of 2 cells are not in the index, the first is x@v:1"):
        index.locate([index.cell_ids([0])[0], "x@v:1"])


def test_cells_are_found_by_name_in_any_order(run):
    index = run.index
    rows = np.random.default_rng(0).permutation(index.n_cells)
    np.testing.assert_array_equal(index.locate(index.cell_ids(rows)), rows)
    assert len(index.locate([])) == 0
    first = index.cell_ids([0])[0]
    for wrong in (
        first.rpartition(":")[0] + ":999",
        first.rpartition(":")[0] + ":0",
        first + "x",
        first.rpartition(":")[0],
    ):
        with pytest.raises(CropIndexError):
            index.locate([wrong])


def test_labels_with_gaps_are_found(tmp_path, monkeypatch):
    run = indexed_run(tmp_path)
    path = run.root / "cells" / f"{NAMES[0]}.parquet"
    cells = tables.read_tables([path])
    # as after cells between them were rejected: labels 1 to 9 stand for 3, 6, 9 and so on
    monkeypatch.setattr("wherein.reading.build_index._shard_rows", gaps(run))
    run.build()
    index = run.index
    names = index.cell_ids(np.arange(index.n_cells))
    assert names[0].endswith(":3")
    np.testing.assert_array_equal(index.locate(names), np.arange(index.n_cells))
    with pytest.raises(CropIndexError):
        index.locate([names[0][:-1] + "4"])
    assert len(cells)


def gaps(run):
    from wherein.reading import build_index

    real = build_index._shard_rows

    def shard_rows(*arguments):
        rows = real(*arguments)
        column = rows.cells.schema.get_field_index("label")
        tripled = (rows.cells["label"].to_numpy() * 3).astype(np.int32)
        rows.cells = rows.cells.set_column(column, "label", [tripled])
        return rows

    return shard_rows


def test_ledger_and_store_have_to_agree(tmp_path):
    run = indexed_run(tmp_path)
    path = run.root / "cells" / f"{NAMES[1]}.parquet"
    cells = tables.read_tables([path])
    cells["crop_index"] = [1, 0, *cells["crop_index"].tolist()[2:]]
    schema = tables.cells_schema([name[5:] for name in cells.columns if name.startswith("mean_")])
    tables.write_table(path, cells, schema)
    with pytest.raises(ValueError, match=r"do not hold the same cells: run `crop` of near-0002 again"):
        run.build()


def test_opening_reads_no_column_and_a_broken_index_is_told(run, tmp_path):
    assert run.index._read == {}
    with pytest.raises(CropIndexError, match="run `index_crops` again"):
        CropIndex(tmp_path)
    (tmp_path / "fields.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(CropIndexError, match="run `index_crops` again"):
        CropIndex(tmp_path)


def test_digest_follows_the_cells(run, tmp_path):
    again = indexed_run(tmp_path)
    assert again.index.digest == run.index.digest
    some = {"cell_line": "U2OS"}
    assert again.index.select(some).digest == run.index.select(some).digest != run.index.select().digest
    fields = again.fields.assign(retired_in=None)
    tables.write_table(again.root / "fields.parquet", fields, tables.FIELDS)
    again.build()
    assert again.index.digest != run.index.digest


@pytest.mark.parametrize("shards", [0, 1])
def test_a_run_without_cells_has_an_index_without_cells(tmp_path, shards):
    paths = [draw_shard(tmp_path, f"none-{number}", {})[0] for number in range(shards)]
    for name, schema in (("fields", tables.FIELDS), ("split", tables.SPLIT)):
        tables.write_table(tmp_path / f"{name}.parquet", pd.DataFrame(), schema)
    stages = [[path.path(stage) for path in paths] for stage in ("qc", "cells", "crops")]
    tables.write_table(tmp_path / "samples.parquet", pd.DataFrame(), tables.SAMPLES)
    of_run = [tmp_path / f"{name}.parquet" for name in ("split", "samples")]
    index_run(tmp_path / "fields.parquet", *stages, *of_run, tmp_path / "index", tmp_path / "s.json")
    index = CropIndex(tmp_path / "index")
    assert (index.n_cells, index.n_fields, len(index.select())) == (0, 0, 0)
    assert len(index.select({"area_um2": {"min": 1}, "control": False})) == 0
    assert index.locate([]).tolist() == []


@pytest.mark.parametrize("counts", [[], [0], [3], [0, 2, 0, 0, 4, 1, 0]])
def test_ranges_are_those_of_a_loop(counts):
    counts = np.array(counts, np.int64)
    starts = np.random.default_rng(1).integers(0, 1000, len(counts))
    wanted = [start + step for start, count in zip(starts, counts, strict=True) for step in range(count)]
    assert ranges(starts, counts).tolist() == wanted
