"""Attention maps of a run: which fields, whole maps of tiled fields, and what they are held against."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from drawn_shard import draw_shard
from scored_fields import WORDS, scored_fields
from simulated_source import source
from stored_fields import write_store
from wherein import tables
from wherein.catalog import build_catalog
from wherein.metrics.pointing import pointing
from wherein.models import images
from wherein.models.attend import (
    FALSE,
    MAP_COLUMNS,
    MISSED,
    RIGHT,
    Size,
    attend,
    bright,
    choose,
    located,
    reduced,
    together,
    unit_maps,
)
from wherein.models.attention import OWN, grad_cam, over_images
from wherein.models.compartments import HELD, Compartments
from wherein.models.field_store import shrink_shard
from wherein.models.networks.build import build
from wherein.models.networks.registry import NETWORKS
from wherein.models.statistics import Fields, scorable, write_fields
from wherein.models.trained import save_trained
from wherein.shards import read_shards
from wherein.simulate.plan import plan_source
from wherein.simulate.shard import simulate_shard
from wherein.simulate.structures import structures

ROLES = ["nucleus", "microtubules", "er", "protein"]
CLASSES = list(WORDS.classes)


def known_of(level="field", side=48, **words):
    """What a file says of a network."""
    return {"model": "net", "kind": "gapnet-pl", "level": level, "inputs": ROLES, "options": {}, "classes": CLASSES,
            "vocabulary": "hpa19", "side_px": side, "grid": "source", "pixel_size_um": None,
            "normalization": "rumetshofer2019", "blank_neighbours": True, "seed": 1, **words}  # fmt: skip


def settings_of(**words):
    return {"fields": 3, "pictures": 1, "picture_px": 64, "layer": None, "draws": 100, "seed": 0, **words}


def test_fields_are_chosen_by_what_became_of_the_class():
    scored, catalog = scored_fields(n=200, genes=10)
    fields = scorable(scored, catalog)
    chosen = choose(fields, CLASSES[:5], WORDS, Size(15, 1, 64), {"seed": 3})
    assert chosen.equals(choose(fields, CLASSES[:5], WORDS, Size(15, 1, 64), {"seed": 3}))
    place = {key: row for row, key in enumerate(fields.units["field_id"])}
    for (name, kind), own in chosen.groupby(["class", "kind"]):
        k = CLASSES.index(name)
        rows = own["field_id"].map(place).to_numpy()
        has, said = fields.truth[rows, k], fields.predicted[rows, k]
        assert {RIGHT: has & said, MISSED: has & ~said, FALSE: said & ~has}[kind].all()
        right, wrong = fields.truth[:, k], fields.predicted[:, k] & ~fields.truth[:, k]
        every = {RIGHT: right & fields.predicted[:, k], MISSED: right & ~fields.predicted[:, k], FALSE: wrong}[kind]
        assert len(own) == min(15, every.sum())
        assert own["number"].tolist() == list(range(len(own)))
        # no gene comes again before all have come
        genes = fields.units["cluster"][every].nunique()
        assert own["cluster"].head(genes).nunique() == min(genes, len(own))
    other = choose(fields, CLASSES[:5], WORDS, Size(15, 1, 64), {"seed": 4})
    assert not chosen["field_id"].equals(other["field_id"])


def test_nothing_was_scored():
    scored, catalog = scored_fields(n=10)
    fields = scorable(scored, catalog)
    none = Fields(fields.units.head(0), *(part[:0] for part in fields[1:]))
    assert choose(none, CLASSES, WORDS, Size(3, 1, 64), {"seed": 0}).empty
    assert choose(fields, [], WORDS, Size(3, 1, 64), {"seed": 0}).empty


def test_tiles_together():
    rng = np.random.default_rng(0)
    whole = rng.random((2, 50, 37)).astype(np.float32)
    corners = np.array([(0, 0), (0, 7), (20, 0), (20, 7)])
    tiles = np.stack([whole[:, top : top + 30, left : left + 30] for top, left in corners])
    np.testing.assert_allclose(together(tiles, corners, (50, 37), False), whole, rtol=1e-6)
    # where tiles do not agree, the mean
    tiles[0] += 1
    again = together(tiles, corners, (50, 37), False)
    assert again[0, 0, 0] == pytest.approx(whole[0, 0, 0] + 1)
    assert again[0, 0, 10] == pytest.approx(whole[0, 0, 10] + 0.5)
    assert again[0, 25, 10] == pytest.approx(whole[0, 25, 10] + 0.25)
    # smaller than a tile: at its corner, or in its middle
    tile = rng.random((1, 1, 30, 30)).astype(np.float32)
    np.testing.assert_array_equal(together(tile, np.zeros((1, 2), int), (20, 24), False), tile[0, :, :20, :24])
    np.testing.assert_array_equal(together(tile, np.zeros((1, 2), int), (20, 24), True), tile[0, :, 5:25, 3:27])


def test_signal_is_where_the_protein_is_bright():
    image = np.full((64, 64), 100.0)
    image[10:20, 10:40] = 900
    image[0, 0] = 1e6
    found = bright(image)
    assert found[10:20, 10:40].all()
    assert found.sum() == 301
    assert bright(np.full((8, 8), 7)) is None


def test_maps_of_fields_larger_than_a_tile(tmp_path):
    """As from tiles that are cut and normalized by hand, one after the other."""
    store, stored = write_store(tmp_path, [(48, 48), (60, 100), (40, 44)])
    about = known_of()
    network = build("gapnet-pl", 4, len(CLASSES), 1, 48).eval()
    units = images.field_units([store], ROLES)
    layer = NETWORKS["gapnet-pl"].layer
    wanted = [[3], [0, 5], [7, 2, 1]]
    found = {n: rest for n, *rest in unit_maps(network, units, about, layer, wanted, torch.device("cpu"))}
    assert sorted(found) == [0, 1, 2]
    for number, name in enumerate(units.ids):
        image, maps = found[number]
        raw = stored[name].astype(np.float32)
        np.testing.assert_array_equal(image, raw)
        shape = raw.shape[1:]
        assert maps.shape == (len(wanted[number]), *shape)
        normal = (raw - raw.mean(axis=(1, 2), keepdims=True)) / raw.std(axis=(1, 2), keepdims=True)
        total, count = np.zeros(maps.shape), np.zeros(shape)
        tops = [0] if shape[0] <= 48 else [0, shape[0] - 48]
        lefts = [0] if shape[1] <= 48 else np.linspace(0, shape[1] - 48, -(-shape[1] // 48)).round().astype(int)
        for top in tops:
            for left in lefts:
                tile = np.zeros((4, 48, 48), np.float32)
                part = normal[:, top : top + 48, left : left + 48]
                tile[:, : part.shape[1], : part.shape[2]] = part
                heat = over_images(grad_cam(network, torch.from_numpy(tile[None]), wanted[number], layer), 48, 48)[0]
                window = (slice(top, top + part.shape[1]), slice(left, left + part.shape[2]))
                total[(slice(None), *window)] += heat.numpy()[:, : part.shape[1], : part.shape[2]]
                count[window] += 1
        np.testing.assert_allclose(maps, total / count, rtol=2e-3, atol=1e-4 * (total / count).max())


def test_pictures_are_small_and_of_one_scale():
    image, heat = np.random.default_rng(0).random((3, 80, 160)).astype(np.float32), np.zeros((80, 160))
    heat[20:40, 100:140] = 3.0
    drawn = reduced(image, heat, 80)
    assert (drawn["image"].shape, drawn["map"].shape) == ((3, 40, 80), (40, 80))
    assert drawn["image"].dtype == drawn["map"].dtype == np.uint8
    assert drawn["map"].max() == 255
    assert drawn["map"][10:20, 50:70].min() == 255
    assert reduced(image, np.zeros((80, 160)), 80)["map"].max() == 0


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Two small shards, drawn as the workflow draws them, and what a network with random weights says of them."""
    folder = tmp_path_factory.mktemp("attend")
    sources = {"sim": source(proteins=6, fields_per_protein=2, controls=1, faults=0, pixel_size_um=0.32, seed=8)}
    build_catalog(
        sources, None, 8, *(str(folder / name) for name in ("fields.parquet", "shards.tsv", "d.tsv", "s.json"))
    )
    stores, truth, frames = [], [], []
    for shard in read_shards(folder / "shards.tsv"):
        paths = {name: str(folder / f"{shard}.{name}") for name in ("images", "download", "qc", "zarr")}
        truth.append(str(folder / "truth" / shard))
        (folder / "truth").mkdir(exist_ok=True)
        simulate_shard(shard, sources["sim"], str(folder / "fields.parquet"), paths["images"], truth[-1],
                       paths["download"], str(folder / "s.json"))  # fmt: skip
        known = tables.fields_of_shard(folder / "fields.parquet", shard)
        rows = known[["field_id", "version", "shard", "source"]].assign(
            status="passed", reason="passed", height=256, width=256, dtype="uint16", phash=None
        )
        tables.write_table(paths["qc"], rows, tables.qc_schema(ROLES))
        shrink_shard(shard, "0.64um", str(folder / "fields.parquet"), paths["download"], paths["qc"], paths["zarr"],
                     str(folder / "s.json"))  # fmt: skip
        stores.append(paths["zarr"])
        frames.append(known)
    catalog = pd.concat(frames, ignore_index=True)
    save_trained(folder / "weights.pt", build("gapnet-pl", 4, len(CLASSES), 1, 96), known_of(side=96, grid="0.64um"))
    units = catalog[["field_id", "version", "control"]].assign(
        unit_id=catalog["field_id"] + "@" + catalog["version"],
        gene_group=["/".join(own) or "control" for own in catalog["genes"]],
        fold=0.0,
    )
    units["cluster"] = units["gene_group"]
    truth_of = WORDS.indicator(catalog["labels"].tolist())
    rng = np.random.default_rng(0)
    chances = np.where(truth_of, 0.3, 0.0) + 0.6 * rng.random(truth_of.shape)
    about = units.assign(**{name: catalog[name] for name in ("sample", "plate", "reagent", "cell_line")})
    fields = Fields(about, truth_of, chances > 0.5, chances, np.zeros(len(units)))
    write_fields(str(folder / "scored.parquet"), fields, WORDS, "net")
    told = pd.DataFrame(chances.astype(np.float32), columns=CLASSES)
    tables.write_predictions(folder / "told.parquet", units[["unit_id", "field_id", "version"]], told, {})
    return folder, sources, stores, truth, fields


