import gzip
import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from fake_embeddings import settings
from scipy.stats import hypergeom
from wherein.analysis.clustering import clustered_points, cut, hierarchical_clustering
from wherein.analysis.enrichment import GeneSet
from wherein.analysis.group_terms import group_terms
from wherein.analysis.groupings import AGREEMENT, GROUPS, MEMBERS, group_proteins
from wherein.analysis.projection import principal_components
from wherein.analysis.tested import STATED

KINDS = ["Nucleoli", "Mitochondria", "Cytosol", "Multi"]


def grouped(tmp_path, proteins=40, points="components", biology=None, spread=1.0, **groupings):
    own = settings("atlas", clusters=4, points=points)
    own["groupings"] |= {"draws": 4, "permutations": 49, **groupings}
    write_atlas(tmp_path / "proteins.h5ad", proteins, own, spread)
    outputs = {name: tmp_path / f"{name}.tsv" for name in ("groups", "members", "agreements", "organelle", "terms")}
    terms = {"gene_sets": {}, "min_set_size": 2, "max_set_size": None, "min_cluster_size": 2} | (biology or {})
    group_proteins(model="m", proteins=tmp_path / "proteins.h5ad", settings=own, biology=terms, **outputs,
                   spectrum=tmp_path / "spectrum.h5ad", summary=tmp_path / "summary.json")  # fmt: skip
    tables = {name: pd.read_csv(path, sep="\t") for name, path in outputs.items()}
    return tables, read_h5ad(tmp_path / "spectrum.h5ad"), json.loads((tmp_path / "summary.json").read_text())


def write_atlas(path, proteins, own, spread):
    """Proteins of four kinds, far apart; those of the last have two locations."""
    rng = np.random.default_rng(0)
    kind = np.arange(proteins) % 4
    vectors = spread * (4 * rng.normal(size=(4, 12))[kind] + rng.normal(size=(proteins, 12)))
    scores, _, _ = principal_components(vectors.astype(np.float32), own["components"])
    points = clustered_points(vectors, scores, own["points"])
    tree, leaf = hierarchical_clustering(points, own["linkage"], own["metric"], own["order_up_to"])
    names = [f"G{number}" for number in range(proteins)]
    obs = pd.DataFrame({"genes": pd.Series(names, names, dtype=object)}, index=pd.Index(names, dtype=object))
    obs["location"] = pd.Categorical(np.array(KINDS, object)[kind], KINDS)
    numbers = cut(tree, leaf, own["clusters"], None)
    obs["cluster"] = pd.Categorical(numbers.astype(str), [str(n + 1) for n in range(numbers.max(initial=0))])
    obs["leaf"] = leaf
    atlas = AnnData(vectors.astype(np.float32), obs=obs)
    atlas.layers["scaled"], atlas.obsm["X_pca"], atlas.uns["linkage"] = vectors.astype(np.float32), scores, tree
    atlas.write_h5ad(path)


@pytest.mark.parametrize(("points", "resample"), [("components", "proteins"), ("features", "features")])
def test_groups_of_known_kinds(tmp_path, points, resample):
    tables, spectrum, summary = grouped(tmp_path, points=points, resample=resample, within_min=5, resolution=0.2)
    groups, members = tables["groups"], tables["members"]
    assert list(groups.columns) == list(GROUPS)
    assert list(members.columns) == list(MEMBERS)
    kinds = members["protein"].str[1:].astype(int) % 4
    for grouping in ("tree", "leiden"):
        own = groups[groups["grouping"] == grouping]
        assert sorted(own["n_proteins"]) == [10] * 4
        assert len(set(zip(kinds, members[grouping], strict=True))) == 4
        assert own["stability"].min() > 0.8
        assert own["stability_chance"].max() < 0.6
        assert (own["draws"] == 4).all()
        assert (own["resampled"] == resample).all()
        assert set(own["top_location"]) == {"Nucleoli", "Mitochondria", "Cytosol", "Multi"}
    inside = groups[groups["grouping"] == "within"]
    assert inside.groupby("label")["n_proteins"].sum().to_dict() == {"Nucleoli": 10, "Mitochondria": 10, "Cytosol": 10}
    assert members["within"].notna().sum() == 30
    agreed = tables["agreements"]
    assert list(agreed.columns) == [*AGREEMENT, *STATED]
    assert (agreed["n_proteins"] == 30).all()
    assert agreed.set_index("grouping")["ari"].drop("leiden of single locations").tolist() == [1, 1, 1]
    assert (agreed["p"] == 1 / 50).all()
    assert summary["ari"]["tree"] == 1
    assert summary["organelles"]["top"][0] == 1
    assert summary["counts"] == {"in": 40, "kept": 40}
    assert spectrum.shape == (12, 12)
    assert spectrum.obsm["locations"].shape == (12, 3)
    assert list(spectrum.uns["locations"]) == ["Cytosol", "Mitochondria", "Nucleoli"]


