import gzip
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_embeddings import settings
from real_data import real_data
from scipy.stats import hypergeom
from wherein.analysis.enrichment import (
    GeneSetError,
    enrich,
    enrich_clusters,
    members_in_universe,
    read_gmt,
    worth_testing,
)


def write_atlas(path, genes_of_cluster):
    rows = [(gene, str(cluster)) for cluster, genes in genes_of_cluster.items() for gene in genes]
    obs = pd.DataFrame(
        {"genes": [gene.replace("/", ";") for gene, _ in rows], "cluster": pd.Categorical([c for _, c in rows])},
        index=[gene for gene, _ in rows],
    )
    AnnData(np.zeros((len(rows), 1), np.float32), obs=obs).write_h5ad(path)
    return path


def run(tmp_path, genes_of_cluster, gene_sets, **over):
    enrich_clusters(
        model="m",
        proteins=write_atlas(tmp_path / "proteins.h5ad", genes_of_cluster),
        settings=settings("biology", gene_sets={name: str(path) for name, path in gene_sets.items()}, **over),
        enrichment=tmp_path / "enrichment.tsv",
        summary=tmp_path / "summary.json",
    )
    table = pd.read_csv(tmp_path / "enrichment.tsv", sep="\t", dtype={"cluster": str})
    return table, json.loads((tmp_path / "summary.json").read_text())


def write_gmt(path, *lines):
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


def test_p_q_and_counts_by_brute_force():
    rng = np.random.default_rng(0)
    universe = [f"g{n}" for n in range(60)]
    members = [
        sorted(rng.choice(universe, size, replace=False), key=universe.index) for size in rng.integers(3, 30, 25)
    ]
    members += [universe[50:54]]
    cluster = universe[:12]
    table = enrich(cluster, members, universe)
    p = np.array([hypergeom.sf(len(set(cluster) & set(own)) - 1, 60, len(own), 12) for own in members])
    order = np.argsort(p)
    q = np.empty(len(p))
    q[order] = np.minimum(1, np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1])
    assert np.allclose(table["p"], p[table["set"]], rtol=1e-12)
    assert np.allclose(table["q"], q[table["set"]], rtol=1e-12)
    assert (table["q_gseapy"] <= table["q"] + 1e-12).all()
    assert 25 not in set(table["set"]), "no overlap, no row, but one more test"
    for row in table.itertuples():
        own = members[row.set]
        k = len(set(cluster) & set(own))
        a, b, c, d = k + 0.5, len(own) - k + 0.5, 12 - k + 0.5, 60 - len(own) - 12 + k + 0.5
        assert (row.k, row.n, row.K, row.N) == (k, 12, len(own), 60)
        assert set(row.proteins) == set(cluster) & set(own)
        assert row.odds_ratio == pytest.approx(a * d / (b * c))


def test_names_that_a_gene_set_tool_would_change():
    universe = ["7157", "672", "C1orf112", "c1orf112", "x/y", "5"]
    table = enrich(universe[:2], [["7157", "672", "C1orf112"]], universe)
    assert table["proteins"].tolist() == [["7157", "672"]]
    assert table["p"].iloc[0] == pytest.approx(hypergeom.sf(1, 6, 3, 2))


def test_planted_set_is_found(tmp_path):
    genes = [f"GENE{n}" for n in range(80)]
    lines = [(f"noise {n} (GO:{n:07d})", f"GO:{n:07d}", *genes[n::9]) for n in range(9)]
    planted = ("planted (GO:0005730)", "GO:0005730", *genes[:10])
    gmt = write_gmt(tmp_path / "sets.gmt", *lines, planted)
    table, summary = run(tmp_path, {1: genes[:12], 2: genes[12:60], 3: genes[60:]}, {"go": gmt})
    best = table.sort_values("q").iloc[0]
    assert (best["cluster"], best["term"], best["term_id"]) == ("1", "planted", "GO:0005730")
    assert (best["k"], best["n"], best["K"], best["N"]) == (10, 12, 10, 80)
    assert best["q"] < 1e-6
    assert (table.loc[table["term"] != "planted", "q"] > 0.05).all()
    assert any("10 of 10 sets tested" in note for note in summary["notes"])


def test_proteins_of_several_genes_count_once(tmp_path):
    gmt = write_gmt(tmp_path / "sets.gmt", ("set", "", "tuba1a", "TUBA1B", "ACTB", "LMNA"))
    clusters = {1: ["TUBA1A/TUBA1B/TUBA1C", "ACTB", "LMNA"], 2: ["B", "C", "D"]}
    table, _ = run(tmp_path, clusters, {"own": gmt})
    assert table[["k", "n", "K", "N"]].to_numpy().tolist() == [[3, 3, 3, 6]]
    assert table["genes"].iloc[0] == "TUBA1A/TUBA1B/TUBA1C;ACTB;LMNA"


def test_sizes_in_the_universe():
    members = [list(range(size)) for size in (0, 1, 2, 3, 9, 10)]
    assert worth_testing(members, 10, 3, None) == [3, 4]
    assert worth_testing(members, 10, 1, 2) == [1, 2]