def run(simulated, out, **words):
    folder, sources, stores, truth, _ = simulated
    names = {"maps": "attention.tsv", "shares": "pointing.tsv", "pictures": "attention.npz", "summary": "summary.json"}
    weights = words.pop("weights", folder / "weights.pt")
    attend(
        model="net", weights=str(weights), scored=str(folder / "scored.parquet"),
        predictions=str(folder / "told.parquet"), fields=str(folder / "fields.parquet"), stores=stores,
        truth=words.pop("truth", truth), sources=sources, settings=settings_of(**words), device="cpu", threads=1,
        **{name: str(out / path) for name, path in names.items()},
    )  # fmt: skip
    return pd.read_csv(out / "attention.tsv", sep="\t", dtype={"version": str})


def test_compartments_are_where_the_protein_was_drawn(simulated):
    _, sources, _, truth, fields = simulated
    plan = plan_source("sim", sources["sim"])
    where = Compartments(truth, sources, WORDS)
    seen = 0
    for row in fields.units.to_dict("records"):
        drawn = where.of(row["field_id"], row["version"], (128, 128))
        spec = plan.specs[row["field_id"]]
        assert set(drawn.compartments) <= set(WORDS.to_classes([*spec.locations, *spec.variable_locations]))
        assert drawn.cells.shape == (128, 128)
        for place, density in structures(spec).items():
            (name,) = WORDS.to_classes([place])
            small = density.reshape(128, 2, 128, 2).mean(axis=(1, 3))
            mask = drawn.compartments.get(name)
            if mask is None:
                assert not density.any()
                continue
            seen += 1
            # a map of the structure itself has all that the compartment holds, and an even one far less
            told = pointing(small, mask)
            assert HELD - 1e-6 <= told.share < HELD + 0.05
            assert told.by_chance < 0.75 * told.share
    assert seen > 8
    assert where.of("f00000000000", "v", (128, 128)) is None
    changed = {"sim": {**sources["sim"], "field_px": 300}}
    row = fields.units.iloc[0]
    assert Compartments(truth, changed, WORDS).of(row["field_id"], row["version"], (128, 128)) is None


