"""The stage aggregate: units put together to fields, samples, reagents and proteins, as AnnData and as tables."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wherein.analysis.aggregate import FIELD_COLUMNS, read_units
from wherein.analysis.atlas import MULTI, location
from wherein.analysis.cells_level import describe_cells, map_places, places_of, write_cells
from wherein.analysis.levels import group_vectors
from wherein.analysis.unit_weights import unit_weights
from wherein.atomic import atomic_path
from wherein.embeddings import EmbeddingError
from wherein.labels import vocabulary
from wherein.summary import stage_summary
from wherein.tables import read_metadata

log = logging.getLogger(__name__)

KEY = ["field_id", "version"]

LEVELS = ("fields", "samples", "reagents", "proteins")
"""What units are put together to, from the finest on; of cells, the level `cells` is written as they are."""

PACKAGES = ("anndata", "numpy", "pyarrow", "zarr")


@dataclass
class ShardUnits:
    """Units of all shards, of which one shard's vectors are in memory at a time.

    Attributes:
        shards: paths of embeddings, ledger and qc of each shard.
        fields: results/catalog/fields.parquet.
        samples: results/samples/samples.parquet, or None.
        level: `cell` or `field`.
        features: names of the D features that all shards share.
        table: one row a field version with units: KEY, the columns FIELD_COLUMNS, protein, n_units.
        unit_ids: of the N units, shard after shard.
        field_of: (N,) row of each unit's field in `table`.
        starts: number of the first unit of each shard, then N.
        counts: units that came in, were kept, and fell to each reason.
    """

    shards: list[tuple[str, str, str]]
    fields: str | Path
    samples: str | Path | None
    level: str
    features: list[str]
    table: pd.DataFrame
    unit_ids: np.ndarray
    field_of: np.ndarray
    starts: np.ndarray
    counts: dict[str, int]

    def blocks(self, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read the vectors of wanted units, a shard at a time; shards without any are not read."""
        for number, paths in enumerate(self.shards):
            own = wanted[self.starts[number] : self.starts[number + 1]]
            if own.any():
                found = _units_of(paths, self.fields, self.level, self.samples)
                columns = [found.features.index(name) for name in self.features]
                yield self.starts[number] + np.flatnonzero(own), found.vectors[own][:, columns]


def aggregate_units(
    model: str,
    level: str,
    fields: str | Path,
    qc: Sequence[str],
    cells: Sequence[str],
    embeddings: Sequence[str],
    quality: Sequence[str],
    predictions: str | Path,
    proteins: str | Path,
    settings: dict[str, Any],
    folder: str | Path,
    summary: str | Path,
    samples: str | Path | None = None,
    map_of_units: str | Path | None = None,
) -> None:
    """Put the units of a model together to each of LEVELS; write AnnData (.h5ad, .zarr) and a table of each.

    Cells are written as AnnData, too, as they are (see `wherein.analysis.cells_level`).

    Args:
        model: name of the model.
        level: `cell` or `field`, what one vector describes.
        fields: results/catalog/fields.parquet.
        qc: results/qc/{shard}.parquet of every shard of the model.
        cells: results/cells/{shard}.parquet, likewise.
        embeddings: results/embeddings/{model}/{shard}.parquet, likewise.
        quality: results/segmentation/{shard}.parquet of those shards that were outlined.
        predictions: results/evaluation/{model}/predictions.parquet.
        proteins: results/atlas/{model}/proteins.h5ad.
        settings: section `atlas` of the configuration.
        folder: results/aggregates/{model}, written.
        summary: results/summaries/aggregate/{model}.json, written.
        samples: results/samples/samples.parquet; without it, samples of any size count.
        map_of_units: results/atlas/{model}/units.parquet; without it units have no places on the map.
    """
    import anndata

    with stage_summary(summary, "aggregate", model, PACKAGES) as told:
        units = open_shards(embeddings, cells, qc, fields, level, samples)
        told.counts = units.counts
        weights, notes = unit_weights(settings["weights"], quality, units.unit_ids, level)
        told.notes += notes
        atlas = anndata.read_h5ad(proteins)
        probabilities = _probabilities(predictions, units.unit_ids)
        said = {"model": model, "units": level, "aggregation": settings["aggregation"], "weights": settings["weights"]}
        with atomic_path(folder) as partial:
            partial.mkdir()
            if level == "cell":
                told.extra["cells"] = len(units.unit_ids)
                _write_cells(partial, units, atlas, probabilities, map_of_units, settings, {**said, "level": "cells"})
            for name in LEVELS:
                found = _aggregated(name, units, weights, probabilities, atlas, settings)
                shown = map_places(map_of_units, found.obs_names) if (level, name) == ("field", "fields") else None
                if shown is not None:
                    found.obsm["X_umap"] = shown
                found.uns["wherein"] = json.dumps({**said, "level": name}, sort_keys=True)
                _write(partial, name, found)
                told.extra[name] = found.n_obs
                if not found.n_obs:
                    told.notes.append(f"there are no {name}: of no unit it is known to which it belongs")
                log.info("%d %s of %d units", found.n_obs, name, len(units.unit_ids))


