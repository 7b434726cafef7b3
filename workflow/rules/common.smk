"""What all rules share: the checked configuration, the shards, and what has to run again."""

import re
import sys
from types import SimpleNamespace

# the library lies beside the scripts; the folder of this file tells where, also when the workflow is a module
sys.path.insert(0, str(Path(str(workflow.current_basedir)).parent / "scripts"))

from wherein import digest
from wherein.exchange.exporting_plan import export_sources
from wherein.metrics.segmentation_plan import (
    all_truth_files,
    has_truth,
    judged_beside,
    judged_settings,
    truth_files,
    truth_patterns,
)
from wherein.models.grid import PATTERN as GRIDS
from wherein.models.grid import grid_of
from wherein.models.learned import (
    WEIGHTS,
    ensemble_settings,
    files_learned_from,
    inference_settings,
    is_ensemble,
    is_learned,
    predicts,
    search_settings,
    start_of,
    table_settings,
    tables_of,
    training_settings,
)
from wherein.models.networks.registry import NETWORKS
from wherein.models.weights import read_weights
from wherein.queries import is_file, query_name
from wherein.overrides import overrides_for, read_overrides, relabelled_cells
from wherein.segmentation.methods import METHODS, label_paths, methods_of, own_settings
from wherein.settings import (
    abundance_settings,
    alignment_settings,
    atlas_settings,
    audit_settings,
    cell_label_settings,
    catalog_settings,
    check_config,
    check_files,
    check_reagents,
    check_tables,
    complexes_settings,
    contrast_settings,
    credited_sets,
    enrichment_settings,
    fetched_keys,
    find_settings,
    files_to_fetch_with,
    for_source,
    gene_set_files,
    gene_tables,
    has_crops,
    heterogeneity_settings,
    is_annotated,
    is_outlined,
    is_fetched,
    is_remote,
    left_out,
    models_of_source,
    neighbour_settings,
    prerank_settings,
    release_files,
    roles_of_source,
    release_settings,
    terms_settings,
    without,
)
from wherein.shards import members_digest, read_shards

SHARDS = "results/catalog/shards.tsv"

check_config(config)
if workflow.is_main_process:
    check_tables(config)
    check_reagents(config)
    check_files(config)


wildcard_constraints:
    shard=r"[a-z0-9_]+-[0-9]+",
    model=r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*",
    segmenter=r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*",
    grid=GRIDS,
    method="|".join(METHODS),


def code_digest(script):
    """A parameter: changes with the code that a script runs. Found out when a job needs it, not when parsing."""

    def code(wildcards):
        return digest.code_digest(script)

    return code


def sources_of_kind(*kinds):
    """Regular expression of the shards whose source is of one of these kinds."""
    names = [name for name, source in config["sources"].items() if source["kind"] in kinds]
    return rf"({'|'.join(names)})-[0-9]+" if names else "(?!)"


def catalog_tables(wildcards):
    """An input: the tables that sources and curators write, and the files of image releases."""
    named = [file for name, source in config["sources"].items() for file in release_files(name, source)]
    return named + ([config["overrides"]] if config["overrides"] else [])


def sources_with_fields():
    """Regular expression of the shards of sources that have fields, in which cells are outlined and cut out."""
    return sources_of_kind(*{source["kind"] for source in config["sources"].values() if is_outlined(source)})


def source_of(wildcards):
    """Name of the source that a shard belongs to."""
    return wildcards.shard.rsplit("-", 1)[0]


def source_settings(stage):
    """A parameter: the settings of a stage for the source of the job's shard."""

    def settings(wildcards):
        return for_source(config, stage, source_of(wildcards))

    return settings


def source_config(wildcards):
    """A parameter: the configuration of the source of the job's shard."""
    return config["sources"][source_of(wildcards)]


def outliners(source):
    """Methods that outline the cells of a source: the first counts, a second tells how far to trust it."""
    return methods_of(roles_of_source(config["sources"][source]), for_source(config, "segment", source))


