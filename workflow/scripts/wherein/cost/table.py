"""The table of what a run costs: one row for each stage, model or method, and source."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wherein.cost.fetch import Wanted
from wherein.cost.geometry import Geometry, Measured
from wherein.cost.jobs import STAGES, Job, Plan
from wherein.cost.volumes import Estimate, Item, disk, hours

PER = {stage.name: stage.per for stage in STAGES}

OUTPUTS = {stage.name: stage.outputs for stage in STAGES}

IMAGES = ("download", "simulate", "qc", "segment", "segment_network", "segment_beside", "crop")
IMAGES += ("download_crops", "qc_crops", "import_crops")
"""Stages that read or write every channel's image."""

MEASURED_AS = {"segment_network": "segment", "segment_beside": "segment", "embed_network": "embed"}
MEASURED_AS |= {"download_crops": "download", "qc_crops": "qc", "import_crops": "crop"}
"""Stages that write what another one writes: outlines of a field take about as much room whoever drew them, and crops
that were made elsewhere as much as those of the run."""


class Row(NamedTuple):
    """A row of results/report/cost.tsv; see docs/formats.md."""

    stage: str
    model: str | None
    method: str | None
    source: str | None
    jobs: int
    done: int
    to_do: int
    gpu_to_do: int
    fields: int
    fields_to_do: int
    images_to_do: int
    fetch_bytes: float | None
    fetch_basis: str
    cached_bytes: float | None
    disk_bytes: float | None
    disk_to_write: float | None
    disk_basis: str
    hours_to_do: float | None
    hours_basis: str


def cost_rows(
    jobs: Sequence[Job],
    plan: Plan,
    current: Mapping[str, int],
    judged: Mapping[str, int],
    wanted: Sequence[Wanted],
    geometry: Mapping[str, Geometry],
    levels: Mapping[str, tuple[str, str]],
    measured: Mapping[tuple[str, str], Measured],
    root: Path,
) -> list[Row]:
    """Add up jobs by stage, model, method and source.

    Args:
        jobs: of the run.
        plan: what they were listed from.
        current: current fields of each shard.
        judged: those of them whose true outlines are known.
        wanted: remote files of each source.
        geometry: of each source.
        levels: kind and level of each model.
        measured: figures of other runs.
        root: folder of the run.

    Returns:
        Rows in the order of the workflow.
    """
    groups: dict[tuple[str, str | None, str | None, str | None], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.stage, job.model, job.method, job.source), []).append(job)
    files = {each.source: each for each in wanted}
    by_source: dict[str, int] = {}
    for shard in plan.shards:
        by_source[shard.source] = by_source.get(shard.source, 0) + current.get(shard.name, 0)
    of_model = {model: sum(by_source.get(name, 0) for name in sources) for model, sources in plan.works_on.items()}
    everything = sum(by_source.values())
    rows = []
    for (stage, model, method, source), own in groups.items():
        in_shard = judged if stage == "segment_beside" else current
        items = {job: Item(_wildcards(job, stage), _fields(job, in_shard, of_model, everything)) for job in own}
        worked_on = [source] if source else plan.works_on[model] if model else list(by_source)
        to_do = sum(item.fields for job, item in items.items() if not job.done)
        parts = {name: to_do if source else by_source[name] * bool(to_do) for name in worked_on if name in by_source}
        kind, level = levels.get(model or "", ("", "cell"))
        figure = measured.get(
            (
                MEASURED_AS.get(stage, stage),
                f"{8 * geometry[source].pixel_bytes} bit" if stage in ("crop", "import_crops") and source else kind,
            )
        )
        sizes = [(geometry[name], count) for name, count in parts.items() if count]
        rows.append(_row((stage, model, method, source), items, sizes, figure, level, files.get(source or ""), root))
    return rows


def _row(
    key: tuple[str, str | None, str | None, str | None],
    items: Mapping[Job, Item],
    to_do: Sequence[tuple[Geometry, int]],
    measured: Measured | None,
    level: str,
    files: Wanted | None,
    root: Path,
) -> Row:
    stage, model, method, source = key
    done = [item for job, item in items.items() if job.done]
    waiting = sum(item.fields for job, item in items.items() if not job.done)
    # what a run-wide job took the last time is the best that is known of it, also where it has to run again
    ran = done if source or done else list(items.values())
    there, to_write = disk(stage, _there(stage, ran, root), to_do, root, measured, level)
    time = hours(stage, ran or list(items.values()), waiting, root)
    nothing = Estimate(0, "")
    missing, cached = (files.bytes, files.cached_bytes) if files and stage == "download" else (nothing, nothing)
    return Row(
        stage=stage,
        model=model,
        method=method,
        source=source,
        jobs=len(items),
        done=len(done),
        to_do=len(items) - len(done),
        gpu_to_do=sum(job.gpus for job in items if not job.done),
        fields=sum(item.fields for item in items.values()),
        fields_to_do=waiting,
        images_to_do=sum(size.roles * count for size, count in to_do) if stage in IMAGES else 0,
        fetch_bytes=missing.value,
        fetch_basis=missing.basis,
        cached_bytes=cached.value,
        disk_bytes=there.value,
        disk_to_write=to_write.value,
        disk_basis=to_write.basis,
        hours_to_do=time.value,
        hours_basis=time.basis,
    )


def _there(stage: str, items: Sequence[Item], root: Path) -> list[Item]:
    """Jobs of which anything is on disk."""
    return [item for item in items if any((root / path.format(**item.wildcards)).exists() for path in OUTPUTS[stage])]


def _wildcards(job: Job, stage: str) -> dict[str, Any]:
    values = {"shard": job.shard, "model": job.model, "method": job.method}
    return {name: values.get(name, job.item) for name in PER[stage]}


def _fields(job: Job, in_shard: Mapping[str, int], of_model: Mapping[str, int], everything: int) -> int:
    if job.shard:
        return in_shard.get(job.shard, 0)
    return of_model[job.model] if job.model else everything
