"""Vectors made elsewhere come in from every format, each row with its verdict, and go on as embeddings."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix
from vectors_source import config_of, listed, taken_over
from wherein.exchange.vector_embedding import ChangedTableError, embed_vectors, in_vocabulary
from wherein.exchange.vector_reading import BLOCK, numbered, open_vectors, vector_digests
from wherein.labels import vocabulary
from wherein.settings import ConfigError, check_config, left_out, models_of_source
from wherein.sources.table import TableError
from wherein.tables import read_metadata, read_vectors

GENES = ["ACTB", "TP53", "LMNA", "TOMM20", "GAPDH"]


def drawn(n=5, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def write(folder, form, vectors, names):
    """The same vectors in one of the formats."""
    columns = [f"f{number}" for number in range(vectors.shape[1])]
    frame = pd.DataFrame(vectors, index=names, columns=columns)
    path = folder / f"table.{form}"
    if form == "tsv":
        frame.to_csv(path, sep="\t")
    elif form == "csv.gz":
        frame.to_csv(path)
    elif form == "r.tsv":
        # R names no column of row names
        text = frame.to_csv(sep="\t")
        path.write_text(text.removeprefix("\t"))
    elif form == "wide.parquet":
        frame.to_parquet(path)
    elif form == "list.parquet":
        pd.DataFrame({"genes": names, "vector": list(vectors), "cells": range(len(names))}).to_parquet(
            path, row_group_size=2
        )
    elif form == "h5ad":
        AnnData(vectors, obs=pd.DataFrame(index=names), var=pd.DataFrame(index=columns)).write_h5ad(path)
    elif form == "sparse.h5ad":
        AnnData(csr_matrix(vectors), obs=pd.DataFrame(index=names), var=pd.DataFrame(index=columns)).write_h5ad(path)
    return path


FORMS = ["tsv", "csv.gz", "r.tsv", "wide.parquet", "list.parquet", "h5ad", "sparse.h5ad"]


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_vectors(tmp_path, form):
    vectors = drawn()
    table = open_vectors(str(write(tmp_path, form, vectors, GENES)))
    ((first, meta, found),) = list(table.blocks())
    assert first == 0
    assert meta["genes" if "genes" in meta else "name"].tolist() == GENES
    np.testing.assert_allclose(found, vectors, rtol=1e-6)
    np.testing.assert_array_equal(table.rows([3, 0, 4]), found[[3, 0, 4]])
    assert len(table.features) in (0, 4)


@pytest.mark.parametrize("form", ["tsv", "list.parquet", "h5ad"])
def test_long_tables_are_read_in_blocks(tmp_path, form):
    vectors = drawn(BLOCK + 7, 2)
    names = [f"G{number}" for number in range(len(vectors))]
    table = open_vectors(str(write(tmp_path, form, vectors, names)))
    blocks = list(table.blocks())
    assert [len(found) for _, _, found in blocks] == [BLOCK, 7]
    assert blocks[1][0] == BLOCK
    np.testing.assert_allclose(table.rows([BLOCK + 3, 1]), vectors[[BLOCK + 3, 1]], rtol=1e-6)


def test_a_header_that_is_one_name_short_loses_no_feature(tmp_path):
    """The published table has a name too few, and its first one is empty: 1,024 features under 1,023 names."""
    path = tmp_path / "short.tsv"
    path.write_text("\t1\t2\nACTB\t0.5\t1.5\t2.5\nTP53\t3\t4\t5\n")
    table = open_vectors(str(path))
    ((_, meta, found),) = list(table.blocks())
    assert table.features == ["0", "1", "2"]
    assert meta["name"].tolist() == ["ACTB", "TP53"]
    np.testing.assert_array_equal(found, [[0.5, 1.5, 2.5], [3, 4, 5]])


def test_a_row_of_another_length_is_an_error(tmp_path):
    path = tmp_path / "ragged.tsv"
    path.write_text("g\ta\tb\nACTB\t0.5\t1.5\t2.5\t9\n")
    with pytest.raises(TableError, match="found 5 cells for 3 columns"):
        open_vectors(str(path))


def test_a_long_row_far_down_is_an_error(tmp_path):
    rows = [f"G{number}\t{number}.5\t2" for number in range(300)]
    rows[250] += "\t3"
    (tmp_path / "t.tsv").write_text("\n".join(["genes\ta\tb", *rows]))
    table = open_vectors(str(tmp_path / "t.tsv"))
    with pytest.raises(TableError, match="Expected 3 fields in line 252, saw 4"):
        list(table.blocks())


def test_lists_of_nothing_are_no_vectors(tmp_path):
    lists = [None, [], [1.0, 2.0], [3.0]]
    pd.DataFrame({"genes": list("ABCD"), "v": lists}).to_parquet(tmp_path / "t.parquet")
    found = open_vectors(str(tmp_path / "t.parquet")).rows(range(4))
    assert np.isnan(found).all(axis=1).tolist() == [True, True, False, True]
    pd.DataFrame({"genes": list("AB"), "v": [np.zeros(0), None]}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(TableError, match="no row has a number in the lists of 'v'"):
        open_vectors(str(tmp_path / "none.parquet"))


def test_keys_of_anndata_and_parquet(tmp_path):
    data = AnnData(drawn(), obs=pd.DataFrame({"genes": GENES}, index=list("abcde")))
    data.obsm["X_pca"] = drawn(5, 3, 1)
    data.layers["raw"] = drawn(5, 4, 2)
    data.write_h5ad(tmp_path / "a.h5ad")
    path = str(tmp_path / "a.h5ad")
    for key, wanted in (("X_pca", data.obsm["X_pca"]), ("raw", data.layers["raw"]), (None, data.X)):
        np.testing.assert_array_equal(open_vectors(path, key).rows(range(5)), wanted)
    with pytest.raises(TableError, match="found no 'nothing'; it has X, X_pca, raw"):
        open_vectors(path, "nothing")
    frame = pd.DataFrame({"genes": GENES, "one": list(drawn()), "two": list(drawn(seed=1))})
    frame.to_parquet(tmp_path / "two.parquet")
    with pytest.raises(TableError, match=r"columns of lists \['one', 'two'\]"):
        open_vectors(str(tmp_path / "two.parquet"))
    np.testing.assert_array_equal(open_vectors(str(tmp_path / "two.parquet"), "two").rows([1]), drawn(seed=1)[[1]])


def test_a_table_in_anndata_and_names_that_are_categories(tmp_path):
    data = AnnData(drawn(), obs=pd.DataFrame(index=GENES))
    data.obsm["chances"] = pd.DataFrame(drawn(5, 2, 1), index=GENES, columns=["Nuclei", "Cytosol"])
    data.write_h5ad(tmp_path / "a.h5ad")
    table = open_vectors(str(tmp_path / "a.h5ad"), "chances")
    assert table.features == ["Nuclei", "Cytosol"]
    np.testing.assert_array_equal(table.rows([3, 0]), drawn(5, 2, 1)[[3, 0]])
    frame = pd.DataFrame(drawn(), columns=list("abcd"))
    frame.assign(protein=pd.Categorical(GENES)).to_parquet(tmp_path / "t.parquet")
    ((_, meta, found),) = list(open_vectors(str(tmp_path / "t.parquet")).blocks())
    assert meta["name"].tolist() == GENES
    np.testing.assert_array_equal(found, drawn())


@pytest.mark.parametrize("names", [["A", "A~2", "A"], ["A", "A", "A~2"]])
def test_numbers_of_further_rows_take_no_name_that_is_there(tmp_path, names):
    frame = pd.DataFrame(drawn(3, 2), columns=["d0", "d1"])
    frame.insert(0, "field_id", names)
    frame.insert(1, "genes", ["ACTB", "TP53", "LMNA"])
    frame.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    found = taken_over(tmp_path, tmp_path / "t.tsv")
    assert len(found.fields) == 3
    assert sorted(gene for own in found.fields["genes"] for gene in own) == ["ACTB", "LMNA", "TP53"]
    again = names.index("A", 1)
    rejected = found.listed.set_index("row")["reason"]
    assert rejected[again] == "duplicate_vector"
    assert rejected.drop(again).isna().all()


def test_columns_that_are_no_features_are_told(tmp_path):
    path = tmp_path / "t.tsv"
    pd.DataFrame({"genes": GENES, "comment": list("abcde"), "n_cells": range(5), "d1": 0.5, "d2": 1.5}).to_csv(
        path, sep="\t", index=False
    )
    table = open_vectors(str(path))
    assert table.features == ["n_cells", "d1", "d2"]
    assert "left out: comment" in table.notes[0]
    assert open_vectors(str(path), features=r"^d\d").features == ["d1", "d2"]
    with pytest.raises(TableError, match="'comment' fits sources"):
        open_vectors(str(path), features="^comment")
    with pytest.raises(TableError, match="no column holds numbers"):
        open_vectors(str(path), features="^zzz")


@pytest.mark.parametrize(
    ("names", "only"),
    [(["1", "2"], True), (["f01", "f02"], True), (["area", "f02"], False), (["mean_1", "sd_2"], False)],
)
def test_names_that_only_count(names, only):
    assert numbered(names) == only


def test_digests_tell_every_number():
    vectors = drawn(3)
    more = drawn(3, 2, 1)
    first = vector_digests(vectors, more)
    assert len(set(first)) == 3
    changed = vectors.copy()
    changed[1, 2] += 1e-6
    assert [one == other for one, other in zip(first, vector_digests(changed, more), strict=True)] == [
        True,
        False,
        True,
    ]
    assert vector_digests(vectors) != first


def faulty(folder):
    """Rows of every kind: passed, twice the same, another of the same protein, NaN, none, no name, unknown, control."""
    vectors = drawn(9, 3)
    vectors[2] = vectors[0]
    vectors[4, 1] = np.nan
    vectors[5] = np.nan
    genes = ["ACTB", "TP53", "ACTB", "ACTB", "LMNA", "TOMM20", "", "NOBODY", ""]
    control = ["", "", "", "", "", "", "", "", "yes"]
    frame = pd.DataFrame({"genes": genes, "control": control}).join(pd.DataFrame(vectors, columns=list("abc")))
    frame.to_csv(folder / "faulty.tsv", sep="\t", index=False)
    (folder / "ids.tsv").write_text(
        "symbol\tensembl\n" + "\n".join(f"{gene}\tENSG0000000000{n}" for n, gene in enumerate(GENES))
    )
    return folder / "faulty.tsv", vectors


def test_every_row_is_a_field_with_its_verdict(tmp_path):
    path, vectors = faulty(tmp_path)
    found = taken_over(tmp_path, path, identifiers=str(tmp_path / "ids.tsv"))
    assert len(found.fields) == len(found.qc) == len(found.files) == 9
    reason = found.qc.set_index("field_id")["reason"].to_dict()
    assert reason == {
        "made_ACTB": "passed", "made_ACTB~2": "duplicate_vector", "made_ACTB~3": "passed", "made_TP53": "passed",
        "made_LMNA": "not_finite", "made_TOMM20": "no_vector", "made_NOBODY": "unknown_identifier",
        "made_unnamed": "unknown_identifier", "made_control": "passed",
    }  # fmt: skip
    detail = found.qc.set_index("field_id")["detail"]
    assert detail["made_LMNA"] == "row 5 of faulty.tsv: 1 of 3 values are missing or no finite numbers"
    assert "no name of one gene" in detail["made_NOBODY"]
    units, kept = read_vectors(found.embeddings)
    np.testing.assert_allclose(kept[units["field_id"] == "made_ACTB~3"], vectors[[3]], rtol=1e-6)
    assert set(units["field_id"]) == {name for name, why in reason.items() if why == "passed"}
    row = found.fields.set_index("field_id")
    assert row.loc["made_TP53", "ensembl_ids"].tolist() == ["ENSG00000000001"]
    assert bool(row.loc["made_control", "control"])
    assert any("1 names that no gene has are left out: NOBODY" in note for note in found.notes)
    assert len(found.cells) == 0
    assert read_metadata(found.predictions[0])["classes"] == []


def test_unknown_names_may_stay(tmp_path):
    path, _ = faulty(tmp_path)
    found = taken_over(tmp_path, path, identifiers=str(tmp_path / "ids.tsv"), unknown="keep")
    assert found.qc.set_index("field_id")["reason"]["made_NOBODY"] == "passed"


def test_a_curator_has_the_last_word_but_for_what_is_not_there(tmp_path):
    path, vectors = faulty(tmp_path)
    words = [["field", name, action, "", "me", "seen"] for name, action in
             (("made_ACTB~2", "keep"), ("made_TP53", "reject"), ("made_TOMM20", "keep"))]  # fmt: skip
    found = taken_over(tmp_path, path, field_words=words)
    reason = found.qc.set_index("field_id")["reason"]
    assert (reason["made_ACTB~2"], reason["made_TP53"], reason["made_TOMM20"]) == ("passed", "overridden", "no_vector")
    units, kept = read_vectors(found.embeddings)
    np.testing.assert_allclose(kept[units["field_id"] == "made_ACTB~2"], vectors[[2]], rtol=1e-6)


def test_two_rows_may_not_claim_one_field(tmp_path):
    frame = pd.DataFrame({"field_id": ["a", "a", "b"], "genes": GENES[:3], "d1": [1.0, 2, 3], "d2": [1.0, 2, 4]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = taken_over(tmp_path, tmp_path / "t.csv")
    assert found.qc.set_index("field_id")["reason"].to_dict() == {
        "a": "passed",
        "a~2": "duplicate_vector",
        "b": "passed",
    }


def test_samples_are_of_one_protein(tmp_path):
    """Without an antibody the protein stands for it: else all rows of a cell line would be one preparation."""
    write(tmp_path, "tsv", drawn(), GENES)
    found = taken_over(tmp_path, tmp_path / "table.tsv", cell_line="HeLa")
    assert set(found.fields["sample"]) == {f"{gene}/HeLa" for gene in GENES}


def of_cells(folder, n=4):
    """Cells of two fields, one of them twice and one without a vector."""
    vectors = drawn(2 * n, 3)
    vectors[1] = vectors[0]
    vectors[n] = np.nan
    frame = pd.DataFrame({"field_id": ["a"] * n + ["b"] * n, "genes": ["ACTB"] * n + ["TP53"] * n})
    frame.join(pd.DataFrame(vectors, columns=["d1", "d2", "d3"])).to_csv(folder / "cells.tsv", sep="\t", index=False)
    return folder / "cells.tsv", vectors


def test_cells_have_rows_in_the_ledger(tmp_path):
    path, vectors = of_cells(tmp_path)
    found = taken_over(tmp_path, path, level="cell")
    assert found.qc["reason"].tolist() == ["passed", "passed"]
    counts = found.cells.groupby(["field_id", "reason"]).size().to_dict()
    assert counts == {("a", "kept"): 3, ("a", "duplicate_vector"): 1, ("b", "kept"): 3, ("b", "no_vector"): 1}
    assert found.cells["crop_index"].isna().all()
    units, kept = read_vectors(found.embeddings)
    np.testing.assert_allclose(kept, vectors[[0, 2, 3, 5, 6, 7]], rtol=1e-6)
    assert units["unit_id"].tolist()[0].endswith(":1")


def test_a_curators_word_on_cells(tmp_path):
    path, _ = of_cells(tmp_path)
    version = listed(tmp_path, config_of(path, "cell")).set_index("field_id")["version"]
    words = [
        ["cell", f"a@{version['a']}:2", "keep", "", "me", "two alike"],
        ["cell", f"b@{version['b']}:1", "keep", "", "me", "?"],
    ]
    found = taken_over(tmp_path, path, level="cell", cell_words=words)
    status = found.cells.set_index("cell_id")["status"]
    assert status[words[0][1]] == "kept"
    assert status[words[1][1]] == "rejected"
    assert "no vector" in json.loads((tmp_path / "made-0001-import.json").read_text())["notes"][0]


def test_cells_of_one_field_share_what_is_known(tmp_path):
    path, _ = of_cells(tmp_path)
    frame = pd.read_csv(path, sep="\t")
    frame.loc[1, "genes"] = "LMNA"
    frame.to_csv(path, sep="\t", index=False)
    with pytest.raises(TableError, match="row 2 of the vectors: the field 'a' has another sample, genes"):
        taken_over(tmp_path, path, level="cell")


def with_probabilities(folder, names, order=None):
    write(folder, "tsv", drawn(), GENES)
    values = np.linspace(0, 1, 5 * 3).reshape(5, 3)
    frame = pd.DataFrame(values, index=GENES, columns=["N. membrane", "PM", "Nowhere"]).loc[order or GENES]
    frame.index = names or frame.index
    frame.to_csv(folder / "classes.tsv", sep="\t")
    return {"table": str(folder / "classes.tsv"), "vocabulary": "hpa28"}


def test_probabilities_find_their_rows_and_classes(tmp_path):
    order = ["TP53", "GAPDH", "ACTB", "LMNA"]
    words = with_probabilities(tmp_path, None, order)
    found = taken_over(tmp_path, tmp_path / "table.tsv", probabilities=words)
    table = pd.read_parquet(found.predictions[0]).set_index("field_id")
    assert len(table.columns) == 28 + 2
    assert table.loc["made_GAPDH", "Nuclear membrane"] == pytest.approx(12 / 14)
    assert table.loc["made_GAPDH", "Plasma membrane"] == pytest.approx(13 / 14)
    assert table.loc["made_GAPDH", "Mitochondria"] == 0
    assert table.loc["made_TOMM20"].iloc[2:].isna().all()
    assert any("1 rows have a vector, but no class probabilities" in note for note in found.notes)
    said = json.loads((tmp_path / "made-0001-embed.json").read_text())
    told = said["notes"]
    assert {"kind", "level", "roles", "weights", "vocabulary"} < set(said["model"])
    assert not {"dimensions", "classes"} & set(said["model"])
    assert told[0] == "columns that mean no class of hpa28: Nowhere"
    assert "never predicted" in told[1]


def test_a_table_of_probabilities_names_each_row_once(tmp_path):
    words = with_probabilities(tmp_path, ["ACTB", "ACTB", "LMNA", "TOMM20", "GAPDH"])
    with pytest.raises(TableError, match="has ACTB more than once"):
        taken_over(tmp_path, tmp_path / "table.tsv", probabilities=words)


@pytest.mark.parametrize("genes_too", [True, False])
@pytest.mark.parametrize("level", ["field", "cell"])
def test_probabilities_find_fields_by_their_names(tmp_path, level, genes_too):
    """A gene has several fields: their names tell which probabilities are theirs, not the gene's."""
    ids = ["a", "b", "c", "d"] if level == "field" else ["a", "a", "b", "b"]
    about = pd.DataFrame({"field_id": ids, "genes": ["ACTB", "ACTB", "TP53", "TP53"]})
    vectors = pd.DataFrame(drawn(4, 3), columns=["d0", "d1", "d2"])
    pd.concat([about, vectors], axis=1).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    chances = pd.DataFrame({"Cytosol": [0.1, 0.2, 0.3, 0.4]})
    beside = about if genes_too else about[["field_id"]]
    pd.concat([beside, chances], axis=1).to_csv(tmp_path / "p.tsv", sep="\t", index=False)
    words = {"table": str(tmp_path / "p.tsv"), "vocabulary": "hpa28"}
    found = taken_over(tmp_path, tmp_path / "t.tsv", level=level, probabilities=words)
    table = pd.read_parquet(found.predictions[0]).sort_values("unit_id")
    np.testing.assert_allclose(table["Cytosol"], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_of_several_columns_of_a_class_the_highest_counts():
    found, notes = in_vocabulary(
        np.array([[0.2, 0.7]], np.float32), ["ER", "Endoplasmic reticulum"], vocabulary("hpa28")
    )
    assert found["Endoplasmic reticulum"][0] == np.float32(0.7)
    assert len(notes) == 1


def test_labels_come_from_the_location_table(tmp_path):
    write(tmp_path, "tsv", drawn(), GENES)
    (tmp_path / "loc.tsv.gz").write_bytes(gzip.compress(
        b"Gene\tGene name\tReliability\tMain location\tAdditional location\tSingle-cell variation spatial\tGO id\n"
        b"ENSG00000141510\tTP53\tEnhanced\tNucleoplasm\tCytosol;Vesicles\tNucleoplasm\tNucleoplasm (GO:0005654)\n"
    ))  # fmt: skip
    found = taken_over(tmp_path, tmp_path / "table.tsv", labels=str(tmp_path / "loc.tsv.gz"))
    row = found.fields.set_index("field_id").loc["made_TP53"]
    assert row["labels"].tolist() == ["Nucleoplasm", "Cytosol", "Vesicles"]
    assert row["labels_main"].tolist() == ["Nucleoplasm"]
    assert row["variation_spatial"].tolist() == ["Nucleoplasm"]
    assert row["go_ids"].tolist() == ["GO:0005654"]
    assert row["reliability"] == "Enhanced"
    assert any("4 proteins have no published location: ACTB" in note for note in found.notes)


def test_only_changed_rows_open_a_new_shard(tmp_path):
    vectors = drawn()
    path = write(tmp_path, "tsv", vectors, GENES)
    config = config_of(path)
    before = listed(tmp_path, config)
    # rows in another order, one with another number
    vectors[2, 0] += 1
    write(tmp_path, "tsv", vectors[::-1], GENES[::-1])
    after = listed(tmp_path, config)
    assert len(after) == 6
    assert after.loc[after["retired_in"].notna(), "field_id"].tolist() == ["made_LMNA"]
    assert set(after.loc[after["shard"] == "made-0002", "field_id"]) == {"made_LMNA"}
    same = before[before["field_id"] != "made_LMNA"]
    assert set(same["version"]) <= set(after["version"])
    rows = pd.read_parquet(tmp_path / "listed.parquet").set_index("field_id")["row"]
    assert rows["made_ACTB"] == 4


def test_a_table_that_changed_since_the_catalog_is_an_error(tmp_path):
    vectors = drawn()
    path = write(tmp_path, "tsv", vectors, GENES)
    found = taken_over(tmp_path, path)
    write(tmp_path, "tsv", vectors[::-1], GENES[::-1])
    with pytest.raises(ChangedTableError, match="4 of 5 rows are not those that the catalog saw"):
        embed_vectors(
            "published", "made-0001", tmp_path / "listed.parquet", tmp_path / "made-0001-qc.parquet",
            tmp_path / "made-0001-cells.parquet", found.config["sources"]["made"], tmp_path / "e.parquet",
            tmp_path / "p.parquet", tmp_path / "e.json",
        )  # fmt: skip


def run_of(**models):
    sources = {
        "made": {"kind": "vectors", "table": "t.tsv"},
        "cells": {"kind": "vectors", "table": "c.tsv", "level": "cell"},
        "drawn": {"kind": "simulated"},
    }
    return {"sources": sources, "models": models}


def test_models_and_sources_meet_where_they_can():
    config = run_of(
        densenet={"kind": "published", "level": "field"}, cells={"kind": "published", "level": "cell"},
        one={"kind": "published", "level": "field", "vectors": "made"}, classic={"kind": "classic"},
    )  # fmt: skip
    check_config(config)
    assert models_of_source(config, "made") == ["densenet", "one"]
    assert models_of_source(config, "cells") == ["cells"]
    assert models_of_source(config, "drawn") == ["classic"]
    why = {(name, source): reason for what, name, source, reason in left_out(config) if what == "model"}
    assert why["classic", "made"] == "describes pixels; the source has vectors made elsewhere alone"
    assert why["densenet", "drawn"].startswith("stands for vectors made elsewhere")
    assert "of the level field" in why["densenet", "cells"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            {"kind": "published", "level": "field", "vectors": "nobody"},
            "sources of the kind 'vectors' are 'made', 'cells'",
        ),
        ({"kind": "classic", "vectors": "made"}, "only a model of the kind 'published'"),
        ({"kind": "published", "level": "cell", "vectors": "made"}, "are of the level field"),
        ({"kind": "published", "weights": "x"}, "has no weights"),
    ],
)
def test_what_does_not_fit_is_told(model, words):
    with pytest.raises(ConfigError, match=words):
        check_config(run_of(m=model))


def test_files_that_are_missing_stop_before_any_job(tmp_path):
    from wherein.sources.check import check_tables

    config = config_of(tmp_path / "nowhere.tsv", labels="also/nowhere.tsv")
    with pytest.raises(TableError, match=r"sources\.made\.table: .*nowhere\.tsv does not exist"):
        check_tables(config)
    write(tmp_path, "tsv", drawn(), GENES)
    with pytest.raises(TableError, match="there is no column 'Symbol'"):
        check_tables(config_of(tmp_path / "table.tsv", columns={"genes": "Symbol"}))