def sources_outlined(by_network):
    """Regular expression of the shards that are outlined with a network, or without one."""
    fields = [name for name, source in config["sources"].items() if is_outlined(source)]
    names = [name for name in fields if by_network == any(method.network for method in outliners(name))]
    return rf"({'|'.join(names)})-[0-9]+" if names else "(?!)"


def segment_settings(wildcards):
    """A parameter: settings of the methods that outline the job's shard, and of no others."""
    source = source_of(wildcards)
    return own_settings(roles_of_source(config["sources"][source]), for_source(config, "segment", source))


def segment_code(wildcards):
    """A parameter: changes with the code of the methods that outline the job's shard."""
    return [digest.module_digest(method.module) for method in outliners(source_of(wildcards))]


def segment_weights(wildcards):
    """An input: the weights of the networks that outline the job's shard."""
    settings = segment_settings(wildcards)
    named = [settings[method.name] for method in outliners(source_of(wildcards)) if method.network]
    return [path for own in named for key, path in own.items() if key.endswith("weights") and path]


def segmenter_settings(wildcards):
    """A parameter: the configuration of the job's segmenter."""
    if wildcards.segmenter not in config["segmenters"]:
        known = ", ".join(config["segmenters"]) or "none"
        raise WorkflowError(f"no segmenter {wildcards.segmenter!r} is configured under segmenters: there are {known}")
    return config["segmenters"][wildcards.segmenter]


def training_table(wildcards):
    """An input: the table of fields with masks that the job's segmenter learns from."""
    return segmenter_settings(wildcards)["table"] or []


def folder_of_table(wildcards):
    """A parameter: the folder of the table of the job's source, from which relative paths start."""
    return str(Path(source_config(wildcards).get("table", "")).parent)


def labels_elsewhere(wildcards):
    """A parameter: changes with the label images made elsewhere that take the place of a method."""
    settings = segment_settings(wildcards)
    shard = read_shards(SHARDS).get(wildcards.shard)
    if "masks" not in [method.name for method in outliners(source_of(wildcards))] or not shard:
        return None
    folder = folder_of_table(wildcards)
    paths = [label_paths(settings["masks"], folder, field_id).values() for field_id, _ in shard.members]
    return digest.files_digest(path for own in paths for path in own)


def least_sample(source):
    """Fewest cells that a sample of a source needs; vectors of fields have none."""
    if config["sources"][source].get("level") == "field":
        return 0
    if not is_outlined(config["sources"][source]):
        return config["sources"][source]["min_sample_cells"]
    settings = for_source(config, "crop", source)
    own = settings if "nucleus" in roles_of_source(config["sources"][source]) else settings["without_nucleus"]
    return own["min_sample_cells"]


def shard_digest(wildcards):
    """A parameter: changes when the members of the job's shard do, which by contract is never."""
    shard = read_shards(SHARDS).get(wildcards.shard)
    return members_digest(shard) if shard else "not in the shard table"


def shards(model=None):
    """Shards of the run, or those on which a model works. Waits for the catalog."""
    checkpoints.catalog.get()
    found = read_shards(SHARDS).values()
    if model is None:
        return [shard.name for shard in found if shard.source in config["sources"]]
    return [
        shard.name
        for shard in found
        if shard.source in config["sources"] and model in models_of_source(config, shard.source)
    ]


def per_shard(pattern):
    """An input: `pattern` for every shard, or for every shard of the job's model."""

    def paths(wildcards):
        return [pattern.format(shard=shard, **dict(wildcards)) for shard in shards(wildcards.get("model"))]

    return paths


def shards_of_source(pattern):
    """An input: `pattern` for every shard of the job's source."""

    def paths(wildcards):
        return [pattern.format(shard=shard) for shard in shards() if shard.rsplit("-", 1)[0] == wildcards.source]

    return paths


