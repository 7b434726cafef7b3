"""The search for a policy of augmentation: what it learns from, what it keeps, how it goes on."""

import json

import numpy as np
import pandas as pd
import pytest
from stored_fields import write_store
from wherein import tables
from wherein.labels import vocabulary
from wherein.models import images, search_policy
from wherein.models.learned import search_settings
from wherein.models.policies import NAMES, read_policy
from wherein.models.search_policy import NONE, drawn_policies, split_rows, survivors
from wherein.models.training_table import schema
from wherein.settings import check_config

CLASSES = list(vocabulary("yeast17").classes)
SEARCH = {"trials": 4, "subpolicies": 2, "operations": 2, "share": 0.5, "held_out": 0.3, "epochs": 1, "rounds": 2,
          "keep_one_in": 2, "seed": 0}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    path, _ = write_store(folder, [(40, 40)] * 30)
    ids = images.FieldStore(path).fields
    truth = np.zeros((30, len(CLASSES)), bool)
    truth[np.arange(30), np.arange(30) // 2 % 3] = True
    rows = pd.DataFrame({"unit_id": ids, "field_id": [name[:-2] for name in ids], "version": "v", "shard": "s-0001",
                         "gene_group": [f"G{n // 2}" for n in range(30)], "fold": [2] * 20 + [1] * 6 + [0] * 4,
                         "part": ["train"] * 20 + ["validation"] * 6 + ["test"] * 4,
                         "reagent": [f"A{n // 2}" for n in range(30)], "full_scale": 4000.0})  # fmt: skip
    table = pd.concat([rows, pd.DataFrame(truth, columns=CLASSES)], axis=1)
    known = {"classes": CLASSES, "vocabulary": "yeast17", "level": "field", "test_fold": 0, "validation_fold": 1,
             "permuted": False}  # fmt: skip
    tables.write_table(folder / "table.parquet", table, schema(CLASSES), known)
    return folder


def settings():
    model = {"kind": "gapnet-pl", "level": "field", "tile_px": 32, "normalization": "rumetshofer2019",
             "training": {"epochs": 9, "batch": 4, "vocabulary": "yeast17", "early_stopping_epochs": 2,
                          "augmentation": {"flips": True, "policy": {"kind": "random"}}}}  # fmt: skip
    config = {"sources": {"s": {"kind": "simulated"}}, "models": {"m": model}}
    check_config(config)
    return search_settings(config["models"]["m"])


def search(data, folder, **words):
    folder.mkdir(exist_ok=True)
    search_policy.search_policy(
        model="m", table=str(data / "table.parquet"), stores=[str(data / "s-0001.zarr")], teacher=[],
        settings=settings(), search={**SEARCH, **words}, device="cpu", threads=1, checkpoint_minutes=1,
        state=str(folder / "search"), policy=str(folder / "policy.json"), trials=str(folder / "trials.tsv"),
        summary=str(folder / "summary.json"),
    )  # fmt: skip
    return pd.read_csv(folder / "trials.tsv", sep="\t"), json.loads((folder / "policy.json").read_text())


def test_trials_learn_from_training_genes_alone_and_are_scored_on_others_of_them(data, tmp_path):
    counts = split_rows(str(data / "table.parquet"), SEARCH, tmp_path / "small.parquet")
    small = tables.read_tables([tmp_path / "small.parquet"])
    whole = tables.read_tables([data / "table.parquet"]).set_index("unit_id")
    assert set(whole.loc[small["unit_id"], "part"]) == {"train"}
    genes = [set(small.loc[small["part"] == part, "gene_group"]) for part in ("train", "validation")]
    assert (len(genes[0]), len(genes[1])) == (5, 3)
    assert not genes[0] & genes[1]
    assert counts == {"in": 30, "kept": 10, "validation": 6, "left_out": 14}
    assert counts["in"] == sum(counts.values()) - counts["in"]
    with pytest.raises(ValueError, match="there are 10: too few"):
        split_rows(str(data / "table.parquet"), {**SEARCH, "held_out": 0.01}, tmp_path / "small.parquet")


def test_policies_are_drawn_by_the_seed():
    first = drawn_policies(SEARCH)
    assert first == drawn_policies(SEARCH)
    assert first != drawn_policies({**SEARCH, "seed": 1})
    assert [[len(sub) for sub in policy] for policy in first] == [[2, 2]] * 4
    many = drawn_policies({**SEARCH, "trials": 100})
    steps = [step for policy in many for sub in policy for step in sub]
    assert {step.operation for step in steps} == set(NAMES)
    assert min(step.probability for step in steps) == min(step.magnitude for step in steps) == pytest.approx(0.1)


def test_survivors_are_the_best_and_the_one_without():
    assert survivors({0: 9.0, 1: 0.3, 2: 0.1, 3: 0.2, 4: 0.4}, 2) == [0, 2, 3]
    assert survivors({0: 0.0, 1: 0.3, 2: 0.1}, 4) == [0, 2]


@pytest.fixture
def pretended(monkeypatch):
    """Trainings that take no time: the loss is lower the more a policy blurs, and for noise higher."""
    calls = []

    def train_model(settings, history, weights, **others):
        policy = read_policy(settings["training"]["augmentation"]["policy"]["file"])
        steps = [step for sub in policy.subpolicies for step in sub]
        worth = sum({"blur": 1, "noise": -1}.get(step.operation, 0) * step.magnitude for step in steps)
        calls.append(settings["training"])
        rows = [f"{epoch},{1 - worth / 10 + 0.01 * epoch},0.5" for epoch in range(settings["training"]["epochs"])]
        with open(history, "w") as lines:
            lines.write("\n".join(["epoch,validation_loss,macro_f1", *rows]) + "\n")

    monkeypatch.setattr(search_policy, "train_model", train_model)
    return calls


def test_the_policy_of_the_lowest_loss_is_found(data, tmp_path, pretended):
    trials, policy = search(data, tmp_path / "m", trials=20)
    assert trials.columns.tolist() == list(search_policy.COLUMNS)
    assert trials["round"].tolist() == [1] * 21 + [2] * 11
    assert trials["epochs"].tolist() == [1] * 21 + [2] * 11
    first = trials[trials["round"] == 1].set_index("trial")["loss"]
    best = int(first.idxmin())
    assert trials[trials["chosen"] == "yes"]["trial"].tolist() == [best]
    assert best != NONE
    assert policy["loss"] == pytest.approx(first[best])
    assert policy["loss_without"] == pytest.approx(1.0)
    assert policy["subpolicies"] == [
        [list(step) for step in sub] for sub in drawn_policies({**SEARCH, "trials": 20})[best - 1]
    ]
    assert not (tmp_path / "m" / "search").exists()
    assert {training["select_by"] for training in pretended} == {"loss"}
    assert {training["early_stopping_epochs"] for training in pretended} == {None}
    assert all(training["augmentation"]["flips"] for training in pretended)
    summary = json.loads((tmp_path / "m" / "summary.json").read_text())
    assert summary["counts"]["in"] == 30
    assert summary["best_loss"] < summary["loss_without"]


def test_where_no_policy_helps_none_is_taken(data, tmp_path, monkeypatch, pretended):
    monkeypatch.setattr(search_policy, "NAMES", ("noise", "gain"))
    _, policy = search(data, tmp_path / "m")
    assert policy["subpolicies"] == []
    assert "no policy did better" in json.loads((tmp_path / "m" / "summary.json").read_text())["notes"][0]


@pytest.mark.parametrize("after", [1, 4, 6])
def test_a_stopped_search_goes_on(data, tmp_path, pretended, monkeypatch, after):
    whole = search(data, tmp_path / "whole")
    count = len(pretended)
    train = search_policy.train_model

    def stopped(**words):
        if len(pretended) - count == after:
            raise SystemExit(75)
        train(**words)

    monkeypatch.setattr(search_policy, "train_model", stopped)
    with pytest.raises(SystemExit):
        search(data, tmp_path / "cut")
    assert not (tmp_path / "cut" / "policy.json").exists()
    monkeypatch.setattr(search_policy, "train_model", train)
    again = search(data, tmp_path / "cut")
    assert len(pretended) == 2 * count
    pd.testing.assert_frame_equal(again[0], whole[0])
    assert again[1] == whole[1]


def test_a_search_with_a_network(data, tmp_path):
    trials, policy = search(data, tmp_path / "m", trials=1)
    assert len(trials) == 4
    assert trials["loss"].between(0, 2).all()
    # another policy gives another network
    assert trials[trials["round"] == 1]["loss"].nunique() == 2
    assert read_policy(tmp_path / "m" / "policy.json").steps in (0, 2)
    assert policy["trials"] == 1
