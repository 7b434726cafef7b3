"""The page that tells what a run costs before it is run."""

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from wherein import __version__
from wherein.atomic import atomic_path
from wherein.channels import ROLES, uri_column
from wherein.cost.fetch import Wanted, fetches
from wherein.cost.geometry import Geometry, geometry_of, read_measured
from wherein.cost.jobs import Job, Plan, all_jobs
from wherein.cost.table import Row, cost_rows
from wherein.cost.volumes import Estimate, spread
from wherein.metrics.segmentation_plan import truth_files, truth_patterns
from wherein.shards import Shard, read_shards
from wherein.tables import write_tsv
from wherein.views.pages import STAGE_NAMES, environment
from wherein.views.style import words

log = logging.getLogger(__name__)


def write_cost(
    config: dict[str, Any],
    run: dict[str, Any],
    fields: str,
    shards: str,
    remote: str,
    measured: str,
    table: str,
    page: str,
) -> None:
    """Count what is still to do, and write it as a table and as a page.

    Args:
        config: the checked configuration.
        run: what follows from it: `works_on` (sources by model), `gpu_models`, `weights` (names by model), `gene_sets`
            (names of those that are fetched), `networks`, `judged`, `gpu_methods` (as `Plan` has them), `crop`
            (settings by source).
        fields: results/catalog/fields.parquet.
        shards: results/catalog/shards.tsv.
        remote: results/catalog/remote.parquet.
        measured: resources/measured.tsv.
        table: results/report/cost.tsv to write.
        page: results/report/cost.html to write.
    """
    root = Path(".")
    known = [shard for shard in read_shards(shards).values() if shard.source in config["sources"]]
    columns = ["field_id", "source", "shard", "retired_in", "pixel_size_um", *(uri_column(role) for role in ROLES)]
    current = pq.read_table(fields, columns=columns).to_pandas()
    current = current[current["retired_in"].isna()]
    kinds = {name: source["kind"] for name, source in config["sources"].items()}
    plan = Plan(known, kinds, **{name: run[name] for name in Plan._fields[2:]})
    jobs = all_jobs(plan, str(root), fields)
    figures = read_measured(measured)
    geometry = {
        source: geometry_of(
            config["sources"][source], run["crop"][source], _pixel_size(current, source), own.roles,
            pixel_bytes(current[current["source"] == source]), _finished(jobs, source), root, figures,
        )
        for source, own in _first_shards(known).items()
    }  # fmt: skip
    arrived = {job.shard for job in jobs if job.stage == "download" and job.done and job.shard}
    cache = root / config["download"]["cache"]
    wanted = fetches(current, arrived, root, cache, remote_sizes(remote), geometry, figures)
    counts, judged = (rows["shard"].value_counts().to_dict() for rows in (current, judged_fields(current, config)))
    levels = {name: (model["kind"], model["level"]) for name, model in config["models"].items()}
    rows = cost_rows(jobs, plan, counts, judged, wanted, geometry, levels, figures, root)
    write_tsv(table, pd.DataFrame(rows, columns=Row._fields), Row._fields)
    disks = {"results": _free(root), "images": _free(cache)}
    content = page_content(rows, wanted, geometry, current, disks, config)
    with atomic_path(page) as partial:
        partial.write_text(environment().get_template("cost.html").render(**content), encoding="utf-8")
    log.info("%s jobs to do of %s", sum(row.to_do for row in rows), len(jobs))


def page_content(
    rows: Sequence[Row],
    wanted: Sequence[Wanted],
    geometry: Mapping[str, Geometry],
    current: pd.DataFrame,
    disks: Mapping[str, int],
    config: dict[str, Any],
) -> dict[str, Any]:
    """What the template of the page is filled with.

    Args:
        rows: of cost.tsv.
        wanted: remote files of each source.
        geometry: of each source.
        current: current rows of fields.parquet.
        disks: bytes that are free for results and for images.
        config: the configuration.

    Returns:
        Names of the template.
    """
    to_fetch = _sum(each.bytes.value for each in wanted)
    to_write = _sum(row.disk_to_write for row in rows)
    stages = _stages(rows)
    return {
        "version": __version__,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "jobs": sum(row.jobs for row in rows),
        "to_do": sum(row.to_do for row in rows),
        "gpu_to_do": sum(row.gpu_to_do for row in rows),
        "fields": len(current),
        "fields_to_do": _fields_to_do(rows),
        "to_fetch": to_fetch,
        "cached": _sum(each.cached_bytes.value for each in wanted),
        "to_write": to_write,
        "hours": _hours(rows),
        "disks": _disks(disks, to_fetch, to_write, config["download"]["min_free_gb"]),
        "sources": [_source(name, wanted, size, current, config) for name, size in geometry.items()],
        "stages": stages,
        "shard_hint": next((row.source for row in rows if row.source and row.to_do and row.hours_to_do is None), None),
        "left_out": [name for name in config["models"] if not any(row.model == name for row in rows)],
    }


