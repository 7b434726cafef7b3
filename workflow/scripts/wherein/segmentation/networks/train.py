"""The rule `train_segmenter`: two networks that outline nuclei and cells, trained from masks; it goes on where it was.

What a training needs to go on lies in `state/{digest of its settings}` beside what it writes, and goes when it is done:
the examples, and for each network a checkpoint with its weights, the optimizer and the step. Every random number
follows from the seed and the step, so that a training that was stopped ends as one that was not.
"""

import csv
import logging
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wherein.atomic import atomic_path
from wherein.digest import digest
from wherein.models.device import choose_device, describe, peak_gpu_mb
from wherein.segmentation.networks.architectures import ARCHITECTURES, parameters
from wherein.segmentation.networks.augment import patch
from wherein.segmentation.networks.card import card_text
from wherein.segmentation.networks.device import precision
from wherein.segmentation.networks.examples import (
    Example,
    drawn_examples,
    load_examples,
    save_examples,
    table_examples,
)
from wherein.segmentation.networks.inputs import INPUTS
from wherein.segmentation.networks.targets import BORDER, classes_of, loss
from wherein.segmentation.networks.weights import PARTS, save_weights
from wherein.summary import stage_summary

log = logging.getLogger(__name__)

AVERAGED = 0.995
"""Most of the running mean of the weights that a step keeps; the mean is what is written."""

WARM_UP = 0.1
"""Share of the steps over which the learning rate rises; over the rest it falls as a cosine to a hundredth."""

CROWDED = 0.5
"""Share of the patches that are taken for the borders in their fields."""

HISTORY = ("part", "step", "learning_rate", "loss", "held_out_loss", "seconds")


def train_segmenter(
    segmenter: str,
    settings: dict[str, Any],
    device: str,
    weights: str | Path,
    card: str | Path,
    history: str | Path,
    summary: str | Path,
) -> None:
    """Train the two networks of a segmenter.

    Args:
        segmenter: its name.
        settings: `segmenters.<name>` of the configuration.
        device: `auto`, `cuda` or `cpu`.
        weights: npz to write.
        card: Markdown to write, what the networks are and may be used for.
        history: TSV to write, one row for each look at the held-out examples.
        summary: JSON to write.

    Raises:
        ValueError: there are too few examples, or a row of the table is wrong.
        RuntimeError: CUDA is asked for and not there, or what a network says is no longer a number.
    """
    place = choose_device(device)
    state = Path(weights).parent / "state" / digest(settings)
    state.mkdir(parents=True, exist_ok=True)
    with stage_summary(summary, "train_segmenter", segmenter, ("torch", "opencv-python-headless")) as report:
        examples = stored_examples(state / "examples.npz", settings)
        learned, held_out = divided(examples, settings)
        networks: dict[str, nn.Module] = {}
        rows: list[dict[str, Any]] = []
        for part in PARTS:
            networks[part], found = train_part(part, learned, held_out, settings, place, state / f"{part}.pt")
            rows += found
        with atomic_path(history) as partial, partial.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, HISTORY, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        facts = {
            "name": segmenter,
            "architecture": settings["architecture"],
            "grid_um": settings["grid_um"],
            "inputs": INPUTS,
            "settings": settings,
            "parameters": {part: parameters(network) for part, network in networks.items()},
            "examples": {"learned_from": len(learned), "held_out": len(held_out)},
            "held_out_loss": {part: [r["held_out_loss"] for r in rows if r["part"] == part][-1] for part in PARTS},
        }
        save_weights(weights, networks, facts)
        with atomic_path(card) as partial:
            partial.write_text(card_text(facts))
        report.counts = {"in": len(examples), "kept": len(learned), "held_out": len(held_out)}
        report.extra = {"device": describe(place), "peak_gpu_mb": peak_gpu_mb(place), "seed": settings["seed"]}
    shutil.rmtree(state)
    with suppress(OSError):  # the state of a training under other settings may lie beside it
        state.parent.rmdir()


def stored_examples(path: Path, settings: dict[str, Any]) -> list[Example]:
    """The examples of a training: as they were stored before, else drawn and read from the table, and stored."""
    if not path.is_file():
        drawn = drawn_examples(settings["simulated"], settings["seed"], settings["grid_um"])
        read = table_examples(settings["table"], settings["grid_um"]) if settings["table"] else iter(())
        found = []
        for group in (drawn, read):
            for item in group:
                found.append(item)
                if len(found) % 50 == 0:
                    log.info("%d fields to learn from", len(found))
        save_examples(path, found)
    return load_examples(path)


def divided(examples: list[Example], settings: dict[str, Any]) -> tuple[list[Example], list[Example]]:
    """Set some examples apart, by which the training is judged: those to learn from, and those held out.

    Raises:
        ValueError: there are fewer than two.
    """
    if len(examples) < 2:
        raise ValueError(
            f"{len(examples)} fields to learn from; a training needs two at least: set simulated.fields, or name more "
            "fields in the table"
        )
    number = min(max(1, round(settings["held_out"] * len(examples))), len(examples) - 1)
    order = np.random.default_rng(settings["seed"]).permutation(len(examples))
    return [examples[i] for i in order[number:]], [examples[i] for i in order[:number]]


