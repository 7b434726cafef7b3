import numpy as np
import pandas as pd
import pytest
from wherein import tables
from wherein.labels import vocabulary
from wherein.models.held_out import unseen
from wherein.models.training_table import make_training_table

WORDS = vocabulary("hpa19")
SETTINGS = {
    "vocabulary": "hpa19",
    "controls": "negative",
    "test_fold": 0,
    "validation_fold": 1,
    "permuted": False,
    "seed": 0,
}
LABELS = ("Mitochondria", "Nucleoplasm", "Cytosol", "Vesicles", "Golgi apparatus", "Microtubules")


def run(folder, count=24, retired=(), **words):
    """Tables of a run of `count` fields of count / 2 genes over 4 folds, in two shards; the last two are controls."""
    fields, split, judged = [], [], []
    for number in range(count):
        control = number >= count - 2
        gene = f"G{number // 2}"
        key = {"field_id": f"f{number}", "version": "v"}
        fields.append({**key, "shard": f"s-000{number % 2 + 1}", "source": "s", "release": "1", "control": control,
                       "labels": [] if control else [LABELS[number // 2 % len(LABELS)]], "reagent": f"A{number // 2}",
                       "genes": [] if control else [gene], "full_scale": 4095.0, "pixel_size_um": 0.2,
                       "retired_in": "2" if number in retired else None})  # fmt: skip
        fold = number // 2 % 4
        split.append({**key, "gene_group": "control" if control else gene, "gene_fold": fold, "field_fold": 0})
        judged.append({**key, "shard": f"s-000{number % 2 + 1}", "status": "rejected" if number == 4 else "passed"})
    fields[6]["labels"] = []
    tables.write_table(folder / "fields.parquet", pd.DataFrame(fields), tables.FIELDS)
    tables.write_table(folder / "split.parquet", pd.DataFrame(split), tables.SPLIT)
    samples = pd.DataFrame([{"field_id": f"f{n}", "version": "v", "status": "rejected" if n == 8 else "kept",
                             "reason": "small_sample" if n == 8 else "kept"} for n in range(count)])  # fmt: skip
    tables.write_table(folder / "samples.parquet", samples, tables.SAMPLES)
    qc = []
    for shard, rows in pd.DataFrame(judged).groupby("shard"):
        qc.append(str(folder / f"{shard}.qc.parquet"))
        tables.write_table(qc[-1], rows, tables.qc_schema(("protein",)))
    make_training_table(
        model="m", fields=str(folder / "fields.parquet"), split=str(folder / "split.parquet"),
        samples=str(folder / "samples.parquet"), qc=qc, cells=[], level="field", settings={**SETTINGS, **words},
        relabelled=[], table=str(folder / "table.parquet"), shards=str(folder / "shards.tsv"),
        summary=str(folder / "summary.json"),
    )  # fmt: skip
    return tables.read_tables([folder / "table.parquet"])


def test_every_labelled_field_has_a_row_and_a_part(tmp_path):
    table = run(tmp_path)
    # rejected by qc, without a label, of a small sample
    assert set(table["field_id"]) == {f"f{number}" for number in range(24)} - {"f4", "f6", "f8"}
    assert (table["unit_id"] == table["field_id"] + "@v").all()
    parts = dict(zip(table["field_id"], table["part"], strict=True))
    assert (parts["f0"], parts["f2"], parts["f7"], parts["f5"]) == ("test", "validation", "train", "train")
    first = table.set_index("field_id").loc["f0"]
    assert first["Mitochondria"]
    assert first[list(WORDS.classes)].sum() == 1
    assert table.set_index("field_id").loc["f23", "Negative"]
    assert first["full_scale"] == 4095
    metadata = tables.read_metadata(tmp_path / "table.parquet")
    assert metadata["classes"] == list(WORDS.classes)
    shards = pd.read_csv(tmp_path / "shards.tsv", sep="\t")
    assert shards["shard"].tolist() == ["s-0001", "s-0002"]
    assert shards["units"].sum() == len(table)


def test_no_gene_lies_on_two_sides(tmp_path):
    table = run(tmp_path)
    proteins = table[table["gene_group"] != "control"]
    assert (proteins.groupby("gene_group")["part"].nunique() == 1).all()


def test_controls_may_be_left_out_and_retired_fields_are(tmp_path):
    table = run(tmp_path, controls="leave_out", retired=(0,))
    assert not set(table["field_id"]) & {"f0", "f22", "f23"}


def test_without_rows_to_validate_on_it_stops(tmp_path):
    with pytest.raises(ValueError, match=r"no labelled units to choose the network by.*folds 0, 1, 2, 3"):
        run(tmp_path, validation_fold=4)


def test_exchanged_labels_stay_together_by_gene_and_spare_the_test(tmp_path):
    true = run(tmp_path).set_index("field_id")
    false = run(tmp_path, permuted=True).set_index("field_id")
    classes = list(WORDS.classes)
    test = true["part"] == "test"
    assert (false.loc[test, classes] == true.loc[test, classes]).all(axis=None)
    assert (false.loc[~test, classes] != true.loc[~test, classes]).any(axis=None)
    by_gene = false[~test].groupby("gene_group")[classes].nunique()
    assert (by_gene == 1).all(axis=None)
    again = run(tmp_path, permuted=True).set_index("field_id")
    pd.testing.assert_frame_equal(false, again)


def test_cells_are_units_too(tmp_path):
    run(tmp_path)
    places = [(n, k) for n in range(24) for k in range(3)]
    cells = pd.DataFrame([{"cell_id": f"f{n}@v:{k}", "field_id": f"f{n}", "version": "v", "shard": "s-0001",
                           "status": "rejected" if k == 2 else "kept"} for n, k in places])  # fmt: skip
    tables.write_table(tmp_path / "cells.parquet", cells, tables.cells_schema(("protein",)))
    qc = [str(tmp_path / f"s-000{n}.qc.parquet") for n in (1, 2)]
    make_training_table(
        "m", str(tmp_path / "fields.parquet"), str(tmp_path / "split.parquet"), str(tmp_path / "samples.parquet"), qc,
        [str(tmp_path / "cells.parquet")], "cell", SETTINGS, [["f0@v:1", "Nucleoli"]], str(tmp_path / "t.parquet"),
        str(tmp_path / "s.tsv"), str(tmp_path / "s.json"),
    )  # fmt: skip
    table = tables.read_tables([tmp_path / "t.parquet"]).set_index("unit_id")
    assert not table.index.str.endswith(":2").any()
    assert table.loc["f0@v:0", "Mitochondria"]
    assert table.loc["f0@v:1", "Nucleoli"]
    assert not table.loc["f0@v:1", "Mitochondria"]


def test_only_genes_that_training_never_saw_are_scored(tmp_path):
    run(tmp_path)
    units = pd.DataFrame({
        "field_id": ["f0", "f2", "new", "more", "f23", "f0", "joined"],
        "version": ["v", "v", "v", "v", "v", "later", "v"],
        "gene_group": ["G0", "G1", "NEW", "G2", "control", "G0", "G0/G2"],
        "fold": [0.0, 1.0, 0.0, 0.0, 0.0, np.nan, 0.0],
    })  # fmt: skip
    keep, notes = unseen(units, [str(tmp_path / "table.parquet")])
    # a test gene; a validation gene; a new gene in the test fold; a trained gene that moved; a control that training
    # saw; a field without a fold; a test gene that a later release joins to a trained one
    assert keep.tolist() == [True, False, True, False, False, False, False]
    assert "2 units" in notes[0]
