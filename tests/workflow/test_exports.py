"""Crops of a run leave it in the layouts of other programs, and every cell is accounted for."""

import io
import json
import shutil
import tarfile

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from house import House
from wherein.crops.store import CropStore

pytestmark = pytest.mark.slow

SMALL = {"kind": "simulated", "proteins": 3, "fields_per_protein": 1, "controls": 1, "faults": 0, "field_px": 448}

LAYOUTS = ("h5sc", "cytoself", "webdataset")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("exports") / "house")
    config = {
        "sources": {
            "lab": {**SMALL, "mode": "two_roles", "pixel_size_um": 0.16, "seed": 2},
            "screen": {**SMALL, "mode": "yeast", "field_px": 256},
        },
        "crop": {"window_um": 21, "without_nucleus": {"window_um": 21, "min_sample_cells": 5}},
        "export": {"formats": list(LAYOUTS), "webdataset": {"shard_cells": 7}, "filters": {"padded": False}},
    }
    (house.folder / "exports.yaml").write_text(yaml.safe_dump(config))
    house.snakemake("all_export", "--cores", "2", "--configfile", "exports.yaml")
    return house


def kept_cells(house, source):
    cells = pd.concat([pd.read_parquet(path) for path in house.folder.glob(f"results/cells/{source}-*.parquet")])
    return cells[cells["status"] == "kept"].set_index("cell_id")


def manifest_of(house, layout, source):
    return json.loads((house.folder / f"results/export/{layout}/{source}/manifest.json").read_text())


@pytest.mark.parametrize("source", ["lab", "screen"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_ledger_balances(house, layout, source):
    counts = manifest_of(house, layout, source)["counts"]
    kept = kept_cells(house, source)
    assert counts["in"] == len(kept) == sum(count for name, count in counts.items() if name != "in")
    summary = json.loads((house.folder / f"results/summaries/export_crops/{layout}-{source}.json").read_text())
    assert summary["counts"] == counts
    exported = house.folder / "results/export" / layout / source
    if layout == "cytoself":
        labels = [np.load(path) for path in exported.glob("*_label.npy")]
        names = np.concatenate(labels)[:, 3].tolist() if labels else []
    elif layout == "h5sc":
        names = anndata.read_h5ad(exported / "single_cells.h5sc").obs["cell_id"].tolist()
    else:
        names = [json.loads(content)["cell_id"] for _, content in members(exported, ".json")]
    assert len(names) == len(set(names)) == counts["kept"] > 0
    assert not kept.loc[names, "padded"].any()


def members(folder, ending):
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            yield from ((m.name, tar.extractfile(m).read()) for m in tar if m.name.endswith(ending))


def test_pixels_are_those_of_the_stores(house):
    stores = {path.stem: CropStore(path) for path in house.folder.glob("results/crops/*.zarr")}
    places = {cell_id: (store, row) for store in stores.values() for row, cell_id in enumerate(store.cell_ids)}
    for source in ("lab", "screen"):
        folder = house.folder / "results/export/webdataset" / source
        cells = [json.loads(content) for _, content in members(folder, ".json")]
        images = [np.load(io.BytesIO(content)) for _, content in members(folder, ".image.npy")]
        for cell, image in zip(cells, images, strict=True):
            store, row = places[cell["cell_id"]]
            np.testing.assert_array_equal(image, store.images([row])[0])
            assert cell["roles"] == store.roles
            assert cell["gene_fold"] is not None
        found = anndata.read_h5ad(house.folder / f"results/export/h5sc/{source}/single_cells.h5sc")
        for image, cell in zip(found.obsm["single_cell_images"], found.obs.itertuples(), strict=True):
            store, row = places[cell.cell_id]
            exact = store.images([row])[0] * (store.masks([row])[0, 0] == 1) / cell.full_scale
            np.testing.assert_allclose(image[-len(store.roles) :], exact, rtol=2**-11, atol=2**-24)


def test_what_left_comes_in_again(house, tmp_path):
    """Crops exported for cytoself are a source of crops made elsewhere."""
    folder = house.folder / "results/export/cytoself/lab"
    proteins = manifest_of(house, "cytoself", "lab")["proteins"]
    table = pd.DataFrame({"field_id": list(proteins), "genes": list(proteins.values())})
    table["pixel_size_um"] = 0.206
    back = House(tmp_path / "house")
    shutil.copytree(folder, back.folder / "crops")
    table.to_csv(back.folder / "crops" / "table.tsv", sep="\t", index=False)
    source = {
        "kind": "crops", "table": "crops/table.tsv", "axes": "NYX", "full_scale": 1,
        "roles": {"protein": {"path": "{field_id}_pro.npy"}, "nucleus": {"path": "{field_id}_nuc.npy"}},
        "nucleus_distance": {"path": "{field_id}_nucdist.npy"},
    }  # fmt: skip
    (back.folder / "back.yaml").write_text(yaml.safe_dump({"sources": {"back": source}}))
    back.snakemake("all_crop", "--cores", "2", "--configfile", "back.yaml")
    (store,) = (CropStore(path) for path in back.folder.glob("results/crops/*.zarr"))
    cells = kept_cells(back, "back")
    assert len(cells) == manifest_of(house, "cytoself", "lab")["cells"]
    for name, own in cells.groupby("field_id"):
        rows = own.sort_values("label")["crop_index"].to_numpy()
        for role, channel in (("protein", "pro"), ("nucleus", "nuc")):
            planes = store.images(rows)[:, store.roles.index(role)]
            np.testing.assert_array_equal(planes, np.load(folder / f"{name}_{channel}.npy"))
        distance = np.load(folder / f"{name}_nucdist.npy") * 0.206
        np.testing.assert_allclose(store.nucleus_distance(rows), distance, rtol=2**-10)


def change(house, name, **words):
    config = yaml.safe_load((house.folder / "exports.yaml").read_text())
    config["export"] |= words
    (house.folder / name).write_text(yaml.safe_dump(config))


def test_a_changed_layout_is_exported_again_alone(house):
    assert house.planned("all_export", "--configfile", "exports.yaml") == {}
    change(house, "again.yaml", webdataset={"shard_cells": 7, "masks": False})
    assert house.planned("all_export", "--configfile", "again.yaml") == {"export_crops": 2, "all_export": 1}


def test_nothing_asked_for_is_said(house):
    change(house, "none.yaml", formats=[])
    done = house.snakemake("all_export", "--dry-run", "--configfile", "none.yaml", ok=False)
    assert done.returncode != 0
    assert "name layouts under export.formats" in done.stdout + done.stderr
