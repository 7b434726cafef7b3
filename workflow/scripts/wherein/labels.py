"""Label vocabularies: named lists of location classes, and what published terms mean in each."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[3] / "resources" / "vocabularies"

VOCABULARIES = ("hpa32", "hpa31", "hpa28", "hpa19", "gapnet13", "opencell17", "yeast17")
"""Every vocabulary.

`hpa32`: the 32 annotated locations that Ouyang et al. 2019 (Methods, dataset assembly) start from; `hpa28`: their 28
competition classes; `hpa19`: the 19 classes of Le et al. 2022 (Methods, label processing); `hpa31`: the outputs of
SubCell; `gapnet13`: the 13 major organelles of Rumetshofer et al. 2019; `opencell17`: OpenCell's annotation names;
`yeast17`: the classes of Chong et al. 2015 that Lu et al. 2019 and DeepLoc use. The last row of each table, without a
class, holds the terms that were published and have no class in this vocabulary.
"""

NEGATIVE = "Negative"
"""Class of cells without a specific signal, in the vocabularies that have one."""

SEPARATORS = ";:|,"
"""What separates terms in one published string (HPA `;`, the yeast screen `:` and `,`, Kaggle `|`)."""


@dataclass(frozen=True)
class Vocabulary:
    """A list of location classes and the published terms that mean them.

    Attributes:
        name: one of VOCABULARIES.
        classes: names of the classes, in the order in which models give them.
        go_ids: Gene Ontology id of each class; None where there is none.
        merges: for each coarser vocabulary, class here -> class there (None where it has no counterpart).
    """

    name: str
    classes: tuple[str, ...]
    go_ids: tuple[str | None, ...]
    merges: dict[str, dict[str, str | None]]
    _class_of: dict[str, str | None] = field(repr=False)

    def to_classes(self, terms: Iterable[str]) -> list[str]:
        """Classes that published terms mean.

        Args:
            terms: terms of HPA, OpenCell or the yeast screen in any release's spelling; one string may hold several.

        Returns:
            Classes, each once, in the vocabulary's order. Terms without a class, and unknown ones, give nothing.
        """
        found = {self._class_of.get(key) for term in terms for key in self._keys(term)}
        return [name for name in self.classes if name in found]

    def unknown(self, terms: Iterable[str]) -> list[str]:
        """Terms that no release is known to have published, in their order: a typing error, or a new release."""
        return [term for term in terms if not all(key in self._class_of for key in self._keys(term))]

    def indicator(self, terms_of: Sequence[Iterable[str]]) -> np.ndarray:
        """Which unit has which class.

        Args:
            terms_of: for each of N units, its published terms.

        Returns:
            (N, number of classes) bool.
        """
        place = {name: index for index, name in enumerate(self.classes)}
        matrix = np.zeros((len(terms_of), len(self.classes)), bool)
        for row, terms in enumerate(terms_of):
            for name in self.to_classes(terms):
                matrix[row, place[name]] = True
        return matrix

    def _keys(self, term: str) -> list[str]:
        whole = spelling(term)
        if whole in self._class_of:
            return [whole]
        # HPA writes remarks in brackets: `Mitotic spindle (biological definition)`, `Cytosol (GO:0005829)`
        bare = term
        while "(" in bare and ")" in bare[bare.index("(") :]:
            start = bare.index("(")
            bare = bare[:start] + bare[bare.index(")", start) + 1 :]
        for separator in SEPARATORS:
            bare = bare.replace(separator, ";")
        parts = [part for part in bare.split(";") if spelling(part)]
        return [spelling(part) for part in parts]


def spelling(term: str) -> str:
    """What counts in a term's spelling: its letters and digits, in lower case, `&` read as `and`."""
    return "".join(letter for letter in term.casefold().replace("&", "and") if letter.isalnum())


@lru_cache(maxsize=len(VOCABULARIES))
def vocabulary(name: str) -> Vocabulary:
    """Read one vocabulary.

    Args:
        name: one of VOCABULARIES.

    Raises:
        ValueError: there is no such vocabulary, or its table gives one spelling two meanings.
    """
    if name not in VOCABULARIES:
        raise ValueError(f"unknown vocabulary {name!r}: there are {', '.join(VOCABULARIES)}")
    path = FOLDER / f"{name}.tsv"
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    class_of: dict[str, str | None] = {}
    for row in rows:
        for term in row["terms"].split("|"):
            if class_of.setdefault(spelling(term), row["class"] or None) != (row["class"] or None):
                raise ValueError(f"{path}: the term {term!r} stands in two rows")
    named = [row for row in rows if row["class"]]
    others = [column for column in named[0] if column not in ("class", "go_id", "terms")]
    return Vocabulary(
        name=name,
        classes=tuple(row["class"] for row in named),
        go_ids=tuple(row["go_id"] or None for row in named),
        merges={other: {row["class"]: row[other] or None for row in named} for other in others},
        _class_of=class_of,
    )