def exports(wildcards):
    """An input: a folder for each layout of the section `export` and each source that has a shard."""
    if not config["export"]["formats"]:
        raise WorkflowError("nothing to export: name layouts under export.formats (h5sc, cytoself, webdataset)")
    there = {shard.rsplit("-", 1)[0] for shard in shards()}
    return [
        f"results/export/{layout}/{source}"
        for layout in config["export"]["formats"]
        for source in export_sources(config["export"], layout, config["sources"])
        if source in there
    ]


def export_settings(wildcards):
    """A parameter: which cells are exported, and how the job's layout has them."""
    own = {key: value for key, value in config["export"][wildcards.layout].items() if key != "sources"}
    return {"filters": config["export"]["filters"], wildcards.layout: own}


def outlined_shards(pattern):
    """An input: `pattern` for every shard, or every shard of the job's model, whose cells are outlined by the run."""

    def paths(wildcards):
        known = shards(wildcards.get("model"))
        return [pattern.format(shard=shard) for shard in known if is_outlined(source_config_of(shard))]

    return paths


def weighing_shards(pattern):
    """An input: `pattern` for every shard of the job's model that the run outlined, if units count by their outlines."""
    return outlined_shards(pattern) if config["atlas"]["weights"] != "none" else []


def imported_shards(pattern):
    """An input: `pattern` for every shard of crops made elsewhere."""

    def paths(wildcards):
        return [pattern.format(shard=shard) for shard in shards() if source_config_of(shard)["kind"] == "crops"]

    return paths


def shards_with_crops(pattern):
    """An input: `pattern` for every shard, or every one of the job's model, that has pixels of cells."""

    def paths(wildcards):
        found = shards(wildcards.get("model"))
        return [pattern.format(shard=shard) for shard in found if has_crops(source_config_of(shard))]

    return paths


def vectors_of_source(*keys):
    """A parameter: what a job on vectors made elsewhere depends on, of the configuration of its source."""

    def settings(wildcards):
        return {key: source_config(wildcards)[key] for key in keys}

    return settings


def import_settings(wildcards):
    """A parameter: what importing the crops of the job's shard depends on beside their files."""
    return {"distance_unit_um": source_config(wildcards)["distance_unit_um"]}


def fields_in(shard):
    """Number of fields in a shard: what memory and time grow with."""
    found = read_shards(SHARDS).get(shard)
    return len(found.members) if found else 1


def minutes_per_field(seconds, base=10):
    """A resource: minutes that a job on a shard may take, doubled when tried again."""

    def runtime(wildcards, attempt):
        return int((base + fields_in(wildcards.shard) * seconds / 60) * 2 ** (attempt - 1))

    return runtime


def mb(first, growth=2):
    """A resource: megabytes of memory, times `growth` when tried again."""

    def mem_mb(wildcards, attempt):
        return int(first * growth ** (attempt - 1))

    return mem_mb


def overrides_of(stage):
    """A parameter: the curator's words that this stage has to follow for the job's shard."""

    def rows(wildcards):
        shard = read_shards(SHARDS).get(wildcards.shard)
        return overrides_for(config["overrides"], stage, shard) if shard else []

    return rows


def model_settings(wildcards):
    """A parameter: the configuration of the job's model."""
    return config["models"][wildcards.model]


def either(names):
    """Regular expression of some names; one that nothing fits, where there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def learned_models():
    """Regular expression of the networks that are trained here."""
    return either(name for name, model in config["models"].items() if is_learned(model))


def ensembles():
    """Regular expression of the models that are put together of others."""
    return either(name for name, model in config["models"].items() if is_ensemble(model))


def ready_models():
    """Regular expression of the models that need no training."""
    known = config["models"].items()
    others = ("ensemble", "published")
    return either(name for name, model in known if not is_learned(model) and model["kind"] not in others)


def published_models():
    """Regular expression of the models that stand for vectors made elsewhere."""
    return either(name for name, model in config["models"].items() if model["kind"] == "published")


def trained(pattern):
    """An input: `pattern` for every network that is trained here and has a shard to learn from."""

    def paths(wildcards):
        known = [model for model, settings in config["models"].items() if is_learned(settings)]
        return [pattern.format(model=model) for model in known if shards(model)]

    return paths


def packages(wildcards):
    """An input: a package of every network that is trained here and tells locations."""
    known = [model for model, settings in config["models"].items() if is_learned(settings) and predicts(settings)]
    return [f"results/models/{model}/bioimageio.zip" for model in known if shards(model)]


def frozen_shards(model):
    """Shards that a model was trained on; while it has no training table, those that it works on."""
    written = Path(f"results/training/{model}.shards.tsv")
    if written.exists():
        return [line.split("\t")[0] for line in written.read_text().splitlines()[1:]]
    return shards(model)


def learned_shards(pattern):
    """An input: `pattern` for every shard that the job's model is trained on."""

    def paths(wildcards):
        return [pattern.format(shard=shard) for shard in frozen_shards(wildcards.model)]

    return paths


