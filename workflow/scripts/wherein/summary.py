"""The summary that a stage leaves of one job: counts, reasons, seconds, memory, versions."""

import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wherein import __version__
from wherein.atomic import write_json


class Summary:
    """Counts of one job, filled by the stage.

    Attributes:
        counts: how many came `in`, were `kept`, and fell to each reason: `{"in": n, "kept": n, reason: n}`.
        notes: sentences for the reader of the report.
        extra: anything else worth keeping (device, peak GPU memory, seeds), JSON-able.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []
        self.extra: dict[str, object] = {}


@contextmanager
def stage_summary(path: str | Path, stage: str, item: str, packages: tuple[str, ...] = ()) -> Iterator[Summary]:
    """Time the block and write its summary when it ended well.

    Args:
        path: the JSON file to write.
        stage: the stage's name, as DESIGN lists it.
        item: the shard, model or run that the job worked on.
        packages: distributions whose versions matter to the result.

    Yields:
        The Summary to fill.
    """
    start = time.monotonic()
    summary = Summary()
    yield summary
    write_json(
        path,
        {
            "stage": stage,
            "item": item,
            "counts": summary.counts,
            "notes": summary.notes,
            "seconds": round(time.monotonic() - start, 3),
            # ru_maxrss is in KiB on Linux
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "versions": {
                "wherein": __version__,
                "python": platform.python_version(),
                **{name: installed_version(name) for name in packages},
            },
            **summary.extra,
        },
    )


def installed_version(distribution: str) -> str:
    """Version of an installed distribution, or "not installed"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
