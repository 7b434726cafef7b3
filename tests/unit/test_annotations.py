"""Gene sets made from annotations: evidence and groups left out, terms above filled, everything counted."""

import gzip
import json

import pytest
from wherein.analysis.annotations import AnnotationError, make_gene_sets, propagated, read_annotations, read_obo
from wherein.analysis.gene_sets import read_gmt

OBO = """format-version: 1.2

[Term]
id: GO:0000001
name: cell part

[Term]
id: GO:0000002
name: membrane
alt_id: GO:0000099
is_a: GO:0000001 ! cell part

[Term]
id: GO:0000003
name: inner membrane
is_a: GO:0000002 ! membrane
relationship: part_of GO:0000005 ! organelle
relationship: regulates GO:0000004 ! another

[Term]
id: GO:0000004
name: another

[Term]
id: GO:0000005
name: organelle
is_a: GO:0000001
relationship: part_of GO:0000007

[Term]
id: GO:0000007
name: a process
namespace: biological_process

[Term]
id: GO:0000006
name: gone
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""


def gaf(*rows):
    lines = ["!gaf-version: 2.2", "!generated-by: nobody"]
    for gene, qualifier, term, evidence, aspect, group in rows:
        parts = ["UniProtKB", "P0", gene, qualifier, term, "PMID:1", evidence, "", aspect, "", "", "protein",
                 "taxon:9606", "20200101", group, "", ""]  # fmt: skip
        lines.append("\t".join(parts))
    return "\n".join(lines) + "\n"


ROWS = (
    ("AAA", "located_in", "GO:0000003", "IDA", "C", "UniProt"),
    ("BBB", "located_in", "GO:0000002", "IDA", "C", "HPA"),
    ("CCC", "NOT|located_in", "GO:0000002", "IDA", "C", "UniProt"),
    ("DDD", "located_in", "GO:0000099", "IEA", "C", "InterPro"),
    ("EEE", "involved_in", "GO:0000002", "IDA", "P", "UniProt"),
    ("FFF", "located_in", "GO:0000006", "IDA", "C", "UniProt"),
)


def made(tmp_path, text=None, **over):
    annotations, ontology = tmp_path / "goa.gaf.gz", tmp_path / "go.obo"
    annotations.write_bytes(gzip.compress((gaf(*ROWS) if text is None else text).encode()))
    ontology.write_text(OBO)
    source = {"annotations": str(annotations), "ontology": str(ontology), "aspect": "C"}
    source |= {"leave_out_assigned_by": ["HPA"], "leave_out_evidence": []} | over
    make_gene_sets("cc", source, tmp_path / "cc.gmt", tmp_path / "summary.json")
    sets = {one.term_id: (one.term, set(one.genes)) for one in read_gmt(tmp_path / "cc.gmt")}
    return sets, json.loads((tmp_path / "summary.json").read_text())


def test_terms_hold_what_lies_below_and_the_atlas_stays_out(tmp_path):
    sets, summary = made(tmp_path)
    assert sets == {
        "GO:0000001": ("cell part", {"AAA", "DDD"}),
        "GO:0000002": ("membrane", {"AAA", "DDD"}),
        "GO:0000003": ("inner membrane", {"AAA"}),
        "GO:0000005": ("organelle", {"AAA"}),
    }
    counts = summary["counts"]
    assert counts == {"in": 5, "kept": 2, "negated": 1, "assigned_by": 1, "evidence": 0, "obsolete": 1}
    assert counts["in"] == sum(count for reason, count in counts.items() if reason != "in")
    assert any("1 annotations assigned by HPA are left out" in note for note in summary["notes"])


def test_everybody_counts_where_asked(tmp_path):
    sets, _ = made(tmp_path, leave_out_assigned_by=[], leave_out_evidence=["IEA"])
    assert sets["GO:0000002"][1] == {"AAA", "BBB"}


def test_without_an_ontology_terms_stand_alone(tmp_path):
    sets, summary = made(tmp_path, ontology=None)
    assert {term: genes for term, (_, genes) in sets.items()} == {
        "GO:0000003": {"AAA"}, "GO:0000099": {"DDD"}, "GO:0000006": {"FFF"},
    }  # fmt: skip
    assert any("no ontology" in note for note in summary["notes"])


def test_other_ontologies_of_the_file(tmp_path):
    sets, _ = made(tmp_path, aspect="P")
    assert sets["GO:0000002"][1] == {"EEE"}


def test_tables_of_ones_own(tmp_path):
    text = (
        "gene,term,name,evidence,assigned_by\nYAL001C,own:1,my set,IDA,me\nYAL002W,own:1,my set,IDA,HPA\n,own:2,x,,\n"
    )
    sets, summary = made(tmp_path, text, ontology=None)
    assert sets == {"own:1": ("my set", {"YAL001C"})}
    assert summary["counts"]["in"] == 2


def test_broken_files_say_what_is_expected(tmp_path):
    with pytest.raises(AnnotationError, match="found the columns a, b; annotations are a GAF file"):
        made(tmp_path, "a,b\n1,2\n")
    with pytest.raises(AnnotationError, match="line 2: found 2 columns"):
        made(tmp_path, "!gaf-version: 2.2\nx\ty\n")
    with pytest.raises(AnnotationError, match="of 5 annotations none is left"):
        made(tmp_path, leave_out_assigned_by=["HPA", "UniProt", "InterPro"])
    with pytest.raises(AnnotationError, match="cannot be read"):
        list(read_annotations(tmp_path / "none.gaf", "C"))
    whole = gzip.compress((gaf(*ROWS) * 50).encode())
    for broken in (whole[:-20], whole[:30] + b"0000" + whole[34:]):
        (tmp_path / "cut.gaf.gz").write_bytes(broken)
        with pytest.raises(AnnotationError, match="cannot be read"):
            list(read_annotations(tmp_path / "cut.gaf.gz", "C"))
    (tmp_path / "empty.obo").write_text("format-version: 1.2\n")
    with pytest.raises(AnnotationError, match=r"no \[Term\]"):
        read_obo(tmp_path / "empty.obo")


def test_qualifiers_behind_an_identifier_hide_no_parent(tmp_path):
    text = (
        '[Term]\nid: a:1\nname: whole\n\n[Term]\nid: a:2\nname: part\nis_a: a:1 {is_inferred="true"} ! whole\n\n'
        '[Term]\nid: a:3\nrelationship: part_of a:2 {source="x:1", source="y z"}\n'
    )
    (tmp_path / "qualified.obo").write_text(text)
    ontology = read_obo(tmp_path / "qualified.obo")
    assert ontology.parents == {"a:1": (), "a:2": ("a:1",), "a:3": ("a:2",)}
    assert propagated({"a:3": {"X"}}, ontology) == {"a:1": {"X"}, "a:2": {"X"}, "a:3": {"X"}}


def test_a_loop_in_an_ontology_ends(tmp_path):
    (tmp_path / "loop.obo").write_text("[Term]\nid: a:1\nis_a: a:2\n\n[Term]\nid: a:2\nis_a: a:1\n")
    found = propagated({"a:1": {"X"}}, read_obo(tmp_path / "loop.obo"))
    assert found["a:2"] == {"X"}
