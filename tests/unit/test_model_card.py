from pathlib import Path

import pytest
from wherein.models.weights import read_weights
from wherein.views.model_card import short_card

KNOWN = read_weights(Path(__file__).resolve().parents[2] / "resources" / "weights.tsv")
GAPNET = KNOWN["gapnet-pl-2019"]


def scores(classifier, macro_f1=0.553, **words):
    fields = {"macro_f1": macro_f1, "macro_auc": 0.9, "n_fields": 1198, "n_genes": 76, "baseline_macro_f1": 0.078}
    fields |= {"intervals": {"macro_f1": [0.5, 0.6123]}} | words
    return {"classifier": classifier, "vocabulary": "hpa19", "notes": ["no labels to score against"], "fields": fields}


def test_hand_crafted_features():
    own = {"kind": "classic", "level": "cell", "weights": None}
    embedded = [{"roles": ["nucleus", "er", "protein"], "weights": None}, {"roles": ["nucleus", "protein"]}]
    card = short_card("classic", own, scores("random_forest"), embedded, KNOWN)
    assert "# Model classic" in card
    assert "Lu et al. 2019" in card
    assert "| weights | none |" in card
    assert "| describes | each cell |" in card
    assert "| sees | nucleus, er (not of every source), protein |" in card
    assert "random forests on its vectors, one for each fold of genes, classes of the vocabulary `hpa19`" in card
    assert "mean F1 0.55 (0.50 to 0.61), mean AUC 0.90 of 1,198 fields of 76 proteins" in card
    assert "labels guessed by their frequency 0.08" in card
    assert "elsewhere" not in card


def test_published_weights_are_told_by_their_checksum():
    own = {"kind": "gapnet-pl", "level": "field", "weights": GAPNET.name}
    embedded = [{"roles": ["nucleus", "protein"], "weights": GAPNET.name, "weights_sha256": "ab" * 32}] * 2
    card = short_card("net", own, scores(None), embedded, KNOWN)
    assert f"| weights | `{GAPNET.name}`, sha256 {'ab' * 32} |" in card, "of the file that was read"
    assert "section 3, GapNet-PL" in card
    assert GAPNET.licence in card
    assert "| locations from | its own last layer, classes" in card
    assert "may be too good" in card
    assert GAPNET.sha256 in short_card("net", own, scores(None), [], KNOWN), "before anything was embedded, the table's"


def test_random_weights_and_vectors_made_elsewhere():
    untrained = {"kind": "gapnet-pl", "level": "field", "weights": "untrained", "seed": 3}
    card = short_card("net", untrained, scores("logistic_regression"), [], KNOWN)
    assert "| weights | random, seed 3: nothing was learned |" in card
    assert "logistic regressions on its vectors" in card
    assert "made elsewhere" not in card
    own = {"kind": "published", "level": "field", "weights": None, "vectors": "subcell"}
    card = short_card("vectors", own, scores(None), [{"roles": [], "weights": "subcell-space"}], KNOWN)
    assert "vectors made elsewhere: the source `subcell`" in card
    assert "space of the vectors: `subcell-space`" in card
    assert "| sees | vectors alone, no images |" in card
    assert "probabilities that came with the vectors" in card
    every = short_card("vectors", {**own, "vectors": None}, scores(None), [], KNOWN)
    assert "all sources of the kind `vectors` that describe fields" in every


@pytest.mark.parametrize("told", [{"intervals": {}}, {"macro_auc": None}])
def test_scores_that_are_not_known_are_left_out(told):
    assert "mean F1 0.55" in short_card("m", {"kind": "classic", "level": "cell"}, scores(None, **told), [], {})


def test_without_scores_the_card_says_why():
    card = short_card("m", {"kind": "classic", "level": "cell"}, scores(None, macro_f1=None), [], {})
    assert "| scores | none: no labels to score against |" in card
    assert "| sees | – |" in card
