"""What an index of 10,000,000 cells costs: to open, to choose from, to draw from, and in memory.

The rows are drawn, there are no pixels. Every measurement is a process of its own, so that its peak memory is that of
one reader; the file cache is warm. Prints a table and, last, one JSON line.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.reading.build_index import write_index  # noqa: E402
from wherein.reading.groups import class_groups, groups_of  # noqa: E402
from wherein.reading.index import CropIndex  # noqa: E402
from wherein.reading.samplers import BagSampler, BalancedSampler, PairSampler, UniformSampler  # noqa: E402

CELLS_PER_FIELD = 15
FIELDS_PER_SHARD = 300
PROTEINS = 13000
CELL_LINES = 37
CLASSES = [f"location {number:02d}" for number in range(19)]
FILTER = {"cell_line": ["line 01", "line 02", "line 03"], "gene_fold": [0, 1, 2, 3], "exceeds_window": False}
BATCH = 64


def draw_index(folder: Path, n_cells: int, seed: int = 0) -> None:
    """Write an index of `n_cells` drawn rows: fields of 0 to 30 cells, 13,000 proteins, 37 cell lines, 19 locations."""
    rng = np.random.default_rng(seed)
    n_fields = n_cells // CELLS_PER_FIELD
    counts = np.full(n_fields, CELLS_PER_FIELD)
    half = n_fields // 2
    # as many more here as fewer there, so that the number of cells is the one asked for
    counts[:half] += (spread := rng.integers(-14, 15, half))
    counts[half : 2 * half] -= spread
    counts[-1] += n_cells - counts.sum()
    number = np.arange(n_fields)
    protein = number * PROTEINS // n_fields
    line = rng.integers(0, CELL_LINES, n_fields)
    first, second = rng.zipf(1.6, (2, n_fields)).clip(1, len(CLASSES)) - 1
    fields = pd.DataFrame(
        {
            "field_id": [f"{place}_{place % 97}_A{place % 12}_1" for place in number],
            "version": [f"{place * 7919 % 2**48:012x}" for place in number],
            "shard": [f"drawn-{place // FIELDS_PER_SHARD:04d}" for place in number],
            "source": "drawn",
            "protein": [f"GENE{name}" for name in protein],
            "genes": [[f"GENE{name}"] for name in protein],
            "gene_group": [f"GENE{name}" for name in protein],
            "cell_line": [f"line {name:02d}" for name in line],
            "sample": [f"HPA{name}/line {other:02d}" for name, other in zip(protein, line, strict=True)],
            "control": False,
            "labels": [sorted({CLASSES[a], CLASSES[b]}) for a, b in zip(first, second, strict=True)],
            "gene_fold": protein % 5,
            "field_fold": number % 5,
            "pixel_size_um": 0.08,
            "full_scale": 255.0,
            "small_sample": rng.random(n_fields) < 0.01,
            "n_cells": counts,
        }
    )
    shard = number // FIELDS_PER_SHARD
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.arange(n_cells)
    first_of_shard = starts[np.searchsorted(shard, np.arange(shard[-1] + 1))]
    cells = pa.table(
        {
            "label": (place - np.repeat(starts, counts) + 1).astype(np.int32),
            "crop_index": (place - np.repeat(first_of_shard[shard], counts)).astype(np.int32),
            "exceeds_window": rng.random(n_cells) < 0.02,
            "padded": rng.random(n_cells) < 0.05,
            "touches_border": rng.random(n_cells) < 0.1,
            "n_nuclei": np.ones(n_cells, np.int32),
            "area_um2": rng.gamma(9, 40, n_cells).astype(np.float32),
            "nucleus_area_um2": rng.gamma(9, 15, n_cells).astype(np.float32),
        }
    )
    about = {"roles": ["nucleus", "protein"], "window_px": 128, "dtype": "uint8", "pixel_size_um": 0.08}
    write_index(folder, fields, [cells], dict.fromkeys(fields["shard"].unique().tolist(), about))


def measure(folder: str, what: str) -> dict[str, float]:
    """Seconds of opening, of choosing, of making a sampler with its first batch, and of a batch; peak memory."""
    start = time.perf_counter()
    index = CropIndex(folder)
    opened = time.perf_counter()
    selection = index.select({} if what.endswith("_all") else FILTER)
    chosen = time.perf_counter()
    if what.startswith("uniform"):
        sampler = UniformSampler(selection, BATCH)
    elif what == "protein":
        sampler = BalancedSampler(selection, groups_of(index, selection, "protein"), BATCH)
    elif what == "class":
        sampler = BalancedSampler(selection, class_groups(index, selection, {name: [name] for name in CLASSES}), BATCH)
    elif what.startswith("pairs"):
        sampler = PairSampler(selection, groups_of(index, selection, "sample"), BATCH)
    else:
        sampler = BagSampler(selection, 16, BATCH)
    sampler.rows(0, 0)
    made = time.perf_counter()
    count = min(1000, len(sampler) - 1)
    for batch in range(1, count + 1):
        rows = sampler.rows(0, batch)
    drawn = time.perf_counter()
    index.places(rows.ravel()[rows.ravel() >= 0])
    index.locate(index.cell_ids(selection.rows[:: max(len(selection) // 1000, 1)]))
    return {
        "cells": len(selection),
        "open": opened - start,
        "choose": chosen - opened,
        "sampler": made - chosen,
        "batch_ms": (drawn - made) / count * 1000,
        "places_and_names": time.perf_counter() - drawn,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Most memory that this process held; getrusage would say that of the process that started it, if it held more."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000_000, help="rows of the index")
    parser.add_argument("--runs", type=int, default=3, help="processes for each sampler, of which the median counts")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "WHAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        start = time.perf_counter()
        draw_index(folder, options.cells)
        print(f"{options.cells} rows drawn and written in {time.perf_counter() - start:.1f} s")
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"{size:.1f} MB on disk")
        for what in ("uniform_all", "pairs_all", "uniform", "protein", "class", "pairs", "bags"):
            command = [sys.executable, __file__, "--measure", str(folder), what]
            runs = [
                json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                for _ in range(options.runs)
            ]
            rows[what] = pd.DataFrame(runs).median()
    table = pd.DataFrame(rows).T
    print(table.to_string(float_format=lambda value: f"{value:.3f}"))
    filtered = table.drop(["uniform_all", "pairs_all"])
    print(
        json.dumps(
            {
                "benchmark": "crop_index",
                "rows": options.cells,
                "disk_mb": round(size, 1),
                "open_seconds": round(float(table["open"].max()), 3),
                "filtered_sampler_seconds": round(float((filtered["choose"] + filtered["sampler"]).max()), 3),
                "whole_sampler_seconds": round(float((table["choose"] + table["sampler"])["uniform_all"]), 3),
                "peak_mb": round(float(table["peak_mb"].max()), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
