"""Several processes that train one network: started, told to stop, ended, and one network in the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from stored_fields import write_store
from wherein import tables
from wherein.labels import vocabulary
from wherein.models import images
from wherein.models.learned import training_settings
from wherein.models.train_process import take_place
from wherein.models.training import together
from wherein.models.training.signals import TRY_AGAIN, Interrupted
from wherein.models.training.together import ProcessFailedError, train_together
from wherein.models.training_table import schema
from wherein.settings import check_config

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parents[1] / "workflow" / "scripts"
CLASSES = list(vocabulary("yeast17").classes)


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Runs a pretended training, each rank of which does what is said."""
    monkeypatch.setattr(together, "PROCESS", "fake_process")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 1.0)

    def run(processes=2, launcher=None, threads=8, **does):
        does = {name.removeprefix("rank"): what for name, what in does.items()}
        train_together(processes, launcher, threads, str(tmp_path / "state"), folder=str(tmp_path), does=does)

    return run


def told(folder):
    """What each process heard: rank, count, address, threads."""
    return sorted(path.read_text() for path in folder.glob("*.*") if path.suffix[1:].isdigit())


def test_each_process_hears_who_it_is_and_gets_its_share_of_threads(pretend, tmp_path):
    pretend(processes=3)
    assert told(tmp_path) == [f"{rank} 3 127.0.0.1 2" for rank in range(3)]
    assert not (tmp_path / "state").exists()


def test_a_process_that_fails_ends_the_others(pretend, tmp_path):
    start = time.monotonic()
    with pytest.raises(ProcessFailedError, match="ended with code 3"):
        pretend(rank0="hold out", rank1="fail", rank2="wait", processes=3)
    assert time.monotonic() - start < 20
    assert len(told(tmp_path)) == 3


def test_running_out_of_memory_starts_all_again(pretend, tmp_path):
    pretend(rank1="run out of memory")
    assert len(told(tmp_path)) == 6  # two processes, three times
    assert (tmp_path / "state" / "abc" / "parts").read_text() == "4"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_goes_on_to_all(pretend, tmp_path, number):
    def tell():
        while len(told(tmp_path)) < 2:
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), number)

    teller = threading.Thread(target=tell)
    teller.start()
    before = signal.getsignal(number)
    with pytest.raises(Interrupted):
        pretend(rank0="wait for word", rank1="wait for word")
    teller.join()
    assert signal.getsignal(number) == before


def test_a_launcher_starts_them_in_our_place(pretend, tmp_path, monkeypatch):
    monkeypatch.setenv("OWN_WORD", "7")
    pretend(launcher="env SLURM_PROCID=$OWN_WORD WORLD_SIZE='$MASTER_ADDR'", processes=4)
    assert told(tmp_path)[0].startswith(f"7 {socket.gethostname()} {socket.gethostname()} ")
    assert told(tmp_path)[0].endswith(" 2")
    assert "127.0.0.1" not in told(tmp_path)[0]
    with pytest.raises(ProcessFailedError):
        pretend(launcher="false")


def test_torchrun_may_be_the_launcher(pretend, tmp_path):
    torchrun = f"{sys.executable} -m torch.distributed.run --standalone --no-python --nproc-per-node 2"
    pretend(launcher=torchrun)
    assert [words.split()[:2] for words in told(tmp_path)] == [["0", "2"], ["1", "2"]]


def test_slurm_says_who_a_process_is():
    found = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_NTASKS": "9"}
    take_place(found)
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"]) == ("3", "8", "1")
    ours = {**found, "RANK": "0", "WORLD_SIZE": "1"}
    take_place(ours)
    assert ours["RANK"] == "0"
    alone = {}
    take_place(alone)
    assert alone == {}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    path, _ = write_store(folder, [(32, 32)] * 15)
    ids = images.FieldStore(path).fields
    truth = np.zeros((15, len(CLASSES)), bool)
    truth[np.arange(15), np.arange(15) % 3] = True
    rows = pd.DataFrame({"unit_id": ids, "field_id": [name[:-2] for name in ids], "version": "v", "shard": "s-0001",
                         "gene_group": [f"G{n}" for n in range(15)], "fold": [2] * 10 + [1] * 5,
                         "part": ["train"] * 10 + ["validation"] * 5, "reagent": "A",
                         "full_scale": 4000.0})  # fmt: skip
    table = pd.concat([rows, pd.DataFrame(truth, columns=CLASSES)], axis=1)
    known = {"classes": CLASSES, "vocabulary": "yeast17", "level": "field", "test_fold": 0, "validation_fold": 1,
             "permuted": False}  # fmt: skip
    tables.write_table(folder / "table.parquet", table, schema(CLASSES), known)
    return folder


