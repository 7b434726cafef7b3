"""Groups of fields whose cells a sampler weighs against each other: proteins, samples, location classes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from wherein.digest import digest
from wherein.reading.index import CropIndex, Selection


@dataclass(frozen=True)
class Groups:
    """Groups of the fields of a selection; a field may be in none or in several.

    Attributes:
        names: names of the groups.
        members: int64 places in the selection's `fields`, those of one group after those of another.
        offsets: (len(names) + 1,) int64; members of group i are `members[offsets[i]:offsets[i + 1]]`.
    """

    names: list[str]
    members: np.ndarray
    offsets: np.ndarray

    @cached_property
    def digest(self) -> str:
        """Digest of names and members."""
        return digest([self.names, self.members.tolist(), self.offsets.tolist()])


def groups_of(index: CropIndex, selection: Selection, column: str) -> Groups:
    """Fields of a selection by a column of text (`protein`, `sample`, `cell_line`).

    Args:
        index: the index.
        selection: its cells.
        column: a column of the table of fields; fields in which it is null are in no group.

    Returns:
        Groups in the order of their names.

    Raises:
        ValueError: the column is not of text.
    """
    found = index.of_field(column)
    if not pa.types.is_dictionary(found.type):
        raise ValueError(f"groups are made by a column of text, not by {column}")
    codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False)[selection.fields]
    return _sorted(codes, np.arange(len(codes)), found.dictionary.to_pylist())


def class_groups(index: CropIndex, selection: Selection, classes: Mapping[str, Iterable[str]]) -> Groups:
    """Fields of a selection by location class.

    Args:
        index: the index.
        selection: its cells.
        classes: for each published term (a value of `labels`) the classes that it means, as
            `Vocabulary.to_classes([term])` gives them; a term that is not there means none.

    Returns:
        Classes that some field has, in the order of their names; a field is in each class that one of its labels means.
    """
    labels = index.of_field("labels").take(pa.array(selection.fields))
    terms = labels.flatten().dictionary_encode()
    term_of, fields = terms.indices.to_numpy(zero_copy_only=False), labels.value_parent_indices().to_numpy()
    names = sorted({name for meant in classes.values() for name in meant})
    pairs = [np.zeros((0, 2), np.int64)]
    for code, term in enumerate(terms.dictionary.to_pylist()):
        have = fields[term_of == code]
        for name in classes.get(term, ()):
            pairs.append(np.stack([np.full(len(have), names.index(name)), have], axis=1))
    # two terms of a field may mean one class
    found = np.unique(np.concatenate(pairs), axis=0)
    return _sorted(found[:, 0], found[:, 1], names)


def _sorted(codes: np.ndarray, members: np.ndarray, names: list[str]) -> Groups:
    """Groups in the order of their names, from pairs of a name's number (-1 for none) and a member."""
    by_name = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names) + 1, np.int64)
    rank[by_name] = np.arange(len(names))
    rank[-1] = -1
    ranks = rank[codes]
    members, ranks = members[ranks >= 0], ranks[ranks >= 0]
    counts = np.bincount(ranks, minlength=len(names))
    there = np.flatnonzero(counts)
    return Groups(
        names=[names[by_name[place]] for place in there],
        members=members[np.argsort(ranks, kind="stable")].astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(counts[there])]).astype(np.int64),
    )
