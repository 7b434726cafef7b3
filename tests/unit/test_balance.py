import json

import numpy as np
import pandas as pd
import pytest
from wherein.atomic import write_json
from wherein.balance import BalanceError, write_balance
from wherein.crops.samples import count_samples
from wherein.tables import FIELDS, FILES, cells_schema, qc_schema, write_table, write_vectors
from wherein.tallies import embed_lines, segment_lines

ROLES = ["nucleus", "protein"]


def tables():
    """Two sources: `a` with a kept, a missing, a rejected and a retired field, `b` with one kept field."""
    catalog = [
        {"field_id": name, "version": "v", "shard": shard, "source": source, "retired_in": retired}
        for name, shard, source, retired in [
            ("f1", "a-0000", "a", None),
            ("f2", "a-0000", "a", None),
            ("f3", "a-0000", "a", None),
            ("f4", "a-0000", "a", "2"),
            ("g1", "b-0000", "b", None),
            ("old", "gone-0000", "gone", None),
        ]
    ]
    files = [
        {"field_id": row["field_id"], "version": "v", "role": role, "status": "ok"}
        for row in catalog
        for role in ROLES
        if row["source"] != "gone"
    ]
    files[3] |= {"status": "failed", "reason": "missing_file"}
    status = {"f1": "passed", "f2": "failed", "f3": "rejected", "f4": "passed", "g1": "passed"}
    reason = {"f2": "missing_file", "f3": "low_contrast"}
    qc = [
        {
            "field_id": name,
            "version": "v",
            "shard": "b-0000" if name == "g1" else "a-0000",
            "source": name.replace("g", "b")[0].replace("f", "a"),
            "status": word,
            "reason": reason.get(name, word),
        }
        for name, word in status.items()
    ]
    cells = [
        {
            "cell_id": f"{name}@v:{label}",
            "field_id": name,
            "version": "v",
            "shard": shard,
            "source": shard[0],
            "label": label,
            "status": "kept" if why == "kept" else "rejected",
            "reason": why,
            "crop_index": index,
        }
        for name, shard, label, why, index in [
            ("f1", "a-0000", 1, "kept", 0),
            ("f1", "a-0000", 2, "border", None),
            ("f4", "a-0000", 1, "kept", 1),
            ("g1", "b-0000", 1, "no_nucleus", None),
        ]
    ]
    return catalog, files, qc, cells


def jobs(tmp_path, qc, cells):
    """Summaries and vectors of jobs that saw exactly these tables."""
    found = {"segment_summaries": [], "embed_summaries": [], "embeddings": []}
    for shard in ("a-0000", "b-0000"):
        passed = sum(row["shard"] == shard and row["status"] == "passed" for row in qc)
        labels = sum(row["shard"] == shard for row in cells)
        kept = [row["cell_id"] for row in cells if row["shard"] == shard and row["status"] == "kept"]
        for stage, count, extra in (
            ("segment", passed, {"objects": {"cells": labels, "nuclei_without_cell": 0}}),
            ("embed", len(kept), {}),
        ):
            path = tmp_path / stage / f"{shard}.json"
            write_json(path, {"item": shard, "counts": {"in": count, "kept": count}, **extra})
            found[f"{stage}_summaries"].append(path)
        path = tmp_path / "m" / f"{shard}.parquet"
        units = pd.DataFrame({"unit_id": kept, "field_id": "f", "version": "v"})
        write_vectors(path, units, np.zeros((len(kept), 2), np.float32), {"level": "cell"})
        found["embeddings"].append(path)
    return found


def run(tmp_path, catalog, files, qc, cells, overrides=(), least=None):
    write_table(tmp_path / "fields.parquet", pd.DataFrame(catalog), FIELDS)
    paths = {"files": [], "qc": [], "cells": []}
    for shard in ("a-0000", "b-0000"):
        own = {row["field_id"] for row in catalog if row["shard"] == shard}
        for name, rows, schema in (
            ("files", [row for row in files if row["field_id"] in own or shard == row.get("shard")], FILES),
            ("qc", [row for row in qc if row["shard"] == shard], qc_schema(ROLES)),
            ("cells", [row for row in cells if row["shard"] == shard], cells_schema(ROLES)),
        ):
            path = tmp_path / name / f"{shard}.parquet"
            write_table(path, pd.DataFrame(rows), schema)
            paths[name].append(path)
    samples = None
    if least is not None:
        samples = tmp_path / "samples.parquet"
        count_samples(tmp_path / "fields.parquet", paths["cells"], least, samples, tmp_path / "samples.json")
    write_balance(
        fields=tmp_path / "fields.parquet",
        **paths,
        **jobs(tmp_path, qc, cells),
        left_out=[["model", "gapnet", "b", "no er"]],
        overrides=overrides,
        balance=tmp_path / "balance.tsv",
        out_left_out=tmp_path / "left_out.tsv",
        out_overrides=tmp_path / "overrides.tsv",
        summary=tmp_path / "summary.json",
        samples=samples,
    )
    return pd.read_csv(tmp_path / "balance.tsv", sep="\t")


