import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import wherein
from drawn_shard import ROLES, draw_shard
from real_data import real_data
from wherein import tables
from wherein.crops.store import CropStore
from wherein.labels import vocabulary
from wherein.models import gapnet
from wherein.models.classic import cell_features, feature_names
from wherein.models.embed import embed_shard
from wherein.models.patches import standardize, statistics
from wherein.settings import check_config

GENES = {"A": "Nucleoplasm", "B": "Cytosol"}


def settings(**own):
    config = {"sources": {"s": {"kind": "simulated"}}, "models": {"m": {"kind": "classic", **own}}}
    check_config(config)
    return config["models"]["m"]


@pytest.fixture
def shard(tmp_path):
    return draw_shard(tmp_path, "s-0001", GENES, controls=1)[0]


def embedded(shard):
    units, vectors = tables.read_vectors([shard.path("embeddings")])
    return units, vectors, tables.read_metadata(shard.path("embeddings"))


def test_classic_is_one_vector_for_each_kept_cell(shard):
    ledger = tables.read_tables([shard.path("cells")])
    ledger.loc[3, ["status", "reason", "crop_index"]] = ["rejected", "border", np.nan]
    tables.write_table(shard.path("cells"), ledger, tables.cells_schema(ROLES))
    wanted = settings()
    embed_shard(**shard.embed_arguments(wanted))
    units, vectors, metadata = embedded(shard)
    kept = ledger[ledger["status"] == "kept"]
    assert units["unit_id"].tolist() == kept["cell_id"].tolist()
    assert metadata["dimensions"] == feature_names(ROLES, wanted["texture_scales_px"])
    assert (metadata["model"], metadata["kind"], metadata["level"]) == ("m", "classic", "cell")
    store = CropStore(shard.path("crops"))
    row = int(kept["crop_index"].iloc[-1])
    expected = cell_features(
        store.images([row])[0], store.masks([row])[0, 0] == 1, ROLES, 0.32, [1, 2, 4, 8, 16], 32, 0.32
    )
    np.testing.assert_array_equal(vectors[-1], expected)
    predictions = tables.read_tables([shard.path("predictions")])
    assert predictions.columns.tolist() == ["unit_id", "field_id", "version"]
    assert len(predictions) == len(units)
    summary = json.loads((shard.root / "summaries/s-0001.json").read_text())
    assert summary["counts"] == {"in": 26, "kept": 26}


def test_classic_of_whole_fields_and_of_two_roles(tmp_path):
    shard, _ = draw_shard(tmp_path, "s-0001", GENES, roles=["nucleus", "protein"])
    embed_shard(**shard.embed_arguments(settings(level="field")))
    units, vectors, metadata = embedded(shard)
    assert units["unit_id"].tolist() == ["s-0001_f0@v1", "s-0001_f1@v1"]
    assert [name for name in metadata["dimensions"] if "pearson" in name] == ["pearson_nucleus"]
    image = tifffile.imread(shard.root / "images/s-0001_f1_protein.tif")
    assert vectors[1, 0] == pytest.approx(image.sum(dtype=float), rel=1e-6)


def test_a_shard_without_kept_cells_is_an_empty_table(shard):
    ledger = tables.read_tables([shard.path("cells")]).assign(status="rejected", reason="border", crop_index=None)
    tables.write_table(shard.path("cells"), ledger, tables.cells_schema(ROLES))
    for wanted in (settings(), settings(kind="gapnet-pl", weights="untrained")):
        embed_shard(**shard.embed_arguments(wanted))
        units, _, metadata = embedded(shard)
        assert len(units) == 0
        assert len(metadata["dimensions"]) in (71, 256)


def test_gapnet_of_cells_sees_the_field_s_statistics_and_no_neighbours(shard, tmp_path):
    embed_shard(**shard.embed_arguments(settings(kind="gapnet-pl", weights="untrained", batch=4, seed=3)))
    units, vectors, metadata = embedded(shard)
    assert vectors.shape == (27, 256)
    assert metadata["weights"] == "untrained"
    assert tables.read_tables([shard.path("predictions")]).shape[1] == 3

    unit = units.iloc[13]
    store = CropStore(shard.path("crops"))
    order = [ROLES.index(role) for role in gapnet.INPUTS]
    row = store.cell_ids.index(unit["unit_id"])
    crop = store.images([row])[0][order].astype(np.float32)
    crop[:, store.masks([row])[0, 0] == 2] = 0
    field = np.stack([tifffile.imread(tmp_path / f"images/{unit['field_id']}_{role}.tif") for role in gapnet.INPUTS])
    image = standardize(crop, *statistics(field))
    with torch.inference_mode():
        expected = gapnet.untrained(3)(torch.from_numpy(image[None]))[0][0].numpy()
    np.testing.assert_allclose(vectors[13], expected, atol=1e-5)


