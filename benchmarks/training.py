"""A training step of this workflow beside a plain PyTorch loop: same network, same images, same run.

Simulated fields are written to a field store, and both loops are fed from it by the same feed, an epoch each in turns,
so that whatever else the machine does falls on both. The plain loop is that of torch's tutorials: forward, loss,
backward, clipping, optimizer, `loss.item()`; once more with images in the layout `channels_last`. Starting and a first
epoch are left out. On a processor GapNet-PL sees 256 pixels and DenseNet-121 128; on a GPU 1,024 and 512, in bfloat16,
and nvidia-smi is asked how busy it is. With `--compile` our loop takes turns with itself compiled by torch.compile.

Then inference by DenseNet-121 on tiles of 128 pixels, 32 at once: this workflow's (images in the layout
`channels_last`, bfloat16 unless `--precision` says otherwise) beside a plain loop in float32 in the default layout over
the same tiles from the same feed; both from the store of fields to probabilities.

Prints a table and, last, one JSON line: `step_vs_plain_loop` says how many times faster than the plain loop (the least
over the networks), `data_wait_share` which share of the time there was no image to work on (the most over the
networks), `inference_images_per_second` and `inference_vs_plain_fp32` the same of inference, and, with `--compile`,
`compiled_step_over_uncompiled` how long a compiled step takes beside one that is not (the most over the networks).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tifffile
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.models.device import choose_device, describe  # noqa: E402
from wherein.models.feeds import Draw, Pixels, TilePlan, TrainingFeed  # noqa: E402
from wherein.models.field_store import write_fields  # noqa: E402
from wherein.models.grid import Grid  # noqa: E402
from wherein.models.images import Units, UnitSource, field_units  # noqa: E402
from wherein.models.inference import infer  # noqa: E402
from wherein.models.networks.build import build  # noqa: E402
from wherein.models.networks.registry import NETWORKS  # noqa: E402
from wherein.models.training.distributed import Place  # noqa: E402
from wherein.models.training.step import computes_bf16  # noqa: E402
from wherein.models.training.trainer import Fitted, fit  # noqa: E402
from wherein.settings import fill_defaults, schema  # noqa: E402
from wherein.simulate.plan import plan_source  # noqa: E402
from wherein.simulate.shard import draw  # noqa: E402

ROLES = ("nucleus", "microtubules", "er", "protein")
CLASSES = 19
PAPER = 24.8
"""Crops of 1,024 pixels that GapNet-PL was trained on in a second, on a GTX 1080 Ti (Rumetshofer et al. 2019, appendix,
table 6: 605 s an epoch of 15,004 crops)."""


class Case(NamedTuple):
    """What is measured.

    Attributes:
        network: of the registry.
        side: pixels of an image.
        batch: images of a step.
        steps: of an epoch.
    """

    network: str
    side: int
    batch: int
    steps: int


ON_PROCESSOR = (Case("gapnet-pl", 256, 16, 12), Case("densenet121", 128, 8, 12))
ON_GPU = (Case("gapnet-pl", 1024, 64, 100), Case("densenet121", 512, 64, 100))
INFERENCE = Case("densenet121", 128, 32, 4)


def draw_store(folder: Path, side: int, fields: int) -> Path:
    """Write a store of simulated fields half as large again as the images that are cut from them."""
    source = {"kind": "simulated", "mode": "four_roles", "seed": 5, "field_px": side + side // 2, "faults": 0}
    source["proteins"] = fields
    fill_defaults(source, schema()["$defs"]["simulated_source"])
    rows, files = [], []
    for name, spec in list(plan_source("benchmark", source).specs.items())[:fields]:
        channels = draw(spec).channels
        for role in ROLES:
            path = folder / f"{side}_{len(files)}.tif"
            tifffile.imwrite(path, channels[role])
            files.append({"field_id": str(name), "version": "0", "role": role, "path": str(path), "status": "ok"})
        height, width = channels["protein"].shape
        rows.append((str(name), "0", height, width, 0.08, 65535.0))
    columns = ["field_id", "version", "height", "width", "pixel_size_um", "full_scale"]
    table = pd.DataFrame(files).assign(reason=None, channel=None, z=None, axes=None, bin=None, gain=None)
    write_fields(folder / f"{side}.zarr", pd.DataFrame(rows, columns=columns), table, Grid(), {})
    return folder / f"{side}.zarr"


@contextmanager
def feed_of(case: Case, store: Path, device: torch.device, workers: int) -> Iterator[TrainingFeed]:
    """Random windows of the fields, flipped and turned, with drawn labels."""
    fields = field_units([store], ROLES)
    units: Units = fields.of(np.arange(case.batch * case.steps) % len(fields))
    labels = (np.random.default_rng(0).random((len(units), CLASSES)) < 0.15).astype(np.float32)
    plan = Draw(units, case.side, case.batch, 0)
    source = UnitSource(units, ROLES, case.side, "field")
    with Pixels(units, source, plan, NETWORKS[case.network].normalization, device, workers) as pixels:
        yield TrainingFeed(pixels, labels, CLASSES, {"flips": True, "quarter_turns": True}, 0)


def network_of(case: Case) -> nn.Module:
    """The network with random weights."""
    return build(case.network, len(ROLES), CLASSES, 0, case.side)


def ours(case: Case, feed: TrainingFeed, device: torch.device, epochs: int, settings: dict) -> Fitted:
    """Train with this workflow's trainer."""
    found = {"epochs": epochs, "schedule": "constant", "checkpoint_minutes": 1000, **settings}
    fill_defaults(found, schema()["$defs"]["training"])
    with tempfile.TemporaryDirectory() as state:
        return fit(network_of(case), feed, None, found, state, Place(0, 1, device))


