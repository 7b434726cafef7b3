import itertools
import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from wherein import tables
from wherein.split import CONTROL, make_split, near_duplicates, split_run

SETTINGS = {"folds": 5, "seed": 0, "near_duplicate_bits": 4, "tag_genes": 20}


def hashes(n, seed=0):
    return [f"{value:016x}" for value in np.random.default_rng(seed).integers(0, 2**63, n)]


def field(name, gene="G1", reagent="R1", labels=("Cytosol",), control=False, phash=None, **other):
    genes = [] if control else ([gene] if isinstance(gene, str) else list(gene))
    return {
        "field_id": name,
        "version": "v1",
        "genes": genes,
        "ensembl_ids": [],
        "reagent": reagent,
        "labels": list(labels),
        "control": control,
        "sample": f"{reagent}",
        "retired_in": None,
        "phash": phash,
        **other,
    }


def screen(genes=60, fields=3, seed=1):
    rng = np.random.default_rng(seed)
    terms = ["Cytosol", "Nucleoplasm", "Mitochondria", "Golgi apparatus", "Nucleoli"]
    images = iter(hashes(genes * fields, seed))
    rows = []
    for number in range(genes):
        labels = list(rng.choice(terms, size=rng.integers(1, 3), replace=False))
        rows += [field(f"f{number}_{k}", f"G{number}", f"R{number}", labels, phash=next(images)) for k in range(fields)]
    rows += [field(f"c{k}", reagent="secondary", control=True, phash="0" * 16, labels=()) for k in range(10)]
    return pd.DataFrame(rows)


def split(rows, before=None, everything=None, **settings):
    before = pd.DataFrame(columns=tables.SPLIT.names) if before is None else before
    return make_split(rows, rows if everything is None else everything, before, {**SETTINGS, **settings})


@pytest.mark.parametrize("bits", [0, 1, 4, 9, 64])
def test_near_duplicates_connect_what_all_pairs_connect(bits):
    rng = np.random.default_rng(bits)
    base = rng.integers(0, 2**63, 12)
    flipped = [
        int(value) ^ int(sum(1 << int(b) for b in rng.choice(64, k, replace=False))) for value in base for k in range(6)
    ]
    values = pd.Series([f"{value:016x}" for value in flipped] + [None], index=range(100, 100 + len(flipped) + 1))

    def components(pairs):
        parent = {place: place for place in values.index}

        def root(place):
            while parent[place] != place:
                place = parent[place]
            return place

        for left, right in pairs:
            parent[root(left)] = root(right)
        return sorted(sorted(p for p in values.index if root(p) == r) for r in {root(p) for p in values.index})

    brute = [
        (a, b)
        for a, b in itertools.combinations(values.dropna().index, 2)
        if (int(values[a], 16) ^ int(values[b], 16)).bit_count() <= bits
    ]
    assert components(near_duplicates(values, bits)) == components(brute)


def test_many_hashes_are_fast():
    values = pd.Series(hashes(20_000))
    start = time.process_time()
    assert near_duplicates(values, 4) == []
    assert time.process_time() - start < 10


def test_no_gene_on_two_sides_and_everybody_has_a_fold():
    rows = screen()
    table, notes = split(rows)
    assert sorted(table["field_id"]) == sorted(rows["field_id"])
    assert table["field_id"].is_monotonic_increasing
    assert list(table.columns) == tables.SPLIT.names
    assert set(table["gene_fold"]) == set(range(5))
    assert (table.groupby("gene_group")["gene_fold"].nunique().drop(CONTROL) == 1).all()
    # the fields of one protein are dealt out: three fields, three folds
    assert (table[table["gene_group"] != CONTROL].groupby("gene_group")["field_fold"].nunique() == 3).all()
    assert set(table["field_fold"]) == set(range(5))
    # ten controls of one sample are dealt out all the same, and it is said
    assert table.loc[table["gene_group"] == CONTROL, "gene_fold"].value_counts().tolist() == [2] * 5
    assert len(notes) == 1
    assert "controls come from 1 samples" in notes[0]


def test_folds_have_their_part_of_every_label():
    rows = screen(genes=200, fields=1)
    table, _ = split(rows)
    together = rows.merge(table, on="field_id")
    shares = together.explode("labels").groupby(["labels", "gene_fold"]).size().unstack(fill_value=0)
    assert (shares.max(axis=1) - shares.min(axis=1) <= 2).all()


def test_same_seed_same_folds_whatever_the_order():
    rows = screen()
    table, _ = split(rows)
    again, _ = split(rows.sample(frac=1, random_state=3).reset_index(drop=True))
    pd.testing.assert_frame_equal(table, again)
    other, _ = split(rows, seed=1)
    assert (other["gene_fold"] != table["gene_fold"]).any()


