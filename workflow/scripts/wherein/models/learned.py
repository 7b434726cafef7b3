"""Models that this workflow trains: what their configuration has to be, and what of it each job depends on.

Read when the workflow is parsed: imports nothing heavy.
"""

import re
from collections.abc import Mapping, Sequence
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


WEIGHTS = "results/models/{model}/weights.pt"
"""Where the weights of a network are that is trained here."""

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
    if not any(training["loss"].values()):
        raise LearnedError(
            f"configuration key '{here}.training.loss': found no weight above 0; allowed are weights of "
            f"{', '.join(training['loss'])}"
        )
    if not predicts(model):
        _check_metric(name, training)
    if start_of(name, models) is not None:
        _check_start(name, str(start_of(name, models)), models)
    elif training["start"] is not None and not Path(training["start"]).is_file():
        known = ", ".join(repr(other) for other, model in models.items() if other != name and is_learned(model))
        raise LearnedError(
            f"configuration key '{here}.training.start': found {training['start']!r}; there is no such file, and no "
            f"model of that name is trained here ({known or 'none is'})"
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


def _check_metric(name: str, training: Mapping[str, Any]) -> None:
    """Check what learning to tell reagents apart cannot do: it has no validation rows, reagents being of one side."""
    here = f"configuration key 'models.{name}.training"
    why = "a model that tells reagents apart (loss arcface or cross_entropy)"
    mixed = [key for key, weight in training["loss"].items() if weight and key not in SINGLE_TARGET]
    if mixed:
        raise LearnedError(
            f"{here}.loss': found {', '.join(mixed)} beside arcface or cross_entropy; {why} has no losses of "
            "locations: set their weight to 0"
        )
    if training["schedule"] == "plateau":
        raise LearnedError(
            f"{here}.schedule': found 'plateau', which follows the validation score; {why} has none: take 'constant', "
            "'steps', 'one_cycle' or 'cosine'"
        )
    if training["early_stopping_epochs"] is not None:
        raise LearnedError(
            f"{here}.early_stopping_epochs': found {training['early_stopping_epochs']}; {why} has no validation score: "
            "set it to null"
        )
    if training["distillation"] is not None:
        raise LearnedError(
            f"{here}.distillation': found the teacher {training['distillation']['teacher']!r}; {why} learns no "
            "probabilities: set it to null"
        )


def _check_start(name: str, start: str, models: Mapping[str, Any]) -> None:
    """Check a model of the run from whose weights another one starts."""
    key = f"configuration key 'models.{name}.training.start': found {models[name]['training']['start']!r}"
    if not is_learned(models[start]):
        raise LearnedError(f"{key}; a training starts from a network that is trained here, or from a file of weights")
    if models[start]["kind"] != models[name]["kind"]:
        raise LearnedError(
            f"{key}, which is of the kind {models[start]['kind']!r}; {name!r} is {models[name]['kind']!r}"
        )
    if start == name or name in learned_from(start, models):
        raise LearnedError(f"{key}, which learns from {name!r} itself")
    lacking = [role for role in models[name]["inputs"] if role not in models[start]["inputs"]]
    if lacking:
        raise LearnedError(
            f"{key}, which sees {', '.join(models[start]['inputs'])} and knows no {', '.join(lacking)}: leave the role "
            f"out of models.{name}.inputs, or start from other weights"
        )
    _same(name, [name, start], models, ("level", "training.test_fold", "training.validation_fold"))


def _check_teacher(name: str, teacher: str, models: Mapping[str, Any]) -> None:
    key = f"configuration key 'models.{name}.training.distillation.teacher': found {teacher!r}"
    allowed = [other for other, model in models.items() if other != name and (is_learned(model) or is_ensemble(model))]
    if teacher not in allowed:
        raise LearnedError(
            f"{key}; allowed are {', '.join(map(repr, allowed)) or 'none'}: models that are trained here"
        )
    if name in learned_from(teacher, models):
        raise LearnedError(f"{key}, which learns from {name!r} itself")
    if is_learned(models[teacher]) and not predicts(models[teacher]):
        raise LearnedError(f"{key}, which tells reagents apart and gives no probabilities of locations")
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


ALIKE = ("level", "training.vocabulary", "training.controls", "training.test_fold", "training.validation_fold")
"""Keys in which models agree that are put side by side: units, classes and folds."""


def _same(name: str, members: list[str], models: Mapping[str, Any], keys: Sequence[str] = ALIKE) -> None:
    """Stop if models differ in one of these keys."""
    for what in keys:
        found = {member: _value(models[member], what) for member in members}
        if len(set(found.values())) > 1:
            told = ", ".join(f"{member} has {value!r}" for member, value in found.items())
            raise LearnedError(f"configuration key 'models.{name}': its models must have the same {what}; {told}")


def _value(model: Mapping[str, Any], key: str) -> Any:
    """What a model has under a dotted key."""
    for part in key.split("."):
        model = model[part]
    return model


def start_of(name: str, models: Mapping[str, Any]) -> str | None:
    """The model of the run from whose weights the training of another one starts.

    It may be given by its name, or by the path at which its weights will be.

    Returns:
        Its name; None where a training starts from a file made elsewhere, or from random weights.
    """
    start = models[name]["training"]["start"]
    if start is None or start in models:
        return start
    return next((other for other in models if Path(start) == Path(WEIGHTS.format(model=other))), None)


def tables_of(name: str, models: Mapping[str, Any]) -> list[str]:
    """Networks whose training tables tell what a model has seen: itself or its members, then all they learned from."""
    own = networks_of(name, models)
    others = learned_from(name, models) - set(own)
    return own + sorted(other for other in others if is_learned(models[other]))


def files_learned_from(name: str, models: Mapping[str, Any]) -> list[str]:
    """Weights made elsewhere from which the training of a model, or of one that it learned from, started."""
    trained = [own for own in sorted(learned_from(name, models)) if is_learned(models[own])]
    starts = [models[own]["training"]["start"] for own in trained if start_of(own, models) is None]
    return list(dict.fromkeys(start for start in starts if start is not None))


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
        if is_learned(settings):
            taught = settings["training"]["distillation"]
            todo += [taught["teacher"]] if taught is not None else []
            todo += [start] if (start := start_of(own, models)) is not None else []
    return found
