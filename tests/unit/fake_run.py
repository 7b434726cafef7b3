"""A small results tree as docs/formats.md describes it: drawn fields, masks, crops and plausible numbers.

The views are tested against it. Nothing here is a result: the patterns are discs and dots, the scores are drawn.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import tifffile
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from wherein.analysis.abundance import PROTEINS as ABUNDANCE
from wherein.analysis.audit import AUDIT
from wherein.analysis.cell_labels import EXCLUSIVE_COLUMNS
from wherein.analysis.cell_labels import SAMPLE_COLUMNS as LABEL_COLUMNS
from wherein.analysis.compartments import CELL_COLUMNS
from wherein.analysis.compartments import COLUMNS as COMPARTMENT_COLUMNS
from wherein.analysis.complexes import COMPLEXES, CURVE, HISTOGRAM, NEAREST, TESTS
from wherein.analysis.contrast import CLASS_COLUMNS, PROTEIN_COLUMNS, REPLICATE_COLUMNS
from wherein.analysis.controls import LIMIT_COLUMNS
from wherein.analysis.enrichment import LIBRARIES
from wherein.analysis.gene_sets import LOSSES
from wherein.analysis.heterogeneous_samples import COLUMNS as SAMPLE_COLUMNS
from wherein.analysis.moved import MOVED
from wherein.analysis.neighbours import NEIGHBOURS, UNIT_NEIGHBOURS
from wherein.analysis.prerank import COLUMNS as PRERANK
from wherein.analysis.published_variation import COLUMNS as PUBLISHED_COLUMNS
from wherein.analysis.variance_parts import COLUMNS as VARIANCE_COLUMNS
from wherein.atomic import atomic_path, write_json
from wherein.crops.store import CropWriter
from wherein.metrics.segmentation_objects import object_table
from wherein.metrics.segmentation_run import (
    CURVE_COLUMNS,
    FIELD_COLUMNS,
    METHOD_COLUMNS,
    curves,
    field_scores,
    method_scores,
    run_scores,
    with_sizes,
)
from wherein.segmentation.masks import read_masks, write_masks
from wherein.tables import (
    FIELDS,
    FILES,
    SEGMENTATION,
    cells_schema,
    qc_schema,
    write_predictions,
    write_table,
    write_tsv,
)

CLASSES = ("Nucleoplasm", "Nucleoli", "Cytosol", "Mitochondria", "Plasma membrane", "Vesicles", "Centrosome")
ROLES_OF = {"human": ("nucleus", "microtubules", "er", "protein"), "yeast": ("protein", "reference")}
WINDOW_PX = 96

GENE_SET_TABLES = (
    *("enrichment_libraries", "identifiers", "prerank", "complexes"),
    *("complex_neighbours", "complex_curve", "complex_pairs", "set_pairs"),
)


@dataclass
class FakeRun:
    """Paths of a results tree, and the inputs that the rules would hand to the views."""

    root: Path
    shards: dict[str, str] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def per_shard(self, pattern: str) -> list[str]:
        return [str(self.root / pattern.format(shard=shard)) for shard in self.shards]

    def path(self, name: str) -> str:
        return str(self.root / name)

    def model_inputs(self, model: str) -> dict[str, str]:
        return {
            "proteins": self.path(f"atlas/{model}/proteins.h5ad"),
            "units": self.path(f"atlas/{model}/units.parquet"),
            "clusters": self.path(f"atlas/{model}/clusters.tsv"),
            "classes": self.path(f"evaluation/{model}/classes.tsv"),
            "scores": self.path(f"evaluation/{model}/scores.json"),
            "enrichment": self.path(f"biology/{model}/enrichment.tsv"),
            "heterogeneity": self.path(f"biology/{model}/heterogeneity.tsv"),
        }

    def gene_set_inputs(self, model: str) -> dict[str, str]:
        names = {"libraries": "enrichment_libraries", "curve": "complex_curve", "pairs": "complex_pairs"}
        named = {name: names.get(name, name) for name in ("libraries", "prerank", "curve", "pairs", "set_pairs")}
        return {name: self.path(f"biology/{model}/{table}.tsv") for name, table in named.items()}

    def single_cell_inputs(self, model: str) -> dict[str, str]:
        names = {
            "samples": "heterogeneity_samples.tsv",
            "variance": "variance.tsv",
            "cells": "compartment_cells.parquet",
        }
        names |= {"published": "published_variation.tsv", "compartments": "compartments.tsv"}
        return {key: self.path(f"biology/{model}/{name}") for key, name in names.items()}

    def site_inputs(self) -> dict[str, Any]:
        per_model = {
            "model_figures": "report/figures/{model}/umap_proteins.png",
            "units": "atlas/{model}/units.parquet",
            "proteins": "atlas/{model}/proteins.h5ad",
            "clusters": "atlas/{model}/clusters.tsv",
            "groups_of_proteins": "atlas/{model}/groups.tsv",
            "agreement": "atlas/{model}/agreement.tsv",
            "spectrum": "atlas/{model}/spectrum.h5ad",
            "group_terms": "biology/{model}/enrichment_groups.tsv",
            "within_figures": "report/figures/{model}/within",
            "cell_tree_figures": "report/figures/{model}/cell_trees",
            "moved": "atlas/{model}/moved.tsv",
            "nearest_proteins": "atlas/{model}/neighbours.parquet",
            "nearest_units": "atlas/{model}/unit_neighbours.parquet",
            "neighbour_summaries": "summaries/neighbours/{model}.json",
            "audit": "biology/{model}/audit.tsv",
            "audit_samples": "biology/{model}/audit_samples.tsv",
            "audit_scores": "evaluation/{model}/audit.json",
            "scores": "evaluation/{model}/scores.json",
            "classes": "evaluation/{model}/classes.tsv",
            "predictions": "evaluation/{model}/predictions.parquet",
            "enrichment": "biology/{model}/enrichment.tsv",
            "heterogeneity": "biology/{model}/heterogeneity.tsv",
            "heterogeneity_fields": "biology/{model}/heterogeneity_fields.tsv",
            **{name: f"biology/{{model}}/{name}.tsv" for name in GENE_SET_TABLES},
            "heterogeneity_samples": "biology/{model}/heterogeneity_samples.tsv",
            "cell_labels": "biology/{model}/cell_labels.tsv",
            "exclusive": "biology/{model}/exclusive.tsv",
            "compartments": "biology/{model}/compartments.tsv",
            "scored": "evaluation/{model}/fields.parquet",
            "groups": "evaluation/{model}/groups.tsv",
            "breakdown": "evaluation/{model}/breakdown.json",
            "leaks": "evaluation/{model}/leaks.json",
            "neighbours": "evaluation/{model}/neighbours.tsv",
            "judges": "evaluation/{model}/judges.tsv",
            "annotated": "evaluation/{model}/annotated.tsv",
        }
        compared = ("scores", "precision_recall", "classes", "training_counts", "speed", "input_sizes")
        figures = ("qc_measures", "qc_examples", "segmentation_overlays", "cells_measures")
        return {
            "fields": self.path("catalog/fields.parquet"),
            "diff": self.path("catalog/release_diff.tsv"),
            "left_out": self.path("report/left_out.tsv"),
            "overrides": self.path("report/overrides.tsv"),
            "balance": self.path("report/balance.tsv"),
            "files": self.per_shard("download/{shard}.parquet"),
            "qc": self.per_shard("qc/{shard}.parquet"),
            "cells": self.per_shard("cells/{shard}.parquet"),
            "crops": self.per_shard("crops/{shard}.zarr"),
            "summaries": sorted(str(path) for path in (self.root / "summaries").rglob("*.json")),
            "segmentation": self.path("evaluation/segmentation/scores.json"),
            "segmentation_tables": [
                self.path(f"evaluation/segmentation/{name}.tsv") for name in ("methods", "curves", "fields")
            ],
            "quality": self.per_shard("segmentation/{shard}.parquet"),
            "masks": self.per_shard("masks/{shard}.zarr"),
            "run_figures": [self.path(f"report/figures/{name}.png") for name in figures],
            "comparison_figures": [
                *(self.path(f"report/figures/models_{name}.png") for name in compared),
                self.path("report/figures/labels.png"),
            ],
            "models_table": self.path("report/models.tsv"),
            "models_pairs": self.path("report/models_pairs.tsv"),
            "models_tests": self.path("report/models_tests.tsv"),
            "abundance": self.path("biology/abundance.parquet"),
            "abundance_background": self.path("biology/abundance_background.tsv"),
            **{
                f"contrast_{name}": sorted(
                    str(path) for path in (self.root / "biology").rglob(f"contrasts/*/{name}.tsv")
                )
                for name in ("proteins", "classes", "replicates")
            },
            **{
                name: [self.path(pattern.format(model=model)) for model in self.models]
                for name, pattern in per_model.items()
            },
        }


def write_fake_run(
    root: Path, genes: int = 12, yeast: int = 3, fields_each: int = 2, shape: tuple[int, int] = (300, 360)
) -> FakeRun:
    """Draw fields of `genes` human and `yeast` yeast proteins, and everything that later stages would make of them."""
    rng = np.random.default_rng(7)
    run = FakeRun(root)
    catalog, ledgers = [], []
    for organism, count in (("human", genes), ("yeast", yeast)):
        if count:
            fields, cells = _shard(run, organism, count, fields_each, shape, rng)
            catalog.append(fields)
            ledgers.append(cells)
    fields = pd.concat(catalog, ignore_index=True)
    cells = pd.concat(ledgers, ignore_index=True)
    write_table(run.path("catalog/fields.parquet"), fields, FIELDS)
    left_out = [("model", "gapnet", "yeast", "needs the role microtubules, er, which the source does not have")]
    _tsv(run.path("report/left_out.tsv"), pd.DataFrame(left_out, columns=["what", "name", "source", "reason"]))
    words = [("field", fields["field_id"].iloc[0], "relabel", "Nucleoli", "A. Curator", "seen by eye", True)]
    columns = ["level", "id", "action", "value", "who", "why", "found"]
    _tsv(run.path("report/overrides.tsv"), pd.DataFrame(words, columns=columns))
    _balance(run, fields)
    _changes(run, fields)
    kept = cells[cells["status"] == "kept"].reset_index(drop=True)
    _model(run, "classic", "cell", fields, kept, rng)
    _model(run, "gapnet", "field", fields[fields["source"] == "human"], kept[kept["source"] == "human"], rng)
    _evaluation(run, fields)
    return run


def _evaluation(run: FakeRun, fields: pd.DataFrame) -> None:
    """Judge the drawn outlines, as if `drawn` and `shifted` were two methods."""
    rows, parts = [], []
    for shard, source in run.shards.items():
        quality, outlines = [], []
        for row in fields[fields["shard"] == shard].itertuples():
            try:
                _, cell = read_masks(run.path(f"masks/{shard}.zarr"), row.field_id, row.version)
            except KeyError:
                continue
            seconds = 0.1 + len(quality) / 100
            quality.append(
                {"field_id": row.field_id, "version": row.version, "n_nuclei": 20, "n_cells": int(cell.max()),
                 "seconds": seconds, "contrast": 0.5 - len(quality) / 50, "solidity": 0.95, "disagreement": None,
                 "lost": None, "reason": None, "detail": None}
            )  # fmt: skip
            labels = np.arange(1, int(cell.max()) + 1)
            ids = {"field_id": row.field_id, "version": row.version, "label": labels}
            measures = {"contrast": 0.5 - labels / 100, "solidity": 0.9 + len(quality) / 100}
            outlines.append(pd.DataFrame({**ids, **measures}))
            for method, found in (("drawn", np.roll(cell, 2, 0)), ("shifted", np.roll(cell, 12, 1))):
                head = {"field_id": row.field_id, "version": row.version, "source": source,
                        "cell_line": row.cell_line, "method": method}  # fmt: skip
                rows.append({**head, "in_use": method == "drawn", "seconds": seconds})
                parts.append(object_table(cell, found, 0.2).assign(**head, object="cell"))
        metadata = {"method": "drawn", "second": None, "fields": quality}
        write_table(run.path(f"segmentation/{shard}.parquet"), pd.concat(outlines), SEGMENTATION, metadata)
    seen, objects = pd.DataFrame(rows), with_sizes(pd.concat(parts, ignore_index=True))
    folder = run.root / "evaluation" / "segmentation"
    write_tsv(folder / "methods.tsv", method_scores(seen, objects), METHOD_COLUMNS)
    write_tsv(folder / "curves.tsv", curves(objects), CURVE_COLUMNS)
    write_tsv(folder / "fields.tsv", field_scores(seen, objects), FIELD_COLUMNS)
    write_json(folder / "scores.json", run_scores(seen, objects))


def empty_model(run: FakeRun, model: str) -> None:
    """Make a model's tables as they are when there was one protein and nothing to score, test or map."""
    source = pd.read_parquet(run.path("atlas/classic/units.parquet")).head(3)
    source[["umap_1", "umap_2"]] = np.nan
    gene = source["gene"].iloc[0]
    for folder in ("atlas", "biology", "evaluation"):
        run.root.joinpath(folder, model).mkdir(parents=True, exist_ok=True)
    source.to_parquet(run.path(f"atlas/{model}/units.parquet"))
    obs = pd.DataFrame(
        {"genes": gene, "ensembl_ids": "", "labels": "", "location": "", "n_units": 3, "n_fields": 1, "n_samples": 1,
         "cell_lines": "U2OS", "cluster": pd.Categorical(["1"]), "leaf": 0},
        index=[gene],
    )  # fmt: skip
    atlas = anndata.AnnData(np.ones((1, 4), np.float32), obs=obs, var=pd.DataFrame(index=list("abcd")))
    atlas.obsm["X_umap"] = np.full((1, 2), np.nan)
    atlas.obsm["X_pca"] = np.zeros((1, 1))
    atlas.layers["scaled"], atlas.uns["linkage"] = np.zeros((1, 4), np.float32), np.zeros((0, 4))
    atlas.write_h5ad(run.path(f"atlas/{model}/proteins.h5ad"))
    filled = {
        "atlas": ("clusters", "moved"),
        "biology": (
            *("enrichment", "heterogeneity", "heterogeneity_fields", "heterogeneity_samples"),
            *("cell_labels", "exclusive", "compartments", "variance", "published_variation"),
            *GENE_SET_TABLES,
        ),
        "evaluation": ("classes",),
    }
    for folder, names in filled.items():
        for name in names:
            head = pd.read_csv(run.path(f"{folder}/classic/{name}.tsv"), sep="\t").head(0)
            _tsv(run.path(f"{folder}/{model}/{name}.tsv"), head)
    _neighbours(run, model, source.head(0))
    cells = pd.read_parquet(run.path("biology/classic/compartment_cells.parquet")).head(0)
    cells.to_parquet(run.path(f"biology/{model}/compartment_cells.parquet"))
    units = pd.DataFrame(columns=["unit_id", "field_id", "version", "fold"])
    write_predictions(
        run.path(f"evaluation/{model}/predictions.parquet"),
        units,
        pd.DataFrame(),
        {"vocabulary": "hpa19", "classes": []},
    )
    scores = {
        "vocabulary": "hpa19",
        "level": "cell",
        "n_units": 0,
        "n_fields": 0,
        "n_genes": 0,
        "truth": None,
        "macro_f1": None,
        "micro_f1": None,
        "baseline_macro_f1": None,
        "notes": ["no labels to score against"],
    }
    write_json(run.path(f"evaluation/{model}/scores.json"), scores)
    run.models[model] = {"kind": "classic", "level": "cell", "weights": None}


