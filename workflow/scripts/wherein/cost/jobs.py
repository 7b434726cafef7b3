"""The jobs of a run, and which of them are still to do: by the files that are there and their times.

A job is to do if something that it reads is newer or made anew, if the pages are made from it and are missing, or if
what it writes is missing and a job that is to do reads it. Snakemake decides so too, and by more: it leaves out a job
whose small inputs were written again with the same content, and runs a job again whose settings or code changed.
`snakemake --dry-run` has the last word.
"""

import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from wherein.shards import Shard

CATALOG = "catalog"
"""What stages wait for that read the catalog's fields and run again when these change."""

SIMULATED = ("simulated",)
FETCHED = ("table", "hpa", "opencell")
IMPORTED = ("crops",)
VECTORS_ALONE = ("vectors",)
WITH_FIELDS = (*SIMULATED, *FETCHED)
NETWORK = ("outlined with a network",)
NO_NETWORK = ("outlined without a network",)
JUDGED = ("of known outlines",)

READY, LEARNED, ENSEMBLES, PUBLISHED = "that need no training", "trained here", "ensembles", "made elsewhere"
EMBEDDED = "embed embed_network embed_ensemble embed_vectors"
"""The rules that describe cells and fields: which of them depends on the model."""


class Stage(NamedTuple):
    """One rule of the workflow.

    Attributes:
        name: of the rule.
        per: wildcards of its outputs: `shard`, `model`, `method`, `grid`, `weights`, `segmenter`, `gene_sets`,
            `made_sets`, `contrast`; none for one job in the whole run.
        outputs: patterns of all files and folders that it writes.
        after: rules whose outputs it reads and after which it runs again.
        needs: rules whose outputs it reads too, but after which it does not run again.
        kinds: kinds of sources whose shards it works on; none for all.
        benchmark: pattern of its benchmark.
        models: which models it works on: READY, LEARNED, ENSEMBLES or PUBLISHED; empty for all.
    """

    name: str
    per: tuple[str, ...]
    outputs: tuple[str, ...]
    after: tuple[str, ...]
    needs: tuple[str, ...]
    kinds: tuple[str, ...]
    benchmark: str
    models: str = ""


def _stage(
    name: str,
    per: str,
    outputs: Sequence[str],
    after: str = "",
    needs: str = "",
    kinds: tuple[str, ...] = (),
    benchmark: str | None = None,
    summary: str | None = None,
    models: str = "",
) -> Stage:
    wildcards = tuple(per.split())
    item = "/".join(f"{{{wildcard}}}" for wildcard in wildcards) or "run"
    written = (*outputs, *((f"results/summaries/{summary or name}/{item}.json",) if summary != "" else ()))
    told = benchmark or f"results/benchmark/{name}/{item}.tsv"
    return Stage(name, wildcards, written, tuple(after.split()), tuple(needs.split()), kinds, told, models)


FIGURES = "results/report/figures"
VECTORS = ("results/embeddings/{model}/{shard}.parquet", "results/predictions/{model}/{shard}.parquet")