def pixels_of(model):
    """Pattern of the stores that a trained network sees."""
    settings = config["models"][model]
    return "results/crops/{shard}.zarr" if settings["level"] == "cell" else fields_of(settings)


def fields_of(settings):
    """Pattern of the stores of fields on a model's grid."""
    return f"results/fields/{grid_of(settings).name}/{{shard}}.zarr"


def learned_pixels(wildcards):
    """An input: the pixels that the job's network is trained on."""
    pattern = pixels_of(wildcards.model)
    return [pattern.format(shard=shard) for shard in frozen_shards(wildcards.model)]


def seen_pixels(wildcards):
    """An input: the pixels of all shards that the job's network describes."""
    pattern = pixels_of(wildcards.model)
    return [pattern.format(shard=shard) for shard in shards(wildcards.model)]


def attention_settings(wildcards):
    """A parameter: what maps of the job's network are drawn, and at which layer."""
    own = config["evaluate"]["attention"]
    sizes = {name: own[name] for name in ("fields", "pictures", "picture_px")}
    about = {name: config["evaluate"][name] for name in ("draws", "seed")}
    return {**sizes, **about, "layer": own["layers"].get(wildcards.model)}


def simulated_sources():
    """Configuration of the sources whose fields are drawn, which is all that their truth follows from."""
    return {name: source for name, source in config["sources"].items() if source["kind"] == "simulated"}


def shard_pixels(wildcards):
    """An input: the pixels of the job's shard, as its network sees them."""
    return pixels_of(wildcards.model).format(shard=wildcards.shard)


def sees(model, shard):
    """Whether a model works on the source of a shard; on one that has left the configuration it did."""
    source = shard.rsplit("-", 1)[0]
    return source not in config["sources"] or model in models_of_source(config, source)


def teacher_predictions(wildcards):
    """An input: probabilities that the job's network learns from, beside the labels, of the shards its teacher sees."""
    taught = config["models"][wildcards.model]["training"]["distillation"]
    if taught is None:
        return []
    known = [shard for shard in frozen_shards(wildcards.model) if sees(taught["teacher"], shard)]
    return [f"results/predictions/{taught['teacher']}/{shard}.parquet" for shard in known]


def start_weights(wildcards):
    """An input: weights that the job's training starts from, of a model of the run or made elsewhere."""
    start = start_of(wildcards.model, config["models"])
    if start is not None:
        return WEIGHTS.format(model=start)
    return config["models"][wildcards.model]["training"]["start"] or []


def policy_of(wildcards):
    """An input: the policy of augmentation that the job's training takes, if it was searched for."""
    policy = config["models"][wildcards.model]["training"]["augmentation"].get("policy")
    return policy["file"] if policy and policy["file"] else []


def starts_elsewhere(wildcards):
    """A parameter: weights made elsewhere from which the job's model, or one that it learned from, began."""
    return files_learned_from(wildcards.model, config["models"])


def model_table(wildcards):
    """A parameter: what the training table of the job's model depends on."""
    return table_settings(config["models"][wildcards.model])


def model_training(wildcards):
    """A parameter: what the weights of the job's model depend on."""
    return training_settings(config["models"][wildcards.model])


