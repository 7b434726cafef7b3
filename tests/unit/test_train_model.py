"""A network from its training table to predictions, on small fields: trained, stopped, gone on with, used."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from stored_fields import ROLES, write_store
from wherein import tables
from wherein.labels import vocabulary
from wherein.models import images, inference
from wherein.models.learned import training_settings
from wherein.models.networks.build import WeightsMismatchError, build, load
from wherein.models.train import _report, prepare, train_model
from wherein.models.trained import load_trained
from wherein.models.training import trainer
from wherein.models.training_table import schema
from wherein.settings import check_config
from wherein.summary import Summary

CLASSES = list(vocabulary("yeast17").classes)
CPU = torch.device("cpu")
INFER = {"tiles": "mean", "test_time": "none", "precision": "fp32", "batch": 5}


def settings(kind="gapnet-pl", side=32, **training):
    model = {"kind": kind, "level": "field", "tile_px": side, "normalization": "rumetshofer2019",
             "training": {"epochs": 3, "batch": 4, "vocabulary": "yeast17",
                          **training}}  # fmt: skip
    config = {"sources": {"s": {"kind": "simulated"}}, "models": {"m": model}}
    check_config(config)
    return training_settings(config["models"]["m"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve fields to train on, six to validate and six to test: whether the protein is bright tells the class."""
    folder = tmp_path_factory.mktemp("fields")
    path, _ = write_store(folder, [(48, 40)] * 24)
    store = images.FieldStore(path)
    ids = store.fields
    truth = np.zeros((24, len(CLASSES)), bool)
    truth[np.arange(24), np.arange(24) % 3] = True
    rows = pd.DataFrame({"unit_id": ids, "field_id": [name[:-2] for name in ids], "version": "v", "shard": "s-0001",
                         "gene_group": [f"G{n}" for n in range(24)], "fold": [2] * 12 + [1] * 6 + [0] * 6,
                         "part": ["train"] * 12 + ["validation"] * 6 + ["test"] * 6,
                         "reagent": [f"A{n // 2}" for n in range(24)], "full_scale": 4000.0})  # fmt: skip
    table = pd.concat([rows, pd.DataFrame(truth, columns=CLASSES)], axis=1)
    known = {"classes": CLASSES, "vocabulary": "yeast17", "level": "field", "test_fold": 0, "validation_fold": 1,
             "permuted": False}  # fmt: skip
    tables.write_table(folder / "table.parquet", table, schema(CLASSES), known)
    qc = pd.DataFrame({"field_id": rows["field_id"], "version": "v", "shard": "s-0001", "status": "passed"})
    tables.write_table(folder / "qc.parquet", qc, tables.qc_schema(ROLES))
    return folder


def train(data, folder, own, teacher=(), **words):
    folder.mkdir(exist_ok=True)
    train_model(
        model="m", table=str(data / "table.parquet"), stores=[str(data / "s-0001.zarr")], teacher=list(teacher),
        settings=own, device="cpu", threads=1, checkpoint_minutes=0, state=str(folder / "state"),
        weights=str(folder / "weights.pt"),
        history=str(folder / "history.csv"), card=str(folder / "card.md"),
        summary=str(folder / "summary.json"), **words,
    )  # fmt: skip
    return load_trained(folder / "weights.pt")


def embed(data, folder, **words):
    inference.embed_network(
        shard="s-0001", model="m", fields="", cells="", qc=str(data / "qc.parquet"), store=str(data / "s-0001.zarr"),
        weights=str(folder / "weights.pt"), settings={**INFER, **words}, device="cpu", threads=1,
        embeddings=str(folder / "e.parquet"), predictions=str(folder / "p.parquet"), summary=str(folder / "s.json"),
    )  # fmt: skip
    return tables.read_vectors([folder / "e.parquet"])[1], tables.read_tables([folder / "p.parquet"])


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, *train(data, folder, settings())


