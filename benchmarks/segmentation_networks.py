"""What drawing outlines from the networks' maps costs, beside the same at full resolution.

A held-out field of 2048 x 2048 pixels of 0.08 um goes through both networks of `unet`. Then outlines are drawn from
their maps three times, on one core: by this workflow, on the networks' own grid with smooth outlines on the field's
pixels; by the same steps at full resolution, which shows what the coarser grid loses; and by the steps of the HPA cell
segmentation (Le et al. 2022) at full resolution. Prints a table and, last, one JSON line.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import closing, disk, remove_small_holes, remove_small_objects
from skimage.segmentation import find_boundaries, watershed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.metrics.segmentation import compare, match, overlaps  # noqa: E402
from wherein.segmentation.methods import MethodContext  # noqa: E402
from wherein.segmentation.networks import unet  # noqa: E402
from wherein.segmentation.networks.postprocess import Maps, outlines  # noqa: E402
from wherein.settings import fill_defaults, schema  # noqa: E402
from wherein.simulate.field import draw_field  # noqa: E402
from wherein.simulate.plan import plan_source  # noqa: E402
from wherein.simulate.spec import FieldSpec, held_out_seed  # noqa: E402

FIELD_PX, PIXEL_UM = 2048, 0.08


def specs(number: int, fields: int) -> list[FieldSpec]:
    """Good fields of a held-out source."""
    source: dict[str, Any] = {"kind": "simulated", "seed": held_out_seed(number), "proteins": fields, "faults": 0}
    source |= {"field_px": FIELD_PX, "pixel_size_um": PIXEL_UM, "controls": 0, "fields_per_protein": 1}
    fill_defaults(source, schema()["$defs"]["simulated_source"])
    plan = plan_source("benchmark", source)
    return [plan.specs[field_id] for field_id in sorted(plan.specs)[:fields]]


def hpa_style(nucleus: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outlines by the steps and constants of the HPA cell segmentation, all in pixels of 0.08 um.

    Args:
        nucleus: (3, H, W) float32 chances of background, border and body.
        cell: the same of cells.

    Returns:
        nuclei, cells: (H, W) labels.
    """
    clear = 1 - (nucleus[1] + cell[1]) > 0.05
    seeds = remove_small_objects(label((nucleus[2] * clear) > 0.4 - 0.25), max_size=499)
    mask = remove_small_objects(remove_small_holes(nucleus[2] > 0.4, max_size=1000), max_size=7)
    nuclei = remove_small_objects(watershed(-nucleus[2], seeds, mask=mask, watershed_line=True), max_size=2499)
    level = max(0.22, 0.5 * threshold_otsu(cell[2]))
    body = (cell[2] > level) & ~(cell[1] > 0.05)
    cells = watershed(-cell[2], nuclei, mask=body | (nuclei > 0))
    cells = closing(remove_small_objects(cells, max_size=5499), disk(6))
    holes = ndimage.binary_fill_holes(cells > 0) & (cells == 0)
    cells = watershed((cells == 0).astype(np.uint8), cells, mask=(cells > 0) | holes | (cell[1] > 0.05))
    return nuclei, remove_small_objects(cells, max_size=5499)


def full_size(chances: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Maps (3, h, w) on the field's pixels, linear between the grid's."""
    planes = [cv2.resize(np.asarray(plane, np.float32), shape[::-1]) for plane in chances]
    return np.stack(planes)


def seconds_of(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least processor seconds of some runs, and what the last gave."""
    least, found = np.inf, None
    for _ in range(repeats):
        start = time.process_time()
        found = work()
        least = min(least, time.process_time() - start)
    return least, found


def apart_um(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distances in micrometres of one set of outlines from the other, for objects that both have: (n,) mean of each."""
    pairs = overlaps(one, other)
    found = []
    for place in match(pairs):
        first = one == pairs.true_labels[pairs.true[place]]
        second = other == pairs.found_labels[pairs.found[place]]
        y, x = np.nonzero(first | second)
        box = slice(max(0, y.min() - 9), y.max() + 10), slice(max(0, x.min() - 9), x.max() + 10)
        edges = [find_boundaries(mask[box], mode="inner") for mask in (first, second)]
        away = ndimage.distance_transform_edt(~edges[1]) * PIXEL_UM
        found.append(away[edges[0]].mean())
    return np.array(found)


def measured(spec: FieldSpec, settings: dict[str, Any], context: MethodContext, repeats: int) -> dict[str, float]:
    """Seconds of one field's outlines in each way, and how far they lie apart."""
    field = draw_field(spec)
    start = time.process_time()
    maps = unet.predict_batch([field.channels], PIXEL_UM, settings, context)[0]
    networks = time.process_time() - start
    ours, reduced = seconds_of(lambda: outlines(maps, settings), repeats)
    shape = (FIELD_PX, FIELD_PX)
    nucleus, cell = full_size(maps.nucleus, shape), full_size(maps.cell, shape)
    signal = full_size(maps.signal[None], shape)[0]
    fine = Maps(nucleus, cell, signal, shape, PIXEL_UM)
    same, full = seconds_of(lambda: outlines(fine, settings), 1)
    theirs, hpa = seconds_of(lambda: hpa_style(nucleus, cell), 1)
    row = {"networks": networks, "outlines": ours, "full_resolution": same, "hpa_style": theirs}
    distances = [apart_um(a, b) for a, b in zip(reduced[:2], full[:2], strict=True)]
    row["mean_um"] = float(np.concatenate(distances).mean())
    row["p95_um"] = float(np.percentile(np.concatenate(distances), 95))
    for name, (nuclei, cells) in (("f1", tuple(reduced[:2])), ("f1_hpa_style", hpa)):
        row[name] = (compare(field.nucleus, nuclei) + compare(field.cell, cells)).f1
    return row


def on_one_core() -> None:
    """Keep this process, and the threads of its libraries, on one core where the system can."""
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=6, help="number of fields")
    parser.add_argument("--number", type=int, default=1, help="number of the held-out source")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the outlines, of which the fastest counts")
    parser.add_argument("--weights", type=Path, default=ROOT / "resources/segmenters/unet-sim.npz", help="of `unet`")
    options = parser.parse_args()
    on_one_core()
    settings: dict[str, Any] = {}
    fill_defaults(settings, schema()["$defs"]["segment"])
    context = MethodContext(weights=options.weights)
    rows = [measured(spec, settings, context, options.repeats) for spec in specs(options.number, options.fields)]
    frame = pd.DataFrame(rows)
    print(f"{FIELD_PX} x {FIELD_PX} pixels of {PIXEL_UM} um, {len(frame)} fields, processor seconds on one core")
    print(frame.to_string(float_format=lambda value: f"{value:.3f}"))
    middle = frame.median()
    print(
        json.dumps(
            {
                "benchmark": "segmentation_networks",
                "fields": len(frame),
                "time_vs_hpa_style": round(float(middle["outlines"] / middle["hpa_style"]), 3),
                "time_vs_full_resolution": round(float(middle["outlines"] / middle["full_resolution"]), 3),
                "seconds_per_field": round(float(middle["outlines"]), 3),
                "network_seconds_per_field": round(float(middle["networks"]), 3),
                "outline_apart_um": round(float(frame["mean_um"].mean()), 3),
                "outline_apart_p95_um": round(float(frame["p95_um"].max()), 3),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


if __name__ == "__main__":
    main()