def model_search(wildcards):
    """A parameter: what the search for a policy of the job's model depends on, beside its own settings."""
    return search_settings(config["models"][wildcards.model])


def policy_search(wildcards):
    """A parameter: how a policy of augmentation is searched for the job's model."""
    return config["models"][wildcards.model]["training"]["policy_search"]


def model_inference(wildcards):
    """A parameter: what the predictions of the job's network depend on, beside its weights."""
    return inference_settings(config["models"][wildcards.model])


def model_code(wildcards):
    """A parameter: changes with the code of the job's network."""
    return digest.module_digest(NETWORKS[config["models"][wildcards.model]["kind"]].module)


def model_members(wildcards):
    """A parameter: members of the job's ensemble, and how it puts them together."""
    return ensemble_settings(config["models"][wildcards.model])


def member_files(pattern):
    """An input: `pattern` for every member of the job's ensemble."""

    def paths(wildcards):
        members = config["models"][wildcards.model]["members"]
        return [pattern.format(**{**dict(wildcards), "model": member}) for member in members]

    return paths


def member_table(wildcards):
    """An input: the training table of the first member of the job's ensemble; all have the same folds and classes."""
    return f"results/training/{config['models'][wildcards.model]['members'][0]}.parquet"


def member_predictions(wildcards):
    """An input: probabilities of all members for those shards of the first one's training that the others see, too."""
    members = config["models"][wildcards.model]["members"]
    known = [shard for shard in frozen_shards(members[0]) if all(sees(member, shard) for member in members)]
    return [f"results/predictions/{member}/{shard}.parquet" for member in members for shard in known]


def scored_apart(wildcards):
    """An input: the training tables of what the job's model consists of and learned from; none if not trained here."""
    settings = config["models"][wildcards.model]
    if not (is_learned(settings) or is_ensemble(settings)):
        return []
    return [f"results/training/{name}.parquet" for name in tables_of(wildcards.model, config["models"])]


def saved_map(wildcards):
    """An input: the map of an earlier run onto which the units of the job's model are placed; none to lay them out."""
    path = config["atlas"]["onto_map"]
    return path.replace("{model}", wildcards.model) if path else []


def answers(wildcards):
    """An input: the answers of all models to the query that was asked."""
    if not config["query"]:
        raise WorkflowError(
            "nothing to find: ask with --config query=MKI67 (a protein by symbol or Ensembl id, a cell or field by its "
            "name in units.parquet, or the path of a file with an example on each line)"
        )
    asked = query_name(config["query"])
    return [f"results/find/{asked}/{model}/index.html" for model in config["models"] if shards(model)]


def files_of_query(wildcards):
    """An input: the list of examples, where the query is one."""
    return [config["query"]] if config["query"] and is_file(config["query"]) else []


def names_of_aligned_models(wildcards):
    """A parameter: models whose maps are aligned, in their order."""
    return config["atlas"]["align_models"] or [model for model in config["models"] if shards(model)]


def aligned_models(pattern):
    """An input: `pattern` for every model whose map is aligned with others."""

    def paths(wildcards):
        return [pattern.format(model=model) for model in names_of_aligned_models(wildcards)]

    return paths


def aligned_figures(wildcards):
    """An input: aligned maps of the models, where there are several, and of the releases of each."""
    models = names_of_aligned_models(wildcards)
    found = ["models"] if len(models) > 1 else []
    return [f"results/report/figures/aligned/{name}.png" for name in found + [f"releases/{model}" for model in models]]


def model_level(wildcards):
    """A parameter: whether the job's model describes cells or fields."""
    return config["models"][wildcards.model]["level"]


def weights_path(name):
    """The file of published weights; none for a model that has none or is untrained."""
    return [] if name in (None, "untrained") else f"resources/weights/{name}.npz"


def weights_of(wildcards):
    """An input: the weights that the job's model loads, if it loads any."""
    return weights_path(config["models"][wildcards.model]["weights"])