def _shard(
    run: FakeRun, organism: str, count: int, fields_each: int, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    shard, roles = f"{organism}-0001", ROLES_OF[organism]
    run.shards[shard] = organism
    rows, files, verdicts, ledger, masks, crops = [], [], [], [], [], []
    for index in range(count * fields_each + 4):
        number = index // fields_each
        control = number >= count
        gene = f"{organism[0].upper()}GENE{number}"
        labels = [] if control else [CLASSES[number % 7]] + ([CLASSES[(number + 3) % 7]] if number % 4 == 3 else [])
        fault = {1: "low_contrast", 2: "channel_mismatch", 3: "corrupt"}.get(index - count * fields_each)
        field_id, version = f"{shard}_{index:03d}", f"{index:012x}"
        cell_line = ("U2OS", "HEK293", "MCF7")[number % 3] if organism == "human" else "BY4741"
        channels, nucleus, cell = _draw(roles, shape, labels, rng, dim=fault == "low_contrast")
        paths = {role: run.root / "images" / f"{field_id}_{role}.tif" for role in roles}
        for role, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, channels[role])
            if fault == "corrupt" and role == "protein":
                path.write_bytes(path.read_bytes()[:300])
            files.append(
                (field_id, version, role, str(path), None, "max", "0" * 64, path.stat().st_size, "ok", None, None, None)
            )
        rows.append({
            "field_id": field_id, "version": version, "shard": shard, "source": organism, "release": "1",
            "first_release": "1", "plate": "P1", "well": f"A{index}", "position": "1",
            "ensembl_ids": [] if control else [f"ENSG{number:011d}"], "genes": [] if control else [gene],
            "reagent": f"HPA{number:06d}", "cell_line": cell_line, "sample": f"HPA{number:06d} {cell_line}",
            "control": control, "labels": labels, "labels_published": labels, "pixel_size_um": 0.2,
            "full_scale": 65535.0,
            **{f"uri_{role}": f"{path}#z=max" for role, path in paths.items()},
        })  # fmt: skip
        verdicts.append(_verdict(field_id, version, shard, organism, fault, shape, roles, rng, int(nucleus.max())))
        if fault is None:
            masks.append((field_id, version, nucleus, cell))
            found, images, labels_of = _cells(field_id, version, shard, organism, channels, nucleus, cell, len(crops))
            ledger += found
            crops += list(zip(images, labels_of, strict=True))
    write_table(run.path(f"download/{shard}.parquet"), pd.DataFrame(files, columns=FILES.names[:12]), FILES)
    write_table(run.path(f"qc/{shard}.parquet"), pd.DataFrame(verdicts), qc_schema(roles))
    cells = pd.DataFrame(ledger)
    write_table(run.path(f"cells/{shard}.parquet"), cells, cells_schema(roles))
    write_masks(run.path(f"masks/{shard}.zarr"), masks, {"method": "drawn", "pixel_size_um": 0.2})
    ids = cells.loc[cells["status"] == "kept", "cell_id"].tolist()
    _crop_store(Path(run.path(f"crops/{shard}.zarr")), shard, organism, roles, crops, ids)
    for stage, kept, extra in (("download", index + 1, {}), ("qc", index - 2, {"low_contrast": 1, "corrupt": 1})):
        _summary(run, stage, shard, {"in": index + 1, "kept": kept, **extra})
    _summary(run, "crop", shard, {"in": len(cells), "kept": len(ids), "border": len(cells) - len(ids)})
    return pd.DataFrame(rows), cells


