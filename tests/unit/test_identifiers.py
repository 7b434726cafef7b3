"""Names of genes become one gene each, or are told as lost."""

import gzip

import pytest
from wherein.identifiers import Gene, IdentifierError, ensembl_id, read_identifiers

TABLE = """symbol\tensembl_gene_ids\tuniprot_ids\tentrez\tsynonyms
SEPTIN7\tENSG00000122545\tQ16181\t989\tSEPT7;CDC10
CDC10\tENSG00000000010\tP10\t10\t
AKT1\tENSG00000142208;ENSG00000000020\tP31749\t207\tPKB
AKT2\tENSG00000105221\tP31751\t208\tPKB
"""


@pytest.fixture
def known(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text(TABLE)
    return read_identifiers(path)


@pytest.mark.parametrize(
    "name", ["SEPTIN7", "septin7", "ENSG00000122545", "ENSG00000122545.14", "Q16181", "989", "SEPT7"]
)
def test_any_name_finds_its_gene(known, name):
    assert known.find(name) == Gene("SEPTIN7", ("ENSG00000122545",))


def test_a_symbol_goes_before_a_synonym_of_another_gene(known):
    assert known.find("CDC10").symbol == "CDC10"


def test_a_name_of_two_genes_is_none(known):
    assert known.find("PKB") is None
    assert known.is_ambiguous("PKB")
    assert known.find("NOBODY") is None
    assert not known.is_ambiguous("NOBODY")


def test_a_gene_may_have_several_ensembl_ids(known):
    assert known.find("AKT1").ensembl_ids == ("ENSG00000142208", "ENSG00000000020")


def test_packed_tables_and_commas_are_read(tmp_path):
    path = tmp_path / "genes.csv.gz"
    path.write_bytes(gzip.compress(b"Gene name,Gene\nTP53,ENSG00000141510\n"))
    assert read_identifiers(path).find("ENSG00000141510").symbol == "TP53"


def test_a_table_without_genes_is_refused(tmp_path):
    path = tmp_path / "other.tsv"
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(IdentifierError, match="found the columns a, b"):
        read_identifiers(path)
    with pytest.raises(IdentifierError, match="cannot be read"):
        read_identifiers(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("name", "found"),
    [("ensg00000141510.3", "ENSG00000141510"), ("TP53", None), ("ENSMUSG00000059552", "ENSMUSG00000059552")],
)
def test_ensembl_ids_lose_their_version(name, found):
    assert ensembl_id(name) == found
