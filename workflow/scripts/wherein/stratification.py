"""Sharing out groups of fields over folds so that every fold has its part of every label."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np


def stratify(
    labels: Mapping[str, Mapping[str, int]],
    sizes: Mapping[str, int],
    fixed: Mapping[str, int],
    folds: int,
    seed: int,
) -> dict[str, int]:
    """Share out groups over folds.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): the rarest label that is left is shared out first,
    each unit that has it to the fold that lacks that label most, among equals to the one that lacks most units, else by
    chance. Here whole groups are shared out, and what is counted is their fields: of the groups with the label the
    largest goes first, as long as there is room for it.

    Args:
        labels: for each group the number of its fields with each label.
        sizes: fields of each group.
        fixed: folds that groups have already.
        folds: number of folds.
        seed: decides between folds, and between groups, that are equal.

    Returns:
        The fold of every group, the fixed ones included.
    """
    fold_of = {name: fold for name, fold in fixed.items() if name in labels}
    desk = _Desk(labels, sizes, folds, seed)
    for name, fold in fold_of.items():
        desk.put(name, fold)
    # dearest first, and by chance where they are alike: what a group's own name gives does not depend on the others
    todo = sorted(set(labels) - set(fold_of), key=lambda name: lot(seed, name))
    waiting: dict[str, list[str]] = {}
    for name in todo:
        for label in labels[name]:
            waiting.setdefault(label, []).append(name)
    left = Counter({label: sum(labels[name][label] for name in names) for label, names in waiting.items()})
    while left:
        label = min(left, key=lambda name: (left[name], name))
        for name in sorted(waiting[label], key=lambda name: -labels[name][label]):
            if name in fold_of:
                continue
            fold_of[name] = desk.put(name, desk.neediest(name, label))
            left.subtract(labels[name])
        left = Counter({name: count for name, count in left.items() if count > 0 and name != label})
    for name in sorted(todo, key=lambda name: -sizes[name]):
        if name not in fold_of:
            fold_of[name] = desk.put(name, desk.neediest(name, None))
    return fold_of


class _Desk:
    """What every fold has, and what it should have."""

    def __init__(
        self, labels: Mapping[str, Mapping[str, int]], sizes: Mapping[str, int], folds: int, seed: int
    ) -> None:
        self.labels, self.sizes, self.seed = labels, sizes, seed
        self.names = {
            label: place for place, label in enumerate(sorted({name for own in labels.values() for name in own}))
        }
        self.lack = np.zeros((folds, len(self.names)))
        for own in labels.values():
            for label, count in own.items():
                self.lack[:, self.names[label]] += count / folds
        self.room = np.full(folds, sum(sizes[name] for name in labels) / folds)

    def put(self, name: str, fold: int) -> int:
        for label, count in self.labels[name].items():
            self.lack[fold, self.names[label]] -= count
        self.room[fold] -= self.sizes[name]
        return fold

    def neediest(self, name: str, label: str | None) -> int:
        """The fold that lacks a label most, then fields, then by lot."""
        lack = self.lack[:, self.names[label]] if label is not None else np.zeros(len(self.room))
        # sums of thirds differ in their last bits: what is equal has to count as equal
        lack, room = lack.round(6), self.room.round(6)
        return min(range(len(room)), key=lambda fold: (-lack[fold], -room[fold], lot(self.seed, f"{name} {fold}")))


def lot(seed: int, name: str) -> str:
    """A random order of names that does not depend on which other names there are."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def label_matrix(labels: Sequence[Sequence[str]]) -> np.ndarray:
    """(N, K) bool: which field has which of the K labels that occur, in the order of their names."""
    names = {name: place for place, name in enumerate(sorted({name for own in labels for name in own}))}
    matrix = np.zeros((len(labels), len(names)), bool)
    for row, own in enumerate(labels):
        matrix[row, [names[name] for name in own]] = True
    return matrix