def _draw(
    roles: tuple[str, ...], shape: tuple[int, int], labels: list[str], rng: np.random.Generator, dim: bool
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    all_y, all_x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    step = 72
    nucleus, cell = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
    protein = np.zeros(shape, np.float32)
    best = np.full(shape, 1.0, np.float32)
    number = 0
    for cy in range(step // 2, shape[0], step):
        for cx in range(step // 2, shape[1], step):
            number += 1
            y, x = cy + rng.normal(0, 5), cx + rng.normal(0, 5)
            a, b, angle = rng.uniform(30, 38), rng.uniform(24, 34), rng.uniform(0, np.pi)
            here = (slice(max(cy - 55, 0), cy + 55), slice(max(cx - 55, 0), cx + 55))
            yy, xx = all_y[here], all_x[here]
            u = (yy - y) * np.cos(angle) + (xx - x) * np.sin(angle)
            v = (xx - x) * np.cos(angle) - (yy - y) * np.sin(angle)
            radius = np.hypot(u / a, v / b)
            mine = radius < best[here]
            best[here] = np.where(mine, radius, best[here])
            cell[here][mine], nucleus[here][mine & (radius < 0.45)] = number, number
            nucleus[here][mine & (radius >= 0.45)] = 0
            level = rng.lognormal(0, 0.4)
            where = [_pattern(label, radius, u, v, rng) for label in labels] or [np.zeros(radius.shape, np.float32)]
            protein[here] = np.where(mine, level * np.max(where, axis=0), protein[here])
    inside = (cell > 0).astype(np.float32)
    texture = _smooth(rng.normal(0, 1, shape), 1.5)
    plain = {
        "nucleus": (nucleus > 0) * (1 + 0.3 * texture),
        "microtubules": inside * np.clip(np.sin(best * 60) * 0.4 + 0.6 + 0.3 * texture, 0, None) * (1.2 - best),
        "er": inside * np.clip(1.3 - best + 0.5 * texture, 0, None),
        "protein": protein,
        "reference": inside * (0.8 + 0.2 * texture),
    }
    scale = 300 if dim else 9000
    images = {}
    for role in roles:
        light = 400 + (scale if role == "protein" else 9000) * _smooth(np.clip(plain[role], 0, None), 0.8)
        images[role] = np.clip(light + rng.normal(0, 120, shape), 0, 65535).astype(np.uint16)
    return images, nucleus, cell


def _pattern(label: str, radius: np.ndarray, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shape = radius.shape
    dots = (_smooth(rng.normal(0, 1, shape), 1.5) > 0.42).astype(np.float32) * 2
    return {
        "Nucleoplasm": (radius < 0.43) * 1.0,
        "Nucleoli": (np.hypot(u - 4, v - 3) < 4) + (np.hypot(u + 5, v + 2) < 3.0) * 1.0,
        "Cytosol": ((radius > 0.47) & (radius < 1)) * 0.8,
        "Mitochondria": ((np.sin(u * 0.9 + np.sin(v * 0.5) * 2) > 0.6) & (radius > 0.5)) * 1.0,
        "Plasma membrane": ((radius > 0.9) & (radius < 1)) * 1.2,
        "Vesicles": dots * (radius > 0.48),
        "Centrosome": (np.hypot(u - 16, v) < 2.2) * 3.0,
    }[label].astype(np.float32)


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image.astype(np.float32), sigma)


def _verdict(
    field_id: str, version: str, shard: str, source: str, fault: str | None, shape: tuple[int, int],
    roles: tuple[str, ...], rng: np.random.Generator, nuclei: int,
) -> dict[str, Any]:  # fmt: skip
    words = {
        "low_contrast": "the protein channel uses 0.01 of the full scale; at least 0.2 is allowed",
        "channel_mismatch": "er fits the other markers by 0.08; at least 0.3 is allowed",
        "corrupt": "protein: the file ends after 300 of 216,000 bytes",
    }
    row = {
        "field_id": field_id,
        "version": version,
        "shard": shard,
        "source": source,
        "reason": fault or "passed",
        "status": {None: "passed", "corrupt": "failed"}.get(fault, "rejected"),
        "detail": words.get(fault),
    }
    if fault == "corrupt":
        return row
    return {
        **row, "height": shape[0], "width": shape[1], "dtype": "uint16", "n_marker": nuclei - 8, "n_nuclei": nuclei - 7,
        "n_nuclei_all": nuclei, "contrast": 0.01 if fault == "low_contrast" else rng.uniform(0.2, 0.6),
        **{f"focus_{role}": rng.lognormal(1, 0.3) for role in roles},
        **{f"saturated_{role}": rng.uniform(0, 1e-4) for role in roles},
        "marker_fit": (0.08 if fault == "channel_mismatch" else rng.uniform(0.5, 0.9)) if len(roles) > 2 else None,
        "phash": f"{rng.integers(2**62):016x}",
    }  # fmt: skip


def _cells(
    field_id: str, version: str, shard: str, source: str, channels: dict[str, np.ndarray],
    nucleus: np.ndarray, cell: np.ndarray, start: int,
) -> tuple[list[dict[str, Any]], list[np.ndarray], list[np.ndarray]]:  # fmt: skip
    rows, images, masks = [], [], []
    half = WINDOW_PX // 2
    stack = np.stack(list(channels.values()))
    padded = np.pad(stack, ((0, 0), (half, half), (half, half)))
    outlines = np.pad(np.stack([cell, nucleus]), ((0, 0), (half, half), (half, half)))
    for label in range(1, int(cell.max()) + 1):
        ys, xs = np.nonzero(cell == label)
        if not len(ys):
            continue
        border = ys.min() == 0 or xs.min() == 0 or ys.max() == cell.shape[0] - 1 or xs.max() == cell.shape[1] - 1
        row = {
            "cell_id": f"{field_id}@{version}:{label}", "field_id": field_id, "version": version, "shard": shard,
            "source": source, "label": label, "status": "rejected" if border else "kept",
            "reason": "border" if border else "kept", "y": ys.mean(), "x": xs.mean(), "bbox_y0": ys.min(),
            "bbox_x0": xs.min(), "bbox_y1": ys.max() + 1, "bbox_x1": xs.max() + 1, "area_um2": len(ys) * 0.04,
            "nucleus_area_um2": float((nucleus == label).sum()) * 0.04, "touches_border": border,
            "nucleus_touches_border": False, "exceeds_window": False, "n_nuclei": 1,
            **{f"mean_{role}": float(image[ys, xs].mean()) for role, image in channels.items()},
            "crop_index": None if border else start + len(images),
        }  # fmt: skip
        rows.append(row)
        if not border:
            y, x = int(row["y"]), int(row["x"])
            window = (slice(None), slice(y, y + WINDOW_PX), slice(x, x + WINDOW_PX))
            images.append(padded[window])
            masks.append(np.where(outlines[window] == label, 1, 2 * (outlines[window] > 0)).astype(np.uint8))
    return rows, images, masks


def _crop_store(
    path: Path,
    shard: str,
    source: str,
    roles: tuple[str, ...],
    crops: list[tuple[np.ndarray, np.ndarray]],
    ids: list[str],
) -> None:
    with atomic_path(path) as partial, CropWriter(partial, roles, WINDOW_PX, np.dtype(np.uint16)) as writer:
        for cell_id, (image, mask) in zip(ids, crops, strict=True):
            writer.add(cell_id, np.ascontiguousarray(image), mask)
        writer.finish({"pixel_size_um": 0.2, "window_um": WINDOW_PX * 0.2, "shard": shard, "source": source})


def _balance(run: FakeRun, fields: pd.DataFrame) -> None:
    rows = []
    for shard, source in run.shards.items():
        qc = pd.read_parquet(run.path(f"qc/{shard}.parquet"))
        cells = pd.read_parquet(run.path(f"cells/{shard}.parquet"))
        total = int((fields["source"] == source).sum())
        rows += [("catalog", source, "fields", "in", total), ("catalog", source, "fields", "kept", total)]
        rows += [("download", source, "fields", "in", total), ("download", source, "fields", "kept", total)]
        for stage, item, table, good in (("qc", "fields", qc, "passed"), ("crop", "cells", cells, "kept")):
            counts = table["reason"].value_counts().to_dict()
            rows += [(stage, source, item, "in", len(table)), (stage, source, item, "kept", counts.pop(good, 0))]
            rows += [(stage, source, item, reason, count) for reason, count in counts.items()]
    _tsv(run.path("report/balance.tsv"), pd.DataFrame(rows, columns=["stage", "source", "item", "reason", "count"]))


CHANGES = ("source", "old_release", "release", "field_id", "change", "old", "new")


def _changes(run: FakeRun, fields: pd.DataFrame) -> None:
    """The first fields of each source, then a release 2 of the human one: one field of each kind of change."""
    rows = [(row.source, "", "1", row.field_id, "added", "", row.version) for row in fields.itertuples()]
    human = fields[fields["source"] == "human"]
    field = human["field_id"].tolist()
    rows += [
        ("human", "1", "2", field[0], "relabelled", "Cytosol;Vesicles", "Nucleoplasm"),
        ("human", "1", "2", field[1], "changed", "0" * 12, human["version"].iloc[1]),
        ("human", "1", "2", field[2], "added", "", human["version"].iloc[2]),
        ("human", "1", "2", "human-gone", "removed", "f" * 12, ""),
    ]
    _tsv(run.path("catalog/release_diff.tsv"), pd.DataFrame(rows, columns=CHANGES))


def write_moved(run: FakeRun, model: str, marks: dict[str, str]) -> None:
    """Compare the proteins of a model with another release: each stays, but for those that have a mark."""
    atlas = anndata.read_h5ad(run.path(f"atlas/{model}/proteins.h5ad"))
    rows = []
    for name, (x, y) in zip(atlas.obs_names, np.asarray(atlas.obsm["X_umap"], float), strict=True):
        mark = marks.get(name, "")
        more = "Nucleoli" if mark == "relabelled" else ""
        labels = ("Cytosol", "Cytosol;Nucleoli" if more else "Cytosol", more, "")
        far = mark == "moved"
        found = (9.5, 2.0, 1e-6, 1e-5, 0.2) if far else (1.5, 2.0, 0.6, 0.8, 0.9)
        place = (x + 8.0 * far, y - 5.0 * far, x, y)
        counts = (20, 24, 2, 2, 1)
        rows.append((name, name, "human:1", "human:2", *labels, *counts, *found, *place, far, bool(more), mark))
    table = pd.DataFrame(rows, columns=MOVED) if marks else pd.DataFrame(columns=MOVED)
    _tsv(run.path(f"atlas/{model}/moved.tsv"), table)


def _summary(run: FakeRun, stage: str, item: str, counts: dict[str, int]) -> None:
    write_json(
        run.path(f"summaries/{stage}/{item}.json"),
        {"stage": stage, "item": item, "counts": counts, "notes": [f"{stage} says something about {item}"],
         "seconds": 12.3, "peak_mb": 512.0, "versions": {"wherein": "0", "python": "3.11", "numpy": np.__version__}},
    )  # fmt: skip


def _model(
    run: FakeRun, model: str, level: str, fields: pd.DataFrame, cells: pd.DataFrame, rng: np.random.Generator
) -> None:
    run.models[model] = {"kind": "classic" if level == "cell" else "gapnet-pl", "level": level, "weights": None}
    by_field = fields.set_index("field_id")
    if level == "cell":
        units = cells[["cell_id", "field_id", "version"]].rename(columns={"cell_id": "unit_id"})
    else:
        units = cells[["field_id", "version"]].drop_duplicates()
        units = units.assign(unit_id=units["field_id"] + "@" + units["version"])[["unit_id", "field_id", "version"]]
    units = units.reset_index(drop=True)
    of = by_field.loc[units["field_id"]]
    labels = of["labels"].tolist()
    truth = np.array([[name in found for name in CLASSES] for found in labels], np.float32)
    shares = np.clip(truth * 0.7 + rng.uniform(0, 0.3, truth.shape), 0, 1).astype(np.float32)
    codes = truth @ rng.normal(0, 6, (len(CLASSES), 8)) + rng.normal(0, 1.2, (len(units), 8))
    units = units.assign(
        gene=["/".join(found) or None for found in of["genes"]],
        location=["Multi" if len(found) > 1 else (found or [None])[0] for found in labels],
        cell_line=of["cell_line"].to_numpy(),
        control=of["control"].to_numpy(),
        umap_1=codes[:, 0],
        umap_2=codes[:, 1],
    )
    folder = run.root / "atlas" / model
    folder.mkdir(parents=True)
    units.to_parquet(folder / "units.parquet")
    write_predictions(
        run.path(f"evaluation/{model}/predictions.parquet"),
        units[["unit_id", "field_id", "version"]].assign(fold=0),
        pd.DataFrame(shares, columns=CLASSES),
        {"vocabulary": "fake", "classes": list(CLASSES)},
    )
    known = units[~units["control"]]
    _atlas(run, model, known, codes[known.index], by_field)
    write_moved(run, model, {"HGENE1": "moved", "HGENE2": "relabelled"} if model == "classic" else {})
    _scores(run, model, level, truth, shares)
    _biology(run, model, level, known, rng)
    for stage in ("embed", "evaluate", "atlas"):
        _summary(run, stage, model, {"in": len(units), "kept": len(units)})


def _atlas(run: FakeRun, model: str, units: pd.DataFrame, codes: np.ndarray, by_field: pd.DataFrame) -> None:
    genes = sorted(units["gene"].unique())
    means = np.stack([codes[(units["gene"] == gene).to_numpy()].mean(0) for gene in genes]).astype(np.float32)
    tree = linkage(means, "average")
    cluster = fcluster(tree, min(4, len(genes)), "maxclust").astype(str)
    leaf = np.argsort(leaves_list(tree))
    groups = [units[units["gene"] == gene] for gene in genes]
    obs = pd.DataFrame(
        {
            "genes": genes,
            "ensembl_ids": [";".join(by_field.loc[group["field_id"].iloc[0], "ensembl_ids"]) for group in groups],
            "labels": [";".join(by_field.loc[group["field_id"].iloc[0], "labels"]) for group in groups],
            "location": [group["location"].iloc[0] for group in groups],
            "n_units": [len(group) for group in groups],
            "n_fields": [group["field_id"].nunique() for group in groups],
            "n_samples": 1,
            "cell_lines": [";".join(sorted(set(group["cell_line"]))) for group in groups],
            "cluster": pd.Categorical(cluster),
            "leaf": leaf,
        },
        index=genes,
    )
    atlas = anndata.AnnData(means, obs=obs, var=pd.DataFrame(index=[f"feature {n}" for n in range(means.shape[1])]))
    atlas.obsm["X_pca"], atlas.obsm["X_umap"] = means[:, :4], means[:, :2]
    atlas.uns["linkage"], atlas.layers["scaled"] = tree, means
    atlas.uns["wherein"] = json.dumps({"model": model})
    atlas.write_h5ad(run.path(f"atlas/{model}/proteins.h5ad"))
    rows = []
    for name, group in obs.groupby("cluster", observed=True):
        top = group["location"].value_counts()
        rows.append((name, len(group), ";".join(group.index), top.index[0], top.iloc[0] / len(group)))
    columns = ["cluster", "n_proteins", "genes", "top_location", "top_location_share"]
    _tsv(run.path(f"atlas/{model}/clusters.tsv"), pd.DataFrame(rows, columns=columns))


def _scores(run: FakeRun, model: str, level: str, truth: np.ndarray, shares: np.ndarray) -> None:
    rows = []
    for index, name in enumerate(CLASSES):
        n = int(truth[:, index].sum())
        score = None if n == 0 else round(0.5 + 0.06 * index, 3)
        rows.append((level, name, n, n, score, score, score, score, 0.5))
    columns = ["level", "class", "n", "n_predicted", "precision", "recall", "f1", "auc", "threshold"]
    _tsv(run.path(f"evaluation/{model}/classes.tsv"), pd.DataFrame(rows, columns=columns))
    write_json(
        run.path(f"evaluation/{model}/scores.json"),
        {"vocabulary": "fake", "level": level, "n_units": len(truth), "n_fields": 20, "n_genes": 12, "macro_f1": 0.71,
         "micro_f1": 0.74, "baseline_macro_f1": 0.14, "truth": {"macro_f1": 0.73}, "notes": ["scores of a drawing"]},
    )  # fmt: skip


def _biology(run: FakeRun, model: str, level: str, units: pd.DataFrame, rng: np.random.Generator) -> None:
    terms = [(str(cluster), "go_cc", term, f"GO:000{n}{cluster}", 1 + n, 3, 5, 15, "HGENE0;HGENE1", 3.0 + n,
              10.0 ** -(n + 1), 10.0**-n, 10.0**-n, 0.01, 0.01, 9, "nucleolus" if n < 2 else None)
             for cluster in (1, 2, 3)
             for n, term in enumerate(("nucleolus", "vesicle membrane", "cytosolic ribosome"))]  # fmt: skip
    columns = [
        "cluster",
        "gene_set_library",
        "term",
        "term_id",
        "k",
        "n",
        "K",
        "N",
        "genes",
        "odds_ratio",
        "p",
        "q",
        "q_gseapy",
        "p_permuted",
        "q_permuted",
        "n_tests",
        "representative",
    ]
    Path(run.path(f"biology/{model}")).mkdir(parents=True)
    _gene_sets(run, model)
    _neighbours(run, model, units)
    _tsv(run.path(f"biology/{model}/enrichment.tsv"), pd.DataFrame(terms, columns=columns))
    rows, by_field = [], []
    for (gene, line), group in units.groupby(["gene", "cell_line"]):
        ids = group["unit_id"].tolist()
        z = rng.normal(0, 1.5)
        rows.append((gene, line, len(group), group["field_id"].nunique(), rng.uniform(1, 3), z, rng.uniform(0, 1.2),
                     group["location"].iloc[0], 0.7, 0.01, 0.04, ";".join(ids[:4]), ";".join(ids[-4:])))  # fmt: skip
        for (field_id, version), cells in group.groupby(["field_id", "version"]):
            by_field.append((field_id, version, gene, line, len(cells), rng.uniform(1, 3), rng.normal(),
                             rng.uniform(0.1, 0.8), rng.normal(), rng.uniform(0, 1)))  # fmt: skip
    columns = ["gene", "cell_line", "n_cells", "n_fields", "spread", "spread_z", "label_entropy", "top_location",
               "top_location_share", "p", "q", "cells_low", "cells_high"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    _tsv(run.path(f"biology/{model}/heterogeneity.tsv"), table if level == "cell" else table.head(0))
    columns = ["field_id", "version", "gene", "cell_line", "n_cells", "spread", "spread_z", "intensity_cv",
               "intensity_cv_z", "label_entropy"]  # fmt: skip
    table = pd.DataFrame(by_field, columns=columns)
    _tsv(run.path(f"biology/{model}/heterogeneity_fields.tsv"), table if level == "cell" else table.head(0))
    _single_cells(run, model, level, units)


def _single_cells(run: FakeRun, model: str, level: str, units: pd.DataFrame) -> None:
    samples, labels, exclusive, both = [], [], [], []
    for gene, group in units.groupby("gene"):
        ids, line = group["unit_id"].tolist(), group["cell_line"].iloc[0]
        samples.append(("r/" + gene, gene, line, "r", len(group), 2, 2.5, 2.1, 0.02, 0.04, 0.3, 0.1, 0.4, 0.0, 0.9,
                        0.2, 0.3, "cycle", True, 0.5, ";".join(ids[:4]), ";".join(ids[-4:])))  # fmt: skip
        labels.append(("r/" + gene, gene, line, "Nucleoli;Cytosol", len(group), 2, "Nucleoli 5 | Cytosol 3", 2, 0.95,
                       0.95, 0.0, 0.0, True))  # fmt: skip
        exclusive.append((gene, line, "Nucleoli;Cytosol", len(group), 2, "Nucleoli 5 | Cytosol 3", 0, 0, True, 0.01,
                          0.03))  # fmt: skip
        both.append(("Cytosol", "Nucleoli", gene, line, "both", len(group), 2, 0.1, 0.3, 0.2, 1.4))
    for name, rows, columns in (
        ("heterogeneity_samples", samples, SAMPLE_COLUMNS),
        ("cell_labels", labels, LABEL_COLUMNS),
        ("exclusive", exclusive, EXCLUSIVE_COLUMNS),
        ("compartments", both, COMPARTMENT_COLUMNS),
    ):
        table = pd.DataFrame(rows, columns=list(columns))
        _tsv(run.path(f"biology/{model}/{name}.tsv"), table if level == "cell" else table.head(0))
    if level == "cell":
        write_contrast(run, model, units)
        write_abundance(run, sorted(set(units["gene"])))
    parts = [(None, name, 1.0, 0.2, 0.1, 0.3, 4, 90, None) for name in ("protein", "cell_line", "field", "cell")]
    _tsv(run.path(f"biology/{model}/variance.tsv"), pd.DataFrame(parts, columns=list(VARIANCE_COLUMNS)))
    told = [("z", "variation_spatial", 4, 9, 0.8, 0.6, 1.0, 0.02, 0.04)]
    _tsv(run.path(f"biology/{model}/published_variation.tsv"), pd.DataFrame(told, columns=list(PUBLISHED_COLUMNS)))
    cells = [
        ("Cytosol", "Nucleoli", label, cell, gene, line, number / 10 - 0.4)
        for (gene, line), own in units.groupby(["gene", "cell_line"])
        for number, cell in enumerate(own["unit_id"])
        for label in (("first", "second", "both")[number % 3],)
    ]
    cells = cells if level == "cell" else []
    pd.DataFrame(cells, columns=list(CELL_COLUMNS)).to_parquet(run.path(f"biology/{model}/compartment_cells.parquet"))


def _neighbours(run: FakeRun, model: str, units: pd.DataFrame) -> None:
    """Each protein's neighbours are the next ones by name; the label of the first is contradicted, and known wrong."""
    first = units[~units["control"]].dropna(subset=["gene"]).drop_duplicates("gene").sort_values("gene")
    names, ids = first["gene"].tolist(), first["unit_id"].tolist()
    pairs = [(a, (a + step) % len(names), step) for a in range(len(names)) for step in range(1, min(4, len(names)))]
    shared = {"same_reagent": False, "same_sample": None, "same_plate": True}
    near = [
        {"protein": names[a], "rank": rank, "neighbour": names[b], "cosine": 1 - rank / 10, "distance": rank / 3,
         "same_label": rank == 1, **shared}
        for a, b, rank in pairs
    ]  # fmt: skip
    write_table(run.path(f"atlas/{model}/neighbours.parquet"), pd.DataFrame(near), NEIGHBOURS)
    near = [
        {"protein": names[a], "unit_id": ids[a], "rank": rank, "neighbour": ids[b], "neighbour_protein": names[b],
         "cosine": 0.5, "distance": 1.5, **shared}
        for a, b, rank in pairs
    ]  # fmt: skip
    write_table(run.path(f"atlas/{model}/unit_neighbours.parquet"), pd.DataFrame(near), UNIT_NEIGHBOURS)
    rows = [
        {"rank": number + 1, "protein": name, "sample": f"{name}/<U2OS>", "cell_lines": "U2OS", "n_units": 3,
         "annotated": "Cytosol" if number else "Nucleoli", "suggested": "Cytosol", "score": 0.0 if number else 0.7,
         "finding": "fits" if number else "wrong", "support_annotated": 0.1, "support_suggested": 0.8,
         "p": 1.0 if number else 0.001, "q": 1.0 if number else 0.01, "n_neighbours": 3,
         "neighbours": ";".join(names[:3]), "similarities": "0.9;0.8;0.7", "neighbours_say": names[-1],
         "same_plate": 0.5, "predicted": "Cytosol 0.90", "n_tests": len(names), "permutations": 999, "test": "dealt",
         "universe": f"{len(names)} proteins", "correction": "Benjamini-Hochberg"}
        for number, name in enumerate(names)
    ]  # fmt: skip
    for name in ("audit", "audit_samples"):
        _tsv(run.path(f"biology/{model}/{name}.tsv"), pd.DataFrame(rows, columns=list(AUDIT)))
    truth = {"n": len(names), "n_wrong": 1, "auc": 1.0, "precision": {"10": 0.1}, "most": {"10": 0.1}}
    told = {"model": model, "proteins": {**truth, "found": 1, "false": 0} if names else None, "samples": None}
    write_json(run.path(f"evaluation/{model}/audit.json"), told)
    summary = {"stage": "neighbours", "item": model, "counts": {}, "notes": ["1% share a <plate>"]}
    write_json(run.path(f"summaries/neighbours/{model}.json"), {**summary, "seconds": 1, "peak_mb": 1, "versions": {}})


def write_abundance(run: FakeRun, genes: list[str]) -> None:
    """Every second protein brighter than controls, the last one without controls."""
    rows = [
        {"protein": gene, "source": "human", "cell_line": "U-2 OS", "n_cells": 9, "n_fields": 2, "n_samples": 2,
         "background_from": "plate", "mean": 150.0, "signal": 50.0 + number, "signal_low": 40.0, "signal_high": 70.0,
         "relative": 0.01 * number, "integrated": 1e5, "share_above": 0.5, "cells_in_saturated_fields": 0,
         "log2_over_controls": 1.0, "t": 3.0, "df": 4.0, "p": 0.01, "q": 0.02, "n_tests": len(genes), "n_controls": 5,
         "controls_of": "plate", "detected": number % 2 == 0}
        for number, gene in enumerate(genes)
    ]  # fmt: skip
    rows[-1] |= {"background_from": "none", "p": None, "q": None, "detected": None, "reason": "no_controls"}
    write_table(run.path("biology/abundance.parquet"), pd.DataFrame(rows), ABUNDANCE)
    limits = [("human", "P1", "plate", 5, 150, 100.0, 9.0, 130.0, 150, 3, 0.02), ("yeast", None, "none", 0, 0)]
    table = pd.DataFrame([[*row, *[None] * (len(LIMIT_COLUMNS) - len(row))] for row in limits], columns=LIMIT_COLUMNS)
    write_tsv(run.path("biology/abundance_background.tsv"), table, LIMIT_COLUMNS)


def write_contrast(run: FakeRun, model: str, units: pd.DataFrame, name: str = "drug") -> None:
    """A contrast in which the first protein moved and the last has too few replicates."""
    rows, classes = [], []
    for number, (gene, own) in enumerate(units.groupby("gene")):
        ids = own["unit_id"].tolist()
        rows.append(
            {"protein": gene, "cell_line": "U-2 OS", "n_a": 3, "n_b": 2, "distance": 2.0, "shift": 9.0 - number,
             "statistic": 5.0, "p": 0.001 * (number + 1), "q": 0.01 * (number + 1), "p_moderated": 0.01, "n_tests": 8,
             "moved": number == 0, "from_class": "Cytosol", "to_class": "Nucleoli", "from_change": -0.4,
             "to_change": 0.6, "log2_ratio": 0.5 - number / 4, "p_abundance": 0.2, "q_abundance": 0.5,
             "cells_a": ";".join(ids[:2]), "cells_b": ";".join(ids[-2:])}
        )  # fmt: skip
        classes.append({"protein": gene, "cell_line": "U-2 OS", "class": "Nucleoli", "share_a": 0.1, "share_b": 0.7,
                        "change": 0.6, "t": 4.0, "p": 0.01, "q": 0.04, "n_tests": 9})  # fmt: skip
    last = {key: rows[-1][key] for key in ("protein", "cell_line", "n_a", "cells_a")}
    rows[-1] = last | {"n_b": 1, "moved": False, "reason": "few_replicates"}
    folder = f"biology/{model}/contrasts/{name}"
    write_tsv(run.path(f"{folder}/proteins.tsv"), pd.DataFrame(rows), PROTEIN_COLUMNS)
    write_tsv(run.path(f"{folder}/classes.tsv"), pd.DataFrame(classes), CLASS_COLUMNS)
    write_tsv(run.path(f"{folder}/replicates.tsv"), pd.DataFrame({"replicate": ["r1", "r2"]}), REPLICATE_COLUMNS)
    told = {"a": {"condition": None}, "b": {"condition": ["drug"]}, "notes": ["all proteins share a shift of 1"]}
    write_json(
        run.path(f"summaries/contrast/{model}/{name}.json"),
        {
            "stage": "contrast",
            "item": f"{model}/{name}",
            "counts": {},
            "seconds": 1,
            "peak_mb": 1,
            "versions": {},
            **told,
        },
    )


def _gene_sets(run: FakeRun, model: str) -> None:
    """What gene sets and complexes say, and tables of a model that was asked nothing."""
    told: dict[str, list[dict[str, Any]]] = {
        "enrichment_libraries": [
            {"gene_set_library": "go_cc", "n_sets": 9, "n_tested": 3, "n_clusters": 3, "n_tests": 9, "N": 15,
             "n_covered": 12, "n_without_set": 3, "min_set_size": 3, "alpha": 0.05, "n_found": 2, "n_found_gseapy": 4,
             "n_found_genome": 8, "n_found_permuted": 2, "permutations": 99, "seed": 0, "n_by_chance": 0.3,
             "p_5_percent": 0.01, "q_ratio": 2.0, "cellular_components": True},
        ],
        "identifiers": [
            {"what": "protein", "identifier": "OLD<1>", "symbol": "NEW1", "how": "translated"},
            {"what": "protein", "library": "go_cc", "identifier": "HGENE3", "how": "in_no_set"},
        ],
        "prerank": [
            {"ranking": "component 1", "gene_set_library": "go_cc", "term": f"set {n}", "term_id": f"GO:{n}", "K": 5,
             "N": 15, "es": 0.5 - n / 8, "nes": 1.7 - 0.5 * n, "p": 0.002 + n / 20, "q": 0.02 + n / 20,
             "q_gseapy": 0.1, "n_tests": 8, "permutations": 1000, "leading": "HGENE0;HGENE1"}
            for n in range(8)
        ],
        "complex_neighbours": [
            {"protein": "HGENE0", "nearest": "HGENE1", "r": 0.97, "shared": True, "complexes": "one <complex>"},
            {"protein": "HGENE1", "nearest": "HGENE2", "r": 0.7, "shared": False},
        ],
        "complex_curve": [
            {"r_above": r, "n": 12 - n, "n_shared": 6 - n // 2, "share": (6 - n // 2) / (12 - n), "share_low": 0.2,
             "share_high": 0.9, "chance": 0.1, "chance_low": 0.0, "chance_high": 0.25, "p_permuted": 0.01,
             "permutations": 99}
            for n, r in enumerate((-1.0, 0.0, 0.5, 0.8, 0.95))
        ],
        "complex_pairs": [
            {"r_from": -1 + n / 20, "r_to": -0.95 + n / 20, "n_same": n // 4, "n_other": 40 - n} for n in range(40)
        ],
        "complexes": [
            {"complex": "one <complex>", "complex_id": "X:1", "n_subunits": 2, "n_present": 2, "chosen": True,
             "proteins": "HGENE0;HGENE1", "r_within": 0.97, "r_outside": 0.1, "auc": 0.99, "p": 0.01, "q": 0.02,
             "n_tests": 2, "permutations": 99},
            {"complex": "other", "n_subunits": 4, "n_present": 2, "chosen": False, "proteins": "HGENE1;HGENE2",
             "r_within": 0.2, "r_outside": 0.1, "auc": 0.6, "p": 0.4, "q": 0.4, "n_tests": 2, "permutations": 99},
        ],
        "set_pairs": [
            {"question": "same complex", "a": "same", "b": "other", "n_a": 2, "n_b": 9, "median_a": 0.8,
             "median_b": 0.1, "auc": 0.9, "p": 0.001, "p_permuted": 0.01, "q": 0.02, "n_tests": 2, "permutations": 99},
            {"question": "lysosomes and endosomes", "a": "lysosome", "b": "endosome", "n_a": 2, "n_b": 2,
             "median_a": 0.4, "median_b": -0.3, "auc": 1.0, "p": 0.17, "p_permuted": 0.2, "q": 0.2, "n_tests": 2,
             "permutations": 99, "proteins_a": "HGENE0;HGENE1", "proteins_b": "HGENE2;HGENE3",
             "scores_a": "0.4;0.5", "scores_b": "-0.2;-0.3"},
            {"question": "not there", "a": "GO:1", "b": "GO:2", "n_a": 0, "n_b": 0, "n_tests": 2, "permutations": 99},
        ],
    }  # fmt: skip
    columns = {
        "enrichment_libraries": LIBRARIES, "identifiers": LOSSES, "prerank": PRERANK, "complex_neighbours": NEAREST,
        "complex_curve": CURVE, "complex_pairs": HISTOGRAM, "complexes": COMPLEXES, "set_pairs": TESTS,
    }  # fmt: skip
    for name, rows in told.items():
        _tsv(run.path(f"biology/{model}/{name}.tsv"), pd.DataFrame(rows, columns=list(columns[name])))


def _tsv(path: str, frame: pd.DataFrame) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, sep="\t", index=False)