STAGES = (
    _stage("fetch_weights", "weights", ["resources/weights/{weights}.npz"], summary="",
           benchmark="results/benchmark/weights/{weights}.tsv"),
    _stage("download", "shard", ["results/download/{shard}.parquet"], kinds=FETCHED),
    _stage("simulate", "shard", ["results/download/{shard}.parquet", "resources/images/{shard}",
           "results/truth/{shard}"], kinds=SIMULATED, summary="download",
           benchmark="results/benchmark/download/{shard}.tsv"),
    _stage("download_crops", "shard", ["results/download/{shard}.parquet"], kinds=IMPORTED, summary="download",
           benchmark="results/benchmark/download/{shard}.tsv"),
    _stage("import_vectors", "shard", ["results/download/{shard}.parquet", "results/qc/{shard}.parquet",
           "results/cells/{shard}.parquet"], kinds=VECTORS_ALONE),
    _stage("qc", "shard", ["results/qc/{shard}.parquet"], "download simulate", kinds=WITH_FIELDS),
    _stage("qc_crops", "shard", ["results/qc/{shard}.parquet"], "download_crops", kinds=IMPORTED, summary="qc",
           benchmark="results/benchmark/qc/{shard}.tsv"),
    _stage("train_segmenter", "segmenter", [f"results/segmenters/{{segmenter}}/{name}" for name in ("weights.npz",
           "card.md", "history.tsv")]),
    _stage("segment", "shard", ["results/masks/{shard}.zarr", "results/segmentation/{shard}.parquet"],
           "download simulate qc", kinds=NO_NETWORK),
    _stage("segment_network", "shard", ["results/masks/{shard}.zarr", "results/segmentation/{shard}.parquet"],
           "download simulate qc train_segmenter", kinds=NETWORK, summary="segment",
           benchmark="results/benchmark/segment/{shard}.tsv"),
    _stage("crop", "shard", ["results/crops/{shard}.zarr", "results/cells/{shard}.parquet"],
           "download simulate qc segment segment_network", kinds=WITH_FIELDS),
    _stage("import_crops", "shard", ["results/crops/{shard}.zarr", "results/cells/{shard}.parquet"],
           "download_crops qc_crops", kinds=IMPORTED),
    _stage("samples", "", ["results/samples/samples.parquet"], "catalog crop"),
    _stage("split", "", ["results/split/split.parquet"], "qc crop"),
    _stage("shrink", "grid shard", ["results/fields/{grid}/{shard}.zarr"], "download simulate qc"),
    _stage("training_table", "model", ["results/training/{model}.parquet", "results/training/{model}.shards.tsv"],
           "", "split samples qc crop", models=LEARNED),
    _stage("train", "model", [f"results/models/{{model}}/{name}" for name in ("weights.pt", "history.csv",
           "card.md")], "", "training_table shrink crop", models=LEARNED),
    _stage("embed", "model shard", VECTORS, "download simulate qc crop", "fetch_weights", models=READY),
    _stage("embed_network", "model shard", VECTORS, "qc crop shrink train", summary="embed",
           benchmark="results/benchmark/embed/{model}/{shard}.tsv", models=LEARNED),
    _stage("combine", "model", [f"results/models/{{model}}/{name}" for name in ("combination.json",
           "card.md")], "train", "training_table embed_network", models=ENSEMBLES),
    _stage("embed_ensemble", "model shard", VECTORS, "combine embed_network", summary="embed",
           benchmark="results/benchmark/embed/{model}/{shard}.tsv", models=ENSEMBLES),
    _stage("embed_vectors", "model shard", VECTORS, "import_vectors", summary="embed",
           benchmark="results/benchmark/embed/{model}/{shard}.tsv", models=PUBLISHED),
    _stage("evaluate", "model", [f"results/evaluation/{{model}}/{name}" for name in ("classes.tsv", "scores.json",
           "predictions.parquet", "fields.parquet")],
           f"catalog split qc crop samples {EMBEDDED} simulate", "training_table"),
    _stage("break_down", "model", [f"results/evaluation/{{model}}/{name}" for name in ("groups.tsv", "tests.tsv",
           "curves.tsv", "confusion.tsv", "judges.tsv", "annotated.tsv", "breakdown.json")],
           f"catalog split evaluate {EMBEDDED}", "training_table",
           benchmark="results/benchmark/evaluate/break_down/{model}.tsv"),
    _stage("probe_leaks", "model", [f"results/evaluation/{{model}}/{name}" for name in ("neighbours.tsv",
           "leaks.json")], f"catalog split evaluate {EMBEDDED}",
           benchmark="results/benchmark/evaluate/probe_leaks/{model}.tsv"),
    _stage("attend", "model", [f"results/evaluation/{{model}}/{name}" for name in ("attention.tsv", "pointing.tsv",
           "attention.npz")], "catalog train evaluate shrink crop simulate",
           benchmark="results/benchmark/evaluate/attend/{model}.tsv", models=LEARNED),
    _stage("segment_beside", "method shard", ["results/methods/{method}/{shard}.zarr",
           "results/methods/{method}/{shard}.parquet"], "download simulate qc train_segmenter", kinds=JUDGED,
           benchmark="results/benchmark/evaluate/segment_beside/{method}/{shard}.tsv"),
    _stage("evaluate_segmentation", "", [*(f"results/evaluation/segmentation/{name}" for name in ("objects.parquet",
           "fields.tsv", "methods.tsv", "curves.tsv", "scores.json")), "results/summaries/evaluate/segmentation.json"],
           "catalog qc segment segment_network crop segment_beside simulate", kinds=JUDGED, summary="",
           benchmark="results/benchmark/evaluate/segmentation.tsv"),
    _stage("atlas", "model", ["results/atlas/{model}/proteins.h5ad", "results/atlas/{model}/units.parquet",
           "results/atlas/{model}/clusters.tsv", "results/atlas/{model}/map.npz",
           "results/atlas/{model}/history.parquet", "results/atlas/{model}/moved.tsv"],
           f"catalog qc crop samples {EMBEDDED}"),
    _stage("fetch_gene_sets", "gene_sets", ["resources/gene_sets/fetched/{gene_sets}.gmt"], summary="",
           benchmark="results/benchmark/gene_sets/{gene_sets}.tsv"),
    _stage("make_gene_sets", "made_sets", ["results/gene_sets/{made_sets}.gmt"]),
    _stage("enrich", "model", [f"results/biology/{{model}}/{name}.tsv" for name in ("enrichment",
           "enrichment_libraries", "identifiers")], "atlas fetch_gene_sets make_gene_sets"),
    _stage("heterogeneity", "model", [f"results/biology/{{model}}/{name}" for name in ("heterogeneity.tsv",
           "heterogeneity_fields.tsv", "heterogeneity_samples.tsv", "variance.tsv", "compartments.tsv",
           "compartment_cells.parquet", "published_variation.tsv")],
           f"catalog qc segment segment_network crop samples {EMBEDDED} evaluate"),
    _stage("cell_labels", "model", [f"results/biology/{{model}}/{name}.tsv" for name in ("cell_labels", "exclusive",
           "negative")], "catalog crop samples evaluate"),
    _stage("abundance", "", ["results/biology/abundance.parquet", "results/biology/abundance_samples.parquet",
           "results/biology/abundance_background.tsv"], "catalog qc crop samples"),
    _stage("contrast", "model contrast", [f"results/biology/{{model}}/contrasts/{{contrast}}/{name}.tsv" for name in (
           "proteins", "classes", "replicates")], f"catalog qc crop samples {EMBEDDED} evaluate abundance"),
    _stage("prerank", "model", ["results/biology/{model}/prerank.tsv"],
           "atlas heterogeneity fetch_gene_sets make_gene_sets"),
    _stage("complexes", "model", [f"results/biology/{{model}}/{name}.tsv" for name in ("complex_neighbours",
           "complex_curve", "complex_pairs", "complexes", "set_pairs")], "atlas fetch_gene_sets make_gene_sets"),
    _stage("cluster", "model", [*(f"results/atlas/{{model}}/{name}" for name in ("groups.tsv", "members.tsv",
           "agreement.tsv", "organelles.tsv", "spectrum.h5ad")), "results/biology/{model}/enrichment_groups.tsv"],
           "atlas fetch_gene_sets"),
    _stage("cell_trees", "model", ["results/atlas/{model}/cell_trees.parquet"],
           f"catalog crop samples {EMBEDDED} heterogeneity"),
    _stage("neighbours", "model", ["results/atlas/{model}/neighbours.parquet",
           "results/atlas/{model}/unit_neighbours.parquet"], f"catalog qc crop samples {EMBEDDED} atlas"),
    _stage("audit_labels", "model", ["results/biology/{model}/audit.tsv", "results/biology/{model}/audit_samples.tsv"],
           f"catalog qc crop samples {EMBEDDED} atlas evaluate"),
    _stage("evaluate_audit", "model", ["results/evaluation/{model}/audit.json"], "catalog audit_labels simulate",
           benchmark="results/benchmark/evaluate/audit/{model}.tsv"),
    _stage("plot_clusters", "model", [f"{FIGURES}/{{model}}/{name}" for name in ("spectrum.png", "stability.png",
           "within", "cell_trees")], "atlas cluster cell_trees crop", summary="",
           benchmark="results/benchmark/report/plot_clusters/{model}.tsv"),
    _stage("balance", "", ["results/report/balance.tsv", "results/report/left_out.tsv",
           "results/report/overrides.tsv"],
           f"catalog download simulate qc crop samples segment segment_network {EMBEDDED}",
           benchmark="results/benchmark/report/balance.tsv"),
    _stage("plot_qc", "", [f"{FIGURES}/qc_measures.png", f"{FIGURES}/qc_examples.png"],
           "catalog download simulate qc", summary="", benchmark="results/benchmark/report/plot_qc.tsv"),
    _stage("plot_segmentation", "", [f"{FIGURES}/segmentation_overlays.png", f"{FIGURES}/cells_measures.png"],
           "catalog download simulate qc segment segment_network crop", summary="",
           benchmark="results/benchmark/report/plot_segmentation.tsv"),
    _stage("plot_model", "model", [f"{FIGURES}/{{model}}/{name}.png" for name in ("umap_units", "umap_proteins",
           "heatmap", "classes", "enrichment", "heterogeneity")], "atlas evaluate enrich heterogeneity", summary="",
           benchmark="results/benchmark/report/plot_model/{model}.tsv"),
    _stage("plot_gene_sets", "model", [f"{FIGURES}/{{model}}/{name}.png" for name in ("gene_sets", "complexes",
           "set_pairs", "prerank")], "enrich prerank complexes", summary="",
           benchmark="results/benchmark/report/plot_gene_sets/{model}.tsv"),
    _stage("plot_single_cells", "model", [f"{FIGURES}/{{model}}/single_cells.png",
           f"{FIGURES}/{{model}}/compartments.png"], "heterogeneity", summary="",
           benchmark="results/benchmark/report/plot_single_cells/{model}.tsv"),
    _stage("plot_scores", "model", [f"{FIGURES}/{{model}}/{name}.png" for name in ("curves", "confusion", "groups",
           "leaks", "judges")], "evaluate break_down probe_leaks", summary="",
           benchmark="results/benchmark/report/plot_scores/{model}.tsv"),
    _stage("plot_training", "model", [f"{FIGURES}/{{model}}/history.png", f"{FIGURES}/{{model}}/pointing.png"],
           "train attend", summary="", benchmark="results/benchmark/report/plot_training/{model}.tsv", models=LEARNED),
    _stage("compare", "", [*(f"results/report/{name}.tsv" for name in ("models", "models_pairs", "models_classes",
           "models_tests", "labels")), *(f"{FIGURES}/{name}.png" for name in ("models_scores",
           "models_precision_recall", "models_classes", "models_training_counts", "models_speed", "models_input_sizes",
           "labels"))],
           f"catalog split evaluate break_down probe_leaks {EMBEDDED}", "train",
           benchmark="results/benchmark/report/compare.tsv"),
    _stage("build_site", "", ["results/report/site"],
           "catalog balance download simulate qc segment segment_network crop evaluate_segmentation fetch_gene_sets "
           "plot_qc plot_segmentation plot_model plot_scores plot_training plot_clusters attend compare break_down "
           "probe_leaks atlas evaluate enrich heterogeneity prerank complexes plot_gene_sets make_gene_sets cluster "
           "cell_trees cell_labels plot_single_cells abundance contrast neighbours audit_labels evaluate_audit",
           f"split train combine {EMBEDDED}",
           benchmark="results/benchmark/report/build_site.tsv"),
)  # fmt: skip
"""Rules in the order of the workflow, without the catalog and what it reads: both are done when this is asked."""