def test_the_stage_measures_every_chosen_map(simulated, tmp_path):
    folder, sources, stores, truth, fields = simulated
    table = run(simulated, tmp_path)
    assert table.columns.tolist() == MAP_COLUMNS
    chosen = choose(fields, CLASSES, WORDS, Size(3, 1, 64), {"seed": 0})
    assert table[["field_id", "class", "kind"]].equals(chosen[["field_id", "class", "kind"]])
    known = table["compartment_even"].notna()
    # the compartment is known of what is truly there, which published labels of this source are
    control = table["field_id"].map(fields.units.set_index("field_id")["control"]).to_numpy()
    assert known[table["kind"].isin([RIGHT, MISSED]) & ~control].mean() > 0.9
    assert not known[table["kind"] == FALSE].any()
    measured = table["signal"].notna()
    assert measured.mean() > 0.8
    assert table.loc[measured, "signal"].between(0, 1).all()
    assert (table.loc[known, "compartment_cells"] > table.loc[known, "compartment_even"]).mean() > 0.9
    # one map by hand
    row = table[known & table["compartment"].notna()].iloc[0]
    network = build("gapnet-pl", 4, len(CLASSES), 1, 96).eval()
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True)["network"])
    units = images.field_units(stores, ROLES, [row["unit_id"]])
    wanted = [[CLASSES.index(row["class"])]]
    ((_, image, maps),) = unit_maps(network, units, known_of(side=96), NETWORKS["gapnet-pl"].layer, wanted,
                                    torch.device("cpu"))  # fmt: skip
    drawn = Compartments(truth, sources, WORDS).of(row["field_id"], row["version"], image.shape[1:])
    assert row["compartment"] == pytest.approx(
        float(pointing(maps[0], drawn.compartments[row["class"]]).share), rel=1e-3
    )
    assert row["signal"] == pytest.approx(float(pointing(maps[0], bright(image[3])).share), rel=1e-3)
    assert row["probability"] == pytest.approx(fields.probabilities[
        fields.units["field_id"].eq(row["field_id"]).to_numpy().argmax(), wanted[0][0]], rel=1e-5)  # fmt: skip
    shares = pd.read_csv(tmp_path / "pointing.tsv", sep="\t")
    assert shares["n"][shares["class"].isna()].sum() == len(table)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["counts"]["in"], summary["layer"]) == (len(table), NETWORKS["gapnet-pl"].layer)