def weights_sha256(wildcards):
    """A parameter: which weights these are. Fetched anew, the same ones rerun nothing."""
    known = read_weights("resources/weights.tsv").get(config["models"][wildcards.model]["weights"])
    return known.sha256 if known else None


def every_weights_file():
    """An input: the weights of all models."""
    return sorted({path for model in config["models"].values() if (path := weights_path(model["weights"]))})


def fetched_sources():
    """Regular expression of the sources that are releases with files to fetch."""
    names = [name for name, source in config["sources"].items() if fetched_keys(source)]
    return "|".join(names) if names else "(?!)"


def files_of_release(wildcards):
    """An input: local files that tell what to fetch of a release."""
    return files_to_fetch_with(config["sources"][wildcards.source])


def settings_of_release(wildcards):
    """A parameter: where the files of a source's release are, and which genes are asked for."""
    return release_settings(config["sources"][wildcards.source])


def weights_file(wildcards):
    """An input: the local file from which configuration says to take these weights."""
    path = config["weights"].get(wildcards.weights)
    return path if path and not is_remote(path) else []


def fetched_gene_sets():
    """Regular expression of the gene sets that are no local files."""
    names = [name for name, source in config["biology"]["gene_sets"].items() if is_fetched(source)]
    return "|".join(re.escape(name) for name in names) if names else "(?!)"


def annotated_gene_sets():
    """Regular expression of the gene sets that are made from annotations."""
    return either([name for name, source in config["biology"]["gene_sets"].items() if is_annotated(source)])


def source_of_made_sets(wildcards):
    """A parameter: the annotations that the job's gene sets are made from, and what of them counts."""
    return config["biology"]["gene_sets"][wildcards.made_sets]


def files_of_annotations(wildcards):
    """An input: the annotations that the job's gene sets are made from, and their ontology."""
    source = source_of_made_sets(wildcards)
    return [source[key] for key in ("annotations", "ontology") if source[key]]


def source_of_gene_sets(wildcards):
    """A parameter: the address of gene sets, or their library and organism."""
    return config["biology"]["gene_sets"][wildcards.gene_sets]


def gpus_of(wildcards):
    """A resource: networks ask for one GPU, unless the configuration keeps them on the processor."""
    network = config["models"][wildcards.model]["kind"] not in ("classic", "ensemble", "published")
    return 1 if network and config["device"] != "cpu" else 0


def training_gpus(wildcards):
    """A resource: one GPU for each process of a training, unless the configuration keeps networks on the processor."""
    return config["models"][wildcards.model]["training"]["processes"] if config["device"] != "cpu" else 0


def training_threads(wildcards):
    """Threads of a training: each of its processes decodes images."""
    return 8 * config["models"][wildcards.model]["training"]["processes"]


def training_memory(wildcards, attempt):
    """A resource: megabytes of memory of all processes of a training, more when tried again."""
    return mb(12000)(wildcards, attempt) * config["models"][wildcards.model]["training"]["processes"]


def decoders_of(wildcards):
    """Threads of a job that predicts: a GPU waits for images unless several processes decode them."""
    return 4 if gpus_of(wildcards) else 1


def simulated_shards(pattern):
    """An input: `pattern` for every shard whose truth is known."""

    def paths(wildcards):
        known = [shard for shard in shards() if config["sources"][shard.rsplit("-", 1)[0]]["kind"] == "simulated"]
        return [pattern.format(shard=shard) for shard in known]

    return paths


def judged_shards(pattern):
    """An input: `pattern` for every shard of the sources that have known outlines."""

    def paths(wildcards):
        return [pattern.format(shard=shard) for shard in shards() if has_truth(source_config_of(shard))]

    return paths


def judged_methods(pattern):
    """An input: `pattern` for every such shard and each method that is judged on it beside the one in use."""

    def paths(wildcards):
        return [
            pattern.format(method=method, shard=shard)
            for shard in shards()
            if has_truth(source_config_of(shard))
            for method in methods_beside(shard.rsplit("-", 1)[0])
        ]

    return paths