def test_a_training_leaves_all_that_a_reader_wants(trained):
    folder, network, about = trained
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert about["classes"] == CLASSES
    assert about["side_px"] == 32
    card = (folder / "card.md").read_text()
    assert f"| {CLASSES[0]} | 4 | 2 |" in card
    assert "Rumetshofer" in card
    assert f"{sum(p.numel() for p in network.parameters()):,} parameters" in card
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["counts"] == {"in": 18, "kept": 12, "validation": 6}
    assert summary["peak_gpu_mb"] is None, "there is no GPU here"
    assert summary["peak_mb"] >= history["peak_mb"].max() - 1, "of the whole process, in its own place"
    assert not (folder / "state").exists()


@pytest.mark.parametrize(("device", "said"), [("cuda", 321.5), ("cpu", None)])
def test_memory_of_the_gpu_is_told_beside_that_of_the_process(device, said):
    rows = SimpleNamespace(table=[0] * 3)
    keys = ("device", "parameters", "epochs", "best_epoch", "best_score", "stopped_early", "seconds_per_epoch",
            "images_per_second", "data_wait_share", "precision", "seed")  # fmt: skip
    report, fitted = Summary(), SimpleNamespace(peak_mb=321.5, stopped_early=False, rows=[])
    parts = {"train": rows, "validation": rows}
    _report(report, fitted, parts, dict.fromkeys(keys), torch.device(device))
    assert report.extra["peak_gpu_mb"] == said
    assert "peak_mb" not in report.extra, "the summary tells that of the process itself"


class StoppedError(RuntimeError):
    """What a killed job is to the test."""