def test_pictures_are_those_that_the_table_numbers(simulated, tmp_path):
    table = run(simulated, tmp_path)
    with np.load(tmp_path / "attention.npz") as kept:
        about = json.loads(kept["about"].tobytes())
        assert len(kept.files) == 1 + 2 * len(about["pictures"])
        assert (about["roles"], about["own_maps"]) == (ROLES, False)
        shown = table.dropna(subset=["picture"])
        assert shown.groupby(["class", "kind"]).size().eq(1).all()
        assert shown["picture"].tolist() == list(range(len(about["pictures"])))
        for row, told in zip(shown.to_dict("records"), about["pictures"], strict=True):
            assert [told[name] for name in ("unit_id", "class", "kind")] == [
                row[n] for n in ("unit_id", "class", "kind")
            ]
            assert kept[f"image_{int(row['picture'])}"].shape == (4, 64, 64)
            assert kept[f"map_{int(row['picture'])}"].shape == (64, 64)
    before = (tmp_path / "attention.npz").read_bytes()
    run(simulated, tmp_path)
    assert (tmp_path / "attention.npz").read_bytes() == before


def test_another_layer_and_no_truth(simulated, tmp_path):
    table = run(simulated, tmp_path, layer="convolutions.1", truth=[])
    assert table["compartment_even"].isna().all()
    (tmp_path / "own").mkdir()
    own = run(simulated, tmp_path / "own", truth=[])
    both = table["signal"].notna() & own["signal"].notna()
    assert not np.allclose(table["signal"][both], own["signal"][both], atol=1e-3)
    with pytest.raises(ValueError, match="none of that name; convolutions has"):
        run(simulated, tmp_path, layer="convolutions.99")