def source_config_of(shard):
    """Configuration of the source that a shard belongs to."""
    return config["sources"][shard.rsplit("-", 1)[0]]


def methods_beside(source):
    """Methods of segmentation that are judged on a source beside the one in use."""
    settings = for_source(config, "segment", source)
    return judged_beside(roles_of_source(config["sources"][source]), settings, config["evaluate"]["methods"])


def beside_settings(wildcards):
    """A parameter: settings of a method that is judged on the job's shard beside the one in use."""
    source = source_of(wildcards)
    settings = judged_settings(for_source(config, "segment", source), wildcards.method)
    return own_settings(roles_of_source(config["sources"][source]), settings)


def beside_code(wildcards):
    """A parameter: changes with the code of that method."""
    return digest.module_digest(METHODS[wildcards.method].module)


def beside_weights(wildcards):
    """An input: the weights of that method, if it is a network."""
    own = beside_settings(wildcards)[wildcards.method] if METHODS[wildcards.method].network else {}
    return [path for key, path in own.items() if key.endswith("weights") and path]


def beside_gpus(wildcards):
    """A resource: networks ask for one GPU, unless the configuration keeps them on the processor."""
    return 1 if METHODS[wildcards.method].network and config["device"] != "cpu" else 0


def outlined_by_people(wildcards):
    """A parameter: fields of the job's shard of which people's label images are there; None for all, if drawn."""
    shard = read_shards(SHARDS).get(wildcards.shard)
    if source_config(wildcards)["kind"] == "simulated" or not shard:
        return None
    patterns = truth_patterns(config["sources"])[source_of(wildcards)]
    return sorted({field_id for field_id, _ in shard.members if truth_files(patterns, field_id)})


def true_labels(wildcards):
    """An input: label images of people."""
    return [file for patterns in truth_patterns(config["sources"]).values() for file in all_truth_files(patterns)]


def truth_of_model(wildcards):
    """An input: the truth of the simulated shards among those of the job's model."""
    known = [
        shard for shard in shards(wildcards.model) if config["sources"][shard.rsplit("-", 1)[0]]["kind"] == "simulated"
    ]
    return [f"results/truth/{shard}" for shard in known]


def evaluated(pattern):
    """An input: `pattern` for every model that has a shard to work on."""

    def paths(wildcards):
        return [pattern.format(model=model) for model in config["models"] if shards(model)]

    return paths


def contrasted(pattern):
    """An input: `pattern` for every model that has a shard to work on and each contrast."""

    def paths(wildcards):
        names = [contrast["name"] for contrast in config["biology"]["contrasts"]]
        models = [model for model in config["models"] if shards(model)]
        return [pattern.format(model=model, contrast=name) for model in models for name in names]

    return paths


def settings_of_contrast(wildcards):
    """A parameter: the sides of the job's contrast, and how they are compared."""
    return contrast_settings(config, wildcards.contrast)


def learned_here(pattern):
    """An input: `pattern` for every model that is trained here and has a shard to work on."""

    def paths(wildcards):
        return [
            pattern.format(model=model)
            for model, settings in config["models"].items()
            if is_learned(settings) and shards(model)
        ]

    return paths


def carded(pattern):
    """An input: `pattern` for every model that is trained here, or put together of such, and has a shard to work on."""

    def paths(wildcards):
        return [
            pattern.format(model=model)
            for model, settings in config["models"].items()
            if (is_learned(settings) or is_ensemble(settings)) and shards(model)
        ]

    return paths


def per_model_and_shard(pattern):
    """An input: `pattern` for every model and each of its shards."""

    def paths(wildcards):
        return [pattern.format(model=model, shard=shard) for model in config["models"] for shard in shards(model)]

    return paths


def segmentation_scores(wildcards):
    """An input: the scores of the segmentation, where truth is known."""
    known = any(has_truth(source) for source in config["sources"].values())
    return "results/evaluation/segmentation/scores.json" if known else []