IN_PLACE_OF = {
    "download": ("download_crops", "import_vectors"),
    "qc": ("qc_crops", "import_vectors"),
    "crop": ("import_crops", "import_vectors"),
}
"""Rules that take the place of another one for crops and vectors made elsewhere: what reads from the one reads from the
other."""

TARGETS = ("balance", "build_site")
"""Rules whose outputs a run is asked for."""


class Plan(NamedTuple):
    """What the jobs of a run are counted from.

    Attributes:
        shards: shards whose source is in the configuration, in the order of the table.
        kinds: kind of each source.
        works_on: sources that each model works on; a model without any is left out.
        gpu_models: models whose embedding asks for a GPU.
        weights: names of the weights that are fetched, by the model that loads them.
        gene_sets: names of the gene sets that are fetched.
        networks: sources that are outlined with a network, and the segmenters of this run whose weights each needs.
        judged: sources of known outlines, the methods that are judged on each beside the one in use, and the segmenters
            of this run whose weights each method needs there.
        gpu_methods: networks that outline and ask for a GPU: all of them, or none.
        learned: models that are trained here, and the grid of fields that each sees; None for one of cells.
        ensembles: members of each ensemble.
        made_sets: names of the gene sets that are made from annotations.
        contrasts: names of the contrasts.
    """

    shards: Sequence[Shard]
    kinds: Mapping[str, str]
    works_on: Mapping[str, Sequence[str]]
    gpu_models: Sequence[str]
    weights: Mapping[str, str]
    gene_sets: Sequence[str]
    networks: Mapping[str, Sequence[str]]
    judged: Mapping[str, Mapping[str, Sequence[str]]]
    gpu_methods: Sequence[str]
    learned: Mapping[str, str | None] = MappingProxyType({})
    ensembles: Mapping[str, Sequence[str]] = MappingProxyType({})
    made_sets: Sequence[str] = ()
    contrasts: Sequence[str] = ()