def test_batches_and_order_do_not_change_vectors(shard):
    found = []
    for batch in (1, 5, 64):
        embed_shard(**shard.embed_arguments(settings(kind="gapnet-pl", weights="untrained", batch=batch)))
        found.append(embedded(shard)[1])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)


def test_gapnet_of_fields_is_the_mean_over_patches(shard, tmp_path):
    weights = real_data("weights/gapnet-pl_weights.npz")
    wanted = settings(kind="gapnet-pl", weights="gapnet-pl-2019", level="field", tile_px=80)
    embed_shard(**shard.embed_arguments(wanted, weights=str(weights)))
    units, vectors, metadata = embedded(shard)
    predictions = tables.read_tables([shard.path("predictions")])
    assert predictions.columns.tolist()[3:] == list(vocabulary("gapnet13").classes)
    assert metadata["weights_sha256"].startswith("d24ed27b")
    assert units["unit_id"].tolist() == [f"s-0001_f{k}@v1" for k in range(3)]
    field = np.stack([tifffile.imread(tmp_path / f"images/s-0001_f1_{role}.tif") for role in gapnet.INPUTS])
    image = standardize(field, *statistics(field))
    patches = [image[:, y : y + 80, x : x + 80] for y in (0, 40) for x in (0, 40)]
    found, probabilities = gapnet.run(gapnet.published(weights), [np.stack(patches)], torch.device("cpu"))
    np.testing.assert_allclose(vectors[1], found.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(predictions.iloc[1, 3:].astype(float), probabilities.mean(axis=0), atol=1e-5)


def test_swapped_roles_swap_the_inputs(shard):
    own = {"kind": "gapnet-pl", "weights": "untrained", "level": "field"}
    embed_shard(**shard.embed_arguments(settings(**own)))
    plain = embedded(shard)
    swap = {"nucleus": "microtubules", "microtubules": "nucleus"}
    embed_shard(**shard.embed_arguments(settings(**own, roles=swap)))
    swapped = embedded(shard)
    assert swapped[2]["roles"] == ["microtubules", "protein", "nucleus", "er"]
    assert not np.allclose(plain[1], swapped[1])


def test_resampling_is_by_micrometres(shard):
    found = []
    for pixel in (None, 0.32, 0.16):
        embed_shard(**shard.embed_arguments(settings(kind="gapnet-pl", weights="untrained", pixel_size_um=pixel)))
        found.append(embedded(shard)[1])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2], atol=0.01)


def test_real_fields_through_the_stage(tmp_path):
    folder = real_data("smoke_hpa_4ch")
    colours = {"nucleus": "blue", "protein": "green", "microtubules": "red", "er": "yellow"}
    shard, _ = draw_shard(tmp_path, "s-0001", {"CCNB1": "Cytosol", "PARP1": "Nucleoplasm"})
    files = tables.read_tables([shard.path("download")])
    names = {"s-0001_f0": "800_A6_1", "s-0001_f1": "B2AI_1_untreated_A1_R2"}
    files["path"] = [
        str(folder / colours[role] / f"{names[field]}_{colours[role]}.jpg")
        for field, role in zip(files["field_id"], files["role"], strict=True)
    ]
    tables.write_table(shard.path("download"), files, tables.FILES)
    wanted = settings(kind="gapnet-pl", weights="gapnet-pl-2019", level="field")
    embed_shard(**shard.embed_arguments(wanted, weights=[str(real_data("weights/gapnet-pl_weights.npz"))]))
    predictions = tables.read_tables([shard.path("predictions")]).set_index("field_id").iloc[:, 2:]
    assert predictions.astype(float).idxmax(axis=1).tolist() == ["Cytosol", "Nucleus"]


def test_classic_does_not_load_torch():
    code = "import sys, wherein.models.embed, wherein.models.evaluate; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(wherein.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_missing_measures_are_counted(shard):
    for role in ROLES:
        path = shard.root / "images" / f"s-0001_f0_{role}.tif"
        tifffile.imwrite(path, np.full((120, 120), 100, np.uint16))
    embed_shard(**shard.embed_arguments(settings(level="field")))
    _, vectors, metadata = embedded(shard)
    assert np.isnan(vectors[0, metadata["dimensions"].index("pearson_er")])
    notes = json.loads((shard.root / "summaries/s-0001.json").read_text())["notes"]
    assert "1 of 3 units have a feature that could not be measured" in notes[0]
