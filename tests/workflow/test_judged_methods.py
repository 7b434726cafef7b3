"""Methods that are judged beside the one in use: which jobs a run plans for them."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from house import House
from PIL import Image

SIMULATED = {"kind": "simulated", "proteins": 2, "fields_per_protein": 1, "controls": 0, "faults": 0, "field_px": 256}


@pytest.fixture
def house(tmp_path) -> House:
    return House(tmp_path / "run")


def configure(house: House, methods: list[str], **truth) -> tuple[str, str]:
    folder = house.folder / "lab"
    folder.mkdir(exist_ok=True)
    (folder / "fields.tsv").write_text("field_id\tpixel_size_um\na\t0.2\nb\t0.2\n")
    for name in ("a", "b"):
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / f"{name}.png")
    lab = {"kind": "table", "table": "lab/fields.tsv", "roles": {"nucleus": {"path": "{field_id}.png"}}, **truth}
    yeast = {**SIMULATED, "mode": "yeast"}
    config = {
        "sources": {"human": SIMULATED, "yeast": yeast, "lab": lab},
        "models": {"classic": {"kind": "classic", "missing_roles": "skip"}},
        "evaluate": {"methods": methods},
    }
    (house.folder / "run.yaml").write_text(yaml.safe_dump(config))
    return "--configfile", "run.yaml"


def test_each_method_runs_where_its_roles_and_the_truth_are(house):
    given = configure(house, ["log-mce", "whole_cells"])
    house.snakemake("catalog", "-c1", *given)
    target = "results/evaluation/segmentation/methods.tsv"
    planned = house.planned(target, *given)
    # the yeast has no nuclei for log-mce, and nobody outlined the lab's fields
    assert planned["segment_beside"] == 3
    assert planned["segment"] == 2
    (house.folder / "lab" / "a_cells.png").write_bytes((house.folder / "lab" / "a.png").read_bytes())
    given = configure(house, ["log-mce", "whole_cells"], truth={"cell": "{field_id}_cells.png"})
    planned = house.planned(target, *given)
    assert (planned["segment_beside"], planned["segment"]) == (5, 3)
    assert "catalog" not in planned, "words on truth are no matter of the catalog"


def test_a_method_that_cannot_be_judged_stops_before_any_job(house):
    given = configure(house, ["cellpose"])
    done = house.snakemake("--dry-run", *given, ok=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "cellpose" in text
    assert not Path(house.folder / "results").exists()
    done = house.snakemake("--dry-run", *configure(house, ["auto"]), ok=False)
    assert "evaluate.methods" in done.stdout + done.stderr
