"""Published embeddings and class probabilities of 93 proteins come in whole."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from real_data import real_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from vectors_source import taken_over
from wherein.labels import vocabulary
from wherein.tables import read_metadata, read_vectors


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = real_data("smoke_hpa_4ch/cm4ai_outputs")
    return folder, taken_over(
        tmp_path_factory.mktemp("cm4ai"), folder / "image_emd.tsv.gz", cell_line="MDA-MB-468", shard_fields=50,
        probabilities={"table": str(folder / "labels_prob.tsv"), "vocabulary": "hpa28"},
        labels=str(real_data("annot/hpa_subcellular_location.tsv.gz")),
        identifiers=str(real_data("annot/human_gene_id_map.tsv.gz")),
    )  # fmt: skip


def test_every_protein_has_its_1024_numbers(published):
    """The header is one name short, so that a careless reader loses the last feature."""
    folder, found = published
    units, vectors = read_vectors(found.embeddings)
    assert vectors.shape == (93, 1024)
    assert found.qc["reason"].eq("passed").all()
    assert len(found.embeddings) == 2
    table = pd.read_csv(folder / "image_emd.tsv.gz", sep="\t", index_col=0)
    genes = found.fields.set_index("field_id")["genes"].str[0]
    np.testing.assert_array_equal(vectors, table.loc[genes[units["field_id"]]].to_numpy(np.float32))
    assert read_metadata(found.embeddings[0])["dimensions"] == []


def test_every_class_finds_its_name(published):
    folder, found = published
    words = vocabulary("hpa28")
    table = pd.concat([pd.read_parquet(path) for path in found.predictions]).set_index("field_id")
    theirs = pd.read_csv(folder / "labels_prob.tsv", sep="\t", index_col=0)
    assert [words.to_classes([name]) for name in theirs.columns] == [[name] for name in words.classes]
    ours = table[list(words.classes)].set_axis(found.fields.set_index("field_id")["genes"].str[0][table.index])
    np.testing.assert_allclose(ours.loc[theirs.index], theirs, rtol=1e-6)


def test_published_locations_and_identifiers(published):
    _, found = published
    fields = found.fields.set_index(found.fields["genes"].str[0])
    # three have a second id, on another assembly of their chromosome
    assert fields["ensembl_ids"].str.len().value_counts().to_dict() == {1: 90, 2: 3}
    assert set(fields.index[fields["labels"].str.len() == 0]) == {"HDAC10", "HDAC11", "KAT2A", "PPP1CC", "PRKAG3"}
    assert fields.loc["AURKA", "labels"].tolist() == ["Centrosome", "Cytosol", "Nucleoplasm"]


def test_the_most_probable_class_is_less_often_right_than_the_nucleoplasm(published):
    """The published probabilities against the atlas's locations: these are proteins of chromatin, in other cells."""
    _, found = published
    words = vocabulary("hpa28")
    table = pd.concat([pd.read_parquet(path) for path in found.predictions]).set_index("field_id")
    truth = words.indicator(found.fields.set_index("field_id").loc[table.index, "labels"].tolist())
    known = truth.any(axis=1)
    best = table[list(words.classes)].to_numpy().argmax(axis=1)
    assert known.sum() == 88
    assert truth[np.flatnonzero(known), best[known]].sum() == 63
    assert truth[:, words.classes.index("Nucleoplasm")].sum() == 73