def plain(
    case: Case, feed: TrainingFeed, device: torch.device, epochs: int, layout: torch.memory_format
) -> list[float]:
    """Train as torch's tutorials do; seconds of each epoch."""
    network = network_of(case).to(device, memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.001)
    criterion = nn.BCEWithLogitsLoss()
    bf16 = computes_bf16(device, "auto")
    seconds = []
    for epoch in range(epochs):
        start = time.perf_counter()
        for images, targets in feed.batches(epoch, 0):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = criterion(network(images.contiguous(memory_format=layout))[1], targets)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - start)
    return seconds


@contextmanager
def watched_gpu(device: torch.device) -> Iterator[list[float]]:
    """What nvidia-smi says of the GPU, each half second, as shares; nothing on a processor."""
    shares: list[float] = []
    if device.type == "cpu":
        yield shares
        return
    over = threading.Event()
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", str(device.index or 0)]

    def ask() -> None:
        while not over.wait(0.5):
            told = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
            if told.isdigit():
                shares.append(int(told) / 100)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield shares
    finally:
        over.set()
        asking.join()


def measure(case: Case, store: Path, device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step of each loop, medians over the rounds, and of ours where the time went."""
    turns: dict[str, list[float]] = {"ours": [], "plain": [], "plain, channels last": []}
    if options.compile:
        turns["compiled"] = []
    last: list[Fitted] = []
    busy: list[float] = []
    with feed_of(case, store, device, options.workers) as feed:
        for _ in range(options.rounds):
            with watched_gpu(device) as shares:
                last.append(ours(case, feed, device, 2, {}))
            busy += shares
            turns["ours"].append(last[-1].rows[1]["seconds"])
            turns["plain"].append(plain(case, feed, device, 2, torch.contiguous_format)[1])
            turns["plain, channels last"].append(plain(case, feed, device, 2, torch.channels_last)[1])
            if options.compile:
                # kernels are made in the first epoch, which is left out
                turns["compiled"].append(ours(case, feed, device, 2, {"compile": True}).rows[1]["seconds"])
    seconds = {name: np.array(values) / case.steps for name, values in turns.items()}
    rows = [fitted.rows[1] for fitted in last]
    compiled = seconds.get("compiled", np.array([np.nan]))
    return {
        "step, ms": 1e3 * float(np.median(seconds["ours"])),
        "plain, ms": 1e3 * float(np.median(seconds["plain"])),
        "plain channels last, ms": 1e3 * float(np.median(seconds["plain, channels last"])),
        "vs plain": float(np.median(seconds["plain"] / seconds["ours"])),
        "vs plain channels last": float(np.median(seconds["plain, channels last"] / seconds["ours"])),
        "compiled step, ms": 1e3 * float(np.median(compiled)),
        "compiled over uncompiled": float(np.median(compiled / seconds["ours"])),
        "images/s": float(np.median([row["images_per_second"] for row in rows])),
        "data wait": float(np.median([row["data_wait_share"] for row in rows])),
        "GPU busy": float(np.median(busy)) if busy else float("nan"),
        "peak MB": max(row["peak_mb"] for row in rows),
    }


def measure_inference(case: Case, store: Path, device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """Images a second of this workflow's inference and of a plain loop, which take turns; medians over the rounds."""
    fields = field_units([store], ROLES)
    about = {
        "inputs": ROLES, "side_px": case.side, "level": "field", "pixel_size_um": None, "blank_neighbours": False,
        "normalization": NETWORKS[case.network].normalization,
    }  # fmt: skip
    settings = {"tiles": "mean", "test_time": "none", "batch": case.batch}
    plan = TilePlan(fields, case.side, case.batch)
    tiles = sum(len(plan.rows(0, number)) for number in range(len(plan)))
    units = fields.of(np.arange(-(-case.batch * case.steps * len(fields) // tiles)) % len(fields))
    bf16 = options.precision == "bf16"
    own, other = network_of(case).eval(), network_of(case).eval().to(device)
    turns: dict[str, list[float]] = {"ours": [], "plain": []}
    images = 0
    # one round more than is counted: the first one starts
    for _ in range(options.rounds + 1):
        start = time.perf_counter()
        infer(own, units, about, settings, device, bf16, options.workers)
        turns["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        images = plain_inference(case, other, units, device, options.workers)
        turns["plain"].append(time.perf_counter() - start)
    seconds = {name: np.array(values[1:]) for name, values in turns.items()}
    return {
        "images": float(images),
        "images/s": float(np.median(images / seconds["ours"])),
        "plain fp32, images/s": float(np.median(images / seconds["plain"])),
        "vs plain fp32": float(np.median(seconds["plain"] / seconds["ours"])),
    }


@torch.inference_mode()
def plain_inference(case: Case, network: nn.Module, units: Units, device: torch.device, workers: int) -> int:
    """Predict as torch's tutorials do, in float32 and the default layout; the number of tiles."""
    source, plan = UnitSource(units, ROLES, case.side, "field"), TilePlan(units, case.side, case.batch)
    workers = workers if device.type == "cuda" else 0
    told = []
    with Pixels(units, source, plan, NETWORKS[case.network].normalization, device, workers) as pixels:
        for _, _, batch in pixels.batches(0, 0):
            vector, logits = network(batch.contiguous())
            told.append((vector.cpu(), torch.sigmoid(logits).cpu()))
    return sum(len(vector) for vector, _ in told)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "cpu"])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop")
    parser.add_argument("--fields", type=int, default=8, help="distinct fields; each comes many times, elsewhere cut")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode; on a GPU as many as cores")
    parser.add_argument("--threads", type=int, default=1, help="of the processor, where there is no GPU")
    parser.add_argument("--steps", type=int, help="steps of an epoch")
    parser.add_argument("--compile", action="store_true", help="measure our loop compiled by torch.compile, too")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"], help="of our inference")
    options = parser.parse_args()
    device = choose_device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(options.threads)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for case in ON_GPU if device.type == "cuda" else ON_PROCESSOR:
            wanted = case._replace(steps=options.steps or case.steps)
            store = draw_store(Path(name), case.side, options.fields)
            found[f"{case.network}, {case.side} px"] = measure(wanted, store, device, options)
        case = INFERENCE._replace(steps=options.steps or INFERENCE.steps)
        (Path(name) / "inference").mkdir()
        store = draw_store(Path(name) / "inference", case.side, options.fields)
        predicted = measure_inference(case, store, device, options)
    table = pd.DataFrame(found)
    print(table.to_string(float_format=lambda value: f"{value:,.3f}"))
    inference = pd.DataFrame({f"inference, {INFERENCE.network}, {INFERENCE.side} px": predicted})
    print(inference.to_string(float_format=lambda value: f"{value:,.3f}"))
    line = {
        "benchmark": "training",
        "device": describe(device),
        "step_vs_plain_loop": round(float(table.loc["vs plain"].min()), 3),
        "step_vs_plain_channels_last": round(float(table.loc["vs plain channels last"].min()), 3),
        "data_wait_share": round(float(table.loc["data wait"].max()), 4),
        "images_per_second": {key: round(value, 1) for key, value in table.loc["images/s"].items()},
        "inference_images_per_second": round(predicted["images/s"], 1),
        "inference_precision": options.precision,
        "inference_vs_plain_fp32": round(predicted["vs plain fp32"], 3),
    }
    if options.compile:
        line["compiled_step_over_uncompiled"] = round(float(table.loc["compiled over uncompiled"].max()), 3)
    if device.type == "cuda":
        gapnet = table.loc["images/s"].iloc[0]
        line |= {
            "gpu_utilization": {key: round(value, 3) for key, value in table.loc["GPU busy"].items()},
            "peak_gpu_mb": {key: round(value) for key, value in table.loc["peak MB"].items()},
            "gapnet_vs_paper": round(gapnet / PAPER, 1),
        }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
