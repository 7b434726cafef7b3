"""A source of kind `crops`, taken from its table through download, qc and import without Snakemake."""

from collections import namedtuple
from pathlib import Path

import pandas as pd
from wherein.catalog import build_catalog
from wherein.crops.store import CropStore
from wherein.exchange.files import check_files
from wherein.exchange.importing import import_shard
from wherein.exchange.judging import judge_crops
from wherein.settings import catalog_settings, check_config
from wherein.shards import read_shards

Imported = namedtuple("Imported", "fields files qc cells crops folder shards")


def write_table_of(folder, rows):
    """A TSV beside the files, one row a dict."""
    pd.DataFrame(rows).to_csv(Path(folder) / "crops.tsv", sep="\t", index=False)


def config_of(folder, **source):
    """Configuration of a run with this one source, checked, with defaults."""
    own = {"kind": "crops", "table": str(Path(folder) / "crops.tsv"), "pixel_size_um": 0.2, **source}
    config = {"sources": {"made": own}}
    check_config(config)
    return config


def run_catalog(folder, config, shard_fields=200):
    folder = Path(folder)
    build_catalog(
        sources=catalog_settings(config),
        overrides=None,
        shard_fields=shard_fields,
        fields=str(folder / "fields.parquet"),
        shards=str(folder / "shards.tsv"),
        diff=str(folder / "diff.tsv"),
        summary=str(folder / "catalog.json"),
        crops=str(folder / "listed.parquet"),
    )
    return pd.read_parquet(folder / "fields.parquet")


def imported(folder, shard_fields=200, overrides=(), **source):
    """Run one source through to its crop stores; tables of all shards together, stores by shard."""
    folder, config = Path(folder), config_of(folder, **source)
    fields = run_catalog(folder, config, shard_fields)
    told = {"files": [], "qc": [], "cells": []}
    stores = {}
    for shard in read_shards(folder / "shards.tsv"):
        paths = {name: folder / f"{shard}-{name}.parquet" for name in told}
        known = {"fields": folder / "fields.parquet", "listed": folder / "listed.parquet"}
        check_files(shard, **known, files=paths["files"], summary=folder / f"{shard}-download.json")
        settings = {key: config["qc"][key] for key in ("failed_share", "failed_fields")}
        judge_crops(
            shard, **known, files=paths["files"], settings=settings, overrides=[], qc=paths["qc"],
            summary=folder / f"{shard}-qc.json",
        )  # fmt: skip
        import_shard(
            shard, **known, qc=paths["qc"],
            settings={"distance_unit_um": config["sources"]["made"]["distance_unit_um"]}, overrides=list(overrides),
            crops=folder / f"{shard}.zarr", cells=paths["cells"], summary=folder / f"{shard}-import.json",
        )  # fmt: skip
        stores[shard] = CropStore(folder / f"{shard}.zarr")
        for name, path in paths.items():
            told[name].append(pd.read_parquet(path))
    tables = {name: pd.concat(frames, ignore_index=True) for name, frames in told.items()}
    return Imported(fields, tables["files"], tables["qc"], tables["cells"], list(stores.values()), folder, list(stores))
