"""What moved: planted shifts are found, chance is not, and the table says of labels and maps what is so."""

import numpy as np
import pandas as pd
import pytest
from drawn_states import States, drawn_states
from scipy.spatial import procrustes
from wherein.analysis.moved import (
    MOVED,
    compare_states,
    exchanged,
    laid_over,
    neighbours_kept,
    same_proteins,
    samples_of_fields,
)
from wherein.tables import FIELDS, write_table


def compared(states: States, labels=None, labels_before=None) -> tuple[pd.DataFrame, list[str]]:
    before = states.rows("lab:1", states.old, labels_before)
    now = states.rows("lab:2", states.new, labels)
    return compare_states(before, now, states.now(), states.samples, states.scale(), 0.05, 0)


@pytest.mark.parametrize(
    ("words", "power"),
    [
        ({}, 0.9),
        ({"uneven": 0.4}, 0.8),
        ({"sample_spread": 0.0}, 0.9),
        ({"steep": 0.0}, 0.95),
        ({"samples": 1, "sample_spread": 0.0}, 0.9),
    ],
)
def test_planted_moves_are_found_and_chance_is_not(words, power):
    """Of a shift of four standard deviations of a field, at least `power` are found; one in ten found is not planted.

    The false discovery rate asked for is 0.05; its mean over six draws of about 110 judged proteins must stay below
    0.1, which leaves room for chance.
    """
    found = planted = 0
    false_shares = []
    for seed in range(6):
        states = drawn_states(np.random.default_rng(seed), shift=4.0, **words)
        table, _ = compared(states)
        marked = set(table.loc[table["moved"], "protein"])
        judged = set(table.loc[table["p"].notna(), "protein"])
        assert states.moved <= judged
        found += len(marked & states.moved)
        planted += len(states.moved)
        false_shares.append(len(marked - states.moved) / max(1, len(marked)))
    assert found / planted >= power
    assert np.mean(false_shares) < 0.1


@pytest.mark.parametrize("words", [{}, {"uneven": 0.6}, {"sample_spread": 2.0}])
def test_nothing_moved(words):
    p, marked = [], 0
    for seed in range(4):
        table, _ = compared(drawn_states(np.random.default_rng(100 + seed), moves=0.0, **words))
        p += table["p"].dropna().tolist()
        marked += int(table["moved"].sum())
    assert len(p) > 250
    # three standard deviations of a share of so many
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) < level + 3 * np.sqrt(level * (1 - level) / len(p))
    assert marked <= 4


def test_the_table():
    states = drawn_states(np.random.default_rng(5), shift=6.0)
    names = sorted(set(states.proteins))
    moved, still = sorted(states.moved), [name for name in names if name not in states.moved]
    before = {names[0]: ["Cytosol"], still[1]: ["Golgi apparatus", "Cytosol"], moved[0]: ["Vesicles"]}
    after = {names[0]: ["cytosol"], still[1]: ["Cytosol", "Nucleoli"], moved[0]: ["Cytosol", "Vesicles"]}
    table, notes = compared(states, after, before)
    assert tuple(table.columns) == MOVED
    assert notes == []
    rows = table.set_index("protein")
    assert set(rows.index) == set(names)
    assert (rows["old_state"] == "lab:1").all()
    assert (rows["state"] == "lab:2").all()
    assert rows.loc[still[1], ["labels_added", "labels_removed", "mark"]].tolist() == [
        "Nucleoli", "Golgi apparatus", "relabelled",
    ]  # fmt: skip
    assert rows.loc[moved[0], ["labels_added", "labels_removed"]].tolist() == ["Vesicles", ""] or (
        rows.loc[moved[0], "labels_added"] == "Cytosol"
    )
    assert rows.loc[moved[0], ["relabelled", "moved", "mark"]].tolist() == [True, True, "moved"]
    assert rows["relabelled"].sum() == 2
    same = rows["n_fields_kept"].eq(rows["n_fields_before"]) & rows["n_fields_kept"].eq(rows["n_fields_after"])
    assert same.sum() > 200
    assert rows.loc[same, ["expected", "p", "q"]].isna().all().all()
    assert (rows.loc[same, "shift"] == 0).all()
    assert rows.loc[~same, ["expected", "p", "q"]].notna().all().all()
    assert not rows.loc[same, "moved"].any()
    assert rows["p"].dropna().is_monotonic_increasing
    # against the drawn means themselves
    for name in [*moved[:3], *still[:3]]:
        mine = np.array([protein == name for protein in states.proteins])
        means = [np.mean(np.array(states.means)[mine & np.array(side)], axis=0) for side in (states.old, states.new)]
        assert rows.loc[name, "shift"] == pytest.approx(np.linalg.norm(means[1] - means[0]), abs=1e-6)


def test_no_other_state():
    states = drawn_states(np.random.default_rng(6), proteins=20)
    now = states.rows("lab:2", states.new)
    for before in (now.head(0), pd.DataFrame(columns=now.columns)):
        table, notes = compare_states(before, now, states.now(), states.samples, states.scale(), 0.05, 0)
        assert len(table) == 0
        assert tuple(table.columns) == MOVED
        assert notes == []


