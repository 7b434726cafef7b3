import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_embeddings import Run, settings
from wherein.analysis.audit import AUDIT, audit_labels
from wherein.metrics.label_audit import evaluate_audit
from wherein.settings import audit_settings
from wherein.tables import SAMPLES, write_table

PLACES = ("Nucleoli", "Mitochondria", "Golgi apparatus", "Cytosol")
WIDTH = 8


def made(tmp_path, proteins=48, wrong=("P03",), level="cell", own=None, change=None):
    """Proteins of four locations, some of whose samples are published elsewhere; P00 has a sample in a second line."""
    rng = np.random.default_rng(0)
    run = Run(tmp_path, level)
    middles = rng.normal(size=(len(PLACES), WIDTH)) * 3
    means = {}
    for number in range(proteins):
        name, place = f"P{number:02d}", number % len(PLACES)
        said = PLACES[(place + 1) % len(PLACES)] if name in wrong else PLACES[place]
        for line in ("U2OS", "HeLa") if number == 0 else ("U2OS",):
            vectors = middles[place] + rng.normal(size=(6 if level == "cell" else 1, WIDTH))
            if change:
                change(name, vectors)
            run.add(name, vectors, locations=[PLACES[place]] * len(vectors), labels=[said] if said else [],
                    reagent=f"R{number // 2 * 2 if number < 4 else number}", sample=f"{name}/{line}", cell_line=line,
                    plate=f"plate{number % 3}")  # fmt: skip
            means.setdefault(name, []).append(vectors)
    if proteins:
        run.add(None, rng.normal(size=(2 if level == "cell" else 1, WIDTH)), control=True, labels=[])
        run.add("NEW", middles[0] + rng.normal(size=(3 if level == "cell" else 1, WIDTH)), labels=[], plate=None)
        means["NEW"] = [run.vectors[-1]]
    paths = run.write([f"f{n}" for n in range(WIDTH)], WIDTH)
    write_table(tmp_path / "samples.parquet", pd.DataFrame(columns=SAMPLES.names), SAMPLES)
    known = {name: np.nan_to_num(np.concatenate(own)) for name, own in means.items()}
    scaled = np.array([known[name].mean(axis=0) for name in sorted(known)]).reshape(-1, WIDTH)
    atlas = AnnData(scaled.astype(np.float32), obs=pd.DataFrame(index=sorted(means)))
    atlas.uns["wherein"] = json.dumps({"clip": 10})
    atlas.layers["scaled"] = scaled.astype(np.float32)
    atlas.var_names = [f"f{n}" for n in range(WIDTH)]
    atlas.var["centre"], atlas.var["spread"], atlas.var["used"] = 0.0, 1.0, True
    atlas.write_h5ad(tmp_path / "proteins.h5ad")
    words = audit_settings({"atlas": settings("atlas", audit={"permutations": 3000, "neighbours": 8} | (own or {}))})
    audit_labels(model="m", level=level, proteins=tmp_path / "proteins.h5ad", samples=tmp_path / "samples.parquet",
                 settings=words, by_protein=tmp_path / "audit.tsv", by_sample=tmp_path / "audit_samples.tsv",
                 summary=tmp_path / "summary.json", **paths)  # fmt: skip
    tables = [pd.read_csv(tmp_path / name, sep="\t") for name in ("audit.tsv", "audit_samples.tsv")]
    return *tables, json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize("level", ["cell", "field"])
