"""What the atlas costs at the size of the whole Human Protein Atlas: seconds and peak memory of each step.

Beside each step stands the plain library call that does the same (scipy's linkage with its pairwise distances,
scikit-learn's randomized PCA, umap-learn, gseapy), in the same run, each measurement in a process of its own and by
turns. Vectors are drawn: locations, proteins, cells. Ratios are of processor seconds on one thread, which other work
on the machine disturbs least, and wall seconds stand beside them; those of PCA are of wall seconds on two threads, as
the rule `atlas` has them. Last, one JSON line.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMBA")
for library in LIBRARIES:
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

CELLS_PER_FIELD = 15
FIELDS_PER_SHARD = 300
FIELDS_PER_PROTEIN = 7
LOCATIONS = ("Nucleoplasm", "Nucleoli", "Cytosol", "Mitochondria", "Plasma membrane", "Golgi apparatus", "Centrosome")
PLACES = 32
MEASURED = {"area_um2": 60.0, "nucleus_area_um2": 20.0, "nucleus_sum_nucleus": 2e6, "mean_protein": 12.0}
"""What the ledgers say of drawn cells, and a ninth of its mean."""

CLUSTERS = 30
WHOLE = (1_500_000, 2048)
"""Cells and features of Le et al. 2022 (Methods, single-cell prediction and UMAP)."""


def drawn_vectors(number: int, width: int, seed: int, places: np.ndarray | None = None) -> np.ndarray:
    """(number, width) float32: one of 32 places for each, directions of falling spread, and noise.

    With the place of each given, places and directions are the same for every seed.
    """
    rng = np.random.default_rng(seed)
    shape = rng if places is None else np.random.default_rng(0)
    factors = shape.normal(size=(PLACES, 40)) * 3
    directions = shape.normal(size=(40, width)).astype(np.float32) / np.sqrt(np.arange(1, 41))[:, None]
    places = rng.integers(0, PLACES, number) if places is None else places
    scores = factors[places] + rng.normal(size=(number, 40))
    vectors = scores.astype(np.float32) @ directions.astype(np.float32)
    vectors += rng.standard_normal((number, width), dtype=np.float32)
    return vectors


def linkage_ours(number: int, width: int) -> Callable[[], Any]:
    """Our tree of (number, width) points, average linkage, leaves as they come."""
    from wherein.analysis.clustering import hierarchical_clustering

    points = drawn_vectors(number, width, 0)
    hierarchical_clustering(points[:100], "average", "euclidean", 0)
    return lambda: hierarchical_clustering(points, "average", "euclidean", 0)


def linkage_scipy(number: int, width: int) -> Callable[[], Any]:
    """The same by scipy, pairwise distances included."""
    from scipy.cluster.hierarchy import linkage

    points = drawn_vectors(number, width, 0)
    linkage(points[:100], "average", "euclidean")
    return lambda: linkage(points, "average", "euclidean")


def tree_with_order(number: int, width: int) -> Callable[[], Any]:
    """Our tree with its leaves in order."""
    from wherein.analysis.clustering import hierarchical_clustering

    points = drawn_vectors(number, width, 0)
    hierarchical_clustering(points[:100], "average", "euclidean", 100)
    return lambda: hierarchical_clustering(points, "average", "euclidean", 1000)


def pca_ours(number: int, width: int) -> Callable[[], Any]:
    """Our 64 principal components of blocks, and the scores."""
    from wherein.analysis.projection import components_of_blocks
    from wherein.embeddings import BLOCK

    vectors = drawn_vectors(number, width, 1)

    def run() -> Any:
        starts = range(0, number, BLOCK)
        found = components_of_blocks((vectors[start : start + BLOCK] for start in starts), width, 64)
        return np.concatenate([found.fast_scores(vectors[start : start + BLOCK]) for start in starts])

    return run


def pca_sklearn(number: int, width: int) -> Callable[[], Any]:
    """The same by scikit-learn's randomized solver."""
    from sklearn.decomposition import PCA

    vectors = drawn_vectors(number, width, 1)
    return lambda: PCA(64, svd_solver="randomized", random_state=0).fit_transform(vectors)