class Job(NamedTuple):
    """One job.

    Attributes:
        stage: name of its rule.
        model: its model, or None.
        method: the method of segmentation that it tries beside the one in use, or None.
        shard: its shard, or None.
        source: the shard's source, or None.
        item: name of the weights or gene sets that it fetches, of the segmenter that it trains or of the grid that it
            shrinks fields to, or None.
        done: whether it need not run.
        gpus: 1 if it asks for any.
    """

    stage: str
    model: str | None
    method: str | None
    shard: str | None
    source: str | None
    item: str | None
    done: bool
    gpus: int


class _Node:
    """A job among the others: when its outputs were written, and the jobs that it reads from and that read from it."""

    def __init__(self, outputs: Sequence[str], benchmark: str) -> None:
        times = [_time(path) for path in outputs]
        self.missing = None in times
        known = [time for time in times if time is not None]
        self.newest = max(known, default=None)
        # Snakemake counts the benchmark among what a job wrote
        self.oldest = min([*known, *([time] if (time := _time(benchmark)) is not None else [])], default=None)
        # a job that left nothing at all is new: a reader with outputs was made without it
        self.never_ran = self.oldest is None
        self.inputs: list[tuple[_Node, bool]] = []
        self.readers: list[tuple[_Node, bool]] = []
        self.to_do = False

    def reads(self, other: "_Node", again: bool) -> None:
        """Note that this job reads from another one, and whether it runs again when that one does."""
        self.inputs.append((other, again))
        other.readers.append((self, again))


