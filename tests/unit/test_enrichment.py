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
from wherein.analysis.enrichment import LIBRARIES, enrich, enrich_clusters
from wherein.analysis.gene_sets import GeneSetError, members_in_universe, read_genome, read_gmt, worth_testing
from wherein.analysis.tested import STATED
from wherein.settings import ENRICHMENT_KEYS


def write_atlas(path, genes_of_cluster):
    rows = [(gene, str(cluster)) for cluster, genes in genes_of_cluster.items() for gene in genes]
    obs = pd.DataFrame(
        {
            "genes": [gene.replace("/", ";") for gene, _ in rows],
            "ensembl_ids": "",
            "cluster": pd.Categorical([c for _, c in rows]),
        },
        index=[gene for gene, _ in rows],
    )
    AnnData(np.zeros((len(rows), 1), np.float32), obs=obs).write_h5ad(path)
    return path


def run(tmp_path, genes_of_cluster, gene_sets, **over):
    own = settings("biology", **over)
    own = settings("biology", **over)
    own = settings("biology", **over)
    enrich_clusters(
        model="m",
        proteins=write_atlas(tmp_path / "proteins.h5ad", genes_of_cluster),
        settings={key: own[key] for key in ENRICHMENT_KEYS} | {"gene_sets": {k: str(v) for k, v in gene_sets.items()}},
        enrichment=tmp_path / "enrichment.tsv",
        libraries=tmp_path / "libraries.tsv",
        identifiers=tmp_path / "identifiers.tsv",
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


def compartments_of_genes():
    """Four planted compartments of 24 proteins, and sets of a tree of terms over them as the Gene Ontology has it."""
    rng = np.random.default_rng(4)
    names = ("nucleolus", "mitochondrion", "centrosome", "actin cytoskeleton")
    genes = {name: [f"{name[:3].upper()}{number}" for number in range(24)] for name in names}
    every = [gene for own in genes.values() for gene in own]
    lines = []
    for name, own in genes.items():
        known = [*rng.choice(own, 18, replace=False)]
        others = [gene for gene in every if gene not in own]
        lines += [
            (f"everything about {name}", "T:1", *known, *rng.choice(others, 40, replace=False), *map(str, range(400))),
            (f"region of {name}", "T:2", *known, *rng.choice(others, 12, replace=False)),
            (name, "T:3", *known, *rng.choice(others, 3, replace=False), *(f"{name}{n}" for n in range(20))),
            (f"{name} and more", "T:4", *known, *rng.choice(others, 4, replace=False)),
            (f"part of {name}", "T:5", *known[:7]),
            (f"subunits of {name}", "T:6", *known[2:6]),
        ]
    lines += [(f"noise {n}", "N", *rng.choice(every, 20, replace=False)) for n in range(60)]
    return genes, [lines[place] for place in rng.permutation(len(lines))]


def test_each_compartment_is_named_by_its_term_after_trimming(tmp_path):
    genes, lines = compartments_of_genes()
    # a quarter of each cluster belongs elsewhere
    names = list(genes)
    clusters = {number: genes[name][:18] + genes[names[number % 4]][18:] for number, name in enumerate(names, start=1)}
    table, _ = run(tmp_path, clusters, {"planted": write_gmt(tmp_path / "sets.gmt", *lines)}, permutations=0)
    for number, name in enumerate(names, start=1):
        own = table[table["cluster"] == str(number)]
        leading = own[own["term"] == own["representative"]]
        assert name in leading["term"].head(3).tolist()
        under = own.set_index("term")["representative"]
        assert under[f"region of {name}"] == under[name], "the broader term says no more"
        assert (own["p"].diff().dropna() >= 0).all()


def test_of_sets_with_the_same_p_the_more_specific_one_speaks(tmp_path):
    genes = [f"G{number}" for number in range(40)]
    lines = [
        ("the whole cell", "", *genes[:8], *(f"X{n}" for n in range(500))),
        ("organelle", "", *genes[:8], *(f"X{n}" for n in range(30))),
        ("its membrane", "", *genes[:8]),
        ("another", "", *genes[20:30]),
    ]
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 2, 0, 3)):
        gmt = write_gmt(tmp_path / "sets.gmt", *(lines[place] for place in order))
        table, _ = run(tmp_path, {1: genes[:10], 2: genes[10:]}, {"sets": gmt}, permutations=0)
        own = table[table["cluster"] == "1"]
        assert own["term"].tolist() == ["its membrane", "organelle", "the whole cell"]
        assert own["representative"].tolist() == ["its membrane"] * 3


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
    (tmp_path / "cut.gmt.gz").write_bytes(gzip.compress(b"good\tid\tA\n" * 99)[:-12])
    with pytest.raises(GeneSetError, match="neither UTF-8 text nor"):
        read_gmt(tmp_path / "cut.gmt.gz")
    with pytest.raises(GeneSetError, match="cannot be read"):
        read_genome(tmp_path / "cut.gmt.gz", None)


