"""Groups, spectrum and trees of cells of a small drawn run, made from its tables as the rules make them."""

from pathlib import Path

import pandas as pd
from scipy.cluster.hierarchy import linkage
from unit.fake_run import FakeRun
from wherein.analysis.cell_trees import CELL_TREES
from wherein.analysis.groupings import group_proteins
from wherein.settings import check_config
from wherein.tables import write_table
from wherein.views.cluster_figures import plot_clusters


def write_fake_groups(run: FakeRun, model: str, report: dict, gene_sets: dict[str, str], trees: bool = True) -> None:
    """Write what the rules `cluster`, `cell_trees` and `plot_clusters` write for one model."""
    config = {"sources": {"demo": {"kind": "simulated"}}, "models": {}, "atlas": {}}
    check_config(config)
    own = config["atlas"]
    own["groupings"] |= {
        "draws": 3,
        "permutations": 19,
        "within_min": 2,
        "named": {"ours": {"holds": ["HGENE1"], "size": 2}},
    }
    atlas, figures = run.root / "atlas" / model, run.root / "report" / "figures" / model
    paths = {name: str(atlas / f"{name}.tsv") for name in ("groups", "members", "agreement", "organelles")}
    paths |= {"proteins": str(atlas / "proteins.h5ad"), "spectrum": str(atlas / "spectrum.h5ad")}
    paths |= {"terms": run.path(f"biology/{model}/enrichment_groups.tsv"), "trees": str(atlas / "cell_trees.parquet")}
    limits = {"gene_sets": gene_sets, "min_set_size": 2, "max_set_size": None, "min_cluster_size": 2}
    group_proteins(model, paths["proteins"], own, limits, paths["groups"], paths["members"], paths["agreement"],
                   paths["organelles"], paths["spectrum"], paths["terms"],
                   run.path(f"summaries/cluster/{model}.json"))  # fmt: skip
    _write_trees(run, model, Path(paths["trees"]), trees)
    inputs = paths | {"cells": run.per_shard("cells/{shard}.parquet"), "crops": run.per_shard("crops/{shard}.zarr")}
    figures.mkdir(parents=True, exist_ok=True)
    outputs = {name: str(figures / f"{name}.png") for name in ("spectrum", "stability")}
    plot_clusters(model, inputs, report, outputs | {name: str(figures / name) for name in ("within", "cell_trees")})


def _write_trees(run: FakeRun, model: str, path: Path, there: bool) -> None:
    """A tree of the first protein's cells by their areas."""
    cells = pd.read_parquet(run.per_shard("cells/{shard}.parquet")[0])
    kept = cells[cells["status"] == "kept"].head(9).reset_index(drop=True)
    rows, links = pd.DataFrame(columns=CELL_TREES.names), {}
    if there:
        tree = linkage(kept[["area_um2"]].to_numpy(float), "average")
        leaf = [int(tree[:, :2].ravel().tolist().index(one)) for one in range(len(kept))]
        rows = kept.assign(protein="HGENE0", unit_id=kept["cell_id"], cell_line="U2OS", leaf=pd.Series(leaf).rank() - 1)
        rows = rows.assign(leaf=rows["leaf"].astype(int), clade=1 + (rows.index % 2), middle=1.0, location="Nucleoli")
        rows, links = rows[CELL_TREES.names], {"HGENE0": tree.tolist()}
    write_table(path, rows, CELL_TREES, {"model": model, "trees": links})
