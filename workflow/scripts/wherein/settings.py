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
from wherein.models.learned import LearnedError, check_ensemble, check_learned, check_network, is_learned, predicts
from wherein.models.weights import read_weights
from wherein.segmentation.methods import check_methods
from wherein.sources.address import is_remote
from wherein.sources.check import check_tables as check_tables
from wherein.sources.check import tells_reagents_apart
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
    # the C parser, where PyYAML has it, takes a tenth of the time: every call of Snakemake reads this file
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


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
        check_vectors_of_model(name, config)
    check_attention(config)
    for name in config["models"]:
        for source in config["sources"]:
            check_roles(config, name, source)
    check_exports(config)
    check_contrasts(config)
    unknown = [name for name in config["atlas"]["align_models"] or () if name not in config["models"]]
    if unknown:
        raise ConfigError(
            f"atlas.align_models names {', '.join(unknown)}, which no model of the configuration is called: there are "
            f"{', '.join(config['models']) or 'none'}"
        )


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


def check_attention(config: dict[str, Any]) -> None:
    """Stop if a layer is named for a model of which no attention maps are drawn."""
    drawn = [name for name, model in config["models"].items() if is_learned(model)]
    for name in config["evaluate"]["attention"]["layers"]:
        if name not in drawn:
            raise ConfigError(
                f"configuration key 'evaluate.attention.layers': found {name!r}; maps are drawn of networks that are "
                f"trained here: {', '.join(map(repr, drawn)) or 'there is none'}"
            )


def check_model(name: str, models: dict[str, Any], folds: int) -> None:
    """Check what the schema cannot: keys of a model that its kind has no use for, or cannot do without.

    Args:
        name: the model's name.
        models: all models of the configuration, with defaults.
        folds: number of folds of the split.
    """
    model = models[name]
    published = model["kind"] not in ("classic", "ensemble", "published") and model["training"] is None
    try:
        if model["kind"] == "ensemble":
            check_ensemble(name, models)
        elif model["kind"] not in ("classic", "published"):
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


def check_vectors_of_model(name: str, config: dict[str, Any]) -> None:
    """Check that a model which stands for vectors made elsewhere has some of its level, and no other asks for them.

    Args:
        name: the model's name.
        config: the configuration, with defaults.
    """
    model = config["models"][name]
    levels = {source: own["level"] for source, own in config["sources"].items() if not has_crops(own)}
    if model["kind"] != "published":
        if model["vectors"] is not None:
            raise ConfigError(
                f"configuration key 'models.{name}.vectors': found {model['vectors']!r}; only a model of the kind "
                f"'published' stands for vectors, this one is {model['kind']!r}"
            )
        return
    if model["vectors"] is not None and model["vectors"] not in levels:
        raise ConfigError(
            f"configuration key 'models.{name}.vectors': found {model['vectors']!r}; the sources of the kind 'vectors' "
            f"are {', '.join(map(repr, levels)) or 'none'}"
        )
    mine = {source: level for source, level in levels.items() if model["vectors"] in (None, source)}
    if mine and model["level"] not in mine.values():
        raise ConfigError(
            f"configuration key 'models.{name}.level': found {model['level']!r}, but the vectors of "
            f"{', '.join(mine)} are of the level {', '.join(sorted(set(mine.values())))}: write that"
        )