def all_jobs(plan: Plan, root: str = ".", catalog: str = "results/catalog/fields.parquet") -> list[Job]:
    """List the jobs of a run from `download` on.

    Args:
        plan: shards, models and what they need.
        root: folder of the run.
        catalog: fields.parquet, relative to it.

    Returns:
        Jobs in the order of the workflow.
    """
    source_of = {shard.name: shard.source for shard in plan.shards}
    nodes: dict[str, dict[tuple[str, ...], _Node]] = {CATALOG: {(): _Node([os.path.join(root, catalog)], "")}}
    listed: list[tuple[Stage, dict[str, str], _Node]] = []
    for stage in STAGES:
        nodes[stage.name] = {}
        for values in _items(stage, plan):
            item = dict(zip(stage.per, values, strict=True))
            written = [os.path.join(root, pattern.format(**item)) for pattern in stage.outputs]
            node = _Node(written, os.path.join(root, stage.benchmark.format(**item)))
            for other, again in _inputs(stage, item, nodes, plan, source_of):
                node.reads(other, again)
            nodes[stage.name][values] = node
            listed.append((stage, item, node))
    _find_to_do([(node, stage.name in TARGETS) for stage, _, node in listed])
    jobs = []
    for stage, item, node in listed:
        shard, model, method = (item.get(wildcard) for wildcard in ("shard", "model", "method"))
        named = next(
            (item[key] for key in ("weights", "segmenter", "gene_sets", "made_sets", "grid") if key in item), None
        )
        source = source_of[shard] if shard else None
        jobs.append(Job(stage.name, model, method, shard, source, named, not node.to_do, _gpus(stage, item, plan)))
    return jobs