def _stages(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of the same stage and model or method put together over sources, with the rows themselves."""
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.stage, row.model or row.method), []).append(row)
    return [
        {
            "name": STAGE_NAMES.get(stage, words(stage)),
            "by": by or "",
            **{name: sum(getattr(row, name) for row in own) for name in ("jobs", "done", "to_do", "gpu_to_do")},
            "fields_to_do": sum(row.fields_to_do for row in own),
            "there": _sum(row.disk_bytes for row in own),
            "write": _sum(row.disk_to_write for row in own),
            "hours": _hours(own),
            "parts": [
                {
                    "source": row.source or "all sources",
                    "to_do": row.to_do,
                    "jobs": row.jobs,
                    "write": row.disk_to_write,
                    "disk_basis": row.disk_basis,
                    "hours": _hours([row]),
                    "hours_basis": row.hours_basis,
                }
                for row in own
            ],
        }
        for (stage, by), own in groups.items()
    ]


def _source(
    name: str, wanted: Sequence[Wanted], size: Geometry, current: pd.DataFrame, config: dict[str, Any]
) -> dict[str, Any]:
    own = current[current["source"] == name]
    remote = next((each for each in wanted if each.source == name), None)
    pixels = f"{size.shape[0]:,.0f} x {size.shape[1]:,.0f} px" if size.shape else "pixels not known, each"
    return {
        "name": name,
        "release": config["sources"][name].get("release", ""),
        "fields": len(own),
        "roles": size.roles,
        "images": len(own) * size.roles,
        "shape": f"{pixels} of {size.pixel_size_um:g} µm",
        "shape_basis": size.basis if size.shape else "no field has been measured yet",
        "cells": None if size.cells is None else round(size.cells * len(own)),
        "cells_basis": size.cells_basis if size.cells is not None else "known once a shard is finished",
        "remote": remote,
        "how": "drawn by the run" if config["sources"][name]["kind"] == "simulated" else "read where they are",
    }


def _disks(free: Mapping[str, int], fetch: Estimate, write: Estimate, least_gb: float) -> list[dict[str, Any]]:
    """Room that is needed and there is, for results and for fetched images."""
    needs = {"results": write, "images": fetch}
    rows = []
    for name, need in needs.items():
        keep = least_gb * 1e9 if name == "images" else 0
        short = need.value is not None and need.value > free[name] - keep
        rows.append({"name": name, "need": need, "free": free[name], "keep": keep, "short": short})
    return rows


def _sum(values: Iterable[float | None]) -> Estimate:
    """Sum of what is known, and in words whether all is."""
    found = list(values)
    known = [value for value in found if value is not None]
    if found and not known:
        return Estimate(None, "")
    return Estimate(sum(known), "at least" if len(known) < len(found) else "")


def _hours(rows: Sequence[Row]) -> dict[str, Any]:
    """Hours of the jobs to do, and how many of these are of a kind that has run."""
    known = [row for row in rows if row.to_do and row.hours_to_do is not None]
    return {
        "hours": sum(row.hours_to_do for row in known if row.hours_to_do is not None),
        "jobs": sum(row.to_do for row in known),
        "of": sum(row.to_do for row in rows),
    }


def _fields_to_do(rows: Sequence[Row]) -> int:
    """Fields of which a pixel stage is still to do: of each source, those of the stage that lacks most."""
    most: dict[str, int] = {}
    for row in rows:
        if row.source:
            most[row.source] = max(most.get(row.source, 0), row.fields_to_do)
    return sum(most.values())


def remote_sizes(table: str) -> dict[str, int]:
    """Bytes of remote files by URL, as far as servers or listings told them: of results/catalog/remote.parquet."""
    told = pq.read_table(table, columns=["url", "bytes"]).to_pydict()
    return {url: size for url, size in zip(told["url"], told["bytes"], strict=True) if size is not None}


def judged_fields(current: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    """Fields whose true outlines are known: drawn ones, and those of which people's label images are there.

    Args:
        current: current rows of fields.parquet.
        config: the configuration.
    """
    drawn = [name for name, source in config["sources"].items() if source["kind"] == "simulated"]
    patterns = truth_patterns(config["sources"])
    known = current["source"].isin(drawn)
    for row in current[current["source"].isin(patterns) & ~known].itertuples():
        known[row.Index] = bool(truth_files(patterns[row.source], row.field_id))
    return current[known]


def pixel_bytes(fields: pd.DataFrame) -> int:
    """Bytes of a pixel of a source's images, by the names of their files: a JPEG has 8 bits, all else is taken as 16.

    Args:
        fields: its rows of fields.parquet.
    """
    uris = fields.head(1000)[[uri_column(role) for role in ROLES]].stack()
    names = uris.str.rpartition("#")[0].str.lower() if len(uris) else uris
    return 1 if len(uris) and names.str.endswith((".jpg", ".jpeg")).mean() > 0.5 else 2


def _pixel_size(current: pd.DataFrame, source: str) -> float:
    """Pixel size of most of a source's fields."""
    sizes = current.loc[current["source"] == source, "pixel_size_um"].mode()
    return float(sizes.iloc[0]) if len(sizes) else 1.0


def _first_shards(known: Sequence[Shard]) -> dict[str, Shard]:
    found: dict[str, Shard] = {}
    for shard in known:
        found.setdefault(shard.source, shard)
    return found


def _finished(jobs: Sequence[Job], source: str) -> list[str]:
    """Some shards of a source whose cells are counted."""
    own = [job for job in jobs if job.stage in ("crop", "import_crops") and job.source == source]
    shards = [job.shard for job in own if job.done and job.shard]
    return [str(item) for item in spread(shards)]


def _free(path: Path) -> int:
    """Bytes that are free on the disk of a folder that may not be there yet."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
