"""Whether subunits of a complex look alike, and what pairs of gene sets can be told apart."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.complex_sets import Complex, complexes_of_run, exclusive, read_complexes
from wherein.analysis.gene_sets import GeneSet, members_in_universe, read_gmt, sets_by_symbol, symbols_of_proteins
from wherein.analysis.overrepresentation import over_all
from wherein.analysis.pairs import Shift, correlations, group_shift, pair_shift
from wherein.analysis.tested import write_tested
from wherein.identifiers import read_identifiers
from wherein.summary import stage_summary
from wherein.tables import write_tsv

log = logging.getLogger(__name__)

NEAREST = ("protein", "nearest", "r", "shared", "complexes")
"""results/biology/{model}/complex_neighbours.tsv"""

CURVE = (
    *("r_above", "n", "n_shared", "share", "share_low", "share_high"),
    *("chance", "chance_low", "chance_high", "p_permuted", "permutations"),
)
"""results/biology/{model}/complex_curve.tsv"""

COMPLEXES = (
    *("complex", "complex_id", "n_subunits", "n_present", "chosen", "proteins", "r_within", "r_outside"),
    *("auc", "p", "q", "n_tests", "permutations"),
)
"""results/biology/{model}/complexes.tsv"""

TESTS = (
    *("question", "a", "b", "n_a", "n_b", "median_a", "median_b", "auc", "p", "p_permuted", "q", "n_tests"),
    *("permutations", "proteins_a", "proteins_b", "scores_a", "scores_b"),
)
"""results/biology/{model}/set_pairs.tsv"""

HISTOGRAM = ("r_from", "r_to", "n_same", "n_other")
"""results/biology/{model}/complex_pairs.tsv"""

THRESHOLDS = (-1.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
"""Correlations above which nearest proteins are counted, first all; 0.8 and 0.95 are those of cytoself 2022."""

SAME_COMPLEX = "same complex"


def ask_complexes(
    model: str,
    proteins: str | Path,
    settings: dict[str, Any],
    outputs: dict[str, str],
    summary: str | Path,
) -> None:
    """Ask whether proteins of a complex look alike, and whether pairs of gene sets can be told apart.

    Args:
        model: name of the model.
        proteins: results/atlas/{model}/proteins.h5ad.
        settings: what `complexes_settings` takes of the section `biology`.
        outputs: paths of the tables neighbours, curve, pairs, complexes and set_pairs, written.
        summary: results/summaries/complexes/{model}.json, written.
    """
    with stage_summary(summary, "complexes", model, ("anndata", "scipy")) as told:
        from anndata import read_h5ad

        atlas = read_h5ad(proteins)
        known = read_identifiers(settings["identifiers"]) if settings["identifiers"] else None
        symbols, _ = symbols_of_proteins(atlas.obs, known)
        vectors = np.asarray(atlas.layers["scaled"] if settings["vectors"] == "scaled" else atlas.X, np.float64)
        # a feature that is the same for all units has no place on the common scale
        vectors = vectors[:, np.isfinite(vectors).all(axis=0)]
        sets = []
        if settings["file"]:
            sets, _ = sets_by_symbol(read_complexes(settings["file"], settings["organism"]), known, "complexes")
        found = complexes_of_run(sets, symbols)
        tests = [whole_question(found, vectors, list(symbols), settings, outputs)]
        libraries = {
            name: sets_by_symbol(read_gmt(path), known, name)[0] for name, path in settings["gene_sets"].items()
        }
        tests += [set_pair(pair, libraries, symbols, vectors, settings) for pair in settings["set_pairs"]]
        told.notes = _notes(sets, found, tests, settings)
        table = pd.DataFrame(tests, columns=list(TESTS))
        asked = table["p_permuted"].notna()
        table.loc[asked, "q"] = over_all(table.loc[asked, "p_permuted"].to_numpy(float))
        table["n_tests"] = int(asked.sum())
        write_tested(outputs["set_pairs"], table, TESTS, "set_pairs")
        told.counts = {"in": len(sets), "kept": len(found), "small_sample": len(sets) - len(found)}
        told.extra = {"seed": settings["seed"], "chosen": sum(exclusive(found)), "vectors": settings["vectors"]}


def whole_question(
    complexes: Sequence[Complex],
    vectors: np.ndarray,
    names: Sequence[str],
    settings: dict[str, Any],
    outputs: dict[str, str],
) -> dict[str, Any]:
    """Ask everything about complexes and write its tables.

    The universe are the proteins of the run that are in a complex with another one: of the others nobody knows.

    Args:
        complexes: those with two proteins or more.
        vectors: (P, D) of all proteins.
        names: of all proteins.
        settings: permutations, seed.
        outputs: as for `ask_complexes`.

    Returns:
        The row of set_pairs.tsv for pairs of the same complex against others.
    """
    universe = np.array(sorted({place for one in complexes for place in one.proteins}), np.int64)
    place = {int(old): new for new, old in enumerate(universe)}
    own = [np.array([place[old] for old in one.proteins]) for one in complexes]
    similar = correlations(vectors[universe]) if len(universe) else np.zeros((0, 0), np.float32)
    together = np.zeros(similar.shape, bool)
    for members in own:
        together[np.ix_(members, members)] = True
    np.fill_diagonal(together, False)
    here = [names[place] for place in universe]
    nearest = nearest_proteins(similar)
    write_tsv(outputs["neighbours"], nearest_table(nearest, similar, complexes, own, here), NEAREST)
    curve = shared_by_similarity(nearest, similar, together, settings["permutations"], settings["seed"])
    write_tested(outputs["curve"], curve, CURVE, "complex_curve")
    write_tsv(outputs["pairs"], pair_histogram(similar, together), HISTOGRAM)
    table = complex_table(complexes, own, similar, names, settings)
    write_tested(outputs["complexes"], table, COMPLEXES, "complexes")
    shift = pair_shift(similar, together, settings["permutations"], settings["seed"])
    return _test_row(SAME_COMPLEX, "pairs of the same complex", "other pairs", shift, settings)


def nearest_proteins(similar: np.ndarray) -> np.ndarray:
    """(P,) place of the most similar other protein; the first of equal ones."""
    other = similar.copy()
    np.fill_diagonal(other, -np.inf)
    return other.argmax(axis=1) if len(other) > 1 else np.zeros(0, np.int64)


def nearest_table(
    nearest: np.ndarray,
    similar: np.ndarray,
    complexes: Sequence[Complex],
    own: Sequence[np.ndarray],
    names: Sequence[str],
) -> pd.DataFrame:
    """Rows of complex_neighbours.tsv, the most alike first."""
    of: list[set[int]] = [set() for _ in names]
    for number, members in enumerate(own):
        for place in members:
            of[place].add(number)
    rows = []
    for place, other in enumerate(nearest):
        both = sorted({complexes[number].name for number in of[place] & of[other]})
        rows.append((names[place], names[other], similar[place, other], bool(both), ";".join(both)))
    table = pd.DataFrame(rows, columns=list(NEAREST))
    return table.sort_values(["r", "protein"], ascending=[False, True], ignore_index=True)


def shared_by_similarity(
    nearest: np.ndarray, similar: np.ndarray, together: np.ndarray, permutations: int, seed: int
) -> pd.DataFrame:
    """Share of proteins in a complex with their nearest one, by how alike the two are (cytoself 2022, Suppl. Fig. 6b).

    Args:
        nearest: (P,) of `nearest_proteins`.
        similar: (P, P).
        together: (P, P) bool.
        permutations: B, of the proteins' names.
        seed: of the permutations.

    Returns:
        Rows of complex_curve.tsv: for each threshold that any pair exceeds, the share with its interval (Wilson, 95 %),
        and the mean and the central 95 % of the shares of permutations.
    """
    r = similar[np.arange(len(nearest)), nearest] if len(nearest) else np.zeros(0)
    rng = np.random.default_rng(seed)
    turns = [rng.permutation(len(nearest)) for _ in range(permutations if len(nearest) else 0)]
    rows = []
    for threshold in THRESHOLDS:
        near = np.flatnonzero(r > threshold)
        if not len(near):
            break
        shared = int(together[near, nearest[near]].sum())
        chance = np.array([together[names[near], names[nearest[near]]].mean() for names in turns])
        low, high = wilson(shared, len(near))
        reached = (1 + (chance >= shared / len(near) - 1e-12).sum()) / (1 + permutations)
        quantiles = np.quantile(chance, [0.025, 0.975])
        rows.append(
            (
                threshold,
                len(near),
                shared,
                shared / len(near),
                low,
                high,
                chance.mean(),
                *quantiles,
                reached,
                permutations,
            )
        )
    return pd.DataFrame(rows, columns=list(CURVE))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share at 95 % (Wilson 1927)."""
    z = 1.959963984540054
    share, width = hits / n, z * np.sqrt(hits / n * (1 - hits / n) / n + z**2 / (4 * n**2))
    return (share + z**2 / (2 * n) - width) / (1 + z**2 / n), (share + z**2 / (2 * n) + width) / (1 + z**2 / n)