def _gpus(stage: Stage, item: Mapping[str, str], plan: Plan) -> int:
    """1 for a job that asks for GPUs, however many."""
    if stage.name in ("embed", "embed_network", "train", "attend"):
        return int(item["model"] in plan.gpu_models)
    if stage.name == "segment_beside":
        return int(item["method"] in plan.gpu_methods)
    return int(stage.name in ("segment_network", "train_segmenter") and bool(plan.gpu_methods))


def _find_to_do(nodes: Sequence[tuple[_Node, bool]]) -> None:
    """Mark the jobs that are to do, in place; each comes with whether its outputs are asked for."""
    queue: deque[_Node] = deque()
    for node, asked_for in nodes:
        # a job without outputs goes by those that read from it: they may be newer than all that it would read
        oldest = node.oldest or next((reader.oldest for reader, _ in node.readers if reader.oldest), None)
        newer = oldest is not None and any(
            other.never_ran or (other.newest is not None and other.newest > oldest)
            for other, again in node.inputs
            if again
        )
        if newer or (asked_for and node.missing):
            node.to_do = True
            queue.append(node)
    while queue:
        node = queue.popleft()
        found = [other for other, _ in node.inputs if other.missing]
        found += [reader for reader, again in node.readers if again or node.missing]
        for other in found:
            if not other.to_do:
                other.to_do = True
                queue.append(other)


def _items(stage: Stage, plan: Plan) -> Iterable[tuple[str, ...]]:
    """Values of a stage's wildcards, one tuple a job."""
    shards = [shard.name for shard in plan.shards if _suits(stage, shard.source, plan)]
    if stage.per == ("model", "shard"):
        for model, sources in _models(stage, plan).items():
            yield from product([model], [shard.name for shard in plan.shards if shard.source in sources])
    elif stage.per == ("model", "contrast"):
        worked = _models(stage, plan)
        models = [model for model, sources in worked.items() if any(s.source in sources for s in plan.shards)]
        yield from product(models, plan.contrasts)
    elif stage.per == ("grid", "shard"):
        seen = ((plan.learned[model], sources) for model, sources in plan.works_on.items() if plan.learned.get(model))
        pairs = [(grid, shard.name) for grid, sources in seen for shard in plan.shards if shard.source in sources]
        yield from dict.fromkeys(pairs)
    elif stage.per == ("method", "shard"):
        for shard in plan.shards:
            yield from ((method, shard.name) for method in plan.judged.get(shard.source, ()))
    elif stage.per:
        worked = _models(stage, plan)
        models = [model for model, sources in worked.items() if any(s.source in sources for s in plan.shards)]
        names = {"shard": shards, "model": models, "weights": plan.weights.values(), "segmenter": _segmenters(plan),
                 "gene_sets": plan.gene_sets, "made_sets": plan.made_sets}  # fmt: skip
        yield from ((name,) for name in dict.fromkeys(names[stage.per[0]]))
    elif shards or not stage.kinds:
        yield ()


