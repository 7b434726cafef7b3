"""Sources with fewer roles go through the stages that their roles allow, and say what they left out."""

import pandas as pd
import pytest
import yaml
from house import ROOT, House

pytestmark = pytest.mark.slow

SMALL = {"fields_per_protein": 1, "controls": 1, "faults": 0, "field_px": 512}


@pytest.mark.parametrize("name", ["two_roles", "yeast"])
def test_ready_configuration_runs(name, tmp_path):
    house = House(tmp_path / "house")
    config = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    for source in config["sources"].values():
        source.update(SMALL, proteins=8)
    (house.folder / "small.yaml").write_text(yaml.safe_dump(config))
    house.snakemake("--cores", "2", "--configfile", "small.yaml")
    cells = pd.concat([pd.read_parquet(path) for path in (house.folder / "results/cells").glob("*.parquet")])
    assert (cells["status"] == "kept").sum() > 20
    left_out = pd.read_csv(house.folder / "results/report/left_out.tsv", sep="\t")
    skipped = {model for model, words in config["models"].items() if words["kind"] == "gapnet-pl"}
    assert skipped
    assert set(left_out["name"]) >= skipped
    assert left_out["reason"].str.contains("needs the role").all()
    assert (house.folder / "results/report/site/index.html").is_file()
    assert house.planned("--configfile", "small.yaml") == {}


def test_a_model_without_its_roles_stops_the_run_before_any_job(tmp_path):
    house = House(tmp_path / "house")
    config = yaml.safe_load((ROOT / "config" / "two_roles.yaml").read_text())
    for words in config["models"].values():
        words["missing_roles"] = "stop"
    (house.folder / "stop.yaml").write_text(yaml.safe_dump(config))
    done = house.snakemake("--cores", "1", "--configfile", "stop.yaml", ok=False)
    assert done.returncode != 0
    assert "needs the role microtubules, er" in done.stdout + done.stderr
    assert not (house.folder / "results").exists()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"sources": {"demo": {"kind": "simulated", "protiens": 3}}}, "unknown key 'protiens'"),
        ({"sources": {"demo": {"kind": "simulated", "mode": "three_roles"}}}, "allowed are 'four_roles'"),
        ({"sources": {"demo": {"kind": "simulated"}}, "shards": {"fields": 0}}, "shards.fields"),
        ({"sources": {"lab": {"kind": "table", "table": "none.tsv", "roles": {"protein": {"path": "x"}}}}}, "none.tsv"),
    ],
)
def test_wrong_configuration_stops_before_any_job_with_one_line(config, says, tmp_path):
    house = House(tmp_path / "house")
    (house.folder / "wrong.yaml").write_text(yaml.safe_dump(config))
    done = house.snakemake("--cores", "1", "--configfile", "wrong.yaml", ok=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert says in text
    assert not (house.folder / "results").exists()
