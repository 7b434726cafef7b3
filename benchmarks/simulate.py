"""What drawing a simulated field costs, beside the least that any simulator of the same images must do.

Each field is drawn (cells, organelles, markers, protein), imaged (blur, background, light, bleed-through, noise) and
written (one compressed TIFF a role, and the masks of the truth) on one core. The limit takes the finished densities
and only blurs them, draws Poisson counts and writes them in the same way. Prints a table and, last, one JSON line.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.segmentation.masks import write_masks  # noqa: E402
from wherein.settings import fill_defaults, schema  # noqa: E402
from wherein.simulate.drawing import Drawing, DrawnField  # noqa: E402
from wherein.simulate.field import draw_human  # noqa: E402
from wherein.simulate.optics import blur_um, dye_of, image_channels  # noqa: E402
from wherein.simulate.plan import plan_source  # noqa: E402
from wherein.simulate.shard import write_images  # noqa: E402
from wherein.simulate.spec import FULL_SCALE, FieldSpec, held_out_seed  # noqa: E402
from wherein.simulate.yeast import draw_yeast  # noqa: E402

PROTEINS = 60
"""Enough that every class is shown, in every mode."""

STEPS = ("drawing", "optics", "writing", "truth")
LIMIT = ("blur", "poisson", "plain_writing")


class Clock:
    """Processor and wall seconds of named steps."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Measure the block under the name `step`."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu[step] = time.process_time() - cpu
        self.wall[step] = time.perf_counter() - wall


def planned(number: int, mode: str, fields: int, field_px: int) -> list[FieldSpec]:
    """Specs of good fields of a held-out source, in the random order of its table."""
    source = {"kind": "simulated", "mode": mode, "field_px": field_px, "seed": held_out_seed(number)}
    source |= {"proteins": PROTEINS, "faults": 0}
    fill_defaults(source, schema()["$defs"]["simulated_source"])
    plan = plan_source("benchmark", source)
    if fields > len(plan.specs):
        raise SystemExit(f"--fields {fields}: a source has {len(plan.specs)}")
    return [plan.specs[field_id] for field_id in plan.fields["field_id"][:fields]]


def run_limit(drawing: Drawing, spec: FieldSpec, folder: Path, clock: Clock) -> None:
    """Blur the densities, draw Poisson counts and write them: no cells, no shading, no bleed-through."""
    channels = {}
    with clock.measure("blur"):
        for role, density in drawing.density.items():
            sigma = blur_um(dye_of(role, spec), spec.imaging.defocus_um) / spec.pixel_size_um
            channels[role] = cv2.GaussianBlur(density, (0, 0), sigma)
    rng = np.random.default_rng(spec.seed)
    with clock.measure("poisson"):
        for light, (role, image) in zip(spec.imaging.exposure, channels.items(), strict=True):
            counts = rng.poisson(image * light + spec.imaging.offset)
            channels[role] = np.minimum(counts, FULL_SCALE).astype(np.uint16)
    plain = DrawnField(channels, drawing.nucleus, drawing.cell, drawing.cells)
    with clock.measure("plain_writing"):
        write_images(plain, spec, "v", folder, folder)


def run_field(spec: FieldSpec) -> Clock:
    """Seconds of every step of one field, and of the limit on the same field."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with clock.measure("drawing"):
            drawing = draw_yeast(spec) if spec.mode == "yeast" else draw_human(spec)
        with clock.measure("optics"):
            channels = image_channels(drawing.density, spec)
        field = DrawnField(channels, drawing.nucleus, drawing.cell, drawing.cells)
        with clock.measure("writing"):
            write_images(field, spec, "v", folder, folder)
        with clock.measure("truth"):
            masks = [(spec.field_id, "v", field.nucleus, field.cell)]
            write_masks(folder / "masks.zarr", masks, {"pixel_size_um": spec.pixel_size_um})
        run_limit(drawing, spec, folder, clock)
    return clock


def on_one_core() -> None:
    """Keep this process, and the threads of its libraries, on one core where the system can."""
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=24, help="number of fields")
    parser.add_argument("--field-px", type=int, default=1024, help="height and width of a field")
    parser.add_argument("--mode", default="four_roles", help="four_roles, two_roles or yeast")
    parser.add_argument("--number", type=int, default=0, help="number of the held-out source")
    options = parser.parse_args()
    on_one_core()
    specs = planned(options.number, options.mode, options.fields + 1, options.field_px)
    run_field(specs[0])  # caches and imports are not the fields' cost
    clocks = [run_field(spec) for spec in specs[1:]]
    cpu = pd.DataFrame([clock.cpu for clock in clocks])
    wall = pd.DataFrame([clock.wall for clock in clocks])
    for frame in (cpu, wall):
        frame.insert(len(STEPS), "field", frame[list(STEPS)].sum(axis=1))
        frame["limit"] = frame[list(LIMIT)].sum(axis=1)
    rows = {"cpu median": cpu.median(), "cpu most": cpu.max(), "wall median": wall.median()}
    print(f"seconds a field of {options.field_px} x {options.field_px}, {options.mode}, {len(cpu)} fields, one core")
    print(pd.DataFrame(rows).to_string(float_format=lambda value: f"{value:.3f}"))
    seconds, limit = float(cpu["field"].median()), float(cpu["limit"].median())
    ratios = {
        "benchmark": "simulate",
        "mode": options.mode,
        "field_px": options.field_px,
        "fields": len(cpu),
        "seconds_per_field": round(seconds, 3),
        "wall_seconds_per_field": round(float(wall["field"].median()), 3),
        "limit_seconds_per_field": round(limit, 3),
        "field_over_limit": round(seconds / limit, 2),
    }
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
