"""Ensembles: the probabilities of several trained networks put together."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from wherein import tables
from wherein.atomic import atomic_path, write_json
from wherein.digest import sha256_of
from wherein.embeddings import EmbeddingError
from wherein.models.training_table import VALIDATION
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

SURE = 1e-6
"""Probabilities are kept this far from 0 and 1, where their logits have no end."""

MEMBER_SILENT = "member_silent"
"""Reason of a validation row that does not count, since a member says nothing of it."""

UNIT = ["unit_id", "field_id", "version"]

CARD = """# Model {model}

An ensemble of {members}, put together by `{combine}` for {classes} classes of the vocabulary `{vocabulary}`.

{told}

{rows} Thresholds are in `results/evaluation/{model}/classes.tsv`, scores on genes that no member has seen in
`results/evaluation/{model}/scores.json`, which also says what the thresholds were chosen on. The cards of the members
say what they learned from and what they are for.
"""

ROWS = """This was found out on {heard} of {asked} validation rows of `results/training/{first}.parquet`: those of which
every member says something."""


def fit_ensemble(
    model: str,
    table: str,
    predictions: Sequence[str],
    settings: Mapping[str, Any],
    weights: str,
    card: str,
    summary: str,
) -> None:
    """Find out how the members of an ensemble are put together.

    A validation row of which a member says nothing (its field failed for that member) is left out and counted.

    Args:
        model: the ensemble's name.
        table: training table of its first member.
        predictions: probabilities of all members, member by member, each for the same shards in the same order.
        settings: `members`, `combine`.
        weights: JSON to write.
        card: Markdown to write.
        summary: the job's summary.

    Raises:
        ValueError: members predict other classes than the table has, or there is no validation row of which all say
            something.
    """
    with stage_summary(summary, "combine", model, ("numpy", "scipy", "scikit-learn")) as report:
        known, rows = tables.read_metadata(table), tables.read_tables([table])
        classes, members = known["classes"], list(settings["members"])
        chosen = rows[rows["part"] == VALIDATION]
        step = len(predictions) // len(members)
        told = np.stack(
            [
                said_of(predictions[place * step : (place + 1) * step], chosen["unit_id"], classes, member)
                for place, member in enumerate(members)
            ]
        )
        silent = np.isnan(told).any(axis=2)
        heard = ~silent.any(axis=0)
        if not heard.any():
            raise ValueError(
                f"there is no validation row of {table} of which all members say something: "
                f"{silences(members, silent, len(chosen))}. Members have to work on the same sources; look at the "
                "balance of those that do not"
            )
        truth = chosen[classes].to_numpy(bool)[heard]
        combination = {
            "model": model,
            "combine": settings["combine"],
            "members": members,
            "classes": classes,
            "vocabulary": known["vocabulary"],
            "level": known["level"],
            "coefficients": fit(told[:, heard], truth, settings["combine"]).tolist(),
        }
        write_json(weights, combination)
        with atomic_path(card) as partial:
            partial.write_text(card_of(combination, int(heard.sum()), len(chosen)))
        report.counts = {"in": len(chosen), "kept": int(heard.sum())}
        if not heard.all():
            report.counts[MEMBER_SILENT] = int((~heard).sum())
            report.notes.append(
                f"{int((~heard).sum())} of {len(chosen)} validation rows were left out: "
                f"{silences(members, silent, len(chosen))}"
            )
        report.extra |= {"members": members, "combine": settings["combine"]}


def said_of(paths: Sequence[str], units: pd.Series, classes: Sequence[str], member: str) -> np.ndarray:
    """What one member says of some units, (N, K) float32; NaN for a unit of which it says nothing.

    Raises:
        ValueError: it predicts other classes.
    """
    told = tables.read_tables(paths).set_index("unit_id") if paths else pd.DataFrame(columns=list(classes))
    if lacking := [name for name in classes if name not in told.columns]:
        raise ValueError(f"{member} does not predict {', '.join(lacking)}: members of an ensemble have one vocabulary")
    found = told.reindex(units)[list(classes)].to_numpy(np.float32)
    found[np.isnan(found).any(axis=1)] = np.nan
    return found


def silences(members: Sequence[str], silent: np.ndarray, rows: int) -> str:
    """Of how many of the rows members say nothing, in words; silent: (M, N) bool."""
    unasked = silent.all(axis=0)
    counts = [(name, int((own & ~unasked).sum())) for name, own in zip(members, silent, strict=True)]
    told = [f"{name} says nothing of {count}" for name, count in counts if count]
    if unasked.any():
        told.append(f"{int(unasked.sum())} lie in shards that not all members work on")
    return f"{', '.join(told) or 'there is none at all'} (of {rows})"


def fit(told: np.ndarray, truth: np.ndarray, combine: str) -> np.ndarray:
    """How members are put together, found out on rows that they did not learn from.

    Args:
        told: (M, N, K) probabilities of the members.
        truth: (N, K) bool.
        combine: `mean`, `weighted` or `stacked`.

    Returns:
        For `mean` and `weighted` (M,), adding up to 1. For `stacked` (K, M + 1): factors of the members' logits and
        what is added; the mean of the logits for a class that all or none of the rows have.
    """
    count = len(told)
    even = np.full(count, 1 / count)
    if combine == "mean":
        return even
    if combine == "weighted":
        return _least_loss(told.astype(np.float64), truth, even)
    logits = logit(told)
    found = np.tile(np.append(even, 0.0), (truth.shape[1], 1))
    for k in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
        learner = LogisticRegression(max_iter=1000).fit(logits[:, :, k].T, truth[:, k])
        found[k] = np.append(learner.coef_[0], learner.intercept_)
    return found


def _least_loss(told: np.ndarray, truth: np.ndarray, even: np.ndarray) -> np.ndarray:
    """Non-negative weights that add up to 1, of the least binary cross-entropy."""

    def loss(weights: np.ndarray) -> float:
        mixed = np.clip(np.tensordot(weights, told, axes=1), SURE, 1 - SURE)
        return float(-np.where(truth, np.log(mixed), np.log1p(-mixed)).mean())

    bounds = [(0.0, 1.0)] * len(even)
    whole = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    found = np.clip(minimize(loss, even, bounds=bounds, constraints=[whole], method="SLSQP").x, 0, None)
    return found / found.sum()


def combined(told: np.ndarray, coefficients: np.ndarray, combine: str) -> np.ndarray:
    """Probabilities of an ensemble.

    Args:
        told: (M, N, K) probabilities of the members.
        coefficients: as `fit` gives them.
        combine: `mean`, `weighted` or `stacked`.

    Returns:
        (N, K) float32.
    """
    if combine != "stacked":
        return np.tensordot(coefficients, told, axes=1).astype(np.float32)
    sums = np.einsum("mnk,km->nk", logit(told), coefficients[:, :-1]) + coefficients[:, -1]
    return (1 / (1 + np.exp(-sums))).astype(np.float32)


def logit(probabilities: np.ndarray) -> np.ndarray:
    """Logits of probabilities, finite, float64."""
    kept = np.clip(probabilities.astype(np.float64), SURE, 1 - SURE)
    return np.log(kept) - np.log1p(-kept)


def card_of(combination: Mapping[str, Any], heard: int, asked: int) -> str:
    """The card of an ensemble, Markdown.

    Args:
        combination: as in combination.json.
        heard: validation rows by which members were put together.
        asked: all validation rows.
    """
    members, how = combination["members"], combination["combine"]
    told = "All members count alike."
    if how == "weighted":
        told = "Weights: " + ", ".join(
            f"{name} {weight:.3f}" for name, weight in zip(members, combination["coefficients"], strict=True)
        )
    elif how == "stacked":
        told = "A logistic regression for each class on the logits of the members (`combination.json`)."
    return CARD.format(
        model=combination["model"],
        members=", ".join(members),
        combine=how,
        classes=len(combination["classes"]),
        vocabulary=combination["vocabulary"],
        told=told,
        rows="" if how == "mean" else ROWS.format(heard=heard, asked=asked, first=members[0]),
    )


def embed_ensemble(
    shard: str,
    model: str,
    weights: str,
    member_embeddings: Sequence[str],
    member_predictions: Sequence[str],
    embeddings: str,
    predictions: str,
    summary: str,
) -> None:
    """Put together what the members of an ensemble say of one shard; its vector is theirs, one after the other.

    Args:
        shard: the shard's name.
        model: the ensemble's name.
        weights: combination.json.
        member_embeddings: vectors of the members, in their order.
        member_predictions: probabilities of the members, in their order.
        embeddings: table of vectors to write.
        predictions: table of probabilities to write.
        summary: the job's summary.

    Raises:
        EmbeddingError: members describe other units.
    """
    with stage_summary(summary, "embed", f"{model}/{shard}", ("numpy",)) as report:
        known = json.loads(Path(weights).read_text())
        classes = known["classes"]
        read = [tables.read_vectors([path]) for path in member_embeddings]
        units = read[0][0]
        if any(own["unit_id"].tolist() != units["unit_id"].tolist() for own, _ in read):
            raise EmbeddingError(f"the members of {model} describe different units of {shard}: run `embed` again")
        said = tables.read_tables([member_predictions[0]])[UNIT]
        told = np.stack([tables.read_tables([path])[classes].to_numpy(np.float32) for path in member_predictions])
        together = combined(told, np.array(known["coefficients"]), known["combine"])
        about = [tables.read_metadata(path) for path in member_embeddings]
        metadata = {
            "model": model,
            "kind": "ensemble",
            "level": known["level"],
            "dimensions": [
                f"{name}/{dimension}"
                for name, own in zip(known["members"], about, strict=True)
                for dimension in own["dimensions"]
            ],
            "roles": list(dict.fromkeys(role for own in about for role in own["roles"])),
            "vocabulary": known["vocabulary"],
            "normalization": ", ".join(dict.fromkeys(own["normalization"] for own in about)),
            "weights": weights,
            "weights_sha256": [sha256_of(weights), *(own["weights_sha256"] for own in about)],
            "members": known["members"],
            "combine": known["combine"],
            "parameters": sum(own["parameters"] for own in about),
        }
        vectors = np.concatenate([own for _, own in read], axis=1) if len(units) else _no_vectors(metadata)
        tables.write_vectors(embeddings, units, vectors, metadata)
        tables.write_predictions(
            predictions, said, pd.DataFrame(together, columns=classes), {**metadata, "classes": classes}
        )
        report.counts = {"in": len(units), "kept": len(units)}
        report.extra["model"] = {key: value for key, value in metadata.items() if key != "dimensions"}


def _no_vectors(metadata: Mapping[str, Any]) -> np.ndarray:
    return np.zeros((0, len(metadata["dimensions"])), np.float32)
