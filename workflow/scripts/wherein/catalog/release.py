"""What a release changes: versions that come, stay, return or go, and words of curators over labels."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from wherein.labels import spelling
from wherein.overrides import Override
from wherein.sources.table import TableError, items

Row = dict[str, Any]
Key = tuple[str, str, str]

GONE = "source removed"
"""What stands in place of a release for a source that is no longer in the configuration."""

FROM_BEFORE = ("shard", "release", "first_release", "pixel_size_um", "full_scale")
"""Columns that a version keeps, whatever the table says later."""


class Change(NamedTuple):
    """One row of release_diff.tsv."""

    source: str
    old_release: str
    release: str
    field_id: str
    change: str
    old: str
    new: str


def key_of(row: Row) -> Key:
    """What tells one field version from another: source, field_id, version."""
    return row["source"], row["field_id"], row["version"]


def join_releases(planned: Sequence[Row], before: Sequence[Row], releases: dict[str, str]) -> list[Row]:
    """Put the fields of now over the catalog of before.

    Args:
        planned: rows of now; known versions have what FROM_BEFORE names already.
        before: rows of the last catalog.
        releases: release of each source in the configuration.

    Returns:
        All versions that there ever were, sorted by source, field_id, release and version. Those of now are current;
        the others are retired, in the release that first lacked them.
    """
    first: dict[tuple[str, str], str] = {}
    for row in before:
        first.setdefault((row["source"], row["field_id"]), row["first_release"])
    now = {key_of(row) for row in planned}
    for row in planned:
        row["first_release"] = first.get((row["source"], row["field_id"]), row["release"])
        row["retired_in"] = None
    past = [
        {**row, "retired_in": row["retired_in"] or releases.get(row["source"], GONE)}
        for row in before
        if key_of(row) not in now
    ]
    return sorted([*planned, *past], key=lambda row: (row["source"], row["field_id"], row["release"], row["version"]))


def relabel(rows: Iterable[Row], words: Iterable[Override]) -> list[str]:
    """Put curators' labels over published ones, in place.

    Args:
        rows: current field versions.
        words: decisions; only relabelled fields count here.

    Returns:
        field_ids that are to be relabelled and that no row has.
    """
    said = {word.id: word for word in words if word.level == "field" and word.action == "relabel"}
    for row in rows:
        word = said.pop(row["field_id"], None)
        row["labels"] = items(word.value) if word else row["labels_published"]
        row["relabelled_by"] = f"{word.who}: {word.why}" if word else None
    return list(said)


def differences(
    planned: Iterable[Row], before: Iterable[Row], old_releases: dict[str, str], releases: dict[str, str]
) -> list[Change]:
    """List what changed between the current fields of the last catalog and those of now.

    Labels that are only spelled or ordered in another way, as releases do, are no change.

    Args:
        planned: current rows of now, with their labels.
        before: rows of the last catalog, the retired ones included.
        old_releases: release of each source in the last catalog.
        releases: release of each source in the configuration.

    Returns:
        Changes, sorted.
    """
    was = {(row["source"], row["field_id"]): row for row in before if row["retired_in"] is None}

    def place(source: str, field_id: str) -> tuple[str, str, str, str]:
        return source, old_releases.get(source, ""), releases.get(source, GONE), field_id

    changes = []
    for row in planned:
        old = was.pop((row["source"], row["field_id"]), None)
        here = place(row["source"], row["field_id"])
        if old is None:
            changes.append(Change(*here, "added", "", row["version"]))
            continue
        if old["version"] != row["version"]:
            changes.append(Change(*here, "changed", old["version"], row["version"]))
        if set(map(spelling, old["labels"])) != set(map(spelling, row["labels"])):
            changes.append(Change(*here, "relabelled", ";".join(old["labels"]), ";".join(row["labels"])))
    changes += [Change(*place(*key), "removed", row["version"], "") for key, row in was.items()]
    return sorted(changes)


def check_unique(planned: Iterable[Row]) -> None:
    """Stop where two sources have a field of the same name: every later table tells fields apart by it.

    Raises:
        TableError: a field_id is there twice.
    """
    seen: dict[str, str] = {}
    for row in planned:
        other = seen.setdefault(row["field_id"], row["source"])
        if other != row["source"]:
            raise TableError(
                f"the field {row['field_id']!r} is in the sources {other!r} and {row['source']!r}; a run may hold a "
                "field once: to compare two releases, configure one source and change its release between two runs of "
                "`snakemake catalog`"
            )
