import json
from collections import Counter

import numpy as np
import pytest
from indexed_run import indexed_run
from wherein.labels import vocabulary
from wherein.reading.groups import class_groups, groups_of
from wherein.reading.index import Selection
from wherein.reading.samplers import (
    EMPTY,
    BagSampler,
    BalancedSampler,
    PairSampler,
    SequentialSampler,
    UniformSampler,
)

SOME = {"area_um2": {"min": 60}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return indexed_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def index(run):
    return run.index


def samplers(index, seed=0, batch_size=7, where=None):
    chosen = index.select(SOME if where is None else where)
    proteins, samples = (groups_of(index, chosen, column) for column in ("protein", "sample"))
    return [
        UniformSampler(chosen, batch_size, seed),
        SequentialSampler(chosen, batch_size, seed),
        BalancedSampler(chosen, proteins, batch_size, seed),
        PairSampler(chosen, samples, batch_size, seed),
        BagSampler(chosen, 5, batch_size, seed),
    ]


KINDS = range(5)


def epoch_of(sampler, epoch=0):
    return [sampler.rows(epoch, batch) for batch in range(len(sampler))]


def column(index, rows, name):
    found = index.table(rows, [name])[name].astype(object)
    return found.where(found.notna(), None)


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_resumes_at_any_batch(index, kind):
    def new():
        return samplers(index, seed=3)[kind]

    whole = new()
    wanted = [[rows.tolist() for rows in whole] for _ in range(3)]
    assert (whole.epoch, whole.batch) == (3, 0)
    total = len(whole)
    for stop in (0, 1, total // 2, total - 1, total, total + 1, 2 * total + 2):
        first, found = new(), []
        stream = (rows for _ in range(3) for rows in first)
        for _ in range(stop):
            found.append(next(stream).tolist())
        state = json.loads(json.dumps(first.state_dict()))
        later = new()
        later.load_state_dict(state)
        while later.epoch < 3:
            found += [rows.tolist() for rows in later]
        assert found == [rows for epoch in wanted for rows in epoch]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_depend_on_seed_epoch_and_number_alone(index, kind):
    one, other = samplers(index)[kind], samplers(index)[kind]
    backwards = {batch: other.rows(1, batch).tolist() for batch in reversed(range(len(other)))}
    assert [rows.tolist() for rows in epoch_of(one, 1)] == [backwards[batch] for batch in range(len(one))]
    if kind != 1:
        assert not np.array_equal(one.rows(0, 0), one.rows(1, 0))
        assert not np.array_equal(one.rows(0, 0), samplers(index, seed=1)[kind].rows(0, 0))
    for wrong in (-1, len(one)):
        with pytest.raises(IndexError, match=f"an epoch has {len(one)} batches"):
            one.rows(0, wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_something_else_is_refused(index, kind):
    state = samplers(index)[kind].state_dict()
    others = [
        samplers(index, seed=1)[kind],
        samplers(index, batch_size=8)[kind],
        samplers(index, where={})[kind],
        samplers(index)[(kind + 1) % len(KINDS)],
    ]
    for other in others:
        with pytest.raises(ValueError, match="not of this sampler"):
            other.load_state_dict(state)
    samplers(index)[kind].load_state_dict(state)


@pytest.mark.parametrize("last", [True, False])
def test_uniform_gives_every_cell_once(index, last):
    chosen = index.select(SOME)
    sampler = UniformSampler(chosen, 8, last=last)
    batches = epoch_of(sampler)
    rows = np.concatenate(batches)
    assert len(set(rows.tolist())) == len(rows)
    if last:
        assert sorted(rows.tolist()) == chosen.rows.tolist()
    assert {len(batch) for batch in batches[:-1]} == {8}
    assert len(batches[-1]) == (len(chosen) % 8 or 8 if last else 8)
    assert np.concatenate(epoch_of(SequentialSampler(chosen, 8))).tolist() == chosen.rows.tolist()


def test_uniform_places_are_random(index):
    chosen = index.select()
    first = Counter(int(UniformSampler(chosen, 1, seed=seed).rows(0, 0)[0]) for seed in range(3000))
    expected = 3000 / len(chosen)
    statistic = sum((first[row] - expected) ** 2 / expected for row in chosen.rows.tolist())
    # chi-squared: mean n - 1, standard deviation sqrt(2 (n - 1)); the seeds are fixed
    assert abs(statistic - (len(chosen) - 1)) < 5 * (2 * len(chosen)) ** 0.5


def test_balanced_by_protein_counts_each_protein_equally(index):
    chosen = index.select(SOME)
    groups = groups_of(index, chosen, "protein")
    sampler = BalancedSampler(chosen, groups, 10)
    rows = np.concatenate(epoch_of(sampler))
    own = [name for name in column(index, chosen.rows, "protein") if name]
    assert groups.names == sorted(set(own))
    assert len(rows) == sampler.length == len(own)
    proteins = column(index, rows, "protein").tolist()
    counts = Counter(proteins)
    assert set(counts) == set(own)
    assert max(counts.values()) - min(counts.values()) <= 1
    # each turn has every protein once
    for start in range(0, len(rows) - len(groups.names), len(groups.names)):
        assert len(set(proteins[start : start + len(groups.names)])) == len(groups.names)
    # within a protein, all cells once before any twice
    sizes = Counter(own)
    seen = Counter(rows.tolist())
    for row, times in seen.items():
        name = index.table(np.array([row]), ["protein"])["protein"].iloc[0]
        assert times in (counts[name] // sizes[name], -(-counts[name] // sizes[name]))
    assert set(rows.tolist()) <= set(chosen.rows.tolist())


def test_balanced_by_class_counts_each_class_equally(index):
    chosen = index.select(SOME)
    words = vocabulary("hpa19")
    terms = sorted({term for labels in column(index, chosen.rows, "labels") for term in labels})
    meant = {term: words.to_classes([term]) for term in terms}
    groups = class_groups(index, chosen, meant)
    labels = dict(zip(chosen.rows.tolist(), column(index, chosen.rows, "labels"), strict=True))
    of_class = {name: {row for row, own in labels.items() if name in words.to_classes(own)} for name in words.classes}
    assert groups.names == sorted(name for name, rows in of_class.items() if rows)
    length = len(groups.names) * 40
    sampler = BalancedSampler(chosen, groups, 9, length=length)
    rows = np.concatenate(epoch_of(sampler))
    assert len(rows) == length
    order = np.concatenate([sampler._rng(0, turn).permutation(len(groups.names)) for turn in range(40)])
    for row, group in zip(rows.tolist(), order.tolist(), strict=True):
        assert row in of_class[groups.names[group]]
    for group, name in enumerate(groups.names):
        drawn = Counter(rows[order == group].tolist())
        assert sum(drawn.values()) == 40
        assert max(drawn.values()) - min(drawn[row] for row in of_class[name]) <= 1


def test_groups_are_those_of_a_loop(index):
    chosen = index.select(SOME)
    for name in ("protein", "sample", "cell_line", "source"):
        groups = groups_of(index, chosen, name)
        wanted = {}
        for place, value in enumerate(index.of_field(name).take(chosen.fields).to_pylist()):
            if value is not None:
                wanted.setdefault(value, []).append(place)
        parts = np.split(groups.members, groups.offsets[1:-1])
        assert dict(zip(groups.names, (part.tolist() for part in parts), strict=True)) == dict(sorted(wanted.items()))
    with pytest.raises(ValueError, match="a column of text, not by gene_fold"):
        groups_of(index, chosen, "gene_fold")
    assert class_groups(index, chosen, {}).names == []


def test_pairs_are_two_cells_of_one_sample(index):
    chosen = index.select(SOME)
    sampler = PairSampler(chosen, groups_of(index, chosen, "sample"), 6)
    pairs = np.concatenate(epoch_of(sampler))
    assert pairs.shape == (sampler.length, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert column(index, pairs[:, 0], "sample").tolist() == column(index, pairs[:, 1], "sample").tolist()
    sizes = Counter(column(index, chosen.rows, "sample"))
    with_partner = [
        row
        for row, name in zip(chosen.rows.tolist(), column(index, chosen.rows, "sample"), strict=True)
        if sizes[name] > 1
    ]
    assert sorted(pairs[:, 0].tolist()) == with_partner
    assert sampler.left_out == len(chosen) - len(with_partner)
    assert set(pairs[:, 1].tolist()) <= set(chosen.rows.tolist())


def test_every_other_cell_of_a_sample_is_a_partner_equally_often(index):
    name = column(index, index.select().rows[:1], "sample")[0]
    chosen = index.select({"sample": name})
    sampler = PairSampler(chosen, groups_of(index, chosen, "sample"), len(chosen))
    counts = Counter()
    epochs = 60
    for epoch in range(epochs):
        counts.update(map(tuple, sampler.rows(epoch, 0).tolist()))
    n = len(chosen)
    expected = epochs / (n - 1)
    assert sum(counts.values()) == epochs * n
    statistic = sum(
        (counts[a, b] - expected) ** 2 / expected for a in chosen.rows.tolist() for b in chosen.rows.tolist() if a != b
    )
    assert abs(statistic - n * (n - 2)) < 5 * (2 * n * (n - 2)) ** 0.5


def test_a_lone_cell_has_no_partner():
    # two samples: fields 0 and 2, and field 1 with a single cell
    chosen = Selection(np.array([3, 4, 9, 20], np.int32), np.arange(3), np.array([0, 2, 3, 4]), "x")
    groups = groups_from({"a": [0, 2], "b": [1]})
    sampler = PairSampler(chosen, groups, 10)
    assert sampler.left_out == 1
    assert sorted(sampler.rows(0, 0)[:, 0].tolist()) == [3, 4, 20]
    with pytest.raises(ValueError, match="no sample has two cells"):
        PairSampler(chosen, groups_from({"b": [1]}), 2)


def groups_from(members):
    from wherein.reading.groups import Groups

    offsets = np.cumsum([0, *map(len, members.values())])
    return Groups(list(members), np.concatenate(list(members.values())).astype(np.int64), offsets)


@pytest.mark.parametrize("cells", [1, 4, 9, 12])
def test_bags_are_cells_of_one_field(index, cells):
    chosen = index.select(SOME)
    sampler = BagSampler(chosen, cells, 5)
    bags = np.concatenate(epoch_of(sampler))
    own = {
        field: set(chosen.rows[a:b].tolist())
        for field, a, b in zip(chosen.fields.tolist(), chosen.offsets, chosen.offsets[1:], strict=False)
    }
    assert len(bags) == len(own)
    seen = []
    for bag in bags:
        there = bag[bag != EMPTY]
        (field,) = set(index.field_of(there).tolist())
        seen.append(field)
        assert len(set(there.tolist())) == len(there) == min(cells, len(own[field]))
        assert set(there.tolist()) <= own[field]
        assert (bag[len(there) :] == EMPTY).all()
    assert sorted(seen) == sorted(own)


def test_nothing_to_draw_from(index):
    nothing = index.select({"area_um2": {"min": 1e9}})
    with pytest.raises(ValueError, match="no cell is left"):
        UniformSampler(nothing, 3)
    with pytest.raises(ValueError, match="batch_size is 0"):
        UniformSampler(index.select(), 0)
    with pytest.raises(ValueError, match="a bag has 0 places"):
        BagSampler(index.select(), 0, 3)
    with pytest.raises(ValueError, match="no group"):
        BalancedSampler(
            index.select(), groups_from({"a": [0]}).__class__([], np.zeros(0, np.int64), np.zeros(1, np.int64)), 3
        )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12, 97, 1000])
def test_a_group_of_any_size_is_gone_through_whole(size):
    chosen = Selection(np.arange(size, dtype=np.int32) * 3, np.arange(1), np.array([0, size]), "x")
    for seed in range(5):
        sampler = BalancedSampler(chosen, groups_from({"a": [0]}), 7, seed=seed, length=2 * size)
        rows = np.concatenate(epoch_of(sampler))
        assert sorted(rows[:size].tolist()) == sorted(rows[size:].tolist()) == chosen.rows.tolist()
