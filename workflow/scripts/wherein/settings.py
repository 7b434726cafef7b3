"""The configuration, checked before any job: what is wrong is said in one line, with what is allowed."""

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from wherein.exchange.exporting_plan import check_export
from wherein.metrics.segmentation_plan import check_judged, has_truth, not_judged
from wherein.models.learned import LearnedError, check_ensemble, check_learned, check_network
from wherein.models.weights import read_weights
from wherein.segmentation.methods import check_methods
from wherein.sources.address import is_remote
from wherein.sources.check import check_tables as check_tables
from wherein.sources.release_files import KEYS, local_source
from wherein.sources.release_files import fetched_keys as fetched_keys
from wherein.sources.release_files import files_to_fetch_with as files_to_fetch_with
from wherein.sources.release_files import release_files as release_files

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"

FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
"""Names of gene sets of which a file is made."""

STAGES_BY_SOURCE = ("qc", "segment", "crop")
"""Stages whose settings a source may override."""

ROLES_OF_KIND = {
    "classic": {"needs": ("protein",), "uses": ("nucleus", "microtubules", "er", "reference")},
    "gapnet-pl": {"needs": ("nucleus", "protein", "microtubules", "er"), "uses": ()},
}
"""Roles that a model of each kind cannot do without, and those that it takes where they are."""


class ConfigError(ValueError):
    """Something that the user wrote is wrong; the message says what, where, and what is allowed."""


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The schema of the configuration, as a dictionary."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def check_config(config: dict[str, Any]) -> None:
    """Fill defaults into `config` and check it, in place.

    Args:
        config: the configuration as read from files and command line.

    Raises:
        ConfigError: a key is unknown, a value is not allowed, or a model or a method needs a role that a source lacks.
    """
    errors = list(Draft202012Validator(schema()).iter_errors(config))
    if errors:
        raise ConfigError(sentence(best_match(errors)))
    fill_defaults(config, schema())
    for name, source in config["sources"].items():
        for stage in STAGES_BY_SOURCE:
            check_overlay(name, stage, source.get(stage, {}))
        if not is_outlined(source):
            continue
        roles, settings = roles_of_source(source), for_source(config, "segment", name)
        wrong = check_methods(name, roles, settings)
        if has_truth(source):
            wrong = wrong or check_judged(name, roles, settings, config["evaluate"]["methods"])
        if wrong:
            raise ConfigError(wrong)
    for name in config["models"]:
        check_model(name, config["models"], config["split"]["folds"])
    for name in config["models"]:
        for source in config["sources"]:
            check_roles(config, name, source)
    check_exports(config)


def check_exports(config: dict[str, Any]) -> None:
    """Stop the run if a source cannot be exported in a layout that is asked for."""
    roles = {name: roles_of_source(source) for name, source in config["sources"].items()}
    # crops that were made elsewhere have the size that they have
    cut = [name for name, source in config["sources"].items() if is_outlined(source)]
    windows = {}
    for name in cut:
        settings = for_source(config, "crop", name)
        windows[name] = (settings if "nucleus" in roles[name] else settings["without_nucleus"])["window_um"]
    if wrong := check_export(config["export"], roles, windows):
        raise ConfigError(wrong)


def check_overlay(source: str, stage: str, settings: dict[str, Any]) -> None:
    """Check a source's own settings of a stage against the stage's section of the schema."""
    errors = list(Draft202012Validator(schema()["$defs"][stage]).iter_errors(settings))
    if errors:
        raise ConfigError(sentence(best_match(errors), f"sources.{source}.{stage}"))