def test_cells_of_small_samples_fall_out_after_crop(tmp_path):
    for least, lines in (({"a": 1, "b": 1}, {"in": 1, "kept": 1}), ({"a": 9}, {"in": 1, "kept": 0, "small_sample": 1})):
        table = run(tmp_path, *tables(), least=least)
        found = table[(table["stage"] == "samples") & (table["source"] == "a")].set_index("reason")["count"]
        assert found.to_dict() == lines
        # what crop says stays as it is
        assert table[(table["stage"] == "crop") & (table["source"] == "a")].set_index("reason")["count"]["kept"] == 1


def test_every_stage_and_source_adds_up(tmp_path):
    table = run(tmp_path, *tables())
    assert table.columns.tolist() == ["stage", "source", "item", "reason", "count"]
    for _, rows in table.groupby(["stage", "source", "item"]):
        counts = rows.set_index("reason")["count"]
        assert counts["in"] == counts.drop("in").sum()
    found = {tuple(row[:4]): row[4] for row in table.itertuples(index=False)}
    assert found[("catalog", "a", "fields", "in")] == 4
    assert found[("catalog", "a", "fields", "retired")] == 1
    assert found[("download", "a", "fields", "kept")] == 2
    assert found[("download", "a", "fields", "missing_file")] == 1
    assert found[("qc", "a", "fields", "kept")] == 1
    assert found[("qc", "a", "fields", "low_contrast")] == 1
    assert found[("qc", "a", "fields", "retired")] == 1
    assert found[("crop", "a", "cells", "in")] == 3
    assert found[("crop", "a", "cells", "kept")] == 1
    assert found[("crop", "a", "cells", "retired")] == 1
    assert found[("crop", "b", "cells", "kept")] == 0
    assert not (table["source"] == "gone").any()
    left_out = pd.read_csv(tmp_path / "left_out.tsv", sep="\t")
    assert left_out.to_dict("records") == [{"what": "model", "name": "gapnet", "source": "b", "reason": "no er"}]
    assert json.loads((tmp_path / "summary.json").read_text())["notes"] == ["model gapnet leaves out source b: no er"]


def test_a_run_in_which_no_cell_was_found_adds_up(tmp_path):
    catalog, files, qc, _ = tables()
    table = run(tmp_path, catalog, files, qc, [])
    assert set(table["stage"]) == {"catalog", "download", "qc", "segment", "embed m"}


def lost_in_qc(catalog, files, qc, cells):
    del qc[1]


def lost_in_download(catalog, files, qc, cells):
    files[:] = [row for row in files if row["field_id"] != "g1"]


def twice_in_qc(catalog, files, qc, cells):
    qc.append(dict(qc[0]))


def unknown_field(catalog, files, qc, cells):
    qc.append(qc[0] | {"field_id": "x9"})


def unknown_reason(catalog, files, qc, cells):
    qc[2]["reason"] = "bad luck"


def unknown_cell_reason(catalog, files, qc, cells):
    cells[1]["reason"] = "bad luck"


def cell_twice(catalog, files, qc, cells):
    cells.append(dict(cells[0]))


def cell_of_a_rejected_field(catalog, files, qc, cells):
    cells[1] |= {"field_id": "f3", "cell_id": "f3@v:2"}


def kept_without_crop(catalog, files, qc, cells):
    cells[0]["crop_index"] = None


def rejected_with_a_crop(catalog, files, qc, cells):
    cells[1]["crop_index"] = 2


def crop_numbers_with_a_gap(catalog, files, qc, cells):
    cells[2]["crop_index"] = 7


def kept_with_a_reason(catalog, files, qc, cells):
    cells[0]["reason"] = "border"


