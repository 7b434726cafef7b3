"""Models that this workflow trains: what their configuration has to be, and what of it each job depends on.

Read when the workflow is parsed: imports nothing heavy.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherein.models.grid import grid_of
from wherein.models.networks.registry import NETWORKS

DATA_KEYS = ("kind", "level", "inputs", "options", "normalization", "pixel_size_um", "field_px", "tile_px",
             "blank_neighbours", "seed")  # fmt: skip
"""Keys of a model beside `training` that its weights depend on."""

TABLE_KEYS = ("vocabulary", "controls", "test_fold", "validation_fold", "permuted", "seed")
"""Keys of `training` that the training table depends on."""

INFERENCE_KEYS = ("tiles", "test_time", "precision", "batch")
"""Keys that the predictions of a trained model depend on, beside its weights."""

ENSEMBLE_KEYS = ("members", "combine")

COMPETITION_ROLES = ("nucleus", "protein", "microtubules", "er")
"""Roles of which `ouyang2019` knows a mean (`wherein.reading.normalization.COMPETITION_MEAN`)."""

SINGLE_TARGET = ("arcface", "cross_entropy")
"""Losses of exactly one class a unit."""


UNRELATED = ("checkpoint_minutes", "processes", "launcher", "policy_search")
"""Keys of `training` that change nothing of what a training gives."""


SEARCHED = "results/models/{model}/policy.json"
"""Where the policy of augmentation lies that was searched with a model of this run."""


class LearnedError(ValueError):
    """The configuration of a model that is trained here is wrong."""


def is_learned(settings: Mapping[str, Any]) -> bool:
    """Whether a model is a network that is trained here."""
    return settings["training"] is not None


def is_ensemble(settings: Mapping[str, Any]) -> bool:
    """Whether a model is put together of others."""
    return settings["kind"] == "ensemble"


def table_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the training table of a model depends on."""
    return {key: settings["training"][key] for key in TABLE_KEYS}


def training_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the weights of a model depend on: not how it predicts later."""
    name = settings["normalization"] or NETWORKS[settings["kind"]].normalization
    data = {key: settings[key] for key in DATA_KEYS} | {"normalization": name}
    training = {key: value for key, value in settings["training"].items() if key not in UNRELATED}
    return {**data, "grid": grid_of(settings).name, "training": training}


def search_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the search for a model's policy of augmentation depends on: its training without a policy."""
    own = training_settings(settings)
    training = own["training"]
    return {**own, "training": {**training, "augmentation": {**training["augmentation"], "policy": None}}}


def inference_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the predictions of a trained model depend on, beside its weights."""
    return {key: settings[key] for key in INFERENCE_KEYS}


def ensemble_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What an ensemble depends on, beside its members."""
    return {key: settings[key] for key in ENSEMBLE_KEYS}


def predicts(settings: Mapping[str, Any]) -> bool:
    """Whether a trained network tells locations: one that tells reagents apart gives vectors alone."""
    return not any(settings["training"]["loss"][name] for name in SINGLE_TARGET)


def check_network(name: str, kind: str) -> None:
    """Stop if there is no such network.

    Raises:
        LearnedError: there is none.
    """
    if kind not in NETWORKS:
        raise LearnedError(
            f"configuration key 'models.{name}.kind': found {kind!r}; allowed are 'classic', 'ensemble', "
            f"{', '.join(map(repr, NETWORKS))}"
        )


def check_learned(name: str, models: Mapping[str, Any], folds: int) -> None:
    """Check a model that is trained here.

    Args:
        name: the model's name.
        models: all models of the configuration, with defaults.
        folds: number of folds of the split.

    Raises:
        LearnedError: something is wrong; the message says what, and what is allowed.
    """
    model, here = models[name], f"models.{name}"
    training = model["training"]
    if model["kind"] not in NETWORKS:
        raise LearnedError(f"configuration key '{here}.training': a model of the kind {model['kind']!r} learns nothing")
    network = NETWORKS[model["kind"]]
    if model["tile_px"] < network.smallest_px or model["tile_px"] % network.multiple_of_px:
        step = f", and multiples of {network.multiple_of_px}" if network.multiple_of_px > 1 else ""
        raise LearnedError(
            f"configuration key '{here}.tile_px': found {model['tile_px']}; {model['kind']} takes "
            f"{network.smallest_px} pixels or more{step}"
        )
    if model["field_px"] is not None and model["pixel_size_um"] is not None:
        raise LearnedError(
            f"configuration keys '{here}.field_px' and '{here}.pixel_size_um': both say how coarse fields are; one of "
            "them has to be null"
        )
    normalization = model["normalization"] or network.normalization
    unknown = [role for role in model["inputs"] if role not in COMPETITION_ROLES]
    if normalization == "ouyang2019" and unknown:
        raise LearnedError(
            f"configuration key '{here}.normalization': ouyang2019 knows no {', '.join(unknown)}; take another one, "
            "rumetshofer2019 say"
        )
    for key in ("test_fold", "validation_fold"):
        if training[key] >= folds:
            raise LearnedError(
                f"configuration key '{here}.training.{key}': found {training[key]}; split.folds is {folds}"
            )
    if training["test_fold"] == training["validation_fold"]:
        raise LearnedError(
            f"configuration key '{here}.training.validation_fold': found {training['validation_fold']}, which is the "
            "test_fold: take another one"
        )
    if training["start"] is not None and not Path(training["start"]).is_file():
        raise LearnedError(
            f"configuration key '{here}.training.start': found {training['start']!r}; there is no such file"
        )
    if training["distillation"] is not None:
        _check_teacher(name, training["distillation"]["teacher"], models)
    _check_policy(f"{here}.training.augmentation.policy", training, models)