@pytest.mark.parametrize("proteins", [1, 2, 3])
def test_few_proteins(proteins):
    rng = np.random.default_rng(7)
    states = States()
    for number in range(proteins):
        states.add(f"P{number}", "s", rng.normal(size=3), True, True)
        states.add(f"P{number}", "s", rng.normal(size=3), False, True)
    table, notes = compared(states)
    assert len(table) == proteins
    assert table["p"].isna().all()
    assert not table["moved"].any()
    assert any("too few" in note for note in notes)
    assert table["neighbours_kept"].isna().all() == (proteins == 1)
    assert np.isfinite(table[["umap_1_before", "umap_2_before"]].to_numpy()).all()


def test_other_vectors_of_the_same_fields_are_told():
    states = drawn_states(np.random.default_rng(8), proteins=50, changed=0.0)
    before, now = states.rows("lab:1", states.old), states.rows("lab:2", states.new)
    now["vector"] = [vector * 1.1 for vector in now["vector"]]
    table, notes = compare_states(before, now, states.now(), states.samples, states.scale(), 0.05, 0)
    assert not table["moved"].any()
    assert table["p"].isna().all()
    assert any("50 of 50 proteins with the same field versions" in note for note in notes)


def test_renamed_proteins_are_the_same():
    def rows(*proteins):
        return pd.DataFrame(proteins, columns=["protein", "ensembl_ids"])

    before = rows(("A", ["E1"]), ("OLD", ["E2"]), ("X", []), ("Y", ["E5"]), ("Z", ["E5"]), ("B", ["E6"]))
    now = rows(("NEW", ["E2"]), ("A", ["E9"]), ("W", []), ("V", ["E5"]), ("C", ["E7"]), ("C2", ["E6"]), ("C3", ["E6"]))
    # by name; by Ensembl ids where they are one protein's alone
    assert same_proteins(before, now) == [(1, 0), (0, 1), (5, 5)]


def test_exchange_by_brute_force():
    old = pd.Series({"fields": ["a", "b", "c"], "field_units": [1, 2, 3]})
    new = pd.Series({"fields": ["d", "b", "c"], "field_units": [4, 2, 2]})
    samples = {"a": "s", "b": "s", "c": "t", "d": "u"}
    exchange = exchanged(old, new, samples)
    vectors = dict(zip("abcd", np.random.default_rng(9).normal(size=(4, 5)), strict=True))

    def mean(row):
        return np.average([vectors[name] for name in row["fields"]], axis=0, weights=row["field_units"])

    order = ["d", "b", "c", "a"]
    assert sum(share * vectors[name] for share, name in zip(exchange.fields, order, strict=True)) == pytest.approx(
        mean(new) - mean(old)
    )
    assert sorted(exchange.samples) == pytest.approx(sorted([4 / 8, 2 / 8 - 3 / 6, 2 / 8 - 2 / 6 - 1 / 6]))
    assert exchange.fields.sum() == pytest.approx(0)
    again = pd.Series({"fields": ["c", "b", "a"], "field_units": [9, 9, 9]})
    assert exchanged(old, again, samples) is None


def test_neighbours_by_brute_force():
    rng = np.random.default_rng(10)
    before = rng.normal(size=(40, 3))
    after = before + 0.3 * rng.normal(size=(40, 3))

    def ten(places, row):
        return set(np.argsort(np.linalg.norm(places - places[row], axis=1))[1:11])

    expected = [len(ten(before, row) & ten(after, row)) / 10 for row in range(40)]
    assert neighbours_kept(before, after) == pytest.approx(expected)
    assert (neighbours_kept(before, before * 2 + 1) == 1).all()
    assert (neighbours_kept(before[:4], after[:4]) == 1).all()


def test_a_turned_map_is_laid_over():
    rng = np.random.default_rng(11)
    points = rng.normal(size=(30, 2))
    turn = np.array([[np.cos(1), np.sin(1)], [np.sin(1), -np.cos(1)]])
    assert laid_over(points @ turn * 7 + 3, points) == pytest.approx(points)
    other = rng.normal(size=(30, 2))
    ours = laid_over(other, points)
    _, two, _ = procrustes(points, other)
    scale = np.linalg.norm(points - points.mean(0))
    assert ours == pytest.approx(two * scale + points.mean(0))
    assert laid_over(np.ones((3, 2)), points[:3]) == pytest.approx(np.tile(points[:3].mean(0), (3, 1)))
    assert laid_over(points[:1], other[:1]) == pytest.approx(other[:1])


def test_preparations(tmp_path):
    rows = [
        {"source": "lab", "field_id": name, "version": "v", "sample": sample, "plate": plate, "well": well}
        for name, sample, plate, well in [
            ("a", "s", None, None), ("b", "s", None, None), ("c", "s", "1", "A1"), ("d", "s", "1", "A2"),
            ("e", None, None, None), ("f", None, None, None), ("g", "s", "1", "A1"),
        ]
    ]  # fmt: skip
    write_table(tmp_path / "fields.parquet", pd.DataFrame(rows), FIELDS)
    found = samples_of_fields(tmp_path / "fields.parquet")
    assert found["a@v"] == found["b@v"]
    assert found["c@v"] == found["g@v"]
    assert len(set(found.values())) == 5
