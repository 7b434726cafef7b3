"""Published weights: which file each name means."""

import csv
from pathlib import Path
from typing import NamedTuple


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