def umap_ours(number: int, width: int) -> Callable[[], Any]:
    """Our layout of principal components, after compilation."""
    from wherein.analysis.layout import Layout, umap_coordinates

    points = drawn_vectors(number, width, 2)
    # compilation is paid once a process: of the approximate search, and of the layout
    umap_coordinates(points[:6000], Layout(exact_up_to=10))
    return lambda: umap_coordinates(points, Layout())


def umap_theirs(number: int, width: int) -> Callable[[], Any]:
    """umap-learn's own, after compilation."""
    import umap

    points = drawn_vectors(number, width, 2)
    umap.UMAP(random_state=0, n_jobs=1).fit_transform(points[:6000])
    return lambda: umap.UMAP(random_state=0, n_jobs=1).fit_transform(points)


def gene_sets(genes: int = 12804, terms: int = 9373, pairs: int = 827534) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Drawn sets of the sizes of GO BP's, and 30 clusters of 200 genes."""
    rng = np.random.default_rng(3)
    sizes = rng.lognormal(3.4, 1.4, terms)
    sizes = np.clip(sizes * pairs / sizes.sum(), 3, 2500).astype(int)
    sets = [np.sort(rng.choice(genes, size, replace=False)) for size in sizes]
    size = min(200, genes // 30)
    return sets, list(rng.permutation(genes)[: 30 * size].reshape(30, size))


def enrich_ours(number: int, width: int) -> Callable[[], Any]:
    """All sets against all clusters, the matrix included."""
    from wherein.analysis.overrepresentation import membership, overrepresentation

    sets, clusters = gene_sets()

    def run() -> Any:
        return overrepresentation(membership(sets, 12804), membership(clusters, 12804)).p

    return run


def enrich_gseapy(number: int, width: int) -> Callable[[], Any]:
    """The same by one call of gseapy for each cluster."""
    import gseapy

    sets, clusters = gene_sets()
    names = [f"G{number}" for number in range(12804)]
    named = {f"T{number}": [names[gene] for gene in own] for number, own in enumerate(sets)}
    return lambda: [
        gseapy.enrich([names[gene] for gene in own], gene_sets=named, background=names, outdir=None) for own in clusters
    ]


def draw_sets(path: Path, names: list[str]) -> None:
    """Write gene sets of these genes, as many and as large for each gene as those of GO BP."""
    sets = gene_sets(genes=len(names), pairs=827534 * len(names) // 12804)[0]
    lines = ["\t".join((f"T{n}", f"GO:{n:07d}", *(names[gene] for gene in own))) + "\n" for n, own in enumerate(sets)]
    path.write_text("".join(lines))


def drawn_proteins(folder: Path, number: int, width: int) -> dict[str, Any]:
    """Write proteins.h5ad of so many proteins with drawn complexes, gene sets and spreads; settings of `biology`."""
    from anndata import AnnData
    from wherein.analysis.projection import principal_components
    from wherein.settings import check_config

    names = [f"GENE{place}" for place in range(number)]
    scaled = drawn_vectors(number, width, 4)
    atlas = AnnData(scaled, obs=pd.DataFrame({"genes": names, "ensembl_ids": "", "labels": ""}, index=names))
    atlas.layers["scaled"] = scaled
    atlas.obsm["X_pca"] = principal_components(scaled, 50)[0]
    atlas.write_h5ad(folder / "proteins.h5ad")
    rng = np.random.default_rng(5)
    # as many as CORUM's core set has, over all proteins: more of them are in a complex than anybody knows
    complexes = [rng.choice(names, size, replace=False) for size in 2 + rng.geometric(0.25, 3500)]
    (folder / "complexes.gmt").write_text(
        "".join("\t".join((f"C{n}", "", *own)) + "\n" for n, own in enumerate(complexes))
    )
    draw_sets(folder / "sets.gmt", names)
    spread = pd.DataFrame({"gene": names, "spread_z": rng.normal(size=number), "n_cells": 25})
    spread.to_csv(folder / "heterogeneity.tsv", sep="\t", index=False)
    own = {"gene_sets": {"sets": str(folder / "sets.gmt")}, "complexes": {"file": str(folder / "complexes.gmt")}}
    config: dict[str, Any] = {
        "sources": {"demo": {"kind": "simulated"}},
        "models": {},
        "biology": {**own, "set_pairs": [{"name": "two sets", "a": "T1", "b": "T2"}]},
    }
    check_config(config)
    return config


def complexes_whole(number: int, width: int) -> Callable[[], Any]:
    """The rule `complexes` on so many proteins and as many complexes as CORUM has."""
    from wherein.analysis.complexes import ask_complexes
    from wherein.settings import complexes_settings

    folder = Path(tempfile.mkdtemp(prefix="complexes-"))
    settings = complexes_settings(drawn_proteins(folder, number, width))
    tables = ("neighbours", "curve", "pairs", "complexes", "set_pairs")
    outputs = {name: str(folder / f"{name}.tsv") for name in tables}
    return lambda: ask_complexes("m", folder / "proteins.h5ad", settings, outputs, folder / "summary.json")


def prerank_whole(number: int, width: int) -> Callable[[], Any]:
    """The rule `prerank` on so many proteins and the sets of GO BP, four rankings."""
    from wherein.analysis.prerank import enrich_rankings
    from wherein.settings import prerank_settings

    folder = Path(tempfile.mkdtemp(prefix="prerank-"))
    settings = prerank_settings(drawn_proteins(folder, number, width))
    return lambda: enrich_rankings(
        model="m", proteins=folder / "proteins.h5ad", heterogeneity=folder / "heterogeneity.tsv", settings=settings,
        prerank=folder / "prerank.tsv", summary=folder / "summary.json",
    )  # fmt: skip


def prerank_tenth(number: int, width: int) -> Callable[[], Any]:
    """One of the rankings of `prerank_whole` against every tenth set: a fortieth of the time, which grows with both."""
    from wherein.analysis.gene_sets import read_gmt
    from wherein.analysis.prerank import preranked
    from wherein.settings import prerank_settings

    folder = Path(tempfile.mkdtemp(prefix="prerank-"))
    names = [f"GENE{place}" for place in range(number)]
    draw_sets(folder / "sets.gmt", names)
    settings = prerank_settings(run_config(folder))
    members = [sorted(own.genes) for own in read_gmt(folder / "sets.gmt")[::10]]
    values = pd.Series(np.random.default_rng(5).normal(size=number), names)
    return lambda: preranked(values, members, settings)


def run_config(folder: Path) -> dict[str, Any]:
    """Configuration of the run in a folder."""
    from wherein.settings import check_config

    config: dict[str, Any] = {
        "sources": {"demo": {"kind": "simulated"}},
        "models": {},
        "atlas": {"umap_units": 20000, "clusters": CLUSTERS},
        "biology": {"gene_sets": {"sets": str(folder / "sets.gmt")}},
    }
    check_config(config)
    return config


def units_in(folder: Path) -> dict[str, Any]:
    """Where the rules find the units of the run in a folder."""
    return {"fields": folder / "fields.parquet", "cells": sorted(folder.glob("cells-*.parquet")),
            "embeddings": sorted(folder.glob("embeddings-*.parquet"))}  # fmt: skip


def whole_atlas(folder: Path) -> Callable[[], Any]:
    """The rule `atlas` on the run in a folder."""
    from wherein.analysis.atlas import build_atlas

    outputs = {"proteins": "proteins.h5ad", "units": "units.parquet", "clusters": "clusters.tsv", "unit_map": "map.npz",
               "history": "history.parquet", "moved": "moved.tsv", "summary": "summary.json"}  # fmt: skip
    return lambda: build_atlas(
        model="m", level="cell", qc=[], settings=run_config(folder)["atlas"], **units_in(folder),
        **{name: folder / "out" / file for name, file in outputs.items()},
    )  # fmt: skip


def cluster_whole(folder: Path) -> Callable[[], Any]:
    """The rule `cluster` on the atlas in a folder: communities, and all groups again with proteins left out."""
    from wherein.analysis.groupings import group_proteins
    from wherein.settings import terms_settings, without

    config, out = run_config(folder), folder / "out"
    names = {"groups": "groups.tsv", "members": "members.tsv", "agreements": "agreement.tsv",
             "organelle": "organelles.tsv", "spectrum": "spectrum.h5ad", "terms": "terms.tsv"}  # fmt: skip
    return lambda: group_proteins(
        model="m", proteins=out / "proteins.h5ad", biology=terms_settings(config), summary=out / "cluster.json",
        settings=without(config["atlas"], "neighbours", "audit", "find", "cell_trees"),
        **{name: out / file for name, file in names.items()},
    )  # fmt: skip


def enrich_whole(folder: Path) -> Callable[[], Any]:
    """The rule `enrich` on the atlas in a folder, of CLUSTERS clusters, and the sets of GO BP, with permutations."""
    from wherein.analysis.enrichment import enrich_clusters
    from wherein.settings import enrichment_settings

    settings, out = enrichment_settings(run_config(folder)), folder / "out"
    settings["gene_sets"] = {"sets": folder / "sets.gmt"}
    names = ("enrichment", "libraries", "identifiers")
    return lambda: enrich_clusters(
        model="m", proteins=out / "proteins.h5ad", settings=settings, summary=out / "enrich.json",
        **{name: out / f"{name}.tsv" for name in names},
    )  # fmt: skip


def heterogeneity_whole(folder: Path) -> Callable[[], Any]:
    """The rule `heterogeneity` on the run in a folder."""
    from wherein.analysis.heterogeneity import measure_heterogeneity
    from wherein.settings import heterogeneity_settings

    out = folder / "out"
    names = ("heterogeneity", "fields", "samples", "variance", "compartments", "compartment_cells", "published")
    return lambda: measure_heterogeneity(
        model="m", predictions=folder / "predictions.parquet", settings=heterogeneity_settings(run_config(folder)),
        words="hpa19", outputs={name: out / f"cells-{name}" for name in names}, summary=out / "heterogeneity.json",
        **units_in(folder),
    )  # fmt: skip


def neighbours_whole(folder: Path) -> Callable[[], Any]:
    """The rule `neighbours` on the run and the atlas in a folder."""
    from wherein.analysis.neighbours import find_neighbours
    from wherein.settings import neighbour_settings

    out = folder / "out"
    return lambda: find_neighbours(
        model="m", level="cell", proteins=out / "proteins.h5ad", unit_map=out / "map.npz", qc=[], samples=None,
        settings=neighbour_settings(run_config(folder)), neighbours=out / "neighbours.parquet",
        unit_neighbours=out / "unit_neighbours.parquet", summary=out / "neighbours.json", **units_in(folder),
    )  # fmt: skip


def audit_whole(folder: Path) -> Callable[[], Any]:
    """The rule `audit_labels` on the run and the atlas in a folder."""
    from wherein.analysis.audit import audit_labels
    from wherein.settings import audit_settings

    out = folder / "out"
    return lambda: audit_labels(
        model="m", level="cell", proteins=out / "proteins.h5ad", qc=[], samples=None,
        predictions=folder / "predictions.parquet", settings=audit_settings(run_config(folder)),
        by_protein=out / "audit.tsv", by_sample=out / "audit_samples.tsv", summary=out / "audit.json",
        **units_in(folder),
    )  # fmt: skip


def cells_level(folder: Path) -> Callable[[], Any]:
    """The rule `aggregate` on the run and the atlas in a folder: cells as AnnData, and all levels above."""
    from wherein.analysis.aggregating import aggregate_units

    config, out, units = run_config(folder), folder / "out", units_in(folder)
    # of a model of cells no table of fields' quality is read: any stand in for them
    return lambda: aggregate_units(
        model="m", level="cell", qc=units["cells"], quality=[], predictions=folder / "predictions.parquet",
        proteins=out / "proteins.h5ad", map_of_units=out / "units.parquet", folder=out / "aggregates",
        settings={key: config["atlas"][key] for key in ("aggregation", "weights", "vocabulary")},
        summary=out / "aggregate.json", **units,
    )  # fmt: skip


def draw_run(
    folder: Path, cells: int, width: int, per_field: int = CELLS_PER_FIELD, per_protein: int = FIELDS_PER_PROTEIN
) -> None:
    """Write catalog, ledgers, embeddings, predictions and gene sets of a run of so many cells."""
    from wherein.labels import vocabulary
    from wherein.tables import FIELDS, cells_schema, write_predictions, write_table, write_vectors

    n_fields = cells // per_field
    protein = np.arange(n_fields) // per_protein
    rng, every = np.random.default_rng(6), []
    fields = pd.DataFrame(
        {
            "field_id": [f"{row}_{row % 97}_A{row % 12}_1" for row in range(n_fields)],
            "version": [f"{row * 7919 % 2**48:012x}" for row in range(n_fields)],
            "source": "drawn",
            "genes": [[f"GENE{name}"] for name in protein],
            "ensembl_ids": [[f"ENSG{name:011d}"] for name in protein],
            "labels": [[LOCATIONS[name % len(LOCATIONS)]] for name in protein],
            "sample": [f"HPA{name}" for name in protein],
            "cell_line": "U2OS",
            "control": False,
        }
    )
    write_table(folder / "fields.parquet", fields, FIELDS, {"releases": {"drawn": "1"}})
    for number, start in enumerate(range(0, n_fields, FIELDS_PER_SHARD)):
        own = fields.iloc[start : start + FIELDS_PER_SHARD]
        units = own.loc[own.index.repeat(per_field), ["field_id", "version"]].reset_index(drop=True)
        label = np.tile(np.arange(1, per_field + 1), len(own))
        units["unit_id"] = units["field_id"] + "@" + units["version"] + ":" + pd.Series(label).astype(str)
        every.append(units)
        ledger = units.rename(columns={"unit_id": "cell_id"}).assign(label=label, status="kept", reason="kept")
        ledger[list(MEASURED)] = rng.gamma(9, size=(len(units), len(MEASURED))) * list(MEASURED.values())
        write_table(folder / f"cells-{number:04d}.parquet", ledger, cells_schema(("nucleus", "protein")))
        vectors = drawn_vectors(len(units), width, number, np.repeat(protein[own.index] % PLACES, per_field))
        write_vectors(folder / f"embeddings-{number:04d}.parquet", units, vectors, {"model": "m", "level": "cell"})
    units, classes = pd.concat(every, ignore_index=True), list(vocabulary("hpa19").classes)
    said = pd.DataFrame(rng.random((len(units), len(classes)), dtype=np.float32), columns=classes)
    write_predictions(folder / "predictions.parquet", units, said, {"vocabulary": "hpa19", "classes": classes})
    draw_sets(folder / "sets.gmt", [f"GENE{name}" for name in range(protein.max() + 1)])


STEPS: dict[str, Callable[[int, int], Callable[[], Any]]] = {
    step.__name__: step
    for step in (linkage_ours, linkage_scipy, tree_with_order, pca_ours, pca_sklearn, umap_ours, umap_theirs,
                 enrich_ours, enrich_gseapy, complexes_whole, prerank_tenth, prerank_whole)
}  # fmt: skip

ON_RUN: dict[str, Callable[[Path], Callable[[], Any]]] = {
    step.__name__: step
    for step in (whole_atlas, cluster_whole, enrich_whole, heterogeneity_whole, neighbours_whole, audit_whole,
                 cells_level)
}  # fmt: skip
"""Rules on a run that lies in a folder; all but the first and heterogeneity_whole need the atlas of the first."""


def measure(what: str, number: int, width: int, folder: str) -> dict[str, float]:
    """Time one step in this process."""
    run = ON_RUN[what](Path(folder)) if what in ON_RUN else STEPS[what](number, width)
    before = peak_mb()
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return {"seconds": time.perf_counter() - wall, "processor": time.process_time() - processor, "peak_mb": peak_mb(),
            "input_mb": before}  # fmt: skip


def peak_mb() -> float:
    """Most memory that this process held; getrusage would say that of the process that started it, if it held more."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def apart(what: str, number: int, width: int, folder: str = "", threads: int = 1) -> dict[str, float]:
    """Time one step in a process of its own."""
    several = {f"{library}_NUM_THREADS": str(threads) for library in LIBRARIES}
    command = [sys.executable, __file__, "--measure", what, str(number), str(width), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | several)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def by_turns(steps: list[tuple[str, int, int]], rounds: int, threads: int = 1) -> dict[str, dict[str, float]]:
    """Time steps by turns; of each the round of least time, of the processor on one thread."""
    runs: dict[str, list[dict[str, float]]] = {what: [] for what, _, _ in steps}
    for _ in range(rounds):
        for what, number, width in steps:
            runs[what].append(apart(what, number, width, threads=threads))
    counted = clock(threads)
    return {what: min(found, key=lambda run: run[counted]) for what, found in runs.items()}


def clock(threads: int) -> str:
    """Which time counts: processor seconds add up over threads."""
    return "processor" if threads == 1 else "seconds"


def on_run(steps: list[str], cells: int, width: int, **shape: int) -> dict[str, dict[str, float]]:
    """Time rules on one drawn run, one after the other."""
    with tempfile.TemporaryDirectory(prefix="run-") as scratch:
        draw_run(Path(scratch), cells, width, **shape)
        return {what: apart(what, cells, width, scratch) for what in steps}


def told_of(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """What the JSON line says of steps that nothing is compared with."""
    told = {"seconds": "wall", "processor": "processor", "peak_mb": "mb"}
    return {f"{step}_{word}": round(run[key], 1) for step, run in found.items() for key, word in told.items()}


def law(sizes: list[int], width: int) -> tuple[dict[str, Any], float]:
    """Peak memory and seconds of the whole atlas over the number of cells, and what they say of WHOLE; the peak."""
    rows = []
    for cells in sizes:
        with tempfile.TemporaryDirectory(prefix="atlas-") as scratch:
            draw_run(Path(scratch), cells, width)
            size = sum(path.stat().st_size for path in Path(scratch).iterdir()) / 2**20
            rows.append(
                {"cells": cells, "width": width, "disk_mb": size, **apart("whole_atlas", cells, width, scratch)}
            )
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.1f}"))
    said: dict[str, Any] = {"law_mb": dict(zip(map(str, sizes), table["peak_mb"].round(1), strict=True))}
    if len(sizes) > 1:
        slope, level = np.polyfit(table["cells"], table["peak_mb"], 1)
        per_cell, start = np.polyfit(table["cells"], table["processor"], 1)
        off = np.abs(level + slope * table["cells"] - table["peak_mb"]).max()
        print(f"peak memory: {level:.0f} MB + {slope * 1000:.2f} MB a thousand cells (off by {off:.0f} MB at most)")
        said["mb_per_thousand_cells"] = round(slope * 1000, 3)
        said["law_off_by_mb"] = round(float(off), 1)
        said["extrapolated_gb"] = round((level + slope * WHOLE[0]) / 1024, 2)
        said["extrapolated_processor_hours"] = round((start + per_cell * WHOLE[0]) / 3600, 2)
    return said, float(table["peak_mb"].max())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=12000, help="points that are clustered, of 256 features")
    parser.add_argument("--cells", type=int, default=200000, help="cells of 256 features that rules read")
    parser.add_argument("--pca-units", type=int, default=50000, help="vectors of 2,048 features")
    parser.add_argument("--umap-units", type=int, default=200000, help="points of 50 components that UMAP lays out")
    parser.add_argument("--law", type=int, nargs="*", default=[50000, 100000, 200000], help="cells of whole atlases")
    parser.add_argument("--law-features", type=int, default=WHOLE[1], help="features of these")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each step, of which the fastest counts")
    parser.add_argument("--only", nargs="*", help="clustering, pca, cells, umap, enrich, biology, groups, units, law")
    parser.add_argument("--steps", nargs="*", help="of groups, units and biology only these, and the atlas they need")
    parser.add_argument("--measure", nargs=4, metavar=("WHAT", "NUMBER", "WIDTH", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, number, width, folder = options.measure
        print(json.dumps(measure(what, int(number), int(width), folder)))
        return
    proteins, units, points = options.proteins, options.pca_units, options.umap_units
    groups: dict[str, list[tuple[str, int, int]]] = {
        "clustering": [(name, proteins, 256) for name in ("linkage_ours", "linkage_scipy", "tree_with_order")],
        "pca": [("pca_ours", units, 2048), ("pca_sklearn", units, 2048)],
        "cells": [("pca_ours", 200000, 256), ("pca_sklearn", 200000, 256)],
        "umap": [("umap_ours", points, 50), ("umap_theirs", points, 50)],
        "enrich": [("enrich_ours", 0, 0), ("enrich_gseapy", 0, 0)],
        "biology": [
            ("complexes_whole", proteins, 256),
            ("prerank_tenth", proteins, 0),
            ("prerank_whole", proteins, 256),
        ],
    }
    # of proteins alone four cells are enough; of cells, as many of each protein as in the whole atlas
    rules: dict[str, tuple[list[str], int, dict[str, int]]] = {
        "groups": (["whole_atlas", "cluster_whole", "enrich_whole"], 4 * proteins, {"per_field": 2, "per_protein": 2}),
        "units": (
            ["whole_atlas", "heterogeneity_whole", "neighbours_whole", "audit_whole", "cells_level"], options.cells, {}
        ),
    }  # fmt: skip
    if options.steps:
        groups["biology"] = [step for step in groups["biology"] if step[0] in options.steps]
    if importlib.util.find_spec("wherein.analysis.overrepresentation") is None:
        del groups["enrich"]
    ratio = {"clustering": ("clustering_vs_scipy", "linkage_scipy", "linkage_ours"),
             "pca": ("pca_vs_sklearn", "pca_sklearn", "pca_ours"), "umap": ("umap_vs_umap", "umap_theirs", "umap_ours"),
             "cells": ("pca_256_vs_sklearn", "pca_sklearn", "pca_ours"),
             "enrich": ("enrich_vs_gseapy", "enrich_gseapy", "enrich_ours")}  # fmt: skip
    said: dict[str, Any] = {"benchmark": "atlas", "proteins": proteins, "pca_units": units, "umap_units": points}
    wall, processor, peak = {}, {}, 0.0
    for group in [name for name in groups if not options.only or name in options.only]:
        threads = 2 if group in ("pca", "cells") else 1
        once = group == "biology" or (group == "umap" and points > 100000)
        found = by_turns(groups[group], 1 if once else options.rounds, threads)
        print(f"\n{group}")
        print(pd.DataFrame(found).T.to_string(float_format=lambda value: f"{value:.2f}"), flush=True)
        peak = max(peak, *(run["peak_mb"] for run in found.values()))
        if group == "biology":
            said |= told_of(found)
            continue
        name, theirs, ours = ratio[group]
        said[name] = round(found[theirs][clock(threads)] / found[ours][clock(threads)], 3)
        wall[name] = round(found[theirs]["seconds"] / found[ours]["seconds"], 3)
        processor[name] = round(found[theirs]["processor"] / found[ours]["processor"], 3)
        if group == "clustering":
            order = found["tree_with_order"]["processor"] - found["linkage_ours"]["processor"]
            said["leaf_order_seconds"] = round(max(0.0, order), 2)
    for group in [name for name in rules if not options.only or name in options.only]:
        names, cells, shape = rules[group]
        wanted = [name for name in names if not options.steps or name in options.steps]
        if wanted and set(wanted) - {"heterogeneity_whole"}:
            wanted = [*dict.fromkeys(["whole_atlas", *wanted])]
        found = on_run(wanted, cells, 256, **shape)
        print(f"\n{group}, {cells} cells of 256 features")
        print(pd.DataFrame(found).T.to_string(float_format=lambda value: f"{value:.2f}"), flush=True)
        peak = max(peak, *(run["peak_mb"] for run in found.values()))
        said |= told_of({f"{group}_atlas" if step == "whole_atlas" else step: run for step, run in found.items()})
    if options.law and (not options.only or "law" in options.only):
        print("\nwhole atlas")
        found, most = law(options.law, options.law_features)
        said, peak = said | found, max(peak, most)
    print(json.dumps({**said, "peak_gb": round(peak / 1024, 2), "wall": wall, "processor": processor}))


if __name__ == "__main__":
    main()
