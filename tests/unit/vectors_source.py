"""A source of kind `vectors`, taken from its table through catalog, import and embedding without Snakemake."""

from collections import namedtuple
from pathlib import Path

import pandas as pd
from wherein.catalog import build_catalog
from wherein.exchange.vector_embedding import embed_vectors
from wherein.exchange.vector_importing import import_vectors
from wherein.settings import catalog_settings, check_config
from wherein.shards import read_shards

Taken = namedtuple("Taken", "fields listed files qc cells embeddings predictions notes folder config")


def config_of(table, level="field", **source):
    """Configuration of a run with this one source and a model for it, checked, with defaults."""
    own = {"kind": "vectors", "table": str(table), "level": level, **source}
    config = {"sources": {"made": own}, "models": {"published": {"kind": "published", "level": level}}}
    check_config(config)
    return config


def listed(folder, config, shard_fields=200):
    """Run the catalog."""
    folder = Path(folder)
    build_catalog(
        sources=catalog_settings(config), overrides=None, shard_fields=shard_fields,
        fields=str(folder / "fields.parquet"), shards=str(folder / "shards.tsv"), diff=str(folder / "diff.tsv"),
        summary=str(folder / "catalog.json"), vectors=str(folder / "listed.parquet"),
    )  # fmt: skip
    return pd.read_parquet(folder / "fields.parquet")


def taken_over(folder, table, level="field", shard_fields=200, field_words=(), cell_words=(), **source):
    """Run one source through to its embeddings; paths by shard of those, tables of all shards together else."""
    folder, config = Path(folder), config_of(table, level, **source)
    fields = listed(folder, config, shard_fields)
    own = config["sources"]["made"]
    told = {name: [] for name in ("files", "qc", "cells", "embeddings", "predictions")}
    for shard in read_shards(folder / "shards.tsv"):
        paths = {name: folder / f"{shard}-{name}.parquet" for name in told}
        import_vectors(
            shard, fields=folder / "fields.parquet", listed=folder / "listed.parquet", source=own,
            settings={key: config["qc"][key] for key in ("failed_share", "failed_fields")},
            field_words=list(field_words), cell_words=list(cell_words), files=paths["files"], qc=paths["qc"],
            cells=paths["cells"], summary=folder / f"{shard}-import.json",
        )  # fmt: skip
        embed_vectors(
            "published", shard, listed=folder / "listed.parquet", qc=paths["qc"], cells=paths["cells"], source=own,
            embeddings=paths["embeddings"], predictions=paths["predictions"], summary=folder / f"{shard}-embed.json",
        )  # fmt: skip
        for name, path in paths.items():
            told[name].append(path)
    tables = [pd.concat([pd.read_parquet(path) for path in told[name]]) for name in ("files", "qc", "cells")]
    notes = pd.read_json(folder / "catalog.json", typ="series")["notes"]
    return Taken(
        fields, pd.read_parquet(folder / "listed.parquet"), *tables, told["embeddings"], told["predictions"], notes,
        folder, config,
    )  # fmt: skip