def _check_policy(key: str, training: Mapping[str, Any], models: Mapping[str, Any]) -> None:
    policy = training["augmentation"].get("policy")
    if policy is None:
        return
    if (policy["kind"] == "searched") != (policy["file"] is not None):
        raise LearnedError(
            f"configuration key '{key}.file': found {policy['file']!r} with the kind {policy['kind']!r}; a searched "
            "policy is read from a file, results/models/NAME/policy.json for one that this run searches with the model "
            "NAME; a random one has none"
        )
    searched = re.fullmatch(SEARCHED.format(model="(.+)"), policy["file"] or "")
    if searched:
        allowed = [name for name, model in models.items() if is_learned(model) and predicts(model)]
        if searched[1] not in allowed:
            raise LearnedError(
                f"configuration key '{key}.file': found {policy['file']!r}; policies are searched with "
                f"{', '.join(map(repr, allowed)) or 'no model of this run'}: networks that are trained here to tell "
                "locations"
            )
    elif policy["file"] and not Path(policy["file"]).is_file():
        raise LearnedError(f"configuration key '{key}.file': found {policy['file']!r}; there is no such file")


def _check_teacher(name: str, teacher: str, models: Mapping[str, Any]) -> None:
    key = f"configuration key 'models.{name}.training.distillation.teacher': found {teacher!r}"
    allowed = [other for other, model in models.items() if other != name and (is_learned(model) or is_ensemble(model))]
    if teacher not in allowed:
        raise LearnedError(
            f"{key}; allowed are {', '.join(map(repr, allowed)) or 'none'}: models that are trained here"
        )
    if name in learned_from(teacher, models):
        raise LearnedError(f"{key}, which learns from {name!r} itself")
    _same(name, [name, *networks_of(teacher, models)], models)


def check_ensemble(name: str, models: Mapping[str, Any]) -> None:
    """Check an ensemble.

    Raises:
        LearnedError: its members are no trained networks, or differ in what they predict.
    """
    members = models[name]["members"]
    allowed = [other for other, model in models.items() if is_learned(model) and predicts(model)]
    unknown = [member for member in members if member not in allowed]
    if unknown or len(members) < 2:
        raise LearnedError(
            f"configuration key 'models.{name}.members': found {members!r}; allowed are two or more of "
            f"{', '.join(map(repr, allowed)) or 'none'}: networks that are trained here to tell locations"
        )
    found = {models[member]["level"] for member in members}
    if found == {"cell", "field"} or models[name]["level"] not in found:
        raise LearnedError(
            f"configuration key 'models.{name}.level': found {models[name]['level']!r}; its members have "
            f"{' and '.join(map(repr, sorted(found)))}"
        )
    _same(name, members, models)


def _same(name: str, members: list[str], models: Mapping[str, Any]) -> None:
    """Stop if models that are put side by side differ in units, classes or folds."""
    for what, of in (
        ("level", lambda model: model["level"]),
        ("training.vocabulary", lambda model: model["training"]["vocabulary"]),
        ("training.controls", lambda model: model["training"]["controls"]),
        ("training.test_fold", lambda model: model["training"]["test_fold"]),
        ("training.validation_fold", lambda model: model["training"]["validation_fold"]),
    ):
        found = {member: of(models[member]) for member in members}
        if len(set(found.values())) > 1:
            told = ", ".join(f"{member} has {value!r}" for member, value in found.items())
            raise LearnedError(f"configuration key 'models.{name}': its models must have the same {what}; {told}")


def networks_of(name: str, models: Mapping[str, Any]) -> list[str]:
    """The trained networks that a model consists of: itself, or the members of an ensemble."""
    return list(models[name]["members"]) if is_ensemble(models[name]) else [name]


def learned_from(name: str, models: Mapping[str, Any]) -> set[str]:
    """All models whose weights a model depends on, itself included."""
    found: set[str] = set()
    todo = [name]
    while todo:
        own = todo.pop()
        if own in found or own not in models:
            continue
        found.add(own)
        settings = models[own]
        todo += settings["members"] if is_ensemble(settings) else []
        if is_learned(settings) and settings["training"]["distillation"] is not None:
            todo.append(settings["training"]["distillation"]["teacher"])
    return found
