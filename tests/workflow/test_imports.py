"""Crops made elsewhere go through a run to its pages, beside a source that is outlined and cut here."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from house import House, job_stats

pytestmark = pytest.mark.slow

PROTEINS = {"LMNB1": "Nuclear membrane", "GAPDH": "Cytosol", "SON": "Nuclear speckles", "TOMM20": "Mitochondria"}
CONFIG = {
    "sources": {
        "drawn": {
            "kind": "simulated", "proteins": 6, "fields_per_protein": 1, "controls": 0, "faults": 0, "field_px": 384,
            "pixel_size_um": 0.32, "seed": 3,
        },
        "made": {
            "kind": "crops", "table": "made/crops.tsv", "axes": "NYX", "pixel_size_um": 0.2, "full_scale": 1,
            "roles": {"protein": {"path": "{field_id}_pro.npy"}, "nucleus": {"path": "{field_id}_nuc.npy"}},
            "nucleus_distance": {"path": "{field_id}_nucdist.npy"},
        },
    },
    "models": {
        "classic": {"kind": "classic"},
        "classic-field": {"kind": "classic", "level": "field"},
    },
}  # fmt: skip
ARGUMENTS = ("--configfile", "run.yaml")


def draw(folder):
    """Crops in cytoself's layout: a nucleus and a protein in, on or around it; one crop with NaN, one field without
    its file of nuclei."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    rows = []
    for protein, location in [*PROTEINS.items(), ("BAD", "Cytosol")]:
        radius = rng.uniform(10, 16, (12, 1, 1))
        distance = (radius - np.hypot(y - 32, x - 32)).astype(np.float32)
        nucleus = (distance > 0) * 0.6 + rng.normal(0.1, 0.02, distance.shape)
        shown = {
            "Nuclear membrane": np.exp(-(distance**2) / 4),
            "Nuclear speckles": (distance > 0) * rng.random(distance.shape) ** 4,
        }.get(location, (distance < 0) & (distance > -12))
        image = 0.7 * shown + rng.normal(0.1, 0.02, distance.shape)
        if protein == "SON":
            image[5, 3, 3] = np.nan
        np.save(folder / f"{protein}_pro.npy", image.astype(np.float32))
        if protein != "BAD":
            np.save(folder / f"{protein}_nuc.npy", nucleus.astype(np.float32))
        np.save(folder / f"{protein}_nucdist.npy", distance)
        rows.append({"field_id": protein, "genes": protein, "labels": location, "cell_line": "HEK 293"})
    pd.DataFrame(rows).to_csv(folder / "crops.tsv", sep="\t", index=False)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    found = House(tmp_path_factory.mktemp("imports") / "house")
    draw(found.folder / "made")
    (found.folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    found.snakemake("catalog", "--cores", "1", *ARGUMENTS)
    found.snakemake("cost", "--cores", "1", *ARGUMENTS)
    told = pd.read_csv(found.folder / "results/report/cost.tsv", sep="\t", keep_default_na=False)
    found.told = {stage: int(count) for stage, count in told.groupby("stage")["to_do"].sum().items() if count}
    found.planned_before = found.planned(*ARGUMENTS)
    found.snakemake("--cores", "2", *ARGUMENTS)
    return found


def table(house, path):
    path = house.folder / "results" / path
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t")


def test_costs_are_those_that_snakemake_plans(house):
    assert house.told == house.planned_before
    assert house.told["import_crops"] == house.told["qc_crops"] == house.told["download_crops"] == 1
    assert house.told["segment"] == house.told["crop"] == 1


def test_nothing_runs_again(house):
    assert house.planned(*ARGUMENTS) == {}


def test_no_crop_is_lost(house):
    balance = table(house, "report/balance.tsv")
    counts = balance.set_index(["stage", "source", "item", "reason"])["count"]
    assert counts["crop", "made", "cells", "in"] == 48
    assert counts["crop", "made", "cells", "not_finite"] == 1
    assert counts["crop", "made", "cells", "kept"] == 47
    assert counts["samples", "made", "cells", "kept"] == 47
    assert counts["embed classic", "made", "cells", "kept"] == 47
    assert counts["download", "made", "fields", "missing_file"] == 1
    assert counts["qc", "made", "fields", "missing_file"] == 1
    for _, own in balance.groupby(["stage", "source", "item"]):
        parts = own.set_index("reason")["count"]
        assert parts["in"] == parts.drop("in").sum()
    assert not ((balance["stage"] == "segment") & (balance["source"] == "made")).any()


def test_what_is_left_out_is_said(house):
    left_out = table(house, "report/left_out.tsv")
    made = left_out[left_out["source"] == "made"].set_index("name")["reason"]
    assert "describes whole fields" in made["classic-field"]
    assert "no field to outline" in made["segment"]
    assert not (house.folder / "results/embeddings/classic-field/made-0001.parquet").exists()
    assert not (house.folder / "results/masks/made-0001.zarr").exists()


def test_imported_cells_stand_in_every_result(house):
    units = table(house, "atlas/classic/units.parquet")
    assert set(PROTEINS) <= set(units["gene"])
    predicted = table(house, "evaluation/classic/predictions.parquet")
    assert predicted["field_id"].isin(PROTEINS).sum() == 47
    heterogeneity = table(house, "biology/classic/heterogeneity.tsv")
    assert set(PROTEINS) <= set(heterogeneity["gene"])
    split = table(house, "split/split.parquet")
    assert set(split["field_id"]) >= set(PROTEINS)


def test_the_pages_show_them(house):
    site = house.folder / "results/report/site"
    told = json.loads((house.folder / "results/summaries/build_site/run.json").read_text())["site"]
    # a sheet of crops for each field of crops that can be read
    fields = table(house, "catalog/fields.parquet")
    assert told["field_pictures"] == 4 + (fields["source"] == "drawn").sum()
    assert told["cell_pictures"] > 47
    index = (site / "index.html").read_text()
    assert "outlined or imported" in index
    assert "its crops were made elsewhere" in index
    assert "made-0001" not in (site / "data/segmentation.js").read_text()
    licences = table(house, "report/site/licences.tsv").set_index("name")
    assert licences.loc["made", "kind"] == "crops made elsewhere"


def test_index_and_statistics_take_them(house):
    house.snakemake("all_index", "--cores", "1", *ARGUMENTS)
    statistics = table(house, "statistics/crops.tsv").set_index(["source", "role", "region"])
    assert statistics.loc["made", "protein", "cell"]["crops"] == 47
    fields = table(house, "index/fields.parquet")
    assert fields[fields["source"] == "made"]["n_cells"].tolist() == [12, 12, 11, 12]


def test_a_mended_file_brings_its_field_in_and_touches_no_other_shard(house):
    nucleus = np.load(house.folder / "made/LMNB1_nuc.npy")
    np.save(house.folder / "made/BAD_nuc.npy", nucleus)
    done = house.snakemake("catalog", "--forcerun", "catalog", "--cores", "1", *ARGUMENTS)
    assert job_stats(done.stdout + done.stderr)
    planned = house.planned(*ARGUMENTS)
    assert planned["import_crops"] == planned["qc_crops"] == planned["download_crops"] == 1
    assert "segment" not in planned
    house.snakemake("all_crop", "--cores", "1", *ARGUMENTS)
    cells = table(house, "cells/made-0002.parquet")
    assert cells["field_id"].unique().tolist() == ["BAD"]
    assert (cells["status"] == "kept").sum() == 12


def test_a_run_of_crops_alone(house, tmp_path):
    alone = House(tmp_path / "house")
    draw(alone.folder / "made")
    config = {"sources": {"made": CONFIG["sources"]["made"]}, "models": {}}
    (alone.folder / "run.yaml").write_text(yaml.safe_dump(config))
    alone.snakemake("--cores", "2", *ARGUMENTS)
    index = (alone.folder / "results/report/site/index.html").read_text()
    assert "of 48 imported" in index
    assert alone.planned(*ARGUMENTS) == {}
