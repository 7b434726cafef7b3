"""Sharing out new field versions over new shards; what has a shard keeps it."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from math import ceil
from typing import Any


def open_shards(rows: Sequence[dict[str, Any]], most: int, taken: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Give new field versions their shards.

    A shard holds one source, one set of roles, one data type and one pixel size. Fields of a sample lie together,
    unless there are more of them than fit into a shard. Shards of a group are as even as whole samples allow.

    Args:
        rows: new versions with `source`, `roles`, `dtype`, `pixel_size_um`, `sample` and `field_id`.
        most: most fields in one shard.
        taken: names of all shards so far.

    Returns:
        (shard, row), in the order of the shard table.
    """
    last: dict[str, int] = {}
    for name in taken:
        source, _, count = name.rpartition("-")
        last[source] = max(last.get(source, 0), int(count))
    opened = []
    for _, members in groupby(sorted(rows, key=_group), key=_group):
        for block in pack(_samples(list(members)), most):
            source = block[0]["source"]
            last[source] = last.get(source, 0) + 1
            # by field_id, so that the order is that of fields.parquet too
            ordered = sorted(block, key=lambda row: row["field_id"])
            opened += [(f"{source}-{last[source]:04d}", row) for row in ordered]
    return opened


def pack(samples: Sequence[Sequence[Any]], most: int) -> list[list[Any]]:
    """Join neighbouring samples into as few blocks as possible, as even as possible.

    Args:
        samples: lists of at least one member.
        most: most members of a block; a longer sample is cut into even pieces.

    Returns:
        Blocks of at most `most` members, the members in their order.
    """
    pieces: list[Sequence[Any]] = []
    for sample in samples:
        number = ceil(len(sample) / most)
        cuts = [round(i * len(sample) / number) for i in range(number + 1)]
        pieces += [sample[start:end] for start, end in pairwise(cuts)]
    fewest = len(_fill(pieces, most))
    # the smallest limit that needs no more blocks gives the most even ones
    low, high = max((len(piece) for piece in pieces), default=1), most
    while low < high:
        middle = (low + high) // 2
        if len(_fill(pieces, middle)) > fewest:
            low = middle + 1
        else:
            high = middle
    return _fill(pieces, low)


def _fill(pieces: Sequence[Sequence[Any]], limit: int) -> list[list[Any]]:
    blocks: list[list[Any]] = []
    for piece in pieces:
        if not blocks or len(blocks[-1]) + len(piece) > limit:
            blocks.append([])
        blocks[-1].extend(piece)
    return blocks


def _samples(members: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    def sample(row: dict[str, Any]) -> tuple[str, str]:
        # a field of no known sample is one of its own
        return (row["sample"], "") if row["sample"] is not None else ("", row["field_id"])

    ordered = sorted(members, key=lambda row: (sample(row), row["field_id"]))
    return [list(group) for _, group in groupby(ordered, key=sample)]


def _group(row: dict[str, Any]) -> tuple[str, str, str, float]:
    return row["source"], ",".join(row["roles"]), row["dtype"], row["pixel_size_um"]