def words(data, folder, processes, epochs=2):
    """Arguments of train_together."""
    model = {"kind": "gapnet-pl", "level": "field", "tile_px": 32, "normalization": "rumetshofer2019",
             # what a process drops is its own
             "options": {"dropout": 0},
             "training": {"epochs": epochs, "batch": 5, "vocabulary": "yeast17", "schedule": "constant",
                          # Adam makes steps of one size out of gradients that are 0 but for rounding
                          "optimizer": "sgd", "learning_rate": 0.01,
                          "augmentation": {"flips": True, "policy": {"kind": "random", "magnitude": 0.5}}}}  # fmt: skip
    config = {"sources": {"s": {"kind": "simulated"}}, "models": {"m": model}}
    check_config(config)
    folder.mkdir(exist_ok=True)
    files = {"weights": "weights.pt", "history": "history.csv", "card": "card.md", "summary": "summary.json"}
    return {"processes": processes, "launcher": None, "threads": processes, "state": str(folder / "state"),
            "model": "m", "table": str(data / "table.parquet"), "stores": [str(data / "s-0001.zarr")], "teacher": [],
            "settings": training_settings(config["models"]["m"]), "device": "cpu", "checkpoint_minutes": 0,
            **{key: str(folder / name) for key, name in files.items()}}  # fmt: skip


def weights(folder):
    return torch.load(folder / "weights.pt", weights_only=True)["network"]


def test_two_processes_train_one_network_as_one_does(data, tmp_path):
    for processes in (1, 2):
        train_together(**words(data, tmp_path / str(processes), processes))
    one, two = (weights(tmp_path / name) for name in ("1", "2"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=2e-5), name
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("1", "2")]
    assert [summary["processes"] for summary in summaries] == [1, 2]
    assert summaries[0]["counts"] == summaries[1]["counts"] == {"in": 15, "kept": 10, "validation": 5}
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("1", "2")]
    for column in ("train_loss", "validation_loss", "macro_f1"):
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=1e-3)
    assert not (tmp_path / "2" / "state").exists()


def alone(pid):
    """Processes that train here and whose command names the order of a state."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if str(pid) in line and "train_process" in line]


def test_a_training_of_two_that_was_killed_or_told_to_stop_goes_on(data, tmp_path):
    own = words(data, tmp_path / "m", 2, epochs=60)
    (tmp_path / "words.json").write_text(json.dumps(own))
    code = (
        "import json, sys; from wherein.models.training.together import train_together; "
        "train_together(**json.load(open(sys.argv[1])))"
    )
    state = tmp_path / "m" / "state"
    done = 0
    for number, ending in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, TRY_AGAIN)):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "words.json")],
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
            stderr=subprocess.DEVNULL,
        ) as run:
            until = time.monotonic() + 200
            while epochs_of(state) < done + 3:
                assert run.poll() is None, "the training ended before it could be stopped"
                assert time.monotonic() < until
                time.sleep(0.01)
            # the one that started them, alone
            run.send_signal(number)
            assert run.wait(60) == ending
        until = time.monotonic() + 30
        while alone(state):
            assert time.monotonic() < until, "processes go on without who started them"
            time.sleep(0.05)
        done = epochs_of(state)
        assert not (tmp_path / "m" / "weights.pt").exists()
    train_together(**own)
    assert len(pd.read_csv(tmp_path / "m" / "history.csv")) == 60
    assert not state.exists()


def epochs_of(state):
    return sum(len(path.read_text().splitlines()) - 1 for path in state.glob("*/history.csv"))