def failed_without_reason(catalog, files, qc, cells):
    files[3]["reason"] = None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lost_in_qc, r"qc: 1 of 5 field versions have no row, f2@v"),
        (lost_in_download, r"download: 1 of 5 field versions have no row, g1@v"),
        (twice_in_qc, r"qc has 1 field versions twice, f1@v"),
        (unknown_field, r"qc: 1 field versions are not in the catalog, x9@v"),
        (unknown_reason, r"qc: unknown reason bad luck"),
        (unknown_cell_reason, r"crop: unknown reason bad luck"),
        (cell_twice, r"1 cells twice, f1@v:1"),
        (cell_of_a_rejected_field, r"1 fields that did not pass qc, f3@v"),
        (kept_without_crop, r"f1@v:1 is kept, reason kept"),
        (rejected_with_a_crop, r"f1@v:2 is rejected"),
        (crop_numbers_with_a_gap, r"crops of a-0000 are not numbered 0 to 1"),
        (kept_with_a_reason, r"f1@v:1 is kept, reason border"),
        (failed_without_reason, r"failed without a reason"),
    ],
)
def test_what_does_not_add_up_is_told(tmp_path, damage, message):
    parts = tables()
    damage(*parts)
    with pytest.raises(BalanceError, match=message):
        run(tmp_path, *parts)
    assert not (tmp_path / "balance.tsv").exists()


def test_curators_words_are_told_with_whether_they_hit(tmp_path):
    words = [
        ["field", "f1", "relabel", "Nucleoli", "A. Curator", "seen"],
        ["field", "old", "reject", "", "A. Curator", "dust"],
        ["cell", "f1@v:2", "keep", "", "A. Curator", "whole"],
        ["cell", "f1@v:99", "reject", "", "A. Curator", "dead"],
    ]
    run(tmp_path, *tables(), overrides=words)
    table = pd.read_csv(tmp_path / "overrides.tsv", sep="\t")
    assert list(table["found"])[::2] == [True, True]
    assert not table["found"].iloc[3]
    notes = json.loads((tmp_path / "summary.json").read_text())["notes"]
    assert "cell f1@v:99 is decided on, but is not there" in notes


def segment_summary(tmp_path, cells, failed=0):
    path = tmp_path / "s-0001.json"
    counts = {"in": 2, "kept": 2 - failed, **({"failed": failed} if failed else {})}
    write_json(path, {"item": "s-0001", "counts": counts, "objects": {"cells": cells, "nuclei_without_cell": 1}})
    return [path]


def test_lost_labels_are_noticed(tmp_path):
    qc = pd.DataFrame({"shard": ["s-0001"] * 3, "status": ["passed", "passed", "rejected"]})
    cells = pd.DataFrame({"shard": ["s-0001"] * 5, "status": "kept"})
    lines = segment_lines(segment_summary(tmp_path, cells=4, failed=1), qc, cells)
    assert lines == [
        ("segment", "s", "fields", "in", 2),
        ("segment", "s", "fields", "kept", 1),
        ("segment", "s", "fields", "failed", 1),
    ]
    with pytest.raises(BalanceError, match="6 labels in the masks, but 5 rows in the ledger"):
        segment_lines(segment_summary(tmp_path, cells=5), qc, cells)
    with pytest.raises(BalanceError, match="3 fields that passed qc, but 2"):
        segment_lines(segment_summary(tmp_path, cells=4), qc.assign(status="passed"), cells)


def test_lost_vectors_are_noticed(tmp_path):
    _, _, qc, cells = tables()
    found = jobs(tmp_path, qc, cells)
    arguments = (found["embed_summaries"], found["embeddings"], pd.DataFrame(qc))
    kept = sum(row["status"] == "kept" for row in cells)
    lines = embed_lines(*arguments, pd.DataFrame(cells))
    assert {line[0] for line in lines} == {"embed m"}
    assert sum(line[4] for line in lines if line[3] == "kept") == kept
    more = [*cells, {**cells[0], "cell_id": "f1@v:9"}]
    with pytest.raises(BalanceError, match="cells kept before"):
        embed_lines(*arguments, pd.DataFrame(more))
    write_json(found["embed_summaries"][0], {"item": "a-0000", "counts": {"in": 1, "kept": 0}})
    with pytest.raises(BalanceError):
        embed_lines(*arguments, pd.DataFrame(cells))