def test_shared_reagent_and_shared_gene_join_genes():
    rows = pd.DataFrame(
        [
            field("a", "A", "R1"),
            field("b", ["B", "C"], "R1"),
            field("c", "C", "R2"),
            field("d", "D", "R3"),
        ]
    )
    table, _ = split(rows)
    groups = table.set_index("field_id")["gene_group"]
    assert groups["a"] == groups["b"] == groups["c"] == "A/B/C"
    assert groups["d"] == "D"


def test_a_tag_joins_no_genes():
    rows = pd.DataFrame([field(f"f{k}", f"G{k}", "GFP") for k in range(30)])
    table, notes = split(rows)
    assert table["gene_group"].nunique() == 30
    assert any("tags" in note for note in notes)
    table, _ = split(rows, tag_genes=40)
    assert table["gene_group"].nunique() == 1


def test_near_duplicates_join_genes_but_controls_join_nobody():
    rows = pd.DataFrame(
        [
            field("a", "A", "R1", phash="00000000000000ff"),
            field("b", "B", "R2", phash="00000000000000fe"),
            field("c", "C", "R3", phash="ffff0000ffff0000"),
            field("z", control=True, reagent="none", phash="ffff0000ffff0000"),
        ]
    )
    table, notes = split(rows)
    groups = table.set_index("field_id")["gene_group"]
    assert groups.to_dict() == {"a": "A/B", "b": "A/B", "c": "C", "z": CONTROL}
    assert any("1 pairs of near-duplicate" in note for note in notes)
    folds = table.set_index("field_id")
    assert folds.loc["a", "field_fold"] == folds.loc["b", "field_fold"]


def test_a_later_run_keeps_folds_and_new_fields_follow_their_gene():
    rows = screen(genes=30)
    first, _ = split(rows)
    more = pd.concat(
        [
            rows[rows["field_id"] != "f3_0"],  # retired since
            pd.DataFrame([field(f"n{k}", f"G{k}", f"R{k}", phash=None) for k in range(30)]),
            pd.DataFrame([field(f"x{k}", f"X{k}", f"RX{k}") for k in range(20)]),
        ],
        ignore_index=True,
    )
    second, notes = split(more, before=first, everything=pd.concat([rows, more]))
    old, new = first.set_index("field_id"), second.set_index("field_id")
    kept = [name for name in old.index if name != "f3_0"]
    for column in ("gene_fold", "field_fold"):
        pd.testing.assert_series_equal(old.loc[kept, column], new.loc[kept, column])
    for k in range(30):
        assert new.loc[f"n{k}", "gene_fold"] == old.loc[f"f{k}_1", "gene_fold"]
    assert new.loc[[f"x{k}" for k in range(20)], "gene_fold"].nunique() == 5
    assert not any("different folds" in note for note in notes)


def test_a_gene_whose_fields_are_all_retired_is_remembered():
    rows = screen(genes=12, fields=1)
    first, _ = split(rows)
    gone = rows.assign(retired_in="2")
    again = pd.DataFrame([field(f"again{k}", f"G{k}", f"R{k}") for k in range(12)])
    second, _ = split(again, before=first, everything=pd.concat([gone, again]))
    old = first.set_index("field_id")["gene_fold"]
    assert [old[f"f{k}_0"] for k in range(12)] == [
        second.set_index("field_id")["gene_fold"][f"again{k}"] for k in range(12)
    ]


def test_a_group_that_joins_two_old_folds_keeps_them_and_says_so():
    rows = screen(genes=10, fields=1)
    first, _ = split(rows)
    folds = first.set_index("field_id")["gene_fold"]
    a = "f0_0"
    b = next(name for name in folds.index if name.startswith("f") and folds[name] != folds[a])
    gene = f"G{b[1:].split('_')[0]}"
    more = pd.concat([rows, pd.DataFrame([field("both", ["G0", gene], "RB")])], ignore_index=True)
    second, notes = split(more, before=first)
    new = second.set_index("field_id")["gene_fold"]
    assert new[a] == folds[a]
    assert new[b] == folds[b]
    assert new["both"] in (folds[a], folds[b])
    assert any("earlier runs put into different folds" in note for note in notes)


def test_fewer_folds_than_before_draw_the_lost_ones_again():
    rows = screen()
    first, _ = split(rows)
    second, notes = split(rows, before=first, folds=3)
    assert second["gene_fold"].max() < 3
    assert second["field_fold"].max() < 3
    assert any("drawn again" in note for note in notes)


def test_controls_of_one_sample_lie_in_one_fold():
    rows = pd.DataFrame([field(f"c{k}", control=True, reagent=f"S{k % 8}", labels=()) for k in range(24)])
    table, notes = split(rows)
    samples = rows.merge(table, on="field_id").groupby("sample")["gene_fold"]
    assert (samples.nunique() == 1).all()
    assert set(table["gene_fold"]) == set(range(5))
    assert notes == []