def open_shards(
    embeddings: Sequence[str],
    cells: Sequence[str],
    qc: Sequence[str],
    fields: str | Path,
    level: str,
    samples: str | Path | None,
) -> ShardUnits:
    """Read all shards once for their units, and keep no vector.

    Raises:
        EmbeddingError: shards have no feature in common.
    """
    shards = list(zip(map(str, embeddings), map(str, cells), map(str, qc), strict=True))
    tables, ids, places, starts, features = [], [], [], [0], None
    counts: dict[str, int] = {"in": 0, "kept": 0}
    known = 0
    for paths in shards:
        found = _units_of(paths, fields, level, samples)
        for reason, number in {"in": len(found.table), "kept": len(found.table), **found.dropped}.items():
            counts[reason] = counts.get(reason, 0) + number
        counts["in"] += sum(found.dropped.values())
        starts.append(starts[-1] + len(found.table))
        if not len(found.table):
            continue
        if features is None or found.named:
            features = found.features if features is None else [name for name in features if name in found.features]
        if not features or (not found.named and features != found.features):
            raise EmbeddingError("shards have vectors of different features: run such sources as separate models")
        codes, once = pd.factorize(found.table["field_id"] + "@" + found.table["version"])
        first = found.table[~pd.Series(codes).duplicated().to_numpy()]
        tables.append(first[[*KEY, *FIELD_COLUMNS, "protein"]].assign(n_units=np.bincount(codes, minlength=len(once))))
        ids.append(found.table["unit_id"].to_numpy(object))
        places.append(codes + known)
        known += len(once)
    columns = [*KEY, *FIELD_COLUMNS, "protein", "n_units"]
    return ShardUnits(
        shards=shards,
        fields=fields,
        samples=samples,
        level=level,
        features=features or [],
        table=pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns),
        unit_ids=np.concatenate(ids) if ids else np.zeros(0, object),
        field_of=np.concatenate(places) if places else np.zeros(0, np.int64),
        starts=np.array(starts),
        counts=counts,
    )


def _units_of(paths: tuple[str, str, str], fields: str | Path, level: str, samples: str | Path | None) -> Any:
    embeddings, cells, qc = paths
    return read_units([embeddings], fields, [cells], [qc], level, samples=samples)


def group_names(table: pd.DataFrame, name: str) -> pd.Series:
    """Name of the group that each field belongs to, at one of LEVELS; None for none.

    Args:
        table: one row a field, as `ShardUnits` has them.
        name: the level.
    """
    field = table["field_id"] + "@" + table["version"]
    own = table["protein"].where(~table["control"].astype(bool))
    if name == "fields":
        return field
    if name == "samples":
        return (table["source"] + "/" + table["sample"]).where(table["sample"].notna(), field)
    # one tag shows many proteins: a reagent is that of its protein
    return own if name == "proteins" else own + "/" + table["reagent"]


def describe_groups(table: pd.DataFrame, codes: np.ndarray, names: Sequence[str], words: Any) -> pd.DataFrame:
    """What is known of each group: obs of its AnnData.

    Args:
        table: one row a field.
        codes: (fields,) number of each one's group, negative for none.
        names: of the groups.
        words: vocabulary of locations.
    """
    rows = []
    for _, own in table[codes >= 0].groupby(codes[codes >= 0], sort=True):
        joined = {column: ";".join(_distinct(own[column])) for column in ("genes", "ensembl_ids", "labels")}
        single = {
            column: ";".join(sorted(own[name].dropna().astype(str).unique()))
            for column, name in (("sources", "source"), ("reagents", "reagent"), ("cell_lines", "cell_line"))
        }
        rows.append(
            {
                **joined,
                "location": location(words, own["labels"]),
                **single,
                "control": bool(own["control"].all()),
                "n_units": int(own["n_units"].sum()),
                "n_fields": len(own),
                "n_samples": int((own["source"] + "/" + own["sample"].fillna(own["field_id"])).nunique()),
            }
        )
    columns = ["genes", "ensembl_ids", "labels", "location", "sources", "reagents", "cell_lines", "control"]
    columns += ["n_units", "n_fields", "n_samples"]
    obs = pd.DataFrame(rows, columns=columns, index=pd.Index(names, dtype=object))
    present = set(obs["location"].dropna())
    obs["location"] = pd.Categorical(obs["location"], [each for each in (*words.classes, MULTI) if each in present])
    counts = ["n_units", "n_fields", "n_samples"]
    return obs.astype(dict.fromkeys(counts, np.int64) | {"control": bool})


