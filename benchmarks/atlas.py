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
WHOLE = (1_500_000, 2048)
"""Cells and features of Le et al. 2022 (Methods, single-cell prediction and UMAP)."""


def drawn_vectors(number: int, width: int, seed: int) -> np.ndarray:
    """(number, width) float32: one of 32 places for each, directions of falling spread, and noise."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(32, 40)) * 3
    directions = rng.normal(size=(40, width)).astype(np.float32) / np.sqrt(np.arange(1, 41, dtype=np.float32))[:, None]
    scores = factors[rng.integers(0, 32, number)] + rng.normal(size=(number, 40))
    vectors = scores.astype(np.float32) @ directions
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
    sets = gene_sets(genes=number, pairs=827534 * number // 12804)[0]
    lines = ["\t".join((f"T{n}", f"GO:{n:07d}", *(names[gene] for gene in own))) + "\n" for n, own in enumerate(sets)]
    (folder / "sets.gmt").write_text("".join(lines))
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


def whole_atlas(folder: Path) -> Callable[[], Any]:
    """The rule `atlas` on the run in a folder."""
    from wherein.analysis.atlas import build_atlas
    from wherein.settings import check_config

    config: dict[str, Any] = {"sources": {"demo": {"kind": "simulated"}}, "models": {}, "atlas": {"umap_units": 20000}}
    check_config(config)
    outputs = {"proteins": "proteins.h5ad", "units": "units.parquet", "clusters": "clusters.tsv", "unit_map": "map.npz",
               "history": "history.parquet", "moved": "moved.tsv", "summary": "summary.json"}  # fmt: skip
    return lambda: build_atlas(
        model="m", level="cell", fields=folder / "fields.parquet", qc=[], cells=sorted(folder.glob("cells-*.parquet")),
        embeddings=sorted(folder.glob("embeddings-*.parquet")), settings=config["atlas"],
        **{name: folder / "out" / file for name, file in outputs.items()},
    )  # fmt: skip


def draw_run(folder: Path, cells: int, width: int) -> None:
    """Write catalog, ledgers and embeddings of a run of so many cells."""
    from wherein.tables import FIELDS, cells_schema, write_table, write_vectors

    n_fields = cells // CELLS_PER_FIELD
    protein = np.arange(n_fields) // FIELDS_PER_PROTEIN
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
        units = own.loc[own.index.repeat(CELLS_PER_FIELD), ["field_id", "version"]].reset_index(drop=True)
        label = np.tile(np.arange(1, CELLS_PER_FIELD + 1), len(own))
        units["unit_id"] = units["field_id"] + "@" + units["version"] + ":" + pd.Series(label).astype(str)
        ledger = units.rename(columns={"unit_id": "cell_id"}).assign(label=label, status="kept", reason="kept")
        write_table(folder / f"cells-{number:04d}.parquet", ledger, cells_schema(("nucleus", "protein")))
        vectors = drawn_vectors(len(units), width, number)
        write_vectors(folder / f"embeddings-{number:04d}.parquet", units, vectors, {"model": "m", "level": "cell"})


STEPS: dict[str, Callable[[int, int], Callable[[], Any]]] = {
    step.__name__: step
    for step in (linkage_ours, linkage_scipy, tree_with_order, pca_ours, pca_sklearn, umap_ours, umap_theirs,
                 enrich_ours, enrich_gseapy, complexes_whole, prerank_whole)
}  # fmt: skip


def measure(what: str, number: int, width: int, folder: str) -> dict[str, float]:
    """Time one step in this process."""
    run = whole_atlas(Path(folder)) if what == "whole_atlas" else STEPS[what](number, width)
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


def law(sizes: list[int], width: int) -> dict[str, Any]:
    """Peak memory and seconds of the whole atlas over the number of cells, and what they say of WHOLE."""
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
    return said


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=12000, help="points that are clustered, of 256 features")
    parser.add_argument("--pca-units", type=int, default=50000, help="vectors of 2,048 features")
    parser.add_argument("--umap-units", type=int, default=200000, help="points of 50 components that UMAP lays out")
    parser.add_argument("--law", type=int, nargs="*", default=[50000, 100000, 200000], help="cells of whole atlases")
    parser.add_argument("--law-features", type=int, default=WHOLE[1], help="features of these")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each step, of which the fastest counts")
    parser.add_argument("--only", nargs="*", help="clustering, pca, cells, umap, enrich, biology, law; all")
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
        "biology": [("complexes_whole", proteins, 256), ("prerank_whole", proteins, 256)],
    }
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
            for step, run in found.items():
                told = {"seconds": "wall", "processor": "processor", "peak_mb": "mb"}
                said |= {f"{step}_{word}": round(run[key], 1) for key, word in told.items()}
            continue
        name, theirs, ours = ratio[group]
        said[name] = round(found[theirs][clock(threads)] / found[ours][clock(threads)], 3)
        wall[name] = round(found[theirs]["seconds"] / found[ours]["seconds"], 3)
        processor[name] = round(found[theirs]["processor"] / found[ours]["processor"], 3)
        if group == "clustering":
            order = found["tree_with_order"]["processor"] - found["linkage_ours"]["processor"]
            said["leaf_order_seconds"] = round(max(0.0, order), 2)
    if options.law and (not options.only or "law" in options.only):
        print("\nwhole atlas")
        said |= law(options.law, options.law_features)
    print(json.dumps({**said, "peak_gb": round(peak / 1024, 2), "wall": wall, "processor": processor}))


if __name__ == "__main__":
    main()