def test_the_question_is_the_whole_library(tmp_path):
    genes = [f"GENE{n}" for n in range(60)]
    lines = [(f"set {n}", f"GO:{n:07d}", *genes[n : n + 12 : 1]) for n in range(0, 48, 4)]
    gmt = write_gmt(tmp_path / "sets.gmt", *lines)
    table, summary = run(tmp_path, {1: genes[:14], 2: genes[14:40], 3: genes[40:]}, {"go": gmt}, permutations=50)
    assert set(table["n_tests"]) == {36}
    p = np.ones(36)
    p[: len(table)] = table["p"]
    order = np.argsort(p)
    q = np.minimum.accumulate((p[order] * 36 / np.arange(1, 37))[::-1])[::-1]
    assert np.allclose(np.sort(table["q"]), np.sort(q)[: len(table)].clip(max=1), rtol=1e-6)
    assert table["p_permuted"].between(1 / 51 - 1e-6, 1).all()
    about = pd.read_csv(tmp_path / "libraries.tsv", sep="\t")
    assert list(about.columns) == [*LIBRARIES, *STATED]
    row = about.iloc[0]
    assert (row["n_tested"], row["n_clusters"], row["n_tests"], row["N"]) == (12, 3, 36, 60)
    assert row["n_found"] == (table["q"] <= 0.05).sum() <= row["n_found_gseapy"] == (table["q_gseapy"] <= 0.05).sum()
    assert row["n_found_permuted"] == (table["q_permuted"] <= 0.05).sum()
    assert pd.isna(row["n_found_genome"])
    assert summary["libraries"][0]["n_tests"] == 36
    named = table.dropna(subset=["representative"])
    assert (named["p"] <= 0.05).all()
    assert set(named["representative"]) <= set(named["term"])


