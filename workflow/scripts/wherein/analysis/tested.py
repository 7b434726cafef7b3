"""What every p and q of the atlas's and the biology's tables comes from: test, universe, correction, and n.

The statement stands in the table itself, in its last three columns, so that it goes wherever the table goes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from wherein.tables import write_tsv

STATED = ("test", "universe", "correction")
"""Last columns of a table with p or q."""


class Tested(NamedTuple):
    """Where the p and q of a table come from.

    Attributes:
        test: test of each column of p, and its side; `column: test` where there are several.
        universe: what the tested could have been drawn from.
        correction: of each column of q, and over what; or why there is none.
        n: columns that say how many were compared.
    """

    test: str
    universe: str
    correction: str
    n: tuple[str, ...]


BH = "Benjamini-Hochberg"

TESTED = {
    "agreement": Tested(
        "permutation of locations over proteins, one-sided",
        "the proteins of this run with one published location",
        "none",
        ("n_proteins", "permutations"),
    ),
    "organelles": Tested(
        "permutation of locations over proteins, one-sided",
        "the proteins of this run with one published location",
        "none",
        ("n", "permutations"),
    ),
    "moved": Tested(
        "shift against that by fields exchanged within preparations and proteins, one-sided",
        "the proteins of both release states",
        f"q: {BH} over all rows with a p",
        ("n_fields_before", "n_fields_after", "n_fields_kept"),
    ),
    "enrichment": Tested(
        # short words: there may be 100,000 rows
        "p, p_genome: hypergeometric, one-sided; p_permuted: permutation of proteins over clusters",
        "N proteins of this run; with the genome, N_genome",
        f"q, q_genome: {BH} over n_tests; q_gseapy: by cluster; p_permuted, q_permuted: over n_tests, by permutation",
        ("k", "n", "K", "N", "n_tests"),
    ),
    "enrichment_groups": Tested(
        "hypergeometric, one-sided",
        "the N proteins of this run; of groups `within`, those of the location alone",
        f"q: {BH} over n_tests",
        ("k", "n", "K", "N", "n_tests"),
    ),
    "enrichment_libraries": Tested(
        "p_5_percent: 5th percentile of the least hypergeometric p, one-sided, in permutations of proteins over "
        "clusters",
        "the N proteins of this run",
        f"q_ratio: of {BH} over n_tests and by cluster over the sets in common",
        ("N", "n_tests", "permutations"),
    ),
    "prerank": Tested(
        "enrichment score against random sets of the same size, each side for itself (gseapy prerank)",
        "the N proteins of the ranking",
        f"q: {BH} over n_tests; q_gseapy: gseapy's own, over one ranking",
        ("K", "N", "n_tests", "permutations"),
    ),
    "complex_curve": Tested(
        "permutation of the proteins' names, one-sided",
        "the proteins of this run in a complex with another one of it",
        "none: p_permuted of one threshold includes those of higher ones",
        ("n", "n_shared", "permutations"),
    ),
    "complexes": Tested(
        "mean correlation within against random groups of as many proteins, one-sided",
        "the proteins of this run in a complex with another one of it",
        f"q: {BH} over n_tests",
        ("n_present", "n_tests", "permutations"),
    ),
    "set_pairs": Tested(
        "p: Mann-Whitney U, one-sided, as if values were independent; p_permuted: the same by permutation of names or "
        "of labels",
        "of complexes, the proteins of this run in a complex with another one of it; of pairs of sets, the proteins of "
        "this run in one of the two alone",
        f"q: {BH} of p_permuted over n_tests",
        ("n_a", "n_b", "n_tests", "permutations"),
    ),
    "heterogeneity": Tested(
        "largest of four measures of scatter against samples of as many cells dealt anew, one-sided",
        "the samples of the same cell line with enough cells",
        f"q: {BH} over all rows with a p",
        ("n_cells", "n_fields"),
    ),
    "heterogeneity_samples": Tested(
        "p: largest of four measures of scatter against samples of as many cells dealt anew, one-sided; p_exchanged: "
        "the same of such a sample; cycle_p, size_p, outline_p: F test of a linear model within fields",
        "the samples of the same cell line with enough cells; of F tests, the sample's cells",
        f"q: {BH} over all rows with a p; p_exchanged, cycle_p, size_p, outline_p: none",
        ("n_cells", "n_fields"),
    ),
    "published_variation": Tested(
        "Mann-Whitney U, two-sided",
        "the proteins of this run with a published word on variation and the measure",
        f"q: {BH} over all rows",
        ("n_with", "n_without"),
    ),
    "exclusive": Tested(
        "cells with several labels against the model's mistakes, beta-binomial, one-sided; the largest p of two nulls",
        "the cells of the protein and cell line, in images of several locations",
        f"q: {BH} over all rows",
        ("n_cells", "n_several"),
    ),
    "abundance": Tested(
        "t test of the mean log2 intensity of replicates against control replicates, one-sided",
        "the proteins of sources with enough control replicates",
        f"q: {BH} over n_tests",
        ("n_samples", "n_controls", "n_tests"),
    ),
    "contrast_proteins": Tested(
        "p: moderated F of the sides' mean vectors against replicates whose sides were dealt anew, pooled over "
        "proteins; p_moderated: the same against the F distribution; p_abundance: moderated t over replicates, "
        "two-sided",
        "the proteins of this run with enough replicates on both sides",
        f"q: {BH} over n_tests; q_abundance: over n_tests_abundance; p_moderated: none",
        ("n_a", "n_b", "n_tests", "n_tests_abundance"),
    ),
    "contrast_classes": Tested(
        "moderated t of mean predicted probabilities over replicates, two-sided",
        "the proteins of this run with enough replicates on both sides, and their classes",
        f"q: {BH} over n_tests",
        ("n_tests",),
    ),
}
"""By the name of the table; `organelles` is what spectrum.h5ad says of them, `abundance` a parquet table."""


def stated(rows: pd.DataFrame, table: str) -> pd.DataFrame:
    """Rows of a table with the columns STATED.

    Args:
        rows: of the table.
        table: one of TESTED.
    """
    own = TESTED[table]
    return rows.assign(test=own.test, universe=own.universe, correction=own.correction)


def write_tested(path: str | Path, rows: pd.DataFrame, columns: Sequence[str], table: str) -> None:
    """Write a table with its statement: as `wherein.tables.write_tsv`, with the columns STATED last.

    Args:
        path: the file.
        rows: of the table.
        columns: of the table, without STATED.
        table: one of TESTED.
    """
    write_tsv(path, stated(rows, table), (*columns, *STATED))
