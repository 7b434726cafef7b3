"""What the default segmentation costs beside a plain watershed of scikit-image at full resolution, and what both find.

Fields of four channels are drawn from held-out seeds. Both methods work on one core, on the same fields in turn.
Prints a table and, last, one JSON line.

The plain watershed is what most scripts do: Gaussian, Otsu, small objects dropped, holes filled, peaks of the distance
transform, a watershed for nuclei; for cells a watershed from them over the sum of the markers above the triangle
threshold. It is spared what it would otherwise have to do to give the same result: it does not measure its outlines.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from wherein.segmentation.methods import METHODS, MethodContext  # noqa: E402
from wherein.segmentation.quality import measure_outlines  # noqa: E402
from wherein.settings import fill_defaults, schema  # noqa: E402

METHOD = "watershed"
"""What the default is for fields with nuclei."""

Images = dict[str, np.ndarray]


def defaults(section: str, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a section of the schema, with all defaults."""
    fill_defaults(given, schema()["$defs"][section])
    return given


def draw_fields(folder: Path, number: int, field_px: int, pixel_size_um: float, seed: int) -> None:
    """Draw fields of several cell lines into a folder, one npz each."""
    from wherein.simulate.plan import plan_source
    from wherein.simulate.shard import draw
    from wherein.simulate.spec import held_out_seed

    source = {
        "kind": "simulated",
        "mode": "four_roles",
        "seed": held_out_seed(seed),
        "faults": 0,
        "controls": 0,
        "field_px": field_px,
        "pixel_size_um": pixel_size_um,
        "proteins": 12,
        "fields_per_protein": -(-number // 12),
    }
    plan = plan_source("benchmark", defaults("simulated_source", source))
    for place, spec in enumerate(list(plan.specs.values())[:number]):
        field = draw(spec)
        np.savez(folder / f"{place}.npz", nucleus_labels=field.nucleus, cell_labels=field.cell, **field.channels)


def by_default(images: Images, pixel_size_um: float, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of the default method, measured as the stage measures them."""
    found = METHODS[METHOD].load().outline(images, pixel_size_um, settings, MethodContext())
    measure_outlines(images, found, None, pixel_size_um, ["microtubules"], settings["quality"])
    return found.nucleus, found.cell


def by_scikit_image(images: Images, pixel_size_um: float, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of a plain watershed at full resolution; sizes are those of 0.08 um a pixel, scaled."""
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu, threshold_triangle
    from skimage.measure import label
    from skimage.morphology import remove_small_objects
    from skimage.segmentation import watershed

    scale = 0.08 / pixel_size_um
    smooth = gaussian(images["nucleus"], 5 * scale)
    mask = remove_small_objects(label(smooth > threshold_otsu(smooth)), max_size=int(2000 * scale**2)) > 0
    mask = ndimage.binary_fill_holes(mask)
    distance = gaussian(ndimage.distance_transform_edt(mask), 5 * scale)
    peaks = peak_local_max(distance, min_distance=max(1, int(40 * scale)), labels=label(mask))
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    nuclei = watershed(-distance, seeds, mask=mask)
    body = gaussian(images["microtubules"].astype(np.float32) + images["er"], 5 * scale)
    ground = ndimage.binary_fill_holes((body > threshold_triangle(body)) | (nuclei > 0))
    return nuclei, watershed(-body, nuclei, mask=ground)


WAYS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "default": by_default,
    "scikit-image, full resolution": by_scikit_image,
}


def measure(folder: Path, pixel_size_um: float, repeats: int) -> dict[str, Any]:
    """Time both ways on every field in turn, and judge them; the default's memory is taken before the other runs."""
    from wherein.metrics.segmentation import compare

    cv2.setNumThreads(1)
    settings = defaults("segment", {})
    roles = ("nucleus", "microtubules", "er", "protein")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    judged = {name: {"nucleus": [0, 0, 0], "cell": [0, 0, 0]} for name in WAYS}
    files = sorted(folder.glob("*.npz"))
    with np.load(files[0]) as data:
        images = {role: data[role] for role in roles}
    before = peak_mb()
    by_default(images, pixel_size_um, settings)
    peak = peak_mb()
    for file in files:
        with np.load(file) as data:
            images = {role: data[role] for role in roles}
            truth = {part: data[f"{part}_labels"] for part in ("nucleus", "cell")}
        for name, way in WAYS.items():
            best = []
            for _ in range(repeats):
                start, started = time.process_time(), time.perf_counter()
                found = way(images, pixel_size_um, settings)
                best.append((time.process_time() - start, time.perf_counter() - started))
            seconds[name].append(min(best)[0])
            wall[name].append(min(best)[1])
            for (part, true), labels in zip(truth.items(), found, strict=True):
                agreed = compare(true, labels.astype(np.uint32))
                counts = (agreed.n_true, agreed.n_found, agreed.matched)
                judged[name][part] = [old + new for old, new in zip(judged[name][part], counts, strict=True)]
    told = {"seconds": seconds, "wall": wall, "judged": judged, "fields": len(files)}
    return told | {"peak_mb": peak, "base_mb": before}


def peak_mb() -> float:
    """Most memory that this process has held, in MiB."""
    # getrusage would count what the parent held when it started this process
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Draw, measure in a process of one core, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=6)
    parser.add_argument("--field-px", type=int, default=2048)
    parser.add_argument("--pixel-size-um", type=float, default=0.08)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=40, help="of the held-out fields")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.pixel_size_um, given.repeats)))
        return
    with tempfile.TemporaryDirectory() as name:
        draw_fields(Path(name), given.fields, given.field_px, given.pixel_size_um, given.seed)
        command = [sys.executable, __file__, "--measure", name, "--pixel-size-um", str(given.pixel_size_um)]
        command += ["--repeats", str(given.repeats)]
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        done = subprocess.run(command, env=os.environ | one, capture_output=True, text=True, check=True)
    report(json.loads(done.stdout.splitlines()[-1]), given)


def report(told: dict[str, Any], given: argparse.Namespace) -> None:
    """Print the table and the line of ratios."""
    print(f"{given.fields} fields of {given.field_px} x {given.field_px} pixels, four channels, one core")
    print(f"{'':32} {'CPU s a field':>14} {'wall s':>8} {'F1 nuclei':>10} {'F1 cells':>9}   (at IoU 0.6)")
    f1 = {}
    for name in WAYS:
        f1[name] = {part: 2 * m / (t + f) for part, (t, f, m) in told["judged"][name].items()}
        cpu, wall = (float(np.median(told[kind][name])) for kind in ("seconds", "wall"))
        print(f"{name:32} {cpu:14.3f} {wall:8.3f} {f1[name]['nucleus']:10.3f} {f1[name]['cell']:9.3f}")
    ours, plain = (np.array(told["seconds"][name]) for name in WAYS)
    line = {
        "benchmark": "segmentation",
        "fields": told["fields"],
        "field_px": given.field_px,
        "time_vs_skimage": round(float(np.median(ours / plain)), 4),
        "seconds_per_field": round(float(np.median(ours)), 4),
        "skimage_seconds_per_field": round(float(np.median(plain)), 4),
        "peak_mb": round(told["peak_mb"], 1),
        "f1_nuclei": round(f1["default"]["nucleus"], 4),
        "f1_cells": round(f1["default"]["cell"], 4),
    }
    print(f"memory: {told['peak_mb']:.0f} MB at most, {told['base_mb']:.0f} MB of it before the first outlines")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