def check_reagents(config: dict[str, Any]) -> None:
    """Check that models that tell reagents apart have a source with two reagents or more.

    Reads the column `reagent` of tables until two are found; releases and the simulator always have them.

    Args:
        config: the checked configuration, with defaults.

    Raises:
        ConfigError: no source that such a model works on tells of reagents.
    """
    for name, model in config["models"].items():
        if not is_learned(model) or predicts(model):
            continue
        sources = [source for source in config["sources"] if name in models_of_source(config, source)]
        if not any(tells_reagents_apart(config["sources"][source]) for source in sources):
            raise ConfigError(
                f"configuration key 'models.{name}.training.loss': arcface and cross_entropy tell reagents apart, and "
                f"no source of the model has two of them ({', '.join(sources) or 'it has none'}): give the table of "
                "fields a column reagent (sources.<name>.columns), or take another loss"
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
        if is_annotated(source):
            paths = {key: source[key] for key in ("annotations", "ontology") if source[key]}
            check_local(f"biology.gene_sets.{name}", paths)
        if is_fetched(source) or is_annotated(source):
            if not FILE_NAME.fullmatch(name):
                raise ConfigError(
                    f"configuration key 'biology.gene_sets': found the name {name!r}; what is fetched becomes a file "
                    "of that name, so that it may have letters, digits and . _ - only"
                )
        elif not Path(source).is_file():
            raise ConfigError(f"configuration key 'biology.gene_sets.{name}': found {source!r}; there is no such file")
    genes = config["biology"]
    check_local("biology", {key: genes[key] for key in ("identifiers", "genome") if genes[key]})
    if genes["complexes"]["file"]:
        check_local("biology.complexes", {"file": genes["complexes"]["file"]})
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


def check_local(where: str, paths: dict[str, str]) -> None:
    """Check that files that the configuration names are there.

    Args:
        where: the part of the configuration that names them.
        paths: by their keys in it.
    """
    for key, path in paths.items():
        if not Path(path).is_file():
            raise ConfigError(f"configuration key '{where}.{key}': found {path!r}; there is no such file")


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
    if error.validator in ("oneOf", "anyOf", "not"):
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
    return tuple(source.get("roles", ()))


def is_outlined(source: dict[str, Any]) -> bool:
    """Whether a source has fields to outline cells in, rather than crops or vectors that were made elsewhere."""
    return source["kind"] not in ("crops", "vectors")


def has_crops(source: dict[str, Any]) -> bool:
    """Whether a source has pixels of cells, rather than vectors that were made elsewhere."""
    return source["kind"] != "vectors"


def lacks_vectors(config: dict[str, Any], model: str, source: str) -> bool:
    """Whether a model needs pixels of a source that has vectors alone, or vectors that a source does not have."""
    settings, own = config["models"][model], config["sources"][source]
    if settings["kind"] != "published":
        return not has_crops(own)
    return has_crops(own) or own["level"] != settings["level"] or settings["vectors"] not in (None, source)


def lacks_fields(config: dict[str, Any], model: str, source: str) -> bool:
    """Whether a model describes fields, of which a source has crops alone."""
    return config["models"][model]["level"] == "field" and config["sources"][source]["kind"] == "crops"


def missing_roles(config: dict[str, Any], model: str, source: str) -> list[str]:
    """Roles that a model needs, or is to be fed in place of them, and a source lacks."""
    have = roles_of_source(config["sources"][source])
    return [role for role in needed_roles(config["models"], model) if role not in have]


def needed_roles(models: dict[str, Any], model: str) -> list[str]:
    """Roles that a model cannot do without, in the order in which it takes them."""
    settings = models[model]
    if settings["kind"] == "published":
        return []
    if settings["kind"] == "ensemble":
        return list(dict.fromkeys(role for member in settings["members"] for role in needed_roles(models, member)))
    if settings["training"] is not None:
        return list(settings["inputs"])
    fed = settings["roles"] or {}
    return list(dict.fromkeys(fed.get(role, role) for role in ROLES_OF_KIND[settings["kind"]]["needs"]))


def check_roles(config: dict[str, Any], model: str, source: str) -> None:
    """Stop the run if a model needs a role that a source lacks, unless it is told to skip such sources."""
    idle = lacks_fields(config, model, source) or lacks_vectors(config, model, source)
    missing = [] if idle else missing_roles(config, model, source)
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
        if not missing_roles(config, model, source)
        and not lacks_fields(config, model, source)
        and not lacks_vectors(config, model, source)
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
            if lacks_vectors(config, model, source):
                rows.append(["model", model, source, _without_vectors(config, model, source)])
            elif missing:
                rows.append(["model", model, source, f"needs the role {', '.join(missing)}; {have}"])
            elif lacks_fields(config, model, source):
                rows.append(["model", model, source, "describes whole fields; the source has crops made elsewhere"])
        if has_truth(settings):
            for method, missing in not_judged(roles_of_source(settings), config["evaluate"]["methods"]).items():
                rows.append(["method", method, source, f"needs the role {missing}; {have}"])
        if not is_outlined(settings):
            made = "crops" if has_crops(settings) else "vectors"
            why = f"its {made} were made elsewhere: there is no field to outline in"
            rows.append(["stage", "segment", source, why])
        if not models_of_source(config, source):
            rows.append(["stage", "embed", source, f"no model of this run works with its roles; {have}"])
    return rows


def _without_vectors(config: dict[str, Any], model: str, source: str) -> str:
    """Why a model and a source do not meet: one needs vectors, or pixels, that the other has not."""
    own = config["sources"][source]
    if has_crops(own):
        return "stands for vectors made elsewhere; the source has pixels, which other models describe"
    if config["models"][model]["kind"] != "published":
        return "describes pixels; the source has vectors made elsewhere alone"
    level = config["models"][model]["level"]
    if own["level"] != level:
        return f"stands for vectors of the level {level}; those of the source are of the level {own['level']}"
    return f"stands for the vectors of {config['models'][model]['vectors']} alone"


def catalog_settings(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the catalog has to know of the sources: not the settings of later stages, nor words for the report."""
    later = {*STAGES_BY_SOURCE, "truth", "attribution", "licence", "min_sample_cells", "space"}
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
    return is_remote(gene_sets) if isinstance(gene_sets, str) else "library" in gene_sets


def is_annotated(gene_sets: str | dict[str, Any]) -> bool:
    """Whether gene sets are made from a file of annotations with their evidence."""
    return not isinstance(gene_sets, str) and "annotations" in gene_sets


def gene_set_files(config: dict[str, Any]) -> dict[str, str]:
    """Local files of the gene sets, by name: where they are, or where they will be once they are fetched or made."""
    return {name: _gene_set_file(name, source) for name, source in config["biology"]["gene_sets"].items()}


def _gene_set_file(name: str, source: str | dict[str, Any]) -> str:
    if is_annotated(source):
        return f"results/gene_sets/{name}.gmt"
    return f"resources/gene_sets/fetched/{name}.gmt" if is_fetched(source) else str(source)


def credited_sets(config: dict[str, Any]) -> dict[str, Any]:
    """Gene sets and complexes of a run, whose licences the report names, by the name that it gives them."""
    file = config["biology"]["complexes"]["file"]
    return config["biology"]["gene_sets"] | ({"complexes": file} if file else {})


def gene_tables(config: dict[str, Any]) -> list[str]:
    """Tables of genes that gene sets and proteins are read with."""
    return [path for path in (config["biology"]["identifiers"], config["biology"]["genome"]) if path]


ENRICHMENT_KEYS = (
    *("min_set_size", "max_set_size", "min_cluster_size", "identifiers", "genome", "permutations"),
    *("trim", "trim_by", "seed"),
)
"""Keys of the section `biology` that enrichment depends on, beside the gene sets."""

APART_FROM_CELLS = (
    *("gene_sets", "gene_set_server", "min_set_size", "max_set_size", "min_cluster_size", "identifiers", "genome"),
    *("permutations", "trim", "trim_by", "prerank", "complexes", "set_pairs", "negative", "replicate", "abundance"),
    *("contrasts", "contrast"),
)
"""Keys of the section `biology` on which nothing depends that compares cells."""


ALIGNMENT = ("align_models", "alignment", "alignment_window")
"""Keys of the section `atlas` that only aligned maps depend on."""

GROUPINGS = ("groupings", "cell_trees", "neighbours", "audit", "find")
"""Keys of the section `atlas` that the atlas itself does not read."""


def atlas_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The section `atlas` as the atlas reads it: without what only aligned maps depend on, and where a saved map is."""
    return {key: value for key, value in config["atlas"].items() if key not in (*ALIGNMENT, *GROUPINGS, "onto_map")}


def alignment_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What aligned maps depend on of the section `atlas`."""
    keys = (*ALIGNMENT[1:], "umap", "umap_engine", "exact_neighbours", "components", "seed")
    return {key: config["atlas"][key] for key in keys}


def neighbour_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What nearest proteins and units depend on of the section `atlas`."""
    own = config["atlas"]
    return own["neighbours"] | {key: own[key] for key in ("vocabulary", "points", "seed")}


def find_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What the answer to a query depends on of the section `atlas`."""
    own = config["atlas"]
    shared = {key: own["neighbours"][key] for key in ("metric", "own")}
    return own["find"] | shared | {key: own[key] for key in ("vocabulary", "points", "seed")}


def audit_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What the label audit depends on of the section `atlas`."""
    own = config["atlas"]
    return own["audit"] | {key: own[key] for key in ("vocabulary", "seed")}


def biology_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The section `biology` as the stages that compare cells read it: without what is asked of gene sets."""
    return {key: value for key, value in config["biology"].items() if key not in APART_FROM_CELLS}


def heterogeneity_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What the differences between cells depend on of the section `biology`, and how many units tell their scale."""
    return biology_settings(config) | {"scale_units": config["atlas"]["scale_units"]}


def cell_label_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The section `biology` as the labels of single cells read it."""
    own = config["biology"]
    return biology_settings(config) | {key: own[key] for key in ("negative", "replicate")}


def abundance_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What abundance reads of the section `biology`."""
    return config["biology"]["abundance"] | {"replicate": config["biology"]["replicate"]}


def contrast_settings(config: dict[str, Any], contrast: str) -> dict[str, Any]:
    """What a contrast reads of the sections `biology` and `atlas`, and its sides."""
    own = config["biology"]
    sides = next(each for each in own["contrasts"] if each["name"] == contrast)
    chosen = {key: own[key] for key in ("replicate", "examples", "seed")}
    scaled = {key: config["atlas"][key] for key in ("scale", "clip", "scale_units")}
    return own["contrast"] | chosen | scaled | {side: sides[side] for side in "ab"}


def check_contrasts(config: dict[str, Any]) -> None:
    """Stop the run if two contrasts have one name."""
    names = [each["name"] for each in config["biology"]["contrasts"]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"biology.contrasts: {', '.join(twice)} is there twice; give each contrast a name of its own")


def enrichment_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What enrichment of clusters reads of the section `biology`, with local files of gene sets."""
    return {key: config["biology"][key] for key in ENRICHMENT_KEYS} | {"gene_sets": gene_set_files(config)}


def prerank_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What enrichment of rankings reads of the section `biology`."""
    own = config["biology"]
    return own["prerank"] | {key: own[key] for key in ("identifiers", "seed")} | {"gene_sets": gene_set_files(config)}


def complexes_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What the question of complexes reads of the section `biology`."""
    own = config["biology"]
    keys = ("identifiers", "seed", "set_pairs")
    # gene sets are asked for the pairs of sets alone
    sets = gene_set_files(config) if own["set_pairs"] else {}
    return own["complexes"] | {key: own[key] for key in keys} | {"gene_sets": sets}


def terms_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What testing groups of proteins against gene sets depends on, of the section `biology`."""
    names = ("gene_sets", "min_set_size", "max_set_size", "min_cluster_size")
    return {name: enrichment_settings(config)[name] for name in names}


def without(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A section of the configuration without some of its keys, which other rules read."""
    return {key: value for key, value in settings.items() if key not in keys}
