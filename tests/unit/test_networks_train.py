import csv
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from wherein.segmentation.networks import augment, train
from wherein.segmentation.networks.architectures import SmallUNet
from wherein.segmentation.networks.augment import MARKERS_LEFT, patch, relit, with_missing
from wherein.segmentation.networks.examples import Example
from wherein.segmentation.networks.inputs import INPUTS
from wherein.segmentation.networks.targets import BORDER, classes_of
from wherein.segmentation.networks.train import (
    batch,
    divided,
    frequencies,
    learning_rate,
    running_mean,
    train_part,
    train_segmenter,
)
from wherein.segmentation.networks.weights import load_weights, read_card
from wherein.settings import fill_defaults, schema

CPU = torch.device("cpu")


def settings(**words):
    found = {
        "patch_px": 64,
        "batch": 2,
        "look_every": 2,
        "steps": {"nucleus": 4, "cell": 4},
        "simulated": {"fields": 3, "field_um": 40, "pixel_sizes_um": [0.32]},
        **words,
    }
    fill_defaults(found, schema()["properties"]["segmenters"]["additionalProperties"])
    return found


def field(seed=0, side=90, touching=False):
    rng = np.random.default_rng(seed)
    cell, nucleus = np.zeros((side, side), np.int32), np.zeros((side, side), np.int32)
    for number, x in enumerate((10, 42 if touching else 52), start=1):
        cell[20:70, x : x + 32] = number
        nucleus[35:55, x + 8 : x + 24] = number
    planes = [(cell > 0) * 0.6, (cell > 0) * 0.8, (cell > 0) * 0.5, (nucleus > 0) * 1.0]
    channels = np.stack([plane + 0.05 * rng.random((side, side)) for plane in planes]).astype(np.float32)
    return Example(f"field {seed}", channels, nucleus, cell)


def test_patches_keep_images_and_labels_together():
    item = field(touching=True)
    rng = np.random.default_rng(1)
    agreement = []
    for _ in range(12):
        images, labels = patch(item, "nucleus", 64, rng)
        assert images.shape == (1, 64, 64)
        assert labels.shape == (64, 64)
        assert labels.dtype == np.int32
        assert set(np.unique(labels)) <= {0, 1, 2}
        if 0.05 < (labels > 0).mean() < 0.95:
            agreement.append(np.corrcoef(images[0].ravel(), (labels > 0).ravel())[0, 1])
    assert len(agreement) > 6
    assert np.median(agreement) > 0.9


def test_a_patch_larger_than_its_field_has_ground_around_it():
    images, labels = patch(field(side=90), "cell", 256, np.random.default_rng(0))
    assert images.shape == (4, 256, 256)
    assert 0 < (labels > 0).mean() < 0.35


def test_other_channels_glow_where_nuclei_are_stained(monkeypatch):
    item = field()
    for name, value in (("GAIN", 0), ("CURVE", 0), ("OFFSET", 0), ("NOISE", 0), ("BLURRED", 0), ("ZOOM", (1, 1))):
        monkeypatch.setattr(augment, name, value)
    glow = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(augment, "GLOWING", share)
        patches = [patch(item, "nucleus", 90, np.random.default_rng(seed)) for seed in range(8)]
        assert all(images.shape == (1, 90, 90) for images, _ in patches)
        ring = [images[0][labels == 0] for images, labels in patches]
        glow[share] = np.mean([np.quantile(values, 0.9) for values in ring])
    assert glow[1.0] > 3 * glow[0.0]


def test_a_channel_that_is_missing_stays_zero():
    assert not relit(np.zeros((8, 8), np.float32), np.random.default_rng(0)).any()


def test_every_combination_of_markers_is_learned():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        images = with_missing(np.ones((4, 2, 2), np.float32), rng)
        assert images[INPUTS["cell"].index("nucleus")].all()
        seen.add(tuple(name for name, plane in zip(INPUTS["cell"], images, strict=True) if plane.any())[:-1])
    assert seen == set(MARKERS_LEFT)
    assert sum(MARKERS_LEFT.values()) == pytest.approx(1)


def test_fields_with_borders_are_taken_more_often():
    options = settings()
    examples = [field(0), field(1, touching=True), field(2)]
    often = frequencies(examples, "cell", options)
    assert often.sum() == pytest.approx(1)
    np.testing.assert_allclose(often, [1 / 6, 1 / 6 + 1 / 2, 1 / 6])
    np.testing.assert_allclose(frequencies(examples[::2], "cell", options), [1 / 2, 1 / 2])
    assert (classes_of(examples[1].cell, 2) == BORDER).any()