@pytest.mark.parametrize("step", [2, 4, 8])
def test_a_stopped_training_goes_on_to_the_same_network(data, trained, tmp_path, monkeypatch, step):
    save, count = trainer.save_checkpoint, []

    def killed(*arguments):
        save(*arguments)
        count.append(1)
        if len(count) == step:
            raise StoppedError

    monkeypatch.setattr(trainer, "save_checkpoint", killed)
    with pytest.raises(StoppedError):
        train(data, tmp_path / "m", settings())
    assert not (tmp_path / "m" / "weights.pt").exists()
    monkeypatch.setattr(trainer, "save_checkpoint", save)
    network, _ = train(data, tmp_path / "m", settings())
    for (name, one), other in zip(trained[1].state_dict().items(), network.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_another_configuration_does_not_go_on_from_the_state(data, tmp_path, monkeypatch):
    def killed(*arguments):
        raise StoppedError

    monkeypatch.setattr(trainer, "save_checkpoint", killed)
    for own in (settings(), settings(learning_rate=0.01)):
        with pytest.raises(StoppedError):
            train(data, tmp_path / "m", own)
    assert len(list((tmp_path / "m" / "state").iterdir())) == 2


def test_inference_is_the_networks_own_answer(data, trained, tmp_path):
    folder, network, _ = trained
    vectors, said = embed(data, folder)
    store = images.FieldStore(data / "s-0001.zarr")
    field = store.read(5)[store.channels(["nucleus", "protein", "microtubules", "er"])].astype(np.float32)
    mean, deviation = field.mean(axis=(1, 2), keepdims=True), field.std(axis=(1, 2), keepdims=True)
    field = (field - mean) / deviation
    corners = [(top, left) for top in (0, 16) for left in (0, 8)]
    tiles = torch.from_numpy(np.stack([field[:, y : y + 32, x : x + 32] for y, x in corners]))
    with torch.inference_mode():
        vector, logits = network(tiles)
    np.testing.assert_allclose(vectors[5], vector.mean(dim=0), atol=2e-4)
    np.testing.assert_allclose(said.loc[5, CLASSES].astype(float), torch.sigmoid(logits).mean(dim=0), atol=2e-5)
    assert said["unit_id"].tolist() == store.fields
    metadata = tables.read_metadata(folder / "p.parquet")
    assert metadata["vocabulary"] == "yeast17"
    assert metadata["trained_here"]
    _, highest = embed(data, folder, tiles="max")
    np.testing.assert_allclose(highest.loc[5, CLASSES].astype(float), torch.sigmoid(logits).amax(dim=0), atol=2e-5)


@pytest.mark.parametrize("test_time", ["flips", "dihedral", "dihedral_crops"])
def test_changes_of_test_time_make_answers_independent_of_the_cameras_side(trained, test_time):
    network = trained[1]
    batch = torch.randn(3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    vector, chance = inference.changed(network, batch, test_time, False)
    mirrored, turned = batch.flip(-1), torch.rot90(batch, 1, (-2, -1))
    for other, same in ((mirrored, True), (turned, test_time != "flips")):
        with torch.inference_mode():
            found = inference.changed(network, other, test_time, False)
        assert torch.allclose(found[0], vector, atol=1e-4) == same
        assert torch.allclose(found[1], chance, atol=1e-5) == same


def test_changes_of_test_time_are_means(trained):
    network = trained[1]
    batch = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        every = [
            torch.sigmoid(network(view)[1]) for view in (batch, batch.flip(-1), batch.flip(-2), batch.flip(-1, -2))
        ]
        _, chance = inference.changed(network, batch, "flips", False)
    assert torch.allclose(chance, torch.stack(every).mean(dim=0), atol=1e-6)


def test_the_middle_is_the_middle():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 8:56, 8:56] = 1
    assert inference.middle(image).min() == 1


def test_bfloat16_agrees_with_fp32(data, trained):
    folder = trained[0]
    one, said = embed(data, folder)
    other, told = embed(data, folder, precision="bf16")
    assert tables.read_metadata(folder / "p.parquet")["precision"] == "bf16"
    # 8 bits of mantissa: 0.4 % of a number
    assert np.abs(one - other).max() / np.abs(one).max() < 0.02
    assert np.abs(said[CLASSES].to_numpy() - told[CLASSES].to_numpy()).max() < 0.02


def test_bfloat16_agrees_with_fp32_through_batch_normalization(data, trained):
    about = {**trained[2], "kind": "densenet121"}
    network = build("densenet121", len(about["inputs"]), len(CLASSES), 0, about["side_px"], dropout=0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # the mean over all batches, not one that runs: random weights get the statistics of these tiles
            module.momentum = None
    store = data / "s-0001.zarr"
    units = images.field_units([str(store)], about["inputs"], images.FieldStore(store).fields[:6])
    inference.infer(network.train(), units, about, INFER, CPU, False)
    (one, said), (other, told) = (
        inference.infer(network.eval(), units, about, INFER, CPU, bf16) for bf16 in (False, True)
    )
    # 8 bits of mantissa are 0.4 % of a number, which 121 layers add up
    assert not np.array_equal(one, other)
    assert np.linalg.norm(one - other) / np.linalg.norm(one) < 0.1
    assert np.abs(said - told).max() < 0.04
    # what tells fields apart is far larger
    apart = [(each - each.mean(axis=0)).ravel() for each in (said, told)]
    assert np.corrcoef(*apart)[0, 1] > 0.97


def test_a_shard_without_fields(data, trained, tmp_path):
    folder = trained[0]
    empty, _ = write_store(tmp_path, [], name="s-0002")
    tables.write_table(tmp_path / "qc.parquet", pd.DataFrame(columns=["field_id"]), tables.qc_schema(ROLES))
    inference.embed_network(
        shard="s-0002", model="m", fields="", cells="", qc=str(tmp_path / "qc.parquet"), store=str(empty),
        weights=str(folder / "weights.pt"), settings=INFER, device="cpu", threads=1,
        embeddings=str(tmp_path / "e.parquet"), predictions=str(tmp_path / "p.parquet"),
        summary=str(tmp_path / "s.json"),
    )  # fmt: skip
    assert tables.read_tables([tmp_path / "p.parquet"]).columns[3:].tolist() == CLASSES
    assert len(tables.read_vectors([tmp_path / "e.parquet"])[0]) == 0
    assert len(tables.read_metadata(tmp_path / "e.parquet")["dimensions"]) == 256


def test_the_vector_of_nothing_is_as_long_as_any(tmp_path):
    empty, _ = write_store(tmp_path, [], name="s-0002")
    about = {"inputs": ["nucleus", "protein"], "side_px": 64, "level": "field", "pixel_size_um": None,
             "blank_neighbours": False, "normalization": "rumetshofer2019"}  # fmt: skip
    units = images.field_units([str(empty)], about["inputs"], [])
    for kind, options in (("vit", {"width": 48, "layers": 1, "heads": 4, "hidden": 8}), ("mil", {})):
        network = build(kind, 2, 5, 0, 64, **options).eval()
        vectors, said = inference.infer(network, units, about, INFER, CPU, False)
        with torch.inference_mode():
            wanted = network(torch.zeros(1, 2, 64, 64))[0].shape[1]
        assert (vectors.shape, said.shape) == ((0, wanted), (0, 5))


def test_metric_learning_without_reagents_says_so(data, tmp_path):
    rows = tables.read_tables([data / "table.parquet"]).assign(reagent=None)
    tables.write_table(tmp_path / "table.parquet", rows, schema(CLASSES), tables.read_metadata(data / "table.parquet"))
    own = settings(loss={"arcface": 1})
    with pytest.raises(ValueError, match="its training rows have 0; it needs two or more"):
        prepare("m", str(tmp_path / "table.parquet"), [str(data / "s-0001.zarr")], own)


@pytest.mark.parametrize("words", [{"sampling": "oversample"}, {"sampling": "balanced", "class_weights": "balanced"}])
def test_other_ways_to_draw(data, tmp_path, words):
    train(data, tmp_path / "m", settings(epochs=1, **words))
    assert len(pd.read_csv(tmp_path / "m" / "history.csv")) == 1


def test_a_training_may_start_from_weights(data, trained, tmp_path):
    start = str(trained[0] / "weights.pt")
    own = settings(epochs=1, learning_rate=1e-9, start=start)
    network, _ = train(data, tmp_path / "m", own, start=start)
    before = trained[1].state_dict()
    assert all(torch.allclose(value, before[name], atol=1e-5) for name, value in network.state_dict().items())


def test_a_start_is_matched_by_the_names_of_its_roles(data, trained, tmp_path):
    start = str(trained[0] / "weights.pt")
    own = settings(epochs=1, learning_rate=1e-9, start=start)
    own |= {"inputs": ["er", "protein"]}
    network, about = train(data, tmp_path / "m", own, start=start)
    assert about["inputs"] == ["er", "protein"]
    old, new = (of.state_dict()["convolutions.0.weight"] for of in (trained[1], network))
    assert torch.allclose(new, old[:, [3, 1]], atol=1e-5)
    with pytest.raises(WeightsMismatchError, match="microtubules, er and knows no reference: leave"):
        load(network, start, about | {"inputs": ["reference", "protein"]})


def test_a_teacher_is_learned_from(data, trained, tmp_path):
    folder = trained[0]
    embed(data, folder)
    own = settings(epochs=14, learning_rate=0.003)
    own["training"]["distillation"] = {"teacher": "net", "weight": 1.0, "temperature": 1.0}
    train(data, tmp_path / "m", own, teacher=[str(folder / "p.parquet")])
    _, teacher = embed(data, folder)
    _, pupil = embed(data, tmp_path / "m")
    fresh = np.full((24, len(CLASSES)), 0.5)
    away = [np.abs(said[:12] - teacher[CLASSES].to_numpy()[:12]).mean() for said in (pupil[CLASSES].to_numpy(), fresh)]
    assert away[0] < away[1] / 2


def test_metric_learning_gives_vectors_alone(data, tmp_path):
    own = settings(epochs=2, loss={"bce": 0, "arcface": 0.5, "cross_entropy": 0.5}, schedule="constant")
    _, about = train(data, tmp_path / "m", own)
    assert about["reagents"] == sorted(f"A{n}" for n in range(6))
    vectors, said = embed(data, tmp_path / "m")
    assert vectors.shape[0] == 24
    assert said.columns.tolist() == ["unit_id", "field_id", "version"]