def test_a_wrong_label_is_first_with_all_that_is_known_of_it(tmp_path, level):
    proteins, samples, summary = made(tmp_path, wrong=("P03", "P17"), level=level)
    assert list(proteins.columns) == list(AUDIT) == list(samples.columns)
    assert (len(proteins), len(samples)) == (49, 50)
    assert set(proteins["protein"].head(2)) == {"P03", "P17"}
    row = proteins.set_index("protein").loc["P17"]
    assert (row["annotated"], row["suggested"], row["finding"]) == ("Golgi apparatus", "Mitochondria", "wrong")
    assert row["support_suggested"] - row["support_annotated"] == pytest.approx(row["score"], abs=1e-6)
    assert row["q"] < 0.05
    assert (row["n_tests"], row["permutations"]) == (48, 3000)
    assert row["predicted"].startswith("Mitochondria 1.00")
    said = row["neighbours_say"].split(";")
    assert all(int(name[1:]) % 4 == 1 for name in said)
    assert set(said) <= set(row["neighbours"].split(";"))
    assert row["n_neighbours"] == 8
    assert 0 <= row["same_plate"] <= 1
    assert "48 proteins" in row["universe"]
    assert (proteins["rank"] == np.arange(1, 50)).all()
    fits = proteins[~proteins["protein"].isin(("P03", "P17", "NEW"))]
    assert (fits["finding"] == "fits").mean() > 0.9
    # nothing is published of it: neighbours suggest where it is, and nothing is tested
    new = proteins.set_index("protein").loc["NEW"]
    assert (new["finding"], new["suggested"]) == ("no_label", "Nucleoli")
    assert np.isnan(new["p"])
    assert np.isnan(new["annotated"])
    sure = int((proteins["q"] <= 0.05).sum())
    assert summary["proteins"] == {"judged": 48, "found": {"wrong": sure}}
    assert summary["counts"] == {"in": 49, "kept": 48, "not_judged": 1}
    assert f"contradict the labels of {sure} of 48 proteins" in summary["notes"][0]


def test_samples_of_one_protein_do_not_vote_for_each_other_nor_those_of_a_shared_reagent(tmp_path):
    proteins, samples, _ = made(tmp_path)
    both = samples[samples["protein"] == "P00"]
    assert set(both["sample"]) == {"P00/U2OS", "P00/HeLa"}
    assert not both["neighbours"].str.split(";").map(lambda own: "P00" in own).any()
    # P02 and P03 are shown by one reagent
    assert "P02" not in proteins.set_index("protein").loc["P03", "neighbours"].split(";")


def test_neighbours_on_the_same_plate_may_be_left_out(tmp_path):
    proteins, _, _ = made(tmp_path, own={"apart": ["plate"]})
    assert (proteins.loc[proteins["n_neighbours"] > 0, "same_plate"] == 0).all()


def test_vectors_with_unknown_values(tmp_path):
    def change(name, vectors):
        if name == "P05":
            vectors[:, 2] = np.nan

    proteins, samples, _ = made(tmp_path, change=change)
    assert np.isfinite(samples.set_index("protein").loc["P05", "score"])
    assert proteins["protein"].iloc[0] == "P03"


@pytest.mark.parametrize("proteins", [0, 1])
def test_without_neighbours_nothing_is_judged(tmp_path, proteins):
    by_protein, by_sample, summary = made(tmp_path, proteins=proteins)
    assert by_protein["p"].isna().all()
    assert by_sample["p"].isna().all()
    assert "no label was audited" in summary["notes"][0]


def test_without_any_label_suggestions_are_empty(tmp_path):
    by_protein, _, _ = made(tmp_path, proteins=0)
    assert len(by_protein) == 0


def test_known_mistakes_are_counted(tmp_path):
    made(tmp_path, wrong=("P03", "P17"))
    fields = pd.read_parquet(tmp_path / "fields.parquet")
    truth = fields[["field_id", "version"]].assign(gene=[own[0] if len(own) else None for own in fields["genes"]])
    truth["mislabelled"] = truth["gene"].isin(["P03", "P17", "P30"])
    (tmp_path / "a-0001").mkdir()
    truth.to_parquet(tmp_path / "a-0001" / "fields.parquet")

    def scores(known):
        paths = [tmp_path / name for name in ("audit.tsv", "audit_samples.tsv", "fields.parquet")]
        evaluate_audit("m", *paths, known, tmp_path / "audit.json", tmp_path / "s.json")
        return json.loads((tmp_path / "audit.json").read_text()), json.loads((tmp_path / "s.json").read_text())

    found, summary = scores([tmp_path / "a-0001"])
    for level, number in (("proteins", 48), ("samples", 49)):
        own = found[level]
        assert (own["n"], own["n_wrong"], own["found"], own["false"]) == (number, 3, 2, 0)
        assert own["most"]["20"] == 0.15
        assert own["precision"]["10"] in (0.2, 0.3)
        assert 0.6 < own["auc"] < 1
    assert "3 of 48 were given wrong labels" in summary["notes"][0]
    found, summary = scores([])
    assert found == {"model": "m", "proteins": None, "samples": None}
    assert summary["notes"] == []
