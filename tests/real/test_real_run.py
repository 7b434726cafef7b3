"""The whole workflow on real fields and controls."""

import shutil

import pandas as pd
import pytest
import yaml
from house import ROOT, House
from real_data import ROOT as DATA
from real_data import real_data

pytestmark = pytest.mark.slow

FIELDS = ["800_A6_1", "B2AI_1_untreated_A1_R1", "B2AI_1_untreated_A1_R2", "B2AI_1_untreated_A1_R4"]
WRONG_WAY = {"nucleus": "microtubules", "microtubules": "nucleus"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    for name in ("smoke_hpa_4ch", "qc_controls", "weights"):
        real_data(name)
    folder = tmp_path_factory.mktemp("real")
    (folder / "shared").symlink_to(DATA.parent)
    house = House(folder / "house")
    (house.folder / "tests" / "real").mkdir(parents=True)
    for name in ("fields.yaml", "fields.tsv", "mismatch.tsv", "nuclei_only.tsv"):
        shutil.copy(ROOT / "tests" / "real" / name, house.folder / "tests" / "real" / name)
    swapped = {
        "kind": "gapnet-pl", "level": "field", "weights": "gapnet-pl-2019", "missing_roles": "skip", "roles": WRONG_WAY,
    }  # fmt: skip
    (house.folder / "swapped.yaml").write_text(yaml.safe_dump({"models": {"gapnet-pl-swapped": swapped}}))
    arguments = ("--configfile", "config/fields.yaml", "tests/real/fields.yaml")
    house.snakemake("--cores", "2", *arguments)
    # of the model that sees two channels swapped the predictions are enough
    swapped = "results/predictions/gapnet-pl-swapped/fields-0001.parquet"
    house.snakemake("--cores", "2", *arguments, "swapped.yaml", "--", swapped)
    house.arguments = arguments
    return house


def tables(run, pattern):
    found = [pd.read_parquet(path) for path in sorted(run.folder.glob(pattern))]
    return pd.concat([frame for frame in found if len(frame)], ignore_index=True)


def first_class(run, model):
    predicted = tables(run, f"results/predictions/{model}/*.parquet").set_index("field_id")
    return predicted.drop(columns=["unit_id", "version"]).idxmax(axis=1)


def test_good_fields_pass_and_controls_are_told(run):
    qc = tables(run, "results/qc/*.parquet").set_index("field_id")
    assert list(qc.loc[FIELDS, "reason"]) == ["passed"] * 4
    assert qc.loc["57_F11_1", "reason"] == "channel_mismatch"
    assert qc.loc["good-1", "reason"] == "passed"
    assert qc.loc["no-nuclei-1", "reason"] == "empty"
    assert qc.loc["no-nuclei-1", "n_nuclei_all"] == 0


def test_cells_are_found_where_nuclei_are(run):
    cells = tables(run, "results/cells/*.parquet")
    kept = cells[cells["status"] == "kept"].groupby("field_id").size()
    assert (kept[FIELDS] >= [8, 14, 25, 14]).all()
    assert kept["good-1"] >= 30


def test_published_network_names_the_published_location(run):
    first = first_class(run, "gapnet-pl")
    assert first[FIELDS[0]] == "Cytosol"
    assert list(first[FIELDS[1:]]) == ["Nucleus"] * 3


def test_it_no_longer_does_with_two_channels_swapped(run):
    first = first_class(run, "gapnet-pl-swapped")
    assert first[FIELDS[0]] != "Cytosol"
    assert "Nucleus" not in set(first[FIELDS[1:]])


def test_the_striking_field_stands_out(run):
    fields = pd.read_csv(run.folder / "results/biology/classic/heterogeneity_fields.tsv", sep="\t")
    varies = fields.set_index("field_id")["intensity_cv"]
    assert varies[FIELDS[2]] > varies[FIELDS[1]] > varies[FIELDS[3]]
    assert varies[FIELDS[2]] == varies.max()


def test_nothing_is_left_to_do(run):
    assert run.planned(*run.arguments) == {}
