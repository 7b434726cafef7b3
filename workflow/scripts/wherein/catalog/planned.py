"""The fields that sources have now, each with the key of its content."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from wherein.channels import ROLES, in_order, uri_column
from wherein.digest import digest
from wherein.exchange.crop_table import fields_or_error
from wherein.exchange.vector_fields import vector_fields
from wherein.sources.address import Address, is_remote, to_uri
from wherein.sources.hpa import hpa_fields
from wherein.sources.opencell import opencell_fields
from wherein.sources.table import (
    LIST_COLUMNS,
    TEXT_COLUMNS,
    channel_of_row,
    items,
    number,
    open_table,
    path_of_row,
    text,
    truth,
)

Row = dict[str, Any]
"""A row of fields.parquet, by column."""

THREADS = 8
"""Files looked at at once: on a network drive the wait is for the server."""


LISTS = ("ensembl_ids", "genes", "labels", "labels_main", "go_ids")
LISTS += ("variation_intensity", "variation_spatial", "cycle_dependent")
"""List columns, empty where nothing is known."""


def planned_fields(name: str, source: dict[str, Any]) -> tuple[list[Row], list[str]]:
    """List the fields of one source as it is now.

    Args:
        name: name of the source.
        source: its configuration, with defaults.

    Returns:
        Rows with the columns of fields.parquet that do not depend on earlier releases, `version` among them, and
        `roles`, the source's roles in the order of storage. `pixel_size_um` and `full_scale` are as the table or the
        configuration says, None where only the files may know. And sentences on what was passed over.

    Raises:
        TableError: a table or a release's file is wrong.
    """
    rows, notes = _rows(name, source)
    for row in rows:
        row["source"] = name
        row["release"] = source["release"]
        row["labels_published"] = row["labels"]
        row["sample"] = row["sample"] or sample_name(row)
        for column in LISTS:
            row[column] = row.get(column) or []
    return rows, [f"{name}: {note}" for note in notes]


def _rows(name: str, source: dict[str, Any]) -> tuple[list[Row], list[str]]:
    if source["kind"] == "simulated":
        return _simulated(name, source), []
    if source["kind"] == "hpa":
        return hpa_fields(source)
    if source["kind"] == "opencell":
        return opencell_fields(source)
    if source["kind"] == "crops":
        return _of_crops(name, source), []
    if source["kind"] == "vectors":
        return vector_fields(name, source)
    return _of_table(source), []


def _simulated(name: str, source: dict[str, Any]) -> list[Row]:
    # only here: a run without simulated sources never needs the simulator
    from wherein.simulate.plan import plan_source

    plan = plan_source(name, source)
    rows: list[Row] = plan.fields.astype(object).where(plan.fields.notna(), None).to_dict("records")
    for row in rows:
        row["roles"] = [role for role in ROLES if row.get(uri_column(role))]
        row["version"] = plan.version(row["field_id"])
    return rows


def _of_table(source: dict[str, Any]) -> list[Row]:
    roles = in_order(source["roles"])
    with open_table(source["table"], source["columns"]) as table:
        paths = {role: path_of_row(table, source["roles"][role]["path"]) for role in roles}
        channels = {role: channel_of_row(table, source["roles"][role]["channel"]) for role in roles}
        rows = [_row(cells, table.column, roles, paths, channels, source) for _, cells in table.rows]
    with ThreadPoolExecutor(THREADS) as pool:
        states = pool.map(lambda row: [content_state(row["paths"][role]) for role in roles], rows, chunksize=64)
        for row, state in zip(rows, states, strict=True):
            row["version"] = digest(
                [
                    [
                        [role, *found, [row["channels"][role], *_words(source["roles"][role])]]
                        for role, found in zip(roles, state, strict=True)
                    ],
                    row["pixel_size_um"],
                    source["pixel_size_um"],
                    row["full_scale"],
                ]
            )
    return rows


def _of_crops(name: str, source: dict[str, Any]) -> list[Row]:
    rows = fields_or_error(name, source)
    paths = {part.path for row in rows for part in row["parts"]}
    with ThreadPoolExecutor(THREADS) as pool:
        states = dict(zip(paths, pool.map(lambda path: file_state(path or None), paths, chunksize=64), strict=True))
    for row in rows:
        parts = [[part.number, part.part, *states[part.path], part[3:]] for part in row["parts"]]
        row["version"] = digest([parts, row["pixel_size_um"], row["full_scale"], source["distance_unit_um"]])
    return rows


def _row(
    cells: list[str],
    column: dict[str, int],
    roles: list[str],
    paths: dict[str, Any],
    channels: dict[str, Any],
    source: Row,
) -> Row:
    def cell(name: str) -> str:
        return cells[column[name]] if name in column else ""

    row: Row = {"field_id": cell("field_id").strip(), "roles": roles, "paths": {}, "channels": {}}
    row.update({name: text(cell(name)) for name in TEXT_COLUMNS})
    row.update({name: items(cell(name)) for name in LIST_COLUMNS})
    row["control"] = truth(cell("control"))
    row["pixel_size_um"] = number(cell("pixel_size_um"))
    row["full_scale"] = number(cell("full_scale")) or source["full_scale"]
    for role in roles:
        path = paths[role](cells)
        row["paths"][role] = path if path is None or is_remote(path) else os.path.normpath(path)
        row["channels"][role] = channels[role](cells)
        # an empty path: the source has the role, but the table names no file for this field
        words = source["roles"][role]
        address = Address(row["paths"][role] or "", row["channels"][role], str(words["z"]), axes=words["axes"])
        row[uri_column(role)] = to_uri(address)
    return row


def _words(role: dict[str, Any]) -> list[str]:
    """What the configuration says of a role's planes, as it enters the content key."""
    return [str(role["z"]), *([role["axes"]] if role["axes"] else [])]


def sample_name(row: Row) -> str | None:
    """Name of a preparation: reagent, cell line and condition; None where none of them is known."""
    parts = [row["reagent"] or ("control" if row["control"] else None), row["cell_line"], row["condition"]]
    return "/".join(part for part in parts if part) or None


def content_state(path: str | None) -> tuple[int | str, ...]:
    """What tells that an image changed: a URL itself (revisions are added later), or the state of a local file."""
    return (path,) if path is not None and is_remote(path) else file_state(path)


def file_state(path: str | None) -> tuple[int, int, int]:
    """What tells that a file changed.

    Args:
        path: a file, a folder (OME-Zarr), or None.

    Returns:
        Number of files, their bytes together, and the latest mtime_ns; zeros where there is nothing.
    """
    if path is None:
        return 0, 0, 0
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0, 0
    if not os.path.isdir(path):
        return 1, state.st_size, state.st_mtime_ns
    files = [os.stat(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names]
    return len(files), sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0)
