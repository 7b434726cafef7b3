"""Vectors made elsewhere, of proteins and of cells, go through a run to its pages."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from house import House

pytestmark = pytest.mark.slow

PLACES = {"Mitochondria": "TOMM20 ATP5F1B COX4I1 HSPD1 SDHA", "Nucleoplasm": "TP53 POLR2A BRD4 CTCF HDAC1",
          "Golgi apparatus": "GOLGA2 GOLGB1 TGOLN2 GORASP1 GOLGA4"}  # fmt: skip
CONFIG = {
    "sources": {
        "proteins": {
            "kind": "vectors", "table": "made/proteins.tsv",
            "probabilities": {"table": "made/classes.tsv", "vocabulary": "hpa28"},
        },
        "cells": {"kind": "vectors", "table": "made/cells.parquet", "level": "cell"},
    },
    "models": {"densenet": {"kind": "published", "level": "field"}, "of-cells": {"kind": "published"}},
    "evaluate": {"draws": 100},
}  # fmt: skip
ARGUMENTS = ("--configfile", "run.yaml")


def draw(folder):
    """Vectors whose first values tell the location; one protein without a vector, one cell with NaN."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    genes = [(gene, place) for place, own in PLACES.items() for gene in own.split()]
    centre = {place: 3 * np.eye(8)[number] for number, place in enumerate(PLACES)}
    vectors = np.array([centre[place] for _, place in genes]) + rng.normal(0, 0.3, (15, 8))
    table = pd.DataFrame({"genes": [gene for gene, _ in genes], "labels": [place for _, place in genes]})
    table = table.join(pd.DataFrame(vectors).add_prefix("d"))
    table.loc[14, [f"d{number}" for number in range(8)]] = np.nan
    table.to_csv(folder / "proteins.tsv", sep="\t", index=False)
    scores = pd.DataFrame({"genes": table["genes"], **{place: vectors[:, n] / 5 for n, place in enumerate(PLACES)}})
    scores[list(PLACES)] = scores[list(PLACES)].clip(0, 1)
    scores.to_csv(folder / "classes.tsv", sep="\t", index=False)
    cells = table.loc[table.index.repeat(6)].reset_index(drop=True)
    found = np.array([centre[place] for place in cells["labels"]]) + rng.normal(0, 0.5, (90, 8))
    found[3, 2] = np.nan
    cells = cells[["genes", "labels"]].assign(
        field_id=[f"{gene}_{number % 2}" for number, gene in enumerate(cells["genes"])],
        cell_line="HeLa",
        vector=list(found),
    )
    cells.to_parquet(folder / "cells.parquet")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    found = House(tmp_path_factory.mktemp("vectors") / "house")
    draw(found.folder / "made")
    (found.folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    found.snakemake("catalog", "cost", "--cores", "1", *ARGUMENTS)
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
    assert house.told["import_vectors"] == house.told["embed_vectors"] == 2
    assert not {"qc", "crop", "embed", "import_crops"} & set(house.told)


def test_nothing_runs_again(house):
    assert house.planned(*ARGUMENTS) == {}


def test_no_row_is_lost(house):
    balance = table(house, "report/balance.tsv")
    counts = balance.set_index(["stage", "source", "item", "reason"])["count"]
    assert counts["qc", "proteins", "fields", "in"] == 15
    assert counts["qc", "proteins", "fields", "no_vector"] == 1
    assert counts["embed densenet", "proteins", "fields", "kept"] == 14
    assert counts["crop", "cells", "cells", "in"] == 90
    assert counts["crop", "cells", "cells", "not_finite"] == 1
    assert counts["embed of-cells", "cells", "cells", "kept"] == 89
    for _, own in balance.groupby(["stage", "source", "item"]):
        parts = own.set_index("reason")["count"]
        assert parts["in"] == parts.drop("in").sum()


def test_they_stand_in_every_result(house):
    proteins = table(house, "atlas/densenet/clusters.tsv")
    assert proteins["n_proteins"].sum() == 14
    assert len(table(house, "atlas/of-cells/units.parquet")) == 89
    scores = json.loads((house.folder / "results/evaluation/densenet/scores.json").read_text())
    # the drawn probabilities tell the location of every protein, and nobody trained a classifier
    assert scores["classifier"] is None
    assert scores["first_is_right"] == 1
    trained = json.loads((house.folder / "results/evaluation/of-cells/scores.json").read_text())
    assert trained["classifier"] is not None
    assert trained["macro_f1"] > 0.9


def test_the_pages_say_that_there_are_no_pixels(house):
    site = house.folder / "results/report/site"
    told = json.loads((house.folder / "results/summaries/build_site/run.json").read_text())["site"]
    assert told["field_pictures"] == told["cell_pictures"] == 0
    index = (site / "index.html").read_text()
    assert "vectors made elsewhere" in index
    assert "its vectors were made elsewhere: there is no field to outline in" in index
    # 15 rows of proteins, 30 fields of cells
    assert (site / "data/fields.js").read_text().count("false") >= 45


def test_a_changed_row_reruns_its_shard_alone(house):
    path = house.folder / "made/proteins.tsv"
    rows = pd.read_csv(path, sep="\t")
    rows.loc[14, [f"d{number}" for number in range(8)]] = 0.5
    rows.to_csv(path, sep="\t", index=False)
    house.snakemake("catalog", "--cores", "1", *ARGUMENTS)
    planned = house.planned(*ARGUMENTS)
    assert planned["import_vectors"] == planned["embed_vectors"] == 1
    shards = table(house, "catalog/shards.tsv")
    # GOLGA4 has a vector now; rows that pandas wrote with the same numbers are the same versions
    assert shards.loc[shards["shard"] == "proteins-0002", "field_id"].tolist() == ["proteins_GOLGA4"]