def _aggregated(
    name: str,
    units: ShardUnits,
    weights: np.ndarray | None,
    probabilities: pd.DataFrame | None,
    atlas: Any,
    settings: Mapping[str, Any],
) -> Any:
    """AnnData of one level."""
    from anndata import AnnData

    codes, names = pd.factorize(group_names(units.table, name), sort=True)
    of_unit = codes[units.field_of] if len(units.field_of) else np.zeros(0, np.int64)
    method = settings["aggregation"]
    vectors = group_vectors(units.blocks, of_unit, len(names), len(units.features), method, weights)
    found = AnnData(vectors, obs=describe_groups(units.table, codes, list(names), vocabulary(settings["vocabulary"])))
    found.var_names = units.features
    if probabilities is not None:
        # means: a mean of probabilities is one, a median of each class is not
        means = _mean_rows(probabilities.to_numpy(np.float32), of_unit, len(names), weights)
        found.obsm["probabilities"] = pd.DataFrame(means, index=found.obs_names, columns=probabilities.columns)
    return _with_components(found, atlas, name)


def _write_cells(
    folder: Path,
    units: ShardUnits,
    atlas: Any,
    probabilities: pd.DataFrame | None,
    map_of_units: str | Path | None,
    settings: Mapping[str, Any],
    said: dict[str, Any],
) -> None:
    """Write the level `cells`: nothing is put together there, and weights do not act."""
    from anndata import AnnData

    obs = describe_cells(units.table, units.field_of, units.unit_ids, vocabulary(settings["vocabulary"]))
    skeleton = AnnData(obs=obs, var=pd.DataFrame(index=pd.Index(units.features, dtype=object)))
    places = places_of(atlas, units.features)
    if places is not None:
        skeleton.varm["PCs"] = atlas.varm["PCs"]
        skeleton.uns["pca"] = dict(atlas.uns["pca"])
    shown = map_places(map_of_units, units.unit_ids)
    if shown is not None:
        skeleton.obsm["X_umap"] = shown
    if probabilities is not None:
        skeleton.obsm["probabilities"] = probabilities.astype(np.float32)
    skeleton.uns["wherein"] = json.dumps(said, sort_keys=True)
    write_cells(folder, skeleton, units.blocks, len(units.features), places)


def _mean_rows(values: np.ndarray, codes: np.ndarray, groups: int, weights: np.ndarray | None) -> np.ndarray:
    """Mean of the rows of each group whose values are known, (groups, K) float32."""
    known = np.isfinite(values).all(axis=1) & (codes >= 0)
    own = np.ones(len(codes)) if weights is None else weights
    total = np.bincount(codes[known], own[known], minlength=groups)
    columns = [np.bincount(codes[known], own[known] * column[known], minlength=groups) for column in values.T]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.stack(columns, axis=1) / total[:, None]).astype(np.float32)


def _with_components(found: Any, atlas: Any, name: str) -> Any:
    """Add what scanpy looks for: of proteins the atlas's own components and map, of others places on its components."""
    places = places_of(atlas, list(found.var_names))
    if places is None:
        return found
    found.varm["PCs"] = atlas.varm["PCs"]
    found.uns["pca"] = dict(atlas.uns["pca"])
    if name == "proteins" and set(found.obs_names) == set(atlas.obs_names):
        own = atlas[found.obs_names]
        for key in ("X_pca", "X_umap"):
            found.obsm[key] = np.asarray(own.obsm[key])
        found.obs["cluster"] = own.obs["cluster"].to_numpy()
        for key in own.obsp:
            found.obsp[key] = own.obsp[key]
        found.uns.update({key: atlas.uns[key] for key in ("neighbors", "umap") if key in atlas.uns})
        return found
    found.obsm["X_pca"] = places.of(found.X)
    return found


def _probabilities(path: str | Path, unit_ids: np.ndarray) -> pd.DataFrame | None:
    """Class probabilities of the units, in their order; None where the model has none."""
    classes = read_metadata(path).get("classes")
    if not classes:
        return None
    table = pq.read_table(path, columns=["unit_id", *classes]).to_pandas().set_index("unit_id")
    return table.reindex(unit_ids)


def _write(folder: Path, name: str, found: Any) -> None:
    """Write one level as .h5ad, .zarr and .parquet."""
    import anndata

    found.write_h5ad(folder / f"{name}.h5ad")
    with anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=True), warnings.catch_warnings():
        # anndata reads the metadata of all arrays from one place, which the format's third version has no word for yet
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        found.write_zarr(folder / f"{name}.zarr")
    obs = found.obs.astype({column: object for column in found.obs if found.obs[column].dtype == "category"})
    table = pa.Table.from_pandas(obs.rename_axis("name").reset_index(), preserve_index=False)
    flat = pa.array(np.ascontiguousarray(found.X, np.float32).ravel())
    # without a unit there is no feature, and lists of a fixed size have one at least: an empty column of lists of one
    table = table.append_column("vector", pa.FixedSizeListArray.from_arrays(flat, max(found.n_vars, 1)))
    about = {b"wherein": json.dumps({**json.loads(found.uns["wherein"]), "dimensions": list(found.var_names)}).encode()}
    pq.write_table(table.replace_schema_metadata(about), folder / f"{name}.parquet", compression="zstd")


def _distinct(lists: pd.Series) -> list[str]:
    return list(dict.fromkeys(str(item) for items in lists if items is not None for item in items))
