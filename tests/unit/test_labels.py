import gzip
import itertools

import numpy as np
import pandas as pd
import pytest
from real_data import real_data
from wherein.labels import NEGATIVE, VOCABULARIES, spelling, vocabulary

HPA19 = [
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Intermediate filaments",
    "Actin filaments",
    "Microtubules",
    "Mitotic spindle",
    "Centrosome",
    "Plasma membrane",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Vesicles and punctate cytosolic patterns",
    "Negative",
]


def test_sizes_and_order_of_the_vocabularies():
    assert {name: len(vocabulary(name).classes) for name in VOCABULARIES} == {
        "hpa32": 32,
        "hpa31": 31,
        "hpa28": 28,
        "hpa19": 19,
        "gapnet13": 13,
        "opencell17": 17,
        "yeast17": 17,
    }
    assert list(vocabulary("hpa19").classes) == HPA19
    assert list(vocabulary("gapnet13").classes) == sorted(vocabulary("gapnet13").classes)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_class_means_itself_and_ids_are_ids(name):
    words = vocabulary(name)
    for label, go_id in zip(words.classes, words.go_ids, strict=True):
        assert words.to_classes([label]) == [label]
        assert go_id is None or (go_id.startswith("GO:") and len(go_id) == 10)
    assert len(set(words.classes)) == len(words.classes)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_merges_agree_with_what_the_class_means_in_the_other_vocabulary(name):
    words = vocabulary(name)
    for other, merge in words.merges.items():
        assert set(merge) == set(words.classes)
        for label, there in merge.items():
            assert vocabulary(other).to_classes([label]) == ([there] if there else [])


@pytest.mark.parametrize(
    ("term", "classes"),
    [
        ("Vesicles", ["Vesicles and punctate cytosolic patterns"]),
        ("Peroxisomes", ["Vesicles and punctate cytosolic patterns"]),
        ("Focal adhesion sites", ["Actin filaments"]),
        ("Cell Junctions", ["Plasma membrane"]),
        ("Centriolar satellite", ["Centrosome"]),
        ("Rods & Rings", []),
        ("Cytokinetic bridge (biological definition)", []),
        ("Mitotic spindle (biological definition)", ["Mitotic spindle"]),
        ("Cytosol (GO:0005829)", ["Cytosol"]),
        ("Golgi apparatus;Cytosol", ["Golgi apparatus", "Cytosol"]),
        ("nucleus:cytosol:bud neck", ["Nucleoplasm", "Cytosol"]),
        ("nucleolus_fc_dfc", ["Nucleoli fibrillar center"]),
        ("No staining", [NEGATIVE]),
        ("", []),
    ],
)
def test_terms_of_all_sources_in_hpa19(term, classes):
    assert vocabulary("hpa19").to_classes([term]) == classes
    assert vocabulary("hpa19").unknown([term]) == []


def test_unknown_terms_are_named_and_mean_nothing():
    words = vocabulary("hpa19")
    assert words.unknown(["Cytosol", "Cytosool", "Nucleoli; Mars"]) == ["Cytosool", "Nucleoli; Mars"]
    assert words.to_classes(["Cytosool", "Nucleoli; Mars"]) == ["Nucleoli"]
    with pytest.raises(ValueError, match="unknown vocabulary 'hpa20': there are hpa32"):
        vocabulary("hpa20")


def test_indicator_is_to_classes_as_a_matrix():
    words = vocabulary("hpa19")
    terms = [["Cytosol", "Nucleoplasm"], [], ["Midbody"], ["Lysosomes", "Vesicles"]]
    matrix = words.indicator(terms)
    assert matrix.shape == (4, 19)
    for row, found in zip(matrix, terms, strict=True):
        assert [words.classes[k] for k in np.flatnonzero(row)] == words.to_classes(found)


def published_terms():
    folder = real_data("annot")
    hpa = pd.read_csv(folder / "hpa_subcellular_location.tsv.gz", sep="\t")
    columns = [name for name in hpa.columns if name not in ("Gene", "Gene name", "Reliability")]
    terms = {term for name in columns for cell in hpa[name].dropna() for term in cell.split(";")}
    terms |= set(pd.read_csv(folder / "opencell_annotations_flat.csv.gz")["annotation_name"])
    with gzip.open(folder / "yeast_localization_annotations.csv.gz", "rt", encoding="utf-8-sig") as lines:
        yeast = pd.read_csv(lines)
    columns = [name for name in yeast.columns if name.lower().endswith("localization") or name == "Pup2-DAmP"]
    terms |= set(itertools.chain.from_iterable(yeast[name].dropna() for name in columns))
    for kind in ("single", "multi"):
        terms |= set(pd.read_csv(folder / f"hpa_public_{kind}_label_images.csv.gz")["Label_idx"].dropna())
    return sorted(terms)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_published_term_is_known(name):
    terms = published_terms()
    assert len(terms) > 500
    assert vocabulary(name).unknown(terms) == []


def test_hpa19_is_what_the_competition_of_2021_made_of_the_published_terms():
    # `Label_idx` holds the terms of the atlas, `Label` the competition's classes, for the same images
    table = pd.read_csv(real_data("annot") / "hpa_public_single_label_images.csv.gz")
    table = table[~table["Label_idx"].isin(["Cytokinetic bridge", "Mitotic spindle"])].drop_duplicates("Label_idx")
    words = vocabulary("hpa19")
    assert len(table) > 20
    for term, index in zip(table["Label_idx"], table["Label"], strict=True):
        assert words.to_classes([term]) == [words.classes[int(index)]], term


def test_hpa28_is_what_hpa_18_published_for_images_of_one_location():
    folder = real_data("annot")
    now = pd.read_csv(folder / "hpa_public_single_label_images.csv.gz")
    then = pd.read_csv(folder / "HPAv18_image_labels.csv.gz")
    then["ID"] = then["Id"].str.split("_").str[2:].str.join("_")
    both = now.merge(then[["ID", "Target"]].drop_duplicates("ID"), on="ID")
    words = vocabulary("hpa28")
    checked = 0
    for term, part in both.groupby("Label_idx"):
        found = words.to_classes([term])
        # annotations change between releases; rare terms too often for a majority
        if found and len(part) >= 30 and term != "Aggresome":
            most = part["Target"].str.split().explode().value_counts().index[0]
            assert words.classes[int(most)] == found[0], term
            checked += 1
    assert checked >= 15


def test_spelling_ignores_case_and_signs():
    assert spelling("Rods & Rings") == spelling("rods and rings") == "rodsandrings"
