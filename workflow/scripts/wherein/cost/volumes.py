"""Disk that results take and hours that jobs run: measured on finished jobs, else scaled from another run's."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from wherein.cost.geometry import UNITS, Geometry, Measured
from wherein.cost.jobs import STAGES

SAMPLE = 12
"""Most finished jobs of a stage, model and source that are measured: they are alike, and walking folders takes time."""

T = TypeVar("T")

STAGE = {stage.name: stage for stage in STAGES}


class Estimate(NamedTuple):
    """A figure and how it is known.

    Attributes:
        value: bytes or hours; None where it is not known.
        basis: where it comes from, or why it is not known.
    """

    value: float | None
    basis: str


class Item(NamedTuple):
    """What one job works on: the values of its wildcards, and how many fields these are."""

    wildcards: Mapping[str, str]
    fields: int


def bytes_of(path: str | os.PathLike[str]) -> int:
    """Size of a file, or of all files in a folder; 0 if it is not there."""
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


def written_bytes(stage: str, item: Item, root: Path) -> int:
    """Bytes of what one finished job has written."""
    return sum(bytes_of(root / pattern.format(**item.wildcards)) for pattern in STAGE[stage].outputs)


def spread(items: Sequence[T], most: int = SAMPLE) -> list[T]:
    """At most `most` items, evenly over the list."""
    return list(items) if len(items) <= most else [items[number * len(items) // most] for number in range(most)]


def disk(
    stage: str,
    done: Sequence[Item],
    to_do: Sequence[tuple[Geometry, int]],
    root: Path,
    measured: Measured | None,
    level: str = "cell",
) -> tuple[Estimate, Estimate]:
    """Bytes that a stage's finished jobs take, and that those to do will take.

    Args:
        stage: name of a rule.
        done: its finished jobs of one model and source.
        to_do: fields of the jobs that are still to do, and their geometry, for each source that they work on.
        root: folder of the run.
        measured: figure of another run for this stage; None for none.
        level: what one vector describes.

    Returns:
        There, to write.
    """
    sample = spread(done)
    size, fields = sum(written_bytes(stage, item, root) for item in sample), sum(item.fields for item in sample)
    there = Estimate(size * len(done) / len(sample) if sample else 0, f"{len(sample)} of {len(done)} jobs measured")
    fields_to_do = sum(count for _, count in to_do)
    if not fields_to_do:
        return there, Estimate(0, "nothing to do")
    if fields:
        return there, Estimate(size / fields * fields_to_do, f"measured on {_jobs(len(sample))} of this run")
    if measured is None:
        return there, Estimate(None, "not measured yet")
    amounts = [geometry.amount(measured.per, count, level) for geometry, count in to_do]
    if None in amounts:
        return there, Estimate(None, "the size of the fields is not known before a shard is finished")
    amount = sum(amount for amount in amounts if amount is not None)
    told = f"{measured.value:,.0f} bytes a {UNITS[measured.per]}: {measured.source}, {measured.date}"
    return there, Estimate(amount * measured.value, told)


def hours(stage: str, done: Sequence[Item], fields_to_do: int, root: Path) -> Estimate:
    """Hours that jobs to do would take one after the other, from the benchmarks of finished jobs of the same kind.

    Args:
        stage: name of a rule.
        done: its jobs of one model and source that have run, with their benchmarks or without.
        fields_to_do: fields of the jobs that are still to do.
        root: folder of the run.

    Returns:
        Hours, unknown where no such job has run here.
    """
    if not fields_to_do:
        return Estimate(0, "nothing to do")
    told = [(seconds(root / STAGE[stage].benchmark.format(**item.wildcards)), item.fields) for item in spread(done)]
    known = [(time, fields) for time, fields in told if time is not None and fields]
    if not known:
        return Estimate(None, "no job of this kind has run here yet")
    rate = sum(time for time, _ in known) / sum(fields for _, fields in known)
    return Estimate(rate * fields_to_do / 3600, f"measured on {_jobs(len(known))} of this run")


def seconds(path: Path) -> float | None:
    """Seconds that a job took, from its benchmark; None if there is none."""
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            times = [float(row["s"]) for row in csv.DictReader(lines, delimiter="\t")]
    except (OSError, KeyError, ValueError):
        return None
    return sum(times) / len(times) if times else None


def _jobs(count: int) -> str:
    return f"{count} finished {'job' if count == 1 else 'jobs'}"
