"""The workflow on a real Slurm of one machine with two pretended GPUs."""

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from house import House

HERE = Path(__file__).resolve().parent

SMALL = {
    "sources": {
        "small": {
            "kind": "simulated",
            "proteins": 4,
            "fields_per_protein": 1,
            "controls": 0,
            "faults": 0,
            "field_px": 512,
            "pixel_size_um": 0.24,
        }
    },
    "shards": {"fields": 2},
    "device": "auto",
    "models": {"gapnet-pl-untrained": {"kind": "gapnet-pl", "level": "cell", "weights": "untrained"}},
    "biology": {"gene_sets": {}},
}


@pytest.fixture(scope="module")
def slurm():
    if not shutil.which("slurmctld") or not shutil.which("munged") or os.geteuid() != 0:
        message = "a Slurm on one machine needs root and the packages slurm-wlm and munge"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(message)
        pytest.skip(message)
    subprocess.run(["bash", str(HERE / "start.sh")], check=True, timeout=120, stdout=subprocess.DEVNULL)


def watch(seen: dict[str, str], stop: threading.Event) -> None:
    """Note which GPU each running job was given, by the job's id."""
    while not stop.wait(0.5):
        text = subprocess.run(["scontrol", "show", "job", "-d"], capture_output=True, text=True, check=False).stdout
        for job in text.split("\n\n"):
            number = re.search(r"JobId=(\d+)", job)
            device = re.search(r"GRES=gpu:\S*?1\(IDX:(\d+)\)", job)
            if number and device:
                seen[number.group(1)] = device.group(1)


PROFILE = (
    "--profile", "slurm", "--configfile", "small.yaml", "--slurm-no-account", "--slurm-status-command", "squeue",
)  # fmt: skip
ATLAS = "results/atlas/gapnet-pl-untrained/proteins.h5ad"


@pytest.mark.slow
def test_profile_runs_jobs_and_gpu_jobs_get_different_devices(slurm, tmp_path):
    """Every stage of a shard and a stage over all shards; what is left are stages of the same form, planned alike."""
    house = House(tmp_path / "house")
    (house.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    seen: dict[str, str] = {}
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(seen, stop))
    watcher.start()
    try:
        house.snakemake(
            *PROFILE, "--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks", "3",
            "--latency-wait", "10", "--", "all_embed", ATLAS,
        )  # fmt: skip
    finally:
        stop.set()
        watcher.join()
    assert (house.folder / ATLAS).is_file()
    assert set(seen.values()) == {"0", "1"}, f"devices given to GPU jobs: {seen}"
    networks = list((house.folder / "results/embeddings/gapnet-pl-untrained").glob("*.parquet"))
    assert len(seen) <= len(networks), "jobs of other rules were given a GPU"
    assert house.planned("--configfile", "small.yaml", "--", "all_embed", ATLAS) == {}
    left = house.planned(*PROFILE)
    assert left == house.planned("--configfile", "small.yaml")
    assert "build_site" in left
    assert not {"simulate", "qc", "segment", "crop", "embed", "atlas"} & set(left)
