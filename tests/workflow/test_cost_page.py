"""The cost page beside Snakemake's own word: in each state of a run both count the same jobs."""

import shutil

import pandas as pd
import pytest
import yaml
from house import House

pytestmark = pytest.mark.slow

CONFIG = {
    "sources": {
        "drawn": {
            "kind": "simulated", "proteins": 19, "fields_per_protein": 1, "controls": 0, "faults": 0, "field_px": 384,
            "pixel_size_um": 0.32, "seed": 3,
        },
        "pair": {
            "kind": "simulated", "mode": "two_roles", "proteins": 6, "fields_per_protein": 1, "controls": 0,
            "faults": 0, "field_px": 384, "pixel_size_um": 0.32, "seed": 4, "segment": {"method": "unet"},
        },
    },
    "shards": {"fields": 10},
    "evaluate": {"methods": ["log-mce"]},
    "models": {"net": {"kind": "gapnet-pl", "level": "field", "weights": "untrained", "missing_roles": "skip"}},
}  # fmt: skip
ARGUMENTS = ("--configfile", "run.yaml")


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> House:
    found = House(tmp_path_factory.mktemp("cost") / "house")
    (found.folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    found.snakemake("catalog", "--cores", "1", *ARGUMENTS)
    return found


def told(house: House) -> pd.DataFrame:
    house.snakemake("cost", "--cores", "1", *ARGUMENTS)
    assert (house.folder / "results/report/cost.html").stat().st_size > 5000
    return pd.read_csv(house.folder / "results/report/cost.tsv", sep="\t", keep_default_na=False)


def by_rule(table: pd.DataFrame) -> dict[str, int]:
    counts = table.groupby("stage")["to_do"].sum()
    return {stage: int(count) for stage, count in counts.items() if count}


def test_before_the_run(house):
    table = told(house)
    assert by_rule(table) == house.planned(*ARGUMENTS)
    # drawn fields are fetched from nowhere
    assert set(table["fetch_bytes"]) == {0}
    # one network embeds the shards of `drawn`, another outlines those of `pair`
    shards = pd.read_csv(house.folder / "results/catalog/shards.tsv", sep="\t").groupby("source")["shard"].nunique()
    gpus = table[table["gpu_to_do"] > 0].set_index(["stage", "source"])["gpu_to_do"].to_dict()
    assert gpus == {("embed", "drawn"): shards["drawn"], ("segment_network", "pair"): shards["pair"]}
    beside = table[table["stage"] == "segment_beside"]
    assert beside.set_index(["method", "source"])["to_do"].to_dict() == {
        ("log-mce", "drawn"): shards["drawn"],
        ("log-mce", "pair"): shards["pair"],
    }


def test_the_cost_is_counted_anew_each_time(house):
    before = (house.folder / "results/report/cost.html").stat().st_mtime_ns
    told(house)
    assert (house.folder / "results/report/cost.html").stat().st_mtime_ns > before


def test_until_the_crops_then_the_vectors(house):
    house.snakemake("all_crop", "--cores", "2", *ARGUMENTS)
    table = told(house)
    assert by_rule(table) == house.planned(*ARGUMENTS)
    assert not {"simulate", "qc", "segment", "crop"} & set(by_rule(table))
    house.snakemake("all_embed", "--cores", "2", *ARGUMENTS)
    table = told(house)
    assert by_rule(table) == house.planned(*ARGUMENTS)
    assert "embed" not in by_rule(table)
    # what is there is measured, and what is measured is right
    crops = table[table["stage"] == "crop"]["disk_bytes"].astype(float).sum()
    stores = [path for folder in ("crops", "cells", "summaries/crop") for path in
              (house.folder / "results" / folder).rglob("*") if path.is_file()]  # fmt: skip
    assert crops == sum(path.stat().st_size for path in stores)


def test_lost_results(house):
    shutil.rmtree(house.folder / "results/masks/pair-0001.zarr")
    planned = house.planned(*ARGUMENTS)
    assert by_rule(told(house)) == planned
    assert "segment_network" in planned, "what is still to be drawn needs the outlines"
    shutil.rmtree(house.folder / "results/crops/pair-0001.zarr")
    table = told(house)
    assert by_rule(table) == house.planned(*ARGUMENTS)
    crop = table[(table["stage"] == "crop") & (table["source"] == "pair")].iloc[0]
    assert float(crop["hours_to_do"]) > 0, "its benchmark from before tells"


def test_another_source(house):
    house.snakemake("all_embed", "--cores", "2", *ARGUMENTS)
    assert by_rule(told(house)) == house.planned(*ARGUMENTS)
    more = {**CONFIG["sources"], "more": {**CONFIG["sources"]["pair"], "seed": 5}}
    (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "sources": more}))
    house.snakemake("catalog", "--cores", "1", *ARGUMENTS)
    assert by_rule(told(house)) == house.planned(*ARGUMENTS)
    house.snakemake("all_download", "--cores", "2", *ARGUMENTS)
    planned = house.planned(*ARGUMENTS)
    assert "simulate" not in planned
    assert planned["qc"] == 1
    assert by_rule(told(house)) == planned


def test_a_segmenter_to_train(house):
    config = yaml.safe_load((house.folder / "run.yaml").read_text())
    config["segment"] = {"unet": {"weights": "results/segmenters/own/weights.npz"}}
    config["segmenters"] = {"own": {}, "nobody": {}}
    (house.folder / "run.yaml").write_text(yaml.safe_dump(config))
    planned = house.planned(*ARGUMENTS)
    # for `pair` and `more`, which are outlined with it
    assert (planned["train_segmenter"], planned["segment_network"]) == (1, 2)
    assert by_rule(told(house)) == planned