def test_nothing_to_ask_gives_an_empty_table(tmp_path):
    gmt = write_gmt(tmp_path / "sets.gmt", ("set", "", "A", "B", "C"))
    for clusters, sets in (
        ({1: ["A", "B", "C", "D"]}, {}),
        ({}, {"own": gmt}),
        ({1: ["A"]}, {"own": gmt}),
        ({1: ["X", "Y", "Z"], 2: ["U", "V", "W"]}, {"own": gmt}),
        ({1: ["A", "B", "C"]}, {"own": gmt}),
    ):
        table, summary = run(tmp_path, clusters, sets)
        assert len(table) == 0
        assert "q_gseapy" in table
        assert summary["notes"]


def test_losses_are_told(tmp_path):
    gmt = write_gmt(tmp_path / "sets.gmt", ("set", "", "A", "B", "C"))
    _, summary = run(tmp_path, {1: ["A", "B", "C", "MISSING1"], 2: ["E"]}, {"own": gmt})
    notes = " ".join(summary["notes"])
    assert "MISSING1" in notes
    assert "1 clusters of fewer than 3 proteins" in notes
    assert summary["counts"] == {"in": 2, "kept": 1, "small_sample": 1}


def test_gmt_files_as_people_have_them(tmp_path):
    text = (
        "\ufeffnucleolus (GO:0005730)\tGO:0005730\tFBL\tncl\t\t\r\n"
        "2-oxo process (GO:0006103)\t\tIDH1\n"
        "\n"
        "2-LTR circle formation\tR-HSA-164843\tBANF1\n"
        "HALLMARK\thttps://example.org/set\tA\tB\n"
        "BCL6 complex (human)\tCORUM:1\tBCL6\n"
        "empty\tGO:1\t\n"
    )
    plain, packed = tmp_path / "sets.gmt", tmp_path / "sets.gmt.gz"
    plain.write_text(text, encoding="utf-8", newline="")
    packed.write_bytes(gzip.compress(text.encode()))
    sets = read_gmt(plain)
    assert sets == read_gmt(packed)
    assert [(one.term, one.term_id) for one in sets] == [
        ("nucleolus", "GO:0005730"),
        ("2-oxo process", "GO:0006103"),
        ("2-LTR circle formation", "R-HSA-164843"),
        ("HALLMARK", None),
        ("BCL6 complex (human)", "CORUM:1"),
    ]
    assert sets[0].genes == {"FBL", "NCL"}


def test_broken_gene_sets_say_where(tmp_path):
    with pytest.raises(GeneSetError, match=r"none\.gmt: there is no such file"):
        read_gmt(tmp_path / "none.gmt")
    broken = tmp_path / "broken.gmt"
    broken.write_text("good\tid\tA\nno tabs here\n")
    with pytest.raises(GeneSetError, match="line 2: found 1 columns"):
        read_gmt(broken)
    (tmp_path / "not.gmt.gz").write_bytes(b"plain text")
    with pytest.raises(GeneSetError, match="neither UTF-8 text nor"):
        read_gmt(tmp_path / "not.gmt.gz")


def test_no_network(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    gmt = write_gmt(tmp_path / "sets.gmt", ("set", "", "A", "B", "C"))
    table, _ = run(tmp_path, {1: ["A", "B", "C"], 2: ["D", "E", "F"]}, {"own": gmt})
    assert len(table) == 1


def test_enrichment_needs_no_map_and_no_network_library():
    scripts = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import wherein.analysis.enrichment; "
        "print([m for m in ('umap', 'numba', 'torch', 'sklearn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code, str(scripts)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_published_embedding_and_gene_ontology(tmp_path):
    from wherein.analysis.clustering import cut, hierarchical_clustering
    from wherein.analysis.projection import principal_components

    vectors = pd.read_csv(real_data("smoke_hpa_4ch") / "cm4ai_outputs" / "image_emd.tsv.gz", sep="\t", index_col=0)
    gmt = real_data("annot") / "GO_CC_propagated_2022-09.gmt.gz"
    scores, _, _ = principal_components(vectors.to_numpy(np.float32), 50)
    numbers = cut(*hierarchical_clustering(scores, "ward", "euclidean", 1000), None, None)
    clusters = {n: list(vectors.index[numbers == n]) for n in range(1, numbers.max() + 1)}
    table, summary = run(tmp_path, clusters, {"GO CC": gmt})
    assert set(table["N"]) == {93}
    symbols = {gene: frozenset([gene]) for gene in vectors.index}
    sets = {one.term_id: one for one in read_gmt(gmt)}
    for row in table.sample(50, random_state=0).itertuples():
        own = members_in_universe([sets[row.term_id]], symbols)[0]
        cluster = clusters[int(row.cluster)]
        assert row.k == len(set(own) & set(cluster))
        assert row.p == pytest.approx(hypergeom.sf(row.k - 1, 93, len(own), len(cluster)), rel=1e-6)
    assert table["term_id"].str.match(r"GO:\d{7}").all()
    assert any("sets tested" in note for note in summary["notes"])
