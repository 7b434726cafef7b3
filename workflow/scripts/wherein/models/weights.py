"""Published weights: which file each name means, and fetching it with its sha256 checked."""

import csv
import hashlib
import logging
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from wherein.atomic import atomic_path

LOG = logging.getLogger(__name__)

TIMEOUT_S = 60
"""Seconds without a byte after which a server is given up."""


class WeightsError(RuntimeError):
    """Weights are unknown, cannot be had, or are not the file they should be; the message says what to do."""


class Weights(NamedTuple):
    """One row of resources/weights.tsv.

    Attributes:
        name: how configuration names them.
        kind: the kind of model that loads them.
        sha256: of the file, 64 hexadecimal characters.
        bytes: size of the file.
        url: where it can be fetched; empty where no server is known.
        licence: licence of the weights.
        source: who made them, and how the file was made from what they published.
    """

    name: str
    kind: str
    sha256: str
    bytes: int
    url: str
    licence: str
    source: str


def read_weights(table: str | Path) -> dict[str, Weights]:
    """Read the table of published weights.

    Args:
        table: TSV with the columns of Weights.

    Returns:
        Rows by name.
    """
    with Path(table).open(newline="", encoding="utf-8") as lines:
        rows = [Weights(**{**row, "bytes": int(row["bytes"])}) for row in csv.DictReader(lines, delimiter="\t")]
    return {row.name: row for row in rows}


def fetch_weights(name: str, table: str, source: str | list[str] | None, target: str) -> None:
    """Put a weights file where models read it, checked.

    Args:
        name: a name in the table.
        table: resources/weights.tsv.
        source: a local file, which goes before the table's URL; None for none.
        target: the file to write; it appears when it is whole and right.

    Raises:
        WeightsError: the name is unknown, there is neither file nor URL, the server does not give it, or the sha256
            is another.
    """
    known = read_weights(table)
    if name not in known:
        raise WeightsError(f"weights {name!r} are not in {table}: it has {', '.join(known)}")
    wanted = known[name]
    path = source[0] if isinstance(source, list) and source else source
    if not path and not wanted.url:
        raise WeightsError(
            f"weights {name!r} have no URL in {table}: get the file ({wanted.bytes} bytes, sha256 {wanted.sha256}; "
            f"{wanted.source}) and write its path into the configuration:\nweights:\n  {name}: path/to/file.npz"
        )
    with atomic_path(target) as partial:
        origin = str(path) if path else wanted.url
        LOG.info("taking weights %s from %s", name, origin)
        _copy(origin, bool(path), partial)
        found = sha256_of(partial)
        if found != wanted.sha256:
            raise WeightsError(
                f"weights {name!r} from {origin}: sha256 is {found} ({partial.stat().st_size} bytes), but {table} says "
                f"{wanted.sha256} ({wanted.bytes} bytes): this is another or a damaged file"
            )


def sha256_of(path: str | Path) -> str:
    """sha256 of a file, as 64 hexadecimal characters."""
    with Path(path).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _copy(origin: str, local: bool, target: Path) -> None:
    if local:
        shutil.copyfile(origin, target)
        return
    try:
        with urllib.request.urlopen(origin, timeout=TIMEOUT_S) as answer, target.open("wb") as content:
            shutil.copyfileobj(answer, content)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise WeightsError(
            f"cannot fetch {origin}: {error}; fetch it by hand and give its path in the configuration under `weights`"
        ) from error