def check_model(name: str, models: dict[str, Any], folds: int) -> None:
    """Check what the schema cannot: keys of a model that its kind has no use for, or cannot do without.

    Args:
        name: the model's name.
        models: all models of the configuration, with defaults.
        folds: number of folds of the split.
    """
    model = models[name]
    published = model["kind"] not in ("classic", "ensemble") and model["training"] is None
    try:
        if model["kind"] == "ensemble":
            check_ensemble(name, models)
        elif model["kind"] != "classic":
            check_network(name, model["kind"])
        if model["training"] is not None:
            check_learned(name, models, folds)
    except LearnedError as error:
        raise ConfigError(str(error)) from error
    if published and model["weights"] is None:
        raise ConfigError(
            f"configuration key 'models.{name}.weights' is missing; it must be given: a name in resources/weights.tsv, "
            "or 'untrained' for random ones; or give the model a section `training`"
        )
    if not published and model["weights"] is not None:
        what = f"of the kind {model['kind']!r}" if model["training"] is None else "that is trained here"
        raise ConfigError(
            f"configuration key 'models.{name}.weights': found {model['weights']!r}; a model {what} has no weights: "
            "leave the key out"
        )
    if published and model["kind"] not in ROLES_OF_KIND:
        known = ", ".join(kind for kind in ROLES_OF_KIND if kind != "classic")
        raise ConfigError(
            f"configuration key 'models.{name}.kind': found {model['kind']!r} without a section `training`; published "
            f"weights are known of {known}"
        )
    inputs = ROLES_OF_KIND[model["kind"]]["needs"] if published else ()
    unknown = [role for role in model["roles"] or {} if role not in inputs]
    if unknown:
        raise ConfigError(
            f"configuration key 'models.{name}.roles': found the input {', '.join(map(repr, unknown))}; allowed are "
            f"{', '.join(map(repr, inputs)) or 'none'}"
        )


def check_files(config: dict[str, Any], table: str = "resources/weights.tsv") -> None:
    """Check that gene sets are there, and that the weights of every model with a source to work on can be had.

    What has an address is not asked for: that is the work of the rules that fetch it.

    Args:
        config: the checked configuration, with defaults.
        table: the table of published weights; what was fetched lies beside it in `weights/`.

    Raises:
        ConfigError: a local file is not there, gene sets to be fetched have no name that a file can have, the weights
            are not in the table, or nothing says where their file is.
    """
    for name, source in config["biology"]["gene_sets"].items():
        if is_fetched(source):
            if not FILE_NAME.fullmatch(name):
                raise ConfigError(
                    f"configuration key 'biology.gene_sets': found the name {name!r}; what is fetched becomes a file "
                    "of that name, so that it may have letters, digits and . _ - only"
                )
        elif not Path(source).is_file():
            raise ConfigError(f"configuration key 'biology.gene_sets.{name}': found {source!r}; there is no such file")
    for model, settings in config["models"].items():
        name = settings["weights"]
        if name in (None, "untrained") or not any(model in models_of_source(config, own) for own in config["sources"]):
            continue
        known = {row.name: row for row in read_weights(table).values() if row.kind == settings["kind"]}
        if name not in known:
            raise ConfigError(
                f"configuration key 'models.{model}.weights': found {name!r}; allowed are 'untrained' and the names in "
                f"{table}: {', '.join(map(repr, known))}"
            )
        local = config["weights"].get(name)
        if local and not is_remote(local) and not Path(local).exists():
            raise ConfigError(f"configuration key 'weights.{name}': found {local!r}; there is no such file")
        if not (local or known[name].url or (Path(table).parent / "weights" / f"{name}.npz").exists()):
            raise ConfigError(
                f"model {model!r} needs the weights {name!r}, which have no URL in {table}: get the file "
                f"({known[name].bytes} bytes, sha256 {known[name].sha256}) and write its path or its address under "
                f"weights.{name}, or leave the model out"
            )


