"""The rerun table: what runs again when something changes, each line a test on one finished run."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tifffile
import torch
import yaml
from house import House
from wherein.settings import check_config
from wherein.simulate.field import draw_field
from wherein.simulate.plan import plan_source

PIXEL_STAGES = {"download", "qc", "segment", "crop", "embed", "shrink", "embed_network"}
LEARNING = {"training_table", "train"}
LATER = {
    *("evaluate", "break_down", "probe_leaks", "attend", "plot_scores", "plot_training", "compare"),
    *("atlas", "enrich", "heterogeneity", "cell_labels", "plot_model", "plot_single_cells", "build_site"),
    *("prerank", "complexes", "plot_gene_sets"),
    *("cluster", "cell_trees", "plot_clusters", "abundance"),
    *("neighbours", "audit_labels", "evaluate_audit"),
}
OVER_ALL = LATER | {"samples", "split", "balance", "plot_qc", "plot_segmentation"}
COLUMNS = ["field_id", "genes", "ensembl_ids", "reagent", "cell_line", "labels", "pixel_size_um"]

ROLES = ("nucleus", "microtubules", "er", "protein")

NET = {
    "kind": "gapnet-pl",
    "level": "field",
    "field_px": 64,
    "tile_px": 64,
    "training": {"epochs": 2, "batch": 4, "checkpoint_minutes": 0},
}
"""A small network, trained on the first fields: two of their genes lie in each of the folds 0 to 2."""

CONFIG = {
    "sources": {
        "lab": {
            "kind": "table",
            "table": "lab/fields.csv",
            "full_scale": 4095,
            "roles": {},
            "qc": {},
        }
    },
    "shards": {"fields": 4},
    "models": {"classic": {"kind": "classic", "level": "cell"}, "net": NET},
    "overrides": "lab/overrides.tsv",
    "biology": {"gene_sets": {}},
}
ARGUMENTS = ("--configfile", "run.yaml", "--cores", "2")


def draw(folder: Path, count: int) -> list[dict[str, str]]:
    """Draw small fields into `folder` and return their rows."""
    config = {
        "sources": {
            "lab": {
                "kind": "simulated",
                "proteins": 19,
                "fields_per_protein": 1,
                "controls": 0,
                "faults": 0,
                "field_px": 384,
                "pixel_size_um": 0.32,
                "seed": 3,
            }
        }
    }
    check_config(config)
    plan = plan_source("lab", config["sources"]["lab"])
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for field in plan.fields.head(count).itertuples():
        for role, image in draw_field(plan.specs[field.field_id]).channels.items():
            tifffile.imwrite(folder / f"{field.field_id}_{role}.tif", image)
        rows.append(
            {
                "field_id": field.field_id,
                "genes": ";".join(field.genes),
                "ensembl_ids": ";".join(field.ensembl_ids),
                "reagent": field.reagent,
                "cell_line": field.cell_line,
                "labels": ";".join(field.labels),
                "pixel_size_um": "0.32",
            }
        )
    return rows


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "images"
    rows = draw(folder, 10)
    # images stand outside of the runs: their addresses stay the same when a run is copied
    CONFIG["sources"]["lab"]["roles"] = {role: {"path": f"{folder}/{{field_id}}_{role}.tif"} for role in ROLES}
    return folder, rows


@pytest.fixture(scope="module")
def finished(drawn, tmp_path_factory):
    """A run over eight of ten fields, in two shards."""
    _, rows = drawn
    house = House(tmp_path_factory.mktemp("finished") / "house")
    (house.folder / "lab").mkdir()
    write_rows(house.folder / "lab" / "fields.csv", rows[:8])
    (house.folder / "lab" / "overrides.tsv").write_text("level\tid\taction\tvalue\twho\twhy\n")
    (house.folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    house.snakemake(*ARGUMENTS)
    return house


@pytest.fixture
def house(finished, tmp_path):
    """A copy of the finished run, times kept, that a test may change."""
    copied = House.__new__(House)
    copied.folder = tmp_path / "house"
    shutil.copytree(finished.folder, copied.folder, symlinks=True)
    return copied


@pytest.fixture
def repainted(drawn):
    """The first field's protein image shows the tenth's, until the test is over."""
    folder, rows = drawn
    first, last = (folder / f"{rows[index]['field_id']}_protein.tif" for index in (0, 9))
    content, times = first.read_bytes(), first.stat()
    first.write_bytes(last.read_bytes())
    yield
    first.write_bytes(content)
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.slow
class TestReruns:
    def test_nothing_changed(self, house):
        assert house.planned(*ARGUMENTS) == {}

    def test_catalog_again_with_nothing_new(self, house):
        house.snakemake(*ARGUMENTS, "--forcerun", "catalog", "--until", "catalog")
        assert house.planned(*ARGUMENTS) == {}

    def test_fields_added(self, house, drawn):
        write_rows(house.folder / "lab" / "fields.csv", drawn[1])
        house.snakemake(*ARGUMENTS, "catalog")
        planned = house.planned(*ARGUMENTS)
        assert {name: planned[name] for name in PIXEL_STAGES} == dict.fromkeys(PIXEL_STAGES, 1)
        assert set(planned) == PIXEL_STAGES | OVER_ALL

    def test_field_changed(self, house, repainted):
        house.snakemake(*ARGUMENTS, "--forcerun", "catalog", "--until", "catalog")
        planned = house.planned(*ARGUMENTS)
        assert {name: planned[name] for name in PIXEL_STAGES} == dict.fromkeys(PIXEL_STAGES, 1)

    def test_a_new_release_trains_nothing_anew(self, house, drawn):
        write_rows(house.folder / "lab" / "fields.csv", drawn[1])
        weights = house.folder / "results" / "models" / "net" / "weights.pt"
        before = weights.stat().st_mtime_ns, weights.read_bytes()
        target = "results/predictions/net/lab-0003.parquet"
        house.snakemake(*ARGUMENTS, "--", "catalog")
        house.snakemake(*ARGUMENTS, "--", target)
        assert (house.folder / target).exists()
        assert (weights.stat().st_mtime_ns, weights.read_bytes()) == before
        assert not set(house.planned(*ARGUMENTS)) & LEARNING

    def test_how_a_network_is_trained_changed(self, house):
        models = {**CONFIG["models"], "net": {**NET, "training": {**NET["training"], "epochs": 3}}}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models}))
        planned = house.planned(*ARGUMENTS)
        assert {name: planned[name] for name in ("train", "embed_network", "evaluate", "atlas")} == {
            "train": 1, "embed_network": 2, "evaluate": 1, "atlas": 1,
        }  # fmt: skip
        # what it learns from stays as it was written
        assert not set(planned) & {"training_table", "shrink", "embed", "split"}

    def test_a_model_that_starts_from_another_comes_beside_it(self, house):
        fine = {**NET, "inputs": ["protein", "er"], "training": {**NET["training"], "start": "net"}}
        models = {**CONFIG["models"], "fine": fine}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models}))
        target = "results/evaluation/fine/scores.json"
        planned = house.planned(*ARGUMENTS, "--", target)
        assert planned == {"training_table": 1, "train": 1, "embed_network": 2, "evaluate": 1}
        # what it starts from is made before it
        done = house.snakemake("--dry-run", *ARGUMENTS, "--forcerun", "train", "--", target)
        reason = (done.stdout + done.stderr).split("Training fine\n")[1].splitlines()[0]
        assert "Input files updated by another job: " in reason
        assert "results/models/net/weights.pt" in reason

    def test_how_a_network_predicts_changed(self, house):
        models = {**CONFIG["models"], "net": {**NET, "test_time": "flips"}}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models}))
        planned = house.planned(*ARGUMENTS)
        assert planned["embed_network"] == 2
        assert not set(planned) & (LEARNING | {"shrink", "embed"})

    def test_a_networks_code_changed(self, house):
        path = house.folder / "workflow" / "scripts" / "wherein" / "models" / "networks" / "densenet121.py"
        path.write_text(path.read_text() + "\n\nCHANGED = 1\n")
        assert not set(house.planned(*ARGUMENTS)) & (LEARNING | {"embed_network"})
        path = path.with_name("gapnet_pl.py")
        path.write_text(path.read_text() + "\n\nCHANGED = 1\n")
        planned = house.planned(*ARGUMENTS)
        assert (planned["train"], planned["embed_network"]) == (1, 2)

    def test_a_killed_training_goes_on(self, house):
        models = {"net": {**NET, "training": {**NET["training"], "epochs": 80}}}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models}))
        weights, state = (house.folder / "results" / "models" / "net" / name for name in ("weights.pt", "state"))
        asked = [sys.executable, "-m", "snakemake", *ARGUMENTS, "--", "results/models/net/weights.pt"]
        with subprocess.Popen(asked, cwd=house.folder, start_new_session=True, stderr=subprocess.DEVNULL) as run:
            until = time.monotonic() + 300
            while sum(len(path.read_text().splitlines()) for path in state.glob("*/history.csv")) < 5:
                assert run.poll() is None, "the training ended before it could be killed"
                assert time.monotonic() < until
                time.sleep(0.02)
            os.killpg(run.pid, signal.SIGKILL)
        assert not weights.exists()
        assert list(state.glob("*/checkpoint.pt"))
        house.snakemake(*ARGUMENTS, "--unlock")
        house.snakemake(*ARGUMENTS, "--rerun-incomplete", "--", "results/models/net/weights.pt")
        assert "going on in epoch" in (house.folder / "logs" / "train" / "net.log").read_text()
        history = (house.folder / "results" / "models" / "net" / "history.csv").read_text().splitlines()
        assert len(history) == 81
        assert weights.exists()
        assert not state.exists()

    def test_two_processes_train_as_one_does(self, house):
        sgd = {**NET["training"], "epochs": 3, "optimizer": "sgd", "learning_rate": 0.01}
        net = {**NET, "options": {"dropout": 0}, "training": sgd}
        models = {"one": net, "two": {**net, "training": {**sgd, "processes": 2}}}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models, "device": "cpu"}))
        folders = [house.folder / "results" / "models" / name for name in models]
        house.snakemake(*ARGUMENTS, "--", *(f"results/models/{name}/weights.pt" for name in models))
        assert "[1 of 2]" in (house.folder / "logs" / "train" / "two.log").read_text()
        one, two = (torch.load(folder / "weights.pt", weights_only=True)["network"] for folder in folders)
        assert all(torch.allclose(value, two[name], atol=2e-5) for name, value in one.items())
        told = json.loads((house.folder / "results" / "summaries" / "train" / "two.json").read_text())
        assert told["processes"] == 2
        assert not (folders[1] / "state").exists()
        # how many processes train changes nothing of what is trained
        models["one"]["training"] = {**sgd, "processes": 2}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models, "device": "cpu"}))
        assert house.planned(*ARGUMENTS, "--", "results/models/one/weights.pt") == {}

    def test_a_policy_is_searched_for_where_a_training_takes_it(self, house):
        training = {
            **NET["training"],
            "policy_search": {"trials": 1, "rounds": 1, "epochs": 1},
            "augmentation": {"policy": {"kind": "searched", "file": "results/models/net/policy.json"}},
        }
        models = {"net": {**NET, "training": training}}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models}))
        house.snakemake(*ARGUMENTS, "--", "results/models/net/weights.pt")
        folder = house.folder / "results" / "models" / "net"
        assert len((folder / "policy_trials.tsv").read_text().splitlines()) == 3
        assert len(json.loads((folder / "policy.json").read_text())["subpolicies"]) in (0, 5)
        assert "policy.json" in (folder / "card.md").read_text()
        assert not (folder / "search").exists()
        assert house.planned(*ARGUMENTS, "--", "results/models/net/weights.pt") == {}

    def test_labels_changed(self, house, drawn):
        rows = [dict(row) for row in drawn[1][:8]]
        rows[0]["labels"] = "Mitochondria"
        write_rows(house.folder / "lab" / "fields.csv", rows)
        house.snakemake(*ARGUMENTS, "catalog")
        planned = set(house.planned(*ARGUMENTS))
        assert planned <= LATER | {"samples", "balance", "plot_qc", "plot_segmentation"}
        assert planned >= LATER

    def test_a_release_without_a_field_and_back(self, house, drawn):
        config = {**CONFIG, "sources": {"lab": {**CONFIG["sources"]["lab"], "release": "2"}}}
        for rows, words in ((drawn[1][1:8], config), (drawn[1][:8], CONFIG)):
            write_rows(house.folder / "lab" / "fields.csv", rows)
            (house.folder / "run.yaml").write_text(yaml.safe_dump(words))
            house.snakemake(*ARGUMENTS, "catalog")
            planned = set(house.planned(*ARGUMENTS))
            assert not planned & PIXEL_STAGES
            assert planned >= LATER
        moved = "results/atlas/classic/moved.tsv"
        house.snakemake(*ARGUMENTS, moved)
        assert house.planned(*ARGUMENTS, moved) == {}
        with open(house.folder / "results" / "catalog" / "release_diff.tsv") as lines:
            told = [
                (row["old_release"], row["release"], row["change"]) for row in csv.DictReader(lines, delimiter="\t")
            ]
        assert told[8:] == [("1", "2", "removed"), ("2", "1", "added")]

    def test_curator_relabels_a_field(self, house, drawn):
        word = f"field\t{drawn[1][0]['field_id']}\trelabel\tMitochondria\tA. Curator\tseen by eye\n"
        with open(house.folder / "lab" / "overrides.tsv", "a") as file:
            file.write(word)
        house.snakemake(*ARGUMENTS, "catalog")
        planned = set(house.planned(*ARGUMENTS))
        assert not planned & (PIXEL_STAGES | {"split"})
        assert planned >= LATER

    def test_curator_rejects_a_field(self, house, drawn):
        with open(house.folder / "lab" / "overrides.tsv", "a") as file:
            file.write(f"field\t{drawn[1][0]['field_id']}\treject\t\tA. Curator\tdust\n")
        house.snakemake(*ARGUMENTS, "catalog")
        planned = house.planned(*ARGUMENTS)
        assert {name: planned.get(name, 0) for name in PIXEL_STAGES} == {
            "download": 0, "qc": 1, "segment": 1, "crop": 1, "embed": 1, "shrink": 1, "embed_network": 1,
        }  # fmt: skip

    def test_library_code_changed(self, house):
        path = house.folder / "workflow" / "scripts" / "wherein" / "crops" / "ledger.py"
        path.write_text(path.read_text() + "\n\nCHANGED = 1\n")
        planned = house.planned(*ARGUMENTS)
        assert planned["crop"] == 2
        assert not set(planned) & {"catalog", "download", "qc", "segment"}

    def test_comment_changed(self, house):
        for path in (house.folder / "workflow" / "scripts" / "wherein").rglob("*.py"):
            path.write_text("# a comment\n" + path.read_text() + "\n# another\n")
        assert house.planned(*ARGUMENTS) == {}

    def test_settings_of_one_stage_changed(self, house):
        config = {**CONFIG, "split": {"folds": 3}}
        (house.folder / "run.yaml").write_text(yaml.safe_dump(config))
        assert not set(house.planned(*ARGUMENTS)) & (PIXEL_STAGES | {"catalog"})

    def test_model_added(self, house):
        models = {**CONFIG["models"], "second": {"kind": "gapnet-pl", "level": "cell", "weights": "untrained"}}
        (house.folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models}))
        planned = house.planned(*ARGUMENTS)
        assert planned["embed"] == 2
        assert not set(planned) & ({"download", "qc", "segment", "crop", "split", "embed_network"} | LEARNING)

    def test_stage_forced(self, house):
        planned = house.planned(*ARGUMENTS, "--forcerun", "segment")
        assert planned["segment"] == 2
        assert not set(planned) & {"download", "qc"}

    def test_lost_output_is_made_when_it_is_asked_for(self, house):
        lost = sorted((house.folder / "results" / "cells").glob("*.parquet"))[0]
        os.remove(lost)
        assert house.planned(*ARGUMENTS, str(lost.relative_to(house.folder))) == {"crop": 1}