def pair_histogram(similar: np.ndarray, together: np.ndarray) -> pd.DataFrame:
    """How many pairs of the same complex, and of others, have each correlation."""
    edges = np.linspace(-1, 1, 41)
    upper = np.triu_indices(len(similar), 1)
    values, mark = similar[upper], together[upper]
    counts = [np.histogram(values[own], edges)[0] for own in (mark, ~mark)]
    return pd.DataFrame(dict(zip(HISTOGRAM, (edges[:-1].round(3), edges[1:].round(3), *counts), strict=True)))


def complex_table(
    complexes: Sequence[Complex],
    own: Sequence[np.ndarray],
    similar: np.ndarray,
    names: Sequence[str],
    settings: dict[str, Any],
) -> pd.DataFrame:
    """Rows of complexes.tsv: how alike the proteins of each complex are, against as many drawn from all complexes.

    Args:
        complexes: those with two proteins or more.
        own: places of their proteins in `similar`.
        similar: (P, P).
        names: of all proteins of the run.
        settings: permutations, seed.

    Returns:
        By p: mean correlation within, median of that to the other proteins, probability that a pair within is more
        alike than one across, p (share of random groups of the same size that are as alike), q over all groups of
        proteins: complexes of which the run has the same proteins are one test.
    """
    rng = np.random.default_rng(settings["seed"])
    drawn = {size: _means_of_groups(similar, size, settings["permutations"], rng) for size in sorted({*map(len, own)})}
    rows = []
    for one, members, chosen in zip(complexes, own, exclusive(complexes), strict=True):
        within = similar[np.ix_(members, members)][np.triu_indices(len(members), 1)]
        across = np.delete(similar[members], members, axis=1).ravel()
        null = drawn[len(members)]
        p = (1 + (null >= within.mean() - 1e-7).sum()) / (1 + len(null))
        order = np.sort(across)
        below = (np.searchsorted(order, within) + np.searchsorted(order, within, side="right")) / 2
        auc = below.mean() / len(across) if len(across) else np.nan
        outside = np.median(across) if len(across) else np.nan
        shown = ";".join(names[place] for place in one.proteins)
        rows.append(
            (one.name, one.identifier, one.n_subunits, len(members), chosen, shown, within.mean(), outside, auc, p)
        )
    table = pd.DataFrame(rows, columns=list(COMPLEXES[:10]))
    tested = table.drop_duplicates("proteins")
    q = pd.Series(over_all(tested["p"].to_numpy(float)), tested["proteins"])
    table["q"] = table["proteins"].map(q)
    table["n_tests"], table["permutations"] = len(tested), settings["permutations"]
    return table.sort_values(["p", "r_within", "complex"], ascending=[True, False, True], ignore_index=True)


