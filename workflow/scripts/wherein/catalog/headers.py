"""What only the files know of new fields: data type and pixel size."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from wherein.catalog.planned import THREADS, Row
from wherein.exchange.arrays import ArrayFiles
from wherein.exchange.crop_table import Part
from wherein.exchange.listing import common_type, read_entry
from wherein.readers import UnreadableImage, header, read_plane
from wherein.sources.address import is_remote
from wherein.sources.table import PIXEL_SIZES_UM, TableError

log = logging.getLogger(__name__)

TRIED_FILES = 5
"""Files of a role that are tried before its configuration is called wrong; one that can be read is enough."""

WRONG_WORDS = ("missing_channel", "unsupported_format")
"""Reasons that a file is not to blame for, if all files give them."""

FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0, "uint32": 4294967295.0, "int16": 32767.0, "int32": 2147483647.0}
"""Highest value of each type of whole numbers."""


def complete(name: str, source: dict[str, Any], rows: list[Row]) -> list[str]:
    """Fill `dtype`, `pixel_size_um` and `full_scale` of new versions from their files, in place.

    The table's pixel size counts before the file's, and that before the configuration's. A field whose files are
    missing or broken is taken to be like most others: it will become a row with a reason, not an error.

    Args:
        name: name of the source.
        source: its configuration.
        rows: the new versions of the source, as `planned_fields` gives them.

    Returns:
        Sentences for the reader of the report.

    Raises:
        TableError: the pixel size of a readable field, or the full scale of one with fractions, is not known; or a role
            is not to be had from any of the first readable files.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(_first_header, rows, chunksize=16))
    _check_planes(name, source, rows)
    notes = _pixel_sizes(name, source, rows, [size for _, size in found])
    common = Counter(dtype for dtype, _ in found if dtype).most_common(1)
    for row, (dtype, _) in zip(rows, found, strict=True):
        row["dtype"] = dtype or (common[0][0] if common else "uint8")
        row["full_scale"] = row["full_scale"] or FULL_SCALE.get(row["dtype"])
        if row["full_scale"] is None:
            raise TableError(
                f"source {name!r}, field {row['field_id']}: the pixels are {row['dtype']}, whose highest intensity "
                f"nothing tells; write it under sources.{name}.full_scale or into the column full_scale"
            )
    return notes


def complete_crops(name: str, rows: list[Row]) -> None:
    """Fill `dtype` and `full_scale` of new versions of crops made elsewhere from their first readable files, in place.

    Raises:
        TableError: the full scale of crops with fractions is not known, or not one file of the source can be read as
            the configuration says.
    """
    files = ArrayFiles()
    wrong: UnreadableImage | None = None
    found: list[str | None] = []
    for row in rows:
        own = None
        for entry in _first_entries(row["parts"]):
            try:
                own = common_type(read_entry(entry, files)).name
                break
            except UnreadableImage as error:
                wrong = wrong or error
        found.append(own)
    common = Counter(dtype for dtype in found if dtype).most_common(1)
    if wrong is not None and not common and wrong.reason in WRONG_WORDS:
        raise TableError(
            f"source {name!r}: not one of {len(rows)} new fields can be read as the configuration says; the first: "
            f"{wrong}; correct axes, key or channel under sources.{name}"
        )
    for row, dtype in zip(rows, found, strict=True):
        row["dtype"] = dtype or (common[0][0] if common else "uint8")
        row["full_scale"] = row["full_scale"] or FULL_SCALE.get(row["dtype"])
        if row["full_scale"] is None:
            raise TableError(
                f"source {name!r}, field {row['field_id']}: the pixels are {row['dtype']}, whose highest intensity "
                f"nothing tells; write it under sources.{name}.full_scale or into the column full_scale (1 for crops "
                "that were brought to 0 to 1)"
            )


def _first_entries(parts: list[Part]) -> list[dict[str, Part]]:
    """The first rows of a field's table, TRIED_FILES at most."""
    entries: dict[int, dict[str, Part]] = {}
    for part in parts:
        if part.number >= TRIED_FILES:
            break
        entries.setdefault(part.number, {})[part.part] = part
    return list(entries.values())


def _check_planes(name: str, source: dict[str, Any], rows: list[Row]) -> None:
    """Stop where the configured channel or plane of a role is in none of the first files that can be read."""
    readable = [row for row in rows if row["readable"]]
    for role, words in source["roles"].items():
        tried = 0
        for path, channel in ((row["paths"].get(role), row["channels"].get(role)) for row in readable):
            if path is None or is_remote(path) or tried == TRIED_FILES:
                continue
            try:
                read_plane(path, channel, str(words["z"]), words["axes"])
            except UnreadableImage as error:
                if error.reason not in WRONG_WORDS:
                    continue
                tried, told = tried + 1, error
            else:
                break
        else:
            if tried:
                raise TableError(
                    f"source {name!r}: the role {role} can be read from none of the first {tried} files: {told}; "
                    f"correct channel, z or axes under sources.{name}.roles.{role}"
                )


def _pixel_sizes(name: str, source: dict[str, Any], rows: list[Row], sizes: list[float | None]) -> list[str]:
    low, high = PIXEL_SIZES_UM
    told = source["pixel_size_um"]
    differ = 0
    for row, size in zip(rows, sizes, strict=True):
        in_file = size if size is not None and low <= size <= high else None
        said = row["pixel_size_um"] or told
        differ += in_file is not None and said is not None and abs(in_file / said - 1) > 0.01
        # rounded, since units and resolutions leave a trail of digits, and each size opens a shard of its own
        row["pixel_size_um"] = row["pixel_size_um"] or (round(in_file, 6) if in_file else told)
    known = Counter(row["pixel_size_um"] for row in rows if row["pixel_size_um"]).most_common(1)
    unknown = [row for row in rows if row["pixel_size_um"] is None]
    if unknown and (not known or any(row["readable"] for row in unknown)):
        named = ", ".join(row["field_id"] for row in unknown[:5])
        raise TableError(
            f"source {name!r}: the pixel size of {len(unknown)} fields is not known ({named}): neither the column "
            f"pixel_size_um, nor the files, nor sources.{name}.pixel_size_um says it"
        )
    for row in unknown:
        row["pixel_size_um"] = known[0][0]
    if not differ:
        return []
    return [f"{name}: {differ} fields whose file names another pixel size than the table or the configuration"]


def remote_type(url: str, full_scale: float | None) -> str:
    """Data type of an image that is not here yet: 8 bits for a JPEG, else as many as the full scale needs.

    Raises:
        TableError: the full scale is not known.
    """
    if urlsplit(url).path.lower().endswith((".jpg", ".jpeg")):
        return "uint8"
    if full_scale is None:
        raise TableError(
            f"{url}: nothing tells the highest intensity of an image that is not here yet; write it under "
            "full_scale of the source (255 for 8 bits, 65535 for 16) or into the column full_scale"
        )
    return next((name for name in ("uint8", "uint16") if full_scale <= FULL_SCALE[name]), "uint32")


def _first_header(row: Row) -> tuple[str | None, float | None]:
    row["readable"] = False
    for path in row["paths"].values():
        if path is None:
            continue
        if is_remote(path):
            return remote_type(path, row["full_scale"]), None
        try:
            dtype, size = header(path)
        except UnreadableImage as error:
            log.warning("field %s: %s", row["field_id"], error)
            continue
        row["readable"] = True
        return dtype, size
    return None, None