def sentence(error: ValidationError, prefix: str = "") -> str:
    """One line for a schema's error: the key, what was found, what is allowed."""
    while error.context and "description" not in error.schema:
        error = best_match(error.context)
    key = ".".join([part for part in [prefix, *(str(part) for part in error.absolute_path)] if part])
    where = f"configuration key {key!r}" if key else "configuration"
    schema_here: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        known = sorted(schema_here.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known))
        return f"{where}: unknown key {', '.join(map(repr, unknown))}; allowed are {', '.join(known) or 'none'}"
    if error.validator in ("oneOf", "anyOf"):
        return f"{where}: found {error.instance!r}; allowed is: {schema_here['description']}"
    if error.validator == "pattern":
        return f"{where}: found {error.instance!r}; it must look like {error.validator_value}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{where}: {', '.join(map(repr, missing))} is missing; it must be given"
    if error.validator == "enum":
        return f"{where}: found {error.instance!r}; allowed are {', '.join(map(repr, error.validator_value))}"
    if error.validator == "type":
        allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        quotes = " (put it in quotes)" if "string" in allowed and not isinstance(error.instance, (dict, list)) else ""
        return f"{where}: found {error.instance!r}; it must be {' or '.join(allowed)}{quotes}"
    allowed_text = schema_here.get("description", "")
    return f"{where}: {error.message}" + (f" ({allowed_text})" if allowed_text else "")