def set_pair(
    pair: dict[str, str],
    libraries: dict[str, list[GeneSet]],
    symbols: dict[str, frozenset[str]],
    vectors: np.ndarray,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Ask whether the proteins of two gene sets can be told apart, those in both left out (cytoself 2022, Ext. Fig. 5).

    Args:
        pair: name, a and b (identifier or name of a set).
        libraries: gene sets by the name of their library.
        symbols: the run's proteins and their genes.
        vectors: (P, D) of the proteins.
        settings: permutations, seed.

    Returns:
        A row of set_pairs.tsv; without a p where a set is not there, or has fewer than two proteins of its own.
    """
    names = list(symbols)
    place = {name: number for number, name in enumerate(names)}
    found = {side: _set_of(pair[side], libraries) for side in ("a", "b")}
    members = {
        side: set(members_in_universe([one], symbols)[0]) if one is not None else set() for side, one in found.items()
    }
    a, b = sorted(members["a"] - members["b"]), sorted(members["b"] - members["a"])
    in_a = np.array([True] * len(a) + [False] * len(b), bool)
    similar = correlations(vectors[[place[name] for name in (*a, *b)]]) if len(in_a) else np.zeros((0, 0))
    shift, scores = group_shift(similar, in_a, settings["permutations"], settings["seed"])
    told = {side: f"{one.term} ({pair[side]})" if one else pair[side] for side, one in found.items()}
    written = [
        ";".join("" if np.isnan(value) else f"{value:.4f}" for value in own) for own in (scores[in_a], scores[~in_a])
    ]
    row = _test_row(pair["name"], told["a"], told["b"], shift, settings)
    return row | {"proteins_a": ";".join(a), "proteins_b": ";".join(b), "scores_a": written[0], "scores_b": written[1]}


def _means_of_groups(similar: np.ndarray, size: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    found = np.empty(draws)
    for turn in range(draws):
        members = rng.choice(len(similar), size, replace=False)
        block = similar[np.ix_(members, members)]
        found[turn] = (block.sum(dtype=float) - np.trace(block)) / (size * (size - 1))
    return found


def _set_of(name: str, libraries: dict[str, list[GeneSet]]) -> GeneSet | None:
    """The first set with this identifier or name."""
    every = [one for sets in libraries.values() for one in sets]
    named = (one for one in every if one.term_id == name or one.term.casefold() == name.casefold())
    return next(named, None)


def _test_row(question: str, a: str, b: str, shift: Shift, settings: dict[str, Any]) -> dict[str, Any]:
    return {"question": question, "a": a, "b": b, **shift._asdict(), "permutations": settings["permutations"]}


def _notes(
    sets: Sequence[GeneSet], found: Sequence[Complex], tests: Sequence[dict[str, Any]], settings: dict[str, Any]
) -> list[str]:
    notes = []
    if not settings["file"]:
        notes.append("no complexes are configured (biology.complexes.file): whether they look alike was not asked")
    else:
        chosen = sum(exclusive(found))
        notes.append(
            f"{len(found)} of {len(sets)} complexes have two subunits in this run or more; {chosen} are there with all "
            "their subunits and share none"
        )
    for row in tests[1:]:
        if np.isnan(row["p_permuted"]):
            notes.append(
                f"{row['question']}: not asked: {row['n_a']} proteins in {row['a']} alone, {row['n_b']} in {row['b']} "
                "alone; two of each are needed, and both sets in one of the gene sets"
            )
    return notes
