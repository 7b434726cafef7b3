"""The short card of a model that is not trained here: where it comes from, what it sees, how its locations are told."""

from collections.abc import Mapping, Sequence
from typing import Any

from wherein.models.networks.registry import NETWORKS
from wherein.models.weights import Weights
from wherein.views.pages import UNKNOWN_HERE

TEXT = """# Model {name}

| | |
| --- | --- |
| source | {source} |
| weights | {weights} |
| describes | each {level} |
| sees | {roles} |
| locations from | {locations} |
| scores | {scores} |

The scores are of fields; those of each class are in `results/evaluation/{name}/classes.tsv`. {trust}
"""

CLASSIC = "hand-crafted features of intensity, correlation with the markers and texture (Lu et al. 2019, methods)"

CLASSIFIERS = {
    "random_forest": "random forests on its vectors",
    "logistic_regression": "logistic regressions on its vectors",
}
"""Classifiers (`evaluate.classifier`) in words."""

OWN_FOLDS = (
    "Each field is scored by a classifier that saw neither its gene nor a near-duplicate; classifiers are made for "
    "this run and not kept."
)

FROM_ELSEWHERE = (
    "Which of these proteins the model saw while it was made elsewhere is not known, and the scores may be too good."
)


def short_card(
    name: str,
    settings: Mapping[str, Any],
    scores: Mapping[str, Any],
    embedded: Sequence[Mapping[str, Any]],
    known: Mapping[str, Weights],
) -> str:
    """Write the card of a model that is not trained here.

    Args:
        name: of the model.
        settings: its configuration.
        scores: scores.json.
        embedded: what the summaries of its embed jobs say of the model (`roles`, `weights`, `weights_sha256`).
        known: resources/weights.tsv by name.

    Returns:
        Markdown.
    """
    found = [each.get("roles") or [] for each in embedded]
    # shards of sources with different markers have different roles
    roles = list(dict.fromkeys(role for own in found for role in own))
    some = [role for role in roles if not all(role in own for own in found)]
    sees = ", ".join(f"{role} (not of every source)" if role in some else role for role in roles)
    elsewhere = settings["kind"] != "classic" and settings.get("weights") != "untrained"
    return TEXT.format(
        name=name,
        source=_source(settings, known),
        weights=_weights(settings, embedded, known),
        level=settings["level"],
        roles=sees or ("vectors alone, no images" if settings["kind"] == "published" else UNKNOWN_HERE),
        locations=_locations(settings, scores),
        scores=_scores(scores),
        trust=" ".join([*([OWN_FOLDS] if scores.get("classifier") else []), *([FROM_ELSEWHERE] if elsewhere else [])]),
    )


def _source(settings: Mapping[str, Any], known: Mapping[str, Weights]) -> str:
    if settings["kind"] == "classic":
        return CLASSIC
    if settings["kind"] == "published":
        own = settings.get("vectors")
        of = f"the source `{own}`" if own else f"all sources of the kind `vectors` that describe {settings['level']}s"
        return f"vectors made elsewhere: {of}"
    network = f"network `{settings['kind']}`: {NETWORKS[settings['kind']].source}"
    row = known.get(settings.get("weights") or "")
    return f"{network}; weights of {row.source} ({row.licence or 'licence not given'})" if row else network


def _weights(settings: Mapping[str, Any], embedded: Sequence[Mapping[str, Any]], known: Mapping[str, Weights]) -> str:
    name = settings.get("weights")
    if settings["kind"] == "published":
        spaces = dict.fromkeys(each["weights"] for each in embedded if each.get("weights"))
        return f"not known here; space of the vectors: {', '.join(f'`{own}`' for own in spaces) or UNKNOWN_HERE}"
    if not name:
        return "none"
    if name == "untrained":
        return f"random, seed {settings.get('seed', 0)}: nothing was learned"
    sums = dict.fromkeys(each["weights_sha256"] for each in embedded if each.get("weights_sha256"))
    told = list(sums) or ([known[name].sha256] if name in known else [])
    return f"`{name}`, sha256 {', '.join(told) or UNKNOWN_HERE}"


def _locations(settings: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    words = f"classes of the vocabulary `{scores['vocabulary']}`"
    classifier = scores.get("classifier")
    if classifier:
        return f"{CLASSIFIERS.get(classifier, classifier)}, one for each fold of genes, {words}"
    own = "probabilities that came with the vectors" if settings["kind"] == "published" else "its own last layer"
    return f"{own}, {words}"


def _scores(scores: Mapping[str, Any]) -> str:
    fields = scores["fields"]
    if fields["macro_f1"] is None:
        return f"none: {'; '.join(scores.get('notes') or ['there are no labels'])}"
    span = (fields.get("intervals") or {}).get("macro_f1")
    between = f" ({span[0]:.2f} to {span[1]:.2f})" if span else ""
    auc = "" if fields["macro_auc"] is None else f", mean AUC {fields['macro_auc']:.2f}"
    return (
        f"mean F1 {fields['macro_f1']:.2f}{between}{auc} of {fields['n_fields']:,} fields of {fields['n_genes']:,} "
        f"proteins; labels guessed by their frequency {fields['baseline_macro_f1']:.2f}"
    )