def test_split_run_writes_the_table_and_reads_it_again(tmp_path):
    rows = screen(genes=8)
    fields = rows.drop(columns="phash")
    tables.write_table(tmp_path / "fields.parquet", fields, tables.FIELDS)
    qc = rows[["field_id", "version", "phash"]].assign(status="passed", reason="passed")
    qc.loc[0, ["status", "reason"]] = ["rejected", "empty"]
    tables.write_table(tmp_path / "qc.parquet", qc, tables.qc_schema([]))
    cells = pd.DataFrame({"cell_id": ["x"], "field_id": ["f1_0"], "version": ["v1"], "status": ["kept"]})
    tables.write_table(tmp_path / "cells.parquet", cells, tables.cells_schema([]))
    run = {
        "fields": str(tmp_path / "fields.parquet"),
        "qc": [str(tmp_path / "qc.parquet")],
        "cells": [str(tmp_path / "cells.parquet")],
        "settings": SETTINGS,
        "split": str(tmp_path / "split.parquet"),
        "summary": str(tmp_path / "run.json"),
    }
    split_run(**run)
    first = tables.read_tables([run["split"]])
    assert "f0_0" not in set(first["field_id"])
    split_run(**run)
    pd.testing.assert_frame_equal(first, tables.read_tables([run["split"]]))
    summary = json.loads((tmp_path / "run.json").read_text())
    assert summary["counts"] == {"in": 33, "kept": 33}
    assert sum(fold["cells"] for fold in summary["folds"]) == 1
    assert summary["spread"]["fields"] >= 0
    assert summary["spread"]["labels"] >= 0


def test_no_field_at_all_is_an_empty_table():
    rows = screen(genes=1).iloc[:0]
    table, _ = split(rows)
    assert len(table) == 0
    assert list(table.columns) == tables.SPLIT.names


def tangled(seed, n=70):
    """Fields of genes that share antibodies, are bound together by one, and have near-duplicate images."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 2**63, 25)
    rows = []
    for k in range(n):
        genes = [f"G{g}" for g in rng.choice(40, size=rng.choice([1, 1, 1, 2]), replace=False)]
        image = int(images[rng.integers(25)]) ^ (1 << int(rng.integers(63))) if rng.random() < 0.15 else None
        phash = f"{image if image is not None else int(rng.integers(0, 2**63)):016x}"
        labels = rng.choice(["Cytosol", "Nucleoli", "Vesicles"], size=rng.integers(0, 3), replace=False)
        reagent = None if rng.random() < 0.1 else f"R{rng.integers(45)}"
        rows.append(field(f"f{k:03d}", genes, reagent, labels, phash=phash, control=rng.random() < 0.1))
    return pd.DataFrame(rows)


@hypothesis_settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), folds=st.integers(2, 6))
def test_nothing_leaks_whatever_is_tangled(seed, folds):
    """By all pairs: what shares a gene, an antibody or an image is on one side."""
    rows = tangled(seed)
    table, _ = split(rows, folds=folds)
    seen = rows.merge(table.drop(columns="phash"), on="field_id")
    seen = seen[~seen["control"].astype(bool)].to_dict("records")
    assert sorted(table["field_id"]) == sorted(rows["field_id"])
    for one, other in itertools.combinations(seen, 2):
        near = (int(one["phash"], 16) ^ int(other["phash"], 16)).bit_count() <= SETTINGS["near_duplicate_bits"]
        reagent = one["reagent"] is not None and one["reagent"] == other["reagent"]
        if near or reagent or set(one["genes"]) & set(other["genes"]):
            assert one["gene_fold"] == other["gene_fold"], (one, other)
            if near:
                assert one["field_fold"] == other["field_fold"] or one["gene_group"] != other["gene_group"]


def test_k_folds_are_a_partition_that_every_field_is_tested_in_once():
    table, _ = split(screen(), folds=4)
    tested = [set(table.loc[table["gene_fold"] == fold, "field_id"]) for fold in range(4)]
    assert sum(map(len, tested)) == len(table)
    assert set.union(*tested) == set(table["field_id"])
    for fold in range(4):
        train = table[(table["gene_fold"] != fold) & (table["gene_group"] != CONTROL)]
        test = table[(table["gene_fold"] == fold) & (table["gene_group"] != CONTROL)]
        assert not set(train["gene_group"]) & set(test["gene_group"])


def test_a_gene_with_many_fields_counts_as_many():
    """One gene has half of all fields: the fold that gets it gets nothing else."""
    rows = [field(f"big{k}", "BIG", "RBIG", ["Cytosol"], phash=f"{k * 7919:016x}") for k in range(40)]
    rows += [field(f"f{k}", f"G{k}", f"R{k}", ["Cytosol"], phash=image) for k, image in enumerate(hashes(40, 5))]
    table, _ = split(pd.DataFrame(rows), near_duplicate_bits=0, folds=3)
    fold = table.set_index("field_id")["gene_fold"]
    assert (fold == fold["big0"]).sum() == 40
    assert sorted(fold.value_counts()) == [20, 20, 40]