def test_a_whole_genome_makes_more_of_the_same(tmp_path):
    genes = [f"GENE{n}" for n in range(40)]
    elsewhere = [f"OTHER{n}" for n in range(160)]
    gmt = write_gmt(tmp_path / "sets.gmt", ("both", "GO:1", *genes[:20], *elsewhere[:5]), ("run", "GO:2", *genes[:30]))
    genome = tmp_path / "genome.tsv"
    rows = [(gene, "protein-coding") for gene in genes + elsewhere] + [("RNA1", "ncRNA")]
    genome.write_text("symbol\tgene_type\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    clusters = {1: genes[:20], 2: genes[20:]}
    table, _ = run(tmp_path, clusters, {"go": gmt}, genome=str(genome), permutations=0)
    row = table[(table["cluster"] == "1") & (table["term"] == "both")].iloc[0]
    assert (row["K"], row["N"], row["K_genome"], row["N_genome"]) == (20, 40, 25, 200)
    assert row["p_genome"] == pytest.approx(hypergeom.sf(19, 200, 25, 20))
    # every protein of the run was chosen: against the genome, all of them have the set in common
    row = table[(table["cluster"] == "1") & (table["term"] == "run")].iloc[0]
    assert row["p_genome"] < 1e-9 < 1e-4 < row["p"]
    assert table["p_permuted"].isna().all()
    bare = tmp_path / "genome.txt"
    bare.write_text("\n".join(genes + elsewhere))
    again, _ = run(tmp_path, clusters, {"go": gmt}, genome=str(bare), permutations=0)
    assert again["p_genome"].equals(table["p_genome"])
    bare.write_text("gene_type\tsymbol\nprotein_coding\tAAA\nlncRNA\tBBB\nprotein-coding\n")
    assert read_genome(bare, None) == {"AAA"}
    bare.write_text("")
    with pytest.raises(GeneSetError, match="found no gene"):
        run(tmp_path, clusters, {"go": gmt}, genome=str(bare))


def test_names_are_translated_and_losses_listed(tmp_path):
    known = tmp_path / "genes.tsv"
    known.write_text(
        "symbol\tensembl_gene_ids\tuniprot_ids\tentrez\tsynonyms\n"
        "AAA\tENSG00000000001\tP00001\t1\tOLD1;SHARED\nBBB\tENSG00000000002\tP00002\t2\tSHARED\n"
        "CCC\tENSG00000000003\tP00003\t3\t\n"
    )
    gmt = write_gmt(tmp_path / "sets.gmt", ("set", "GO:1", "OLD1", "P00002", "3", "NOWHERE"))
    clusters = {1: ["old1", "ENSG00000000002", "CCC"], 2: ["SHARED", "DDD", "EEE"]}
    table, _ = run(tmp_path, clusters, {"own": gmt}, identifiers=str(known))
    assert table[["k", "n", "K", "N"]].to_numpy().tolist() == [[3, 3, 3, 6]]
    lost = pd.read_csv(tmp_path / "identifiers.tsv", sep="\t", dtype=str, keep_default_na=False)
    told = {(row.what, row.identifier): (row.symbol, row.how) for row in lost.itertuples() if row.how != "in_no_set"}
    assert told[("protein", "old1")] == ("AAA", "translated")
    assert told[("protein", "ENSG00000000002")] == ("BBB", "translated")
    assert told[("protein", "SHARED")] == ("", "ambiguous")
    assert told[("protein", "DDD")] == ("", "unknown")
    assert told[("gene_set", "3")] == ("CCC", "translated")
    assert told[("gene_set", "NOWHERE")] == ("", "unknown")
    assert ("protein", "CCC") not in told
    nowhere = lost[lost["how"] == "in_no_set"]
    assert set(nowhere["identifier"]) == {"SHARED", "DDD", "EEE"}
    assert set(nowhere["library"]) == {"own"}


def test_systematic_names_of_yeast_find_sets_of_symbols(tmp_path):
    known = tmp_path / "yeast.tsv"
    known.write_text(
        "symbol\tsynonyms\nTFC3\tYAL001C;FUN24\nVPS8\tYAL002W\nEFB1\tYAL003W;TEF5\nACT1\tYFL039C;END7\n"
        "CDC24\tYAL041W;TEF5\n\tYAL004W\n"
    )
    # of a strain whose table names some genes by their systematic name alone; TEF5 was the name of two
    clusters = {
        1: ["YAL001C", "YAL002W", "efb1", "ACT1"],
        2: ["YAL041W", "TEF5", "YAL004W", "YBR999W", "YCL001W-A", "YDR001C"],
    }
    lines = [("first", "GO:1", "TFC3", "VPS8", "EFB1", "ACT1"), ("second", "GO:2", "CDC24", "YDR001C", "END7", "NOT1")]
    sets = {"yeast": write_gmt(tmp_path / "sets.gmt", *lines)}
    table, _ = run(tmp_path, clusters, sets, identifiers=str(known), min_set_size=2)
    first = table[(table["cluster"] == "1") & (table["term"] == "first")].iloc[0]
    assert first[["k", "n", "K", "N"]].tolist() == [4, 4, 4, 10]
    assert first["p"] == pytest.approx(hypergeom.sf(3, 10, 4, 4))
    assert first["genes"].split(";") == ["YAL001C", "YAL002W", "efb1", "ACT1"]
    second = table[(table["cluster"] == "2") & (table["term"] == "second")].iloc[0]
    # END7 is ACT1's, of the other cluster; NOT1 is of no protein here
    assert second[["k", "n", "K", "N"]].tolist() == [2, 6, 3, 10]
    assert second["genes"].split(";") == ["YAL041W", "YDR001C"]
    lost = pd.read_csv(tmp_path / "identifiers.tsv", sep="\t", dtype=str, keep_default_na=False)
    told = {(row.what, row.identifier): (row.symbol, row.how) for row in lost.itertuples() if row.how != "in_no_set"}
    assert told == {
        ("protein", "YAL001C"): ("TFC3", "translated"),
        ("protein", "YAL002W"): ("VPS8", "translated"),
        ("protein", "YAL041W"): ("CDC24", "translated"),
        ("protein", "TEF5"): ("", "ambiguous"),
        **{("protein", name): ("", "unknown") for name in ("YAL004W", "YBR999W", "YCL001W-A", "YDR001C")},
        ("gene_set", "END7"): ("ACT1", "translated"),
        **{("gene_set", name): ("", "unknown") for name in ("NOT1", "YDR001C")},
    }
    nowhere = lost.loc[lost["how"] == "in_no_set", "identifier"]
    assert sorted(nowhere) == ["TEF5", "YAL004W", "YBR999W", "YCL001W-A"]


def test_cellular_components_come_with_a_warning(tmp_path):
    gmt = write_gmt(tmp_path / "sets.gmt", ("nucleus (GO:0005634)", "GO:0005634", "A", "B", "C"))
    _, summary = run(tmp_path, {1: ["A", "B", "C"], 2: ["D", "E", "F"]}, {"go": gmt})
    assert any("Human Protein Atlas assigned" in note for note in summary["notes"])
    assert summary["libraries"][0]["cellular_components"] is True
    gmt = write_gmt(tmp_path / "sets.gmt", ("process (GO:0006103)", "GO:0006103", "A", "B", "C"))
    _, summary = run(tmp_path, {1: ["A", "B", "C"], 2: ["D", "E", "F"]}, {"go": gmt})
    assert not any("Human Protein Atlas assigned" in note for note in summary["notes"])


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