def segmentation_tables(wildcards):
    """An input: how right each method and each field is, where truth is known."""
    found = segmentation_scores(wildcards)
    return [f"results/evaluation/segmentation/{name}.tsv" for name in ("methods", "curves", "fields")] if found else []


def run_summaries(wildcards):
    """An input: the summaries of every job, in the order of the stages."""
    passed = {"crops": ("download", "qc", "import_crops"), "vectors": ("import_vectors",)}
    found = [
        f"results/summaries/{stage}/{shard}.json"
        for stage in ("download", "qc", "segment", "crop", "import_crops", "import_vectors")
        for shard in shards()
        if stage in passed.get(source_config_of(shard)["kind"], ("download", "qc", "segment", "crop"))
    ]
    models = [model for model in config["models"] if shards(model)]
    embedded = [f"results/summaries/embed/{model}/{shard}.json" for model in models for shard in shards(model)]
    found += ["results/summaries/split/run.json"] + embedded
    return (
        ["results/summaries/catalog/run.json"]
        + found
        + [
            f"results/summaries/{stage}/{model}.json"
            for stage in (
                "evaluate",
                "break_down",
                "probe_leaks",
                "atlas",
                "cluster",
                "enrich",
                "heterogeneity",
                "cell_labels",
                "cell_trees",
                "neighbours",
                "audit_labels",
                "evaluate_audit",
            )
            for model in models
        ]
        + [f"results/summaries/{stage}/{model}.json" for stage in ("prerank", "complexes") for model in models]
        + ["results/summaries/abundance/run.json"]
        + contrasted("results/summaries/contrast/{model}/{contrast}.json")(wildcards)
        + [
            f"results/summaries/make_gene_sets/{name}.json"
            for name, source in config["biology"]["gene_sets"].items()
            if is_annotated(source)
        ]
        + learned_here("results/summaries/attend/{model}.json")(wildcards)
    )


def segmenters_among(weights):
    """Segmenters of the configuration whose weights are among these files."""
    return [name for name in config["segmenters"] if f"results/segmenters/{name}/weights.npz" in weights]


def what_the_run_is(wildcards):
    """A parameter: what the configuration says of models, methods, weights and gene sets, as costs depend on it."""
    works_on = {
        model: [source for source in config["sources"] if model in models_of_source(config, source)]
        for model in config["models"]
    }
    fields = [name for name, source in config["sources"].items() if is_outlined(source)]
    outlined = {source: SimpleNamespace(shard=f"{source}-0001") for source in fields}
    working = {model: SimpleNamespace(model=model) for model, sources in works_on.items() if sources}
    return {
        "works_on": {model: works_on[model] for model in working},
        "gpu_models": [model for model, named in working.items() if gpus_of(named)],
        "weights": {model: config["models"][model]["weights"] for model, named in working.items() if weights_of(named)},
        "gene_sets": [name for name, source in config["biology"]["gene_sets"].items() if is_fetched(source)],
        "made_sets": [name for name, source in config["biology"]["gene_sets"].items() if is_annotated(source)],
        "networks": {
            source: segmenters_among(segment_weights(named))
            for source, named in outlined.items()
            if any(method.network for method in outliners(source))
        },
        "judged": {
            source: {
                method: segmenters_among(beside_weights(SimpleNamespace(method=method, **vars(named))))
                for method in methods_beside(source)
            }
            for source, named in outlined.items()
            if has_truth(config["sources"][source])
        },
        "contrasts": [contrast["name"] for contrast in config["biology"]["contrasts"]],
        "learned": {
            model: None if config["models"][model]["level"] == "cell" else grid_of(config["models"][model]).name
            for model in working
            if is_learned(config["models"][model])
        },
        "ensembles": {
            model: config["models"][model]["members"] for model in working if is_ensemble(config["models"][model])
        },
        "gpu_methods": [method for method in METHODS if beside_gpus(SimpleNamespace(method=method))],
        "crop": {source: for_source(config, "crop", source) for source in config["sources"]},
    }