def test_a_network_with_maps_of_its_own_is_measured_by_these(simulated, tmp_path):
    _, _, stores, _, _ = simulated
    network = build("fcn-seg", 4, len(CLASSES), 1, 96).eval()
    weights = tmp_path / "weights.pt"
    save_trained(weights, network, known_of(side=96, kind="fcn-seg"))
    table = run(simulated, tmp_path, weights=weights, fields=1)
    row = table.dropna(subset=["signal"]).iloc[0]
    units, k = images.field_units(stores, ROLES, [row["unit_id"]]), CLASSES.index(row["class"])
    ((_, image, maps),) = unit_maps(network, units, known_of(side=96), OWN, [[k]], torch.device("cpu"))
    # a field of 128 pixels by hand: four tiles of 96, which overlap
    normal = (image - image.mean(axis=(1, 2), keepdims=True)) / image.std(axis=(1, 2), keepdims=True)
    total, count = np.zeros(image.shape[1:]), np.zeros(image.shape[1:])
    with torch.no_grad():
        for top in (0, image.shape[1] - 96):
            for left in (0, image.shape[2] - 96):
                window = (slice(top, top + 96), slice(left, left + 96))
                drawn = network.maps(torch.from_numpy(normal[(slice(None), *window)][None].astype(np.float32)))
                total[window] += over_images(drawn[:, [k]], 96, 96)[0, 0].numpy()
                count[window] += 1
    np.testing.assert_allclose(maps[0], total / count, atol=0.02 * maps[0].std())
    assert row["signal"] == pytest.approx(float(pointing(maps[0], bright(image[3])).share), rel=1e-4)
    with np.load(tmp_path / "attention.npz") as kept:
        told = json.loads(kept["about"].tobytes())
    assert (told["layer"], told["own_maps"]) == (OWN, True)


def test_a_network_of_reagents_has_no_maps(simulated, tmp_path):
    weights = tmp_path / "weights.pt"
    save_trained(weights, build("gapnet-pl", 4, 3, 1, 96),
                 known_of(side=96, classes=["a", "b", "c"], reagents=["a", "b", "c"]))  # fmt: skip
    assert run(simulated, tmp_path, weights=weights).empty
    assert pd.read_csv(tmp_path / "pointing.tsv", sep="\t").empty
    assert "tells reagents apart" in json.loads((tmp_path / "summary.json").read_text())["notes"][0]


def test_of_a_field_the_cell_that_shows_the_class_most(tmp_path):
    shard, fields = draw_shard(tmp_path, "s-0001", {"A": "Nucleoplasm", "B": "Cytosol"})
    ledger = pd.read_parquet(shard.path("cells"))
    rng = np.random.default_rng(0)
    told = pd.DataFrame(rng.random((len(ledger), len(CLASSES))).astype(np.float32), columns=CLASSES)
    units = ledger.rename(columns={"cell_id": "unit_id"})[["unit_id", "field_id", "version"]]
    tables.write_predictions(tmp_path / "told.parquet", units, told, {})
    catalog = tmp_path / "catalog.parquet"
    fields.assign(full_scale=4095.0).to_parquet(catalog)
    chosen = pd.DataFrame({"field_id": ["s-0001_f0", "s-0001_f1", "s-0001_f0"], "version": "v1",
                           "class": ["Cytosol", "Cytosol", "Nucleoli"]})  # fmt: skip
    about = known_of("cell", side=24)
    chosen, crops = located(chosen, about, str(tmp_path / "told.parquet"), str(catalog), [shard.path("crops")])
    for row in chosen.to_dict("records"):
        own = told[units["field_id"] == row["field_id"]][row["class"]]
        assert row["unit_id"] == units["unit_id"][own.idxmax()]
        assert row["probability"] == pytest.approx(own.max())
        assert crops.ids[row["unit"]] == row["unit_id"]
    network = build("gapnet-pl", 4, len(CLASSES), 1, 24).eval()
    wanted = [[0]] * len(crops)
    found = list(unit_maps(network, crops, about, NETWORKS["gapnet-pl"].layer, wanted, torch.device("cpu")))
    assert [(image.shape, maps.shape) for _, image, maps in found] == [((4, 24, 24), (1, 24, 24))] * len(crops)