def fill_defaults(value: Any, node: dict[str, Any]) -> None:
    """Put the schema's defaults where `value`, a dictionary, has nothing; in place and at every depth."""
    node = resolved(node)
    if not isinstance(value, dict):
        return
    for branch in node.get("allOf", []):
        if "if" in branch and Draft202012Validator(branch["if"]).is_valid(value):
            fill_defaults(value, branch["then"])
    for name, child in node.get("properties", {}).items():
        child = resolved(child)
        if name not in value and "default" in child:
            value[name] = copy.deepcopy(child["default"])
        if name in value:
            fill_defaults(value[name], child)
    extra = node.get("additionalProperties")
    if isinstance(extra, dict):
        for name in value.keys() - node.get("properties", {}).keys():
            fill_defaults(value[name], extra)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a `$ref` into the schema's `$defs`."""
    return schema()["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def for_source(config: dict[str, Any], stage: str, source: str) -> dict[str, Any]:
    """Settings of a stage for one source: the stage's section, and the source's own words over it."""
    settings = copy.deepcopy(config[stage])
    # crops made elsewhere have no settings of stages that they do not pass through
    merge(settings, config["sources"][source].get(stage, {}))
    return settings


def merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Put `over` into `base`, in place; dictionaries are merged, everything else is replaced."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = copy.deepcopy(value)


def roles_of_source(source: dict[str, Any]) -> tuple[str, ...]:
    """Roles that a source has, by its configuration."""
    if source["kind"] == "simulated":
        return {
            "four_roles": ("nucleus", "microtubules", "er", "protein"),
            "two_roles": ("nucleus", "protein"),
            "yeast": ("protein", "reference"),
        }[source["mode"]]
    return tuple(source["roles"])


def is_outlined(source: dict[str, Any]) -> bool:
    """Whether a source has fields to outline cells in, rather than crops that were made elsewhere."""
    return source["kind"] != "crops"


def lacks_fields(config: dict[str, Any], model: str, source: str) -> bool:
    """Whether a model describes fields, of which a source has crops alone."""
    return config["models"][model]["level"] == "field" and not is_outlined(config["sources"][source])


def missing_roles(config: dict[str, Any], model: str, source: str) -> list[str]:
    """Roles that a model needs, or is to be fed in place of them, and a source lacks."""
    have = roles_of_source(config["sources"][source])
    return [role for role in needed_roles(config["models"], model) if role not in have]


def needed_roles(models: dict[str, Any], model: str) -> list[str]:
    """Roles that a model cannot do without, in the order in which it takes them."""
    settings = models[model]
    if settings["kind"] == "ensemble":
        return list(dict.fromkeys(role for member in settings["members"] for role in needed_roles(models, member)))
    if settings["training"] is not None:
        return list(settings["inputs"])
    fed = settings["roles"] or {}
    return list(dict.fromkeys(fed.get(role, role) for role in ROLES_OF_KIND[settings["kind"]]["needs"]))


def check_roles(config: dict[str, Any], model: str, source: str) -> None:
    """Stop the run if a model needs a role that a source lacks, unless it is told to skip such sources."""
    missing = [] if lacks_fields(config, model, source) else missing_roles(config, model, source)
    if missing and config["models"][model]["missing_roles"] == "stop":
        raise ConfigError(
            f"model {model!r} needs the role {', '.join(missing)}, which source {source!r} does not have "
            f"(it has {', '.join(roles_of_source(config['sources'][source]))}): add it under sources.{source}.roles, "
            f"leave the model out, or set models.{model}.missing_roles to 'skip' to run it on the other sources only"
        )


def models_of_source(config: dict[str, Any], source: str) -> list[str]:
    """Models that work on a source: those whose needed roles it has, and for those of fields, whose fields."""
    return [
        model
        for model in config["models"]
        if not missing_roles(config, model, source) and not lacks_fields(config, model, source)
    ]


def left_out(config: dict[str, Any]) -> list[list[str]]:
    """What a run leaves out because a source lacks a role.

    Returns:
        Rows of results/report/left_out.tsv: what (model, method or stage), name, source, reason.
    """
    rows = []
    for source, settings in config["sources"].items():
        have = f"it has {', '.join(roles_of_source(settings))}"
        for model in config["models"]:
            missing = missing_roles(config, model, source)
            if missing:
                rows.append(["model", model, source, f"needs the role {', '.join(missing)}; {have}"])
            elif lacks_fields(config, model, source):
                rows.append(["model", model, source, "describes whole fields; the source has crops made elsewhere"])
        if has_truth(settings):
            for method, missing in not_judged(roles_of_source(settings), config["evaluate"]["methods"]).items():
                rows.append(["method", method, source, f"needs the role {missing}; {have}"])
        if not is_outlined(settings):
            rows.append(["stage", "segment", source, "its crops were made elsewhere: there is no field to outline in"])
        if not models_of_source(config, source):
            rows.append(["stage", "embed", source, f"no model of this run works with its roles; {have}"])
    return rows


def catalog_settings(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the catalog has to know of the sources: not the settings of later stages, nor words for the report."""
    later = {*STAGES_BY_SOURCE, "truth", "attribution", "licence", "min_sample_cells"}
    return {
        name: {key: value for key, value in local_source(name, source).items() if key not in later}
        for name, source in config["sources"].items()
    }


def release_settings(source: dict[str, Any]) -> dict[str, Any]:
    """What fetching the files of an image release depends on: where they are, and which genes are asked for."""
    keys = ("kind", "release", "host", "bucket", *KEYS[source["kind"]])
    genes = sorted(source["only"]["genes"]) if source["kind"] == "hpa" else []
    return {key: source[key] for key in keys if key in source} | {"only": {"genes": genes}}


def is_fetched(gene_sets: str | dict[str, str]) -> bool:
    """Whether gene sets have an address, or are a library of a server, rather than a local file."""
    return not isinstance(gene_sets, str) or is_remote(gene_sets)


def gene_set_files(config: dict[str, Any]) -> dict[str, str]:
    """Local files of the gene sets, by name: where they are, or where they will be once they are fetched."""
    return {
        name: f"resources/gene_sets/fetched/{name}.gmt" if is_fetched(source) else source
        for name, source in config["biology"]["gene_sets"].items()
    }


def biology_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The section `biology` as its stages read it: with local files of gene sets, and without their server."""
    own = {key: value for key, value in config["biology"].items() if key != "gene_set_server"}
    return own | {"gene_sets": gene_set_files(config)}


def terms_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What testing groups of proteins against gene sets depends on, of the section `biology`."""
    names = ("gene_sets", "min_set_size", "max_set_size", "min_cluster_size")
    return {name: biology_settings(config)[name] for name in names}


def without(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A section of the configuration without some of its keys, which other rules read."""
    return {key: value for key, value in settings.items() if key not in keys}