def test_clusters_of_a_name(tmp_path):
    named = {"ours": {"holds": ["g0", "G4"], "size": 1}, "wide": {"holds": ["G1"], "size": 5}}
    tables, _, summary = grouped(tmp_path, named=named | {"lost": {"holds": ["ABC"], "size": 3}})
    own = tables["groups"][tables["groups"]["grouping"] == "named"].set_index("cluster")
    assert list(own.index) == ["ours", "wide"]
    assert {"G0", "G4"} <= set(own.loc["ours", "genes"].split(";"))
    assert own.loc["ours", "n_proteins"] <= 10
    assert 5 <= own.loc["wide", "n_proteins"] <= 10
    assert own["stability"].between(0.2, 1).all()
    assert own["stability_chance"].isna().all()
    members = tables["members"].set_index("protein")["named"]
    assert members["G1"] == "wide"
    assert any("lost" in note and "ABC" in note for note in summary["notes"])


def test_terms_within_one_location_are_tested_against_that_location(tmp_path):
    path = tmp_path / "sets.gmt.gz"
    with gzip.open(path, "wt") as out:
        out.write("\t".join(["all nucleoli (GO:0005730)", "", *(f"G{n}" for n in range(0, 40, 4))]) + "\n")
        out.write("\t".join(["half", "", "G0", "G4", "G8", "G12", "G16", "G1", "G2"]) + "\n")
    sets = {"gene_sets": {"sets": str(path)}}
    tables, _, _ = grouped(tmp_path, within_min=5, within_clusters=2, resolution=0.2, biology=sets)
    terms = tables["terms"]
    whole = terms[(terms["grouping"] == "leiden") & (terms["term"] == "all nucleoli")].sort_values("p").iloc[0]
    assert (whole["k"], whole["n"], whole["K"], whole["N"]) == (10, 10, 10, 40)
    assert whole["term_id"] == "GO:0005730"
    assert whole["p"] == pytest.approx(hypergeom.sf(9, 40, 10, 10))
    inside = terms[terms["grouping"] == "within"]
    assert set(inside["label"]) == {"Nucleoli"}, "elsewhere no set has two proteins and lacks one"
    assert (inside["N"] == 10).all()
    assert (inside["K"] == 5).all(), "G1 and G2 are no nucleolar proteins"
    assert (inside["n_tests"] == 2).all()


def test_locations_asked_for_that_no_proteins_have_are_told(tmp_path):
    tables, _, summary = grouped(tmp_path, within=["Nucleoli", "Nucleolli"])
    inside = tables["groups"][tables["groups"]["grouping"] == "within"]
    assert set(inside["label"]) == {"Nucleoli"}
    assert any(note.endswith("(atlas.groupings.within): Nucleolli") for note in summary["notes"])


def test_terms_by_hand():
    rng = np.random.default_rng(0)
    symbols = {f"P{n}": frozenset([f"P{n}"]) for n in range(30)}
    names = list(symbols)
    sizes = (3, 9, 2, 30, 5)
    sets = [GeneSet(f"s{size}", None, frozenset(rng.choice(names, size, replace=False))) for size in sizes]
    groups = {"1": names[:12], "2": names[12:20], "3": names[29:]}
    limits = {"min_set_size": 3, "max_set_size": None, "min_cluster_size": 2}
    found = group_terms(groups, symbols, {"lib": sets}, limits)
    assert set(found["cluster"]) <= {"1", "2"}, "one protein alone is not asked"
    tested = [one for one in sets if 3 <= len(one.genes) < 30]
    expected = {
        (group, one.term): hypergeom.sf(len(set(own) & one.genes) - 1, 30, len(one.genes), len(own))
        for group, own in groups.items()
        if len(own) > 1
        for one in tested
    }
    assert len(expected) == 6
    assert (found["n_tests"] == 6).all()
    order = sorted(min(p, 1) for p in expected.values())
    for row in found.itertuples():
        p = expected[(row.cluster, row.term)]
        assert row.p == pytest.approx(p)
        q = min(order[later] * 6 / (later + 1) for later in range(6) if order[later] >= p - 1e-12)
        assert row.q == pytest.approx(min(q, 1))
        assert row.k == len(row.genes.split(";"))
    assert len(group_terms({}, symbols, {"lib": sets}, limits)) == 0


@pytest.mark.parametrize("proteins", [0, 1, 3])
def test_hardly_any_proteins(tmp_path, proteins):
    tables, spectrum, summary = grouped(tmp_path, proteins)
    assert len(tables["members"]) == proteins
    assert summary["counts"]["in"] == proteins
    assert spectrum.n_obs in (0, 12)


@pytest.mark.parametrize("points", ["components", "features"])
def test_proteins_that_are_all_alike(tmp_path, points):
    """A model that gives every image the same vector: no components, and no features that vary."""
    tables, spectrum, _ = grouped(tmp_path, 12, points=points, spread=0)
    assert len(tables["members"]) == 12
    assert spectrum.n_obs == 0