def test_a_step_has_the_same_patches_each_time_and_others_than_the_next():
    examples, often = [field(0), field(1)], np.array([0.5, 0.5])
    one, same, other = (batch("cell", examples, often, settings(), step) for step in (3, 3, 4))
    np.testing.assert_array_equal(one[0], same[0])
    np.testing.assert_array_equal(one[1], same[1])
    assert not np.array_equal(one[0], other[0])


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate(step, 100, 0.01) for step in range(100)]
    assert rates[9] == pytest.approx(0.01)
    assert np.argmax(rates) == 9
    assert rates[0] == pytest.approx(0.001)
    assert rates[-1] == pytest.approx(0.0001)
    assert all(a > b for a, b in pairwise(rates[9:]))


def test_the_running_mean_forgets_its_beginning():
    mean = torch.tensor(1000.0)
    for step in range(1, 60):
        mean = running_mean(mean, torch.tensor(1.0), step)
    assert float(mean) < 1.01
    assert float(running_mean(torch.tensor(0.0), torch.tensor(1.0), 10**6)) == pytest.approx(0.005)


def test_examples_are_divided_once_and_for_all():
    examples = [field(seed) for seed in range(10)]
    learned, held_out = divided(examples, settings(held_out=0.2))
    assert len(learned) == 8
    assert len(held_out) == 2
    assert {item.name for item in learned + held_out} == {item.name for item in examples}
    again = divided(examples, settings(held_out=0.2))[1]
    assert [item.name for item in again] == [item.name for item in held_out]
    with pytest.raises(ValueError, match="1 fields to learn from"):
        divided(examples[:1], settings())


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    learned, held_out = [field(0), field(1)], [field(2)]
    whole, rows = train_part("cell", learned, held_out, settings(), CPU, tmp_path / "whole.pt")
    steps = []

    def stop(*arguments):
        steps.append(arguments)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    real = train._step
    monkeypatch.setattr(train, "_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train_part("cell", learned, held_out, settings(), CPU, tmp_path / "part.pt")
    assert len(steps) == 4
    monkeypatch.setattr(train, "_step", real)
    resumed, rows_resumed = train_part("cell", learned, held_out, settings(), CPU, tmp_path / "part.pt")
    for name, values in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], values, rtol=0, atol=0)
    assert [row["held_out_loss"] for row in rows_resumed] == [row["held_out_loss"] for row in rows]
    assert [row["step"] for row in rows] == [2, 4]


def test_a_network_learns_what_it_is_shown(tmp_path):
    examples = [field(seed, touching=bool(seed % 2)) for seed in range(4)]
    options = settings(steps={"nucleus": 30, "cell": 1}, batch=4, look_every=10, learning_rate=0.01)
    network, rows = train_part("nucleus", examples[1:], examples[:1], options, CPU, tmp_path / "state.pt")
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert not network.training


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    broken = field(0)
    broken.channels[:] = np.inf
    with pytest.raises(RuntimeError, match="no longer a number: lower learning_rate"):
        train_part("nucleus", [broken], [broken], settings(), CPU, tmp_path / "state.pt")


def test_the_rules_work(tmp_path):
    out = tmp_path / "results" / "segmenters" / "mine"
    paths = {name: out / file for name, file in (("weights", "weights.npz"), ("card", "card.md"))}
    paths |= {"history": out / "history.tsv", "summary": tmp_path / "summary.json"}
    train_segmenter("mine", settings(steps={"nucleus": 2, "cell": 2}), "cpu", **paths)
    networks, card = load_weights(paths["weights"])
    assert {part: type(network) for part, network in networks.items()} == {"nucleus": SmallUNet, "cell": SmallUNet}
    assert card["settings"]["steps"] == {"nucleus": 2, "cell": 2}
    assert read_card(paths["weights"])["examples"] == {"learned_from": 2, "held_out": 1}
    rows = list(csv.DictReader(paths["history"].open(), delimiter="\t"))
    assert [(row["part"], row["step"]) for row in rows] == [("nucleus", "2"), ("cell", "2")]
    text = paths["card"].read_text()
    assert "3 simulated fields of 40 um" in text
    assert "results/segmenters/mine/weights.npz" in text
    assert json.loads(paths["summary"].read_text())["device"] == "cpu"
    assert sorted(path.name for path in out.iterdir()) == ["card.md", "history.tsv", "weights.npz"]