def train_part(
    part: str,
    learned: list[Example],
    held_out: list[Example],
    settings: dict[str, Any],
    device: torch.device,
    checkpoint: Path,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Train one network, from its checkpoint on where there is one.

    Args:
        part: `nucleus` or `cell`.
        learned: fields to learn from.
        held_out: fields to look at from time to time.
        settings: `segmenters.<name>` of the configuration.
        device: where to run.
        checkpoint: file that holds the state of the training.

    Returns:
        The network with the running mean of its weights, in evaluation mode on the processor, and the history.

    Raises:
        RuntimeError: what the network says is no longer a number.
    """
    torch.manual_seed(settings["seed"])
    network = ARCHITECTURES[settings["architecture"]](len(INPUTS[part]))
    network = network.to(device, memory_format=torch.channels_last)
    mean = torch.optim.swa_utils.AveragedModel(network, avg_fn=running_mean, use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=settings["weight_decay"])
    begin, rows, steps = 0, [], settings["steps"][part]
    if checkpoint.is_file():
        kept = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(kept["network"])
        mean.load_state_dict(kept["mean"])
        optimizer.load_state_dict(kept["optimizer"])
        begin, rows = kept["step"], kept["rows"]
        log.info("%s: going on at step %d of %d", part, begin, steps)
    often = frequencies(learned, part, settings)
    losses: list[float] = []
    start = time.monotonic()
    for step in range(begin, steps):
        rate = learning_rate(step, steps, settings["learning_rate"])
        patches = batch(part, learned, often, settings, step)
        losses.append(_step(network, mean, optimizer, rate, patches, settings, device))
        done = step + 1
        if done % settings["look_every"] == 0 or done == steps:
            seen = held_out_loss(mean.module, part, held_out, settings, device)
            row = [part, done, rate, float(np.mean(losses)), seen, time.monotonic() - start]
            rows.append(dict(zip(HISTORY, (round(v, 6) if isinstance(v, float) else v for v in row), strict=True)))
            log.info("%s: step %d of %d, loss %.4f, held out %.4f", part, done, steps, row[3], seen)
            losses, start = [], time.monotonic()
            kept = {"network": network.state_dict(), "mean": mean.state_dict(), "optimizer": optimizer.state_dict()}
            with atomic_path(checkpoint) as partial:
                torch.save({**kept, "step": done, "rows": rows}, partial)
    return mean.module.to("cpu").eval(), rows


def running_mean(mean: torch.Tensor, value: torch.Tensor, steps: torch.Tensor | int) -> torch.Tensor:
    """The running mean after one more step; young, it forgets faster, so that nothing stays of the random beginning."""
    kept = min(AVERAGED, (1 + int(steps)) / (10 + int(steps)))
    return kept * mean + (1 - kept) * value


def learning_rate(step: int, steps: int, highest: float) -> float:
    """The learning rate of a step, counted from 0: a linear rise to `highest`, then a cosine."""
    share = (step + 1) / steps
    if share < WARM_UP:
        return highest * share / WARM_UP
    fall = (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))) / 2
    return highest * (0.01 + 0.99 * fall)


def frequencies(examples: list[Example], part: str, settings: dict[str, Any]) -> np.ndarray:
    """How often each example is taken: (n,) adding up to 1.

    CROWDED of them for the borders that they have, since touching objects are what is hard to learn and rare; the rest
    evenly.
    """
    labels = [item.nucleus if part == "nucleus" else item.cell for item in examples]
    borders = np.array([(classes_of(image, border_reach(settings)) == BORDER).mean() for image in labels])
    even = np.full(len(examples), 1 / len(examples))
    return (1 - CROWDED) * even + CROWDED * borders / borders.sum() if borders.any() else even


def border_reach(settings: dict[str, Any]) -> float:
    """Reach of the border on either side, in pixels of the networks' grid."""
    return settings["border_um"] / 2 / settings["grid_um"]


def batch(
    part: str, examples: list[Example], often: np.ndarray, settings: dict[str, Any], step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The patches of one step: images (N, C, h, w) float32 and their classes (N, h, w) uint8."""
    rng = np.random.default_rng([settings["seed"], PARTS.index(part), step])
    images, targets = [], []
    for place in rng.choice(len(examples), settings["batch"], p=often):
        seen, labels = patch(examples[place], part, settings["patch_px"], rng)
        images.append(seen)
        targets.append(classes_of(labels, border_reach(settings)))
    return np.stack(images), np.stack(targets)


def _step(
    network: nn.Module,
    mean: torch.optim.swa_utils.AveragedModel,
    optimizer: torch.optim.Optimizer,
    rate: float,
    patches: tuple[np.ndarray, np.ndarray],
    settings: dict[str, Any],
    device: torch.device,
) -> float:
    """One step of the optimizer; its loss."""
    network.train()
    for group in optimizer.param_groups:
        group["lr"] = rate
    with precision(device, settings["precision"]):
        logits = network(torch.from_numpy(patches[0]).to(device, memory_format=torch.channels_last))
    if not torch.isfinite(logits).all():
        raise RuntimeError("what the network says is no longer a number: lower learning_rate, or set precision to fp32")
    value = loss(logits, torch.from_numpy(patches[1]).to(device).long())
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    mean.update_parameters(network)
    return float(value.detach())


@torch.inference_mode()
def held_out_loss(
    network: nn.Module, part: str, examples: list[Example], settings: dict[str, Any], device: torch.device
) -> float:
    """Mean loss over the same patches of the held-out examples each time."""
    network.eval()
    values = [
        float(
            loss(
                network(torch.from_numpy(images).to(device, memory_format=torch.channels_last)),
                torch.from_numpy(classes).to(device).long(),
            )
        )
        for images, classes in _looks(part, examples, settings)
    ]
    return float(np.mean(values))


def _looks(part: str, examples: list[Example], settings: dict[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    often = frequencies(examples, part, settings)
    # steps past the last are never trained on
    for look in range(max(1, len(examples) // settings["batch"])):
        yield batch(part, examples, often, settings, settings["steps"][part] + look)