def _models(stage: Stage, plan: Plan) -> dict[str, Sequence[str]]:
    """Models that a stage works on, and the sources of each."""
    if not stage.models:
        return dict(plan.works_on)
    kind = {
        model: LEARNED if model in plan.learned
        else ENSEMBLES if model in plan.ensembles
        else PUBLISHED if all(plan.kinds[source] in VECTORS_ALONE for source in sources)
        else READY
        for model, sources in plan.works_on.items()
    }  # fmt: skip
    return {model: sources for model, sources in plan.works_on.items() if kind[model] == stage.models}


def _suits(stage: Stage, source: str, plan: Plan) -> bool:
    kinds = {plan.kinds[source]}
    if kinds.isdisjoint((*IMPORTED, *VECTORS_ALONE)):
        kinds.update(NETWORK if source in plan.networks else NO_NETWORK)
    kinds.update(JUDGED if source in plan.judged else ())
    return not stage.kinds or not kinds.isdisjoint(stage.kinds)


def _segmenters(plan: Plan) -> list[str]:
    """Segmenters of this run whose weights a shard needs, for its outlines or for a method that is judged on it."""
    found: list[str] = []
    for source in dict.fromkeys(shard.source for shard in plan.shards):
        found += plan.networks.get(source, ())
        found += [name for names in plan.judged.get(source, {}).values() for name in names]
    return found


def _inputs(
    stage: Stage,
    item: Mapping[str, str],
    nodes: Mapping[str, Mapping[tuple[str, ...], _Node]],
    plan: Plan,
    source_of: Mapping[str, str],
) -> Iterable[tuple[_Node, bool]]:
    """Jobs that a job reads from, and whether it runs again after them: of its shard and model, where it has these."""
    per = {each.name: each.per for each in STAGES}
    model = item.get("model")
    mine = [name for name, source in source_of.items() if model is None or source in plan.works_on[model]]
    mine = [name for name in mine if _suits(stage, source_of[name], plan)]
    after = _with_imports(stage.after)
    for before in (*after, *_with_imports(stage.needs)):
        wildcards = per.get(before, ())
        if wildcards == ("weights",):
            wanted: Any = [(plan.weights[model],)] if model in plan.weights else []
        elif wildcards == ("segmenter",):
            source = source_of[item["shard"]]
            names = plan.judged[source][item["method"]] if "method" in item else plan.networks[source]
            wanted = [(name,) for name in names]
        elif wildcards == ("grid", "shard"):
            grid = plan.learned.get(model or "")
            wanted = [(grid, name) for name in ([item["shard"]] if "shard" in item else mine)] if grid else []
        elif stage.models == ENSEMBLES and model and before in ("train", "training_table", "embed_network"):
            members, own = plan.ensembles[model], [item["shard"]] if "shard" in item else mine
            wanted = list(product(members, own)) if "shard" in wildcards else [(member,) for member in members]
        elif "shard" in item and wildcards and set(wildcards) <= set(item):
            wanted = [tuple(item[wildcard] for wildcard in wildcards)]
        elif model and wildcards == ("model",):
            wanted = [(model,)]
        elif wildcards == ("shard",):
            wanted = [(name,) for name in mine]
        elif model and wildcards == ("model", "shard"):
            wanted = [(model, name) for name in mine]
        else:
            wanted = nodes[before]
        yield from ((nodes[before][key], before in after) for key in wanted if key in nodes[before])


def _with_imports(stages: Sequence[str]) -> list[str]:
    """Names of rules, each with those that take its place for crops and vectors made elsewhere."""
    others = (other for name in stages for other in IN_PLACE_OF.get(name, ()))
    return list(dict.fromkeys([*stages, *others]))


def _time(path: str) -> float | None:
    """When a file or folder was written, a folder by Snakemake's stamp in it; None if it is not there."""
    for name in (os.path.join(path, ".snakemake_timestamp"), path):
        try:
            return os.stat(name).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None
