"""What the crop store costs and gives, beside one PNG a channel, HDF5 and plain Zarr, all in one run.

Crops are windows of fields, unmasked, of 8 bits and four channels: of the folder given, or of simulated fields. Readers
take turns, so that whatever else the machine does falls on all of them, and ratios are medians over the turns. Two
workers are the reader's own for the store and torch's loader for the others. Opening files and starting workers are
left out; what the latter takes is a line of the table. What one process does is told in processor seconds, too, which
other work on the machine hardly changes. Prints a table and, last, one JSON line; its ratios say how many times faster
the store is, those under `processor` in processor seconds. One file, although long: the layouts serve this comparison
alone.
"""

import argparse
import gc
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import cv2
import h5py
import imagecodecs
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import zarr
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.crops.cut import cut_cell  # noqa: E402
from wherein.crops.resample import resample  # noqa: E402
from wherein.crops.store import CropStore, CropWriter  # noqa: E402
from wherein.crops.window import Window  # noqa: E402
from wherein.reading.batches import BatchReader  # noqa: E402
from wherein.reading.build_index import STORE, write_index  # noqa: E402
from wherein.reading.crops import CropSource  # noqa: E402
from wherein.reading.index import CropIndex  # noqa: E402
from wherein.reading.samplers import SequentialSampler, UniformSampler  # noqa: E402
from wherein.settings import fill_defaults, schema  # noqa: E402
from wherein.simulate.plan import plan_source  # noqa: E402
from wherein.simulate.shard import draw  # noqa: E402

BATCH = 64
DISTINCT = 2000
ROLES = ["nucleus", "microtubules", "er", "protein"]
Reader = Callable[[np.ndarray], np.ndarray]
Times = dict[tuple[str, str], list[list[float]]]


class Layout:
    """One way to keep crops: writes them into `path` and opens a reader of rows."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.path = folder / type(self).__name__

    def write(self, crops: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
        """Write crops of (N, C, H, W) = `shape`."""
        raise NotImplementedError

    def open(self) -> Reader:
        """Open what was written: a function of rows to (n, C, H, W)."""
        raise NotImplementedError

    def two_workers(self, kind: str, count: int, seed: int) -> AbstractContextManager[Iterator[object]]:
        """Batches that two processes read, in an order as `order` gives it."""
        return _loader(self, order(kind, count, seed))


@contextmanager
def _loader(layout: Layout, rows: np.ndarray) -> Iterator[Iterator[object]]:
    loader = DataLoader(_Batches(layout), batch_size=None, sampler=list(rows), num_workers=2, prefetch_factor=2)
    batches = iter(loader)
    yield batches
    del batches


class _Png(Layout):
    name = "one PNG a channel"

    def file(self, row: int, channel: int) -> str:
        return f"{self.path}/{row // 1000}/{row}_{channel}.png"

    def write(self, crops, shape):
        for row, crop in enumerate(crops):
            if row % 1000 == 0:
                (self.path / str(row // 1000)).mkdir(parents=True)
            for channel, plane in enumerate(crop):
                cv2.imwrite(self.file(row, channel), plane)
        self.shape = shape

    def open(self):
        def read(rows):
            out = np.empty((len(rows), *self.shape[1:]), np.uint8)
            for place, row in zip(out, rows.tolist(), strict=True):
                for channel, plane in enumerate(place):
                    plane[:] = cv2.imread(self.file(row, channel), cv2.IMREAD_UNCHANGED)
            return out

        return read


class _Hdf5(Layout):
    """scPortrait's layout: float16 between 0 and 1, one channel of one cell a chunk."""

    compression = ""

    def write(self, crops, shape):
        self.path.mkdir()
        with h5py.File(self.path / "crops.h5", "w") as file:
            data = file.create_dataset(
                "crops", shape, np.float16, chunks=(1, 1, *shape[2:]), compression=self.compression
            )
            for row, crop in enumerate(crops):
                data[row] = (crop / np.float32(255)).astype(np.float16)

    def open(self):
        data = h5py.File(self.path / "crops.h5", "r")["crops"]

        def read(rows):
            out = np.empty((len(rows), *data.shape[1:]), np.float16)
            for place, row in enumerate(rows.tolist()):
                data.read_direct(out, np.s_[row], np.s_[place])
            return out

        return read


class _Hdf5Gzip(_Hdf5):
    name, compression = "HDF5 float16 gzip", "gzip"


class _Hdf5Lzf(_Hdf5):
    name, compression = "HDF5 float16 lzf (scPortrait)", "lzf"


class _PlainZarr(Layout):
    name = "plain Zarr, one crop a chunk"

    def write(self, crops, shape):
        data = zarr.create_array(self.path, shape=shape, dtype="u1", chunks=(1, *shape[1:]))
        for row, crop in enumerate(crops):
            data[row] = crop

    def open(self):
        data = zarr.open_array(self.path, mode="r")
        return lambda rows: np.stack([data[row] for row in rows.tolist()])


class _Ours(Layout):
    name = "crop store"
    shard = "crops"

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / f"{self.shard}.zarr"

    def write(self, crops, shape):
        masks = np.zeros((2, *shape[2:]), np.uint8)
        with CropWriter(self.path, ROLES, shape[-1], np.dtype(np.uint8)) as writer:
            for row, crop in enumerate(crops):
                writer.add(f"field@0123456789ab:{row}", crop, masks)
            writer.finish({"pixel_size_um": 0.16, "window_um": shape[-1] * 0.16})

    def open(self):
        return CropStore(self.path).images

    def two_workers(self, kind, count, seed):
        index = self.index()
        selection = index.select()
        sampler = UniformSampler if kind == "shuffled" else SequentialSampler
        return self._batches(
            BatchReader(
                CropSource(index, selection, masks=False), sampler(selection, BATCH, seed), workers=2, reuse=True
            )
        )

    @contextmanager
    def _batches(self, reader):
        with reader:
            yield iter(reader)

    def index(self) -> CropIndex:
        """An index of the store, made where there is none."""
        folder = self.folder / "index"
        if not folder.exists():
            store = CropStore(self.path)
            known = {**store.attributes, "dtype": store.dtype.name, "n_crops": len(store)}
            count = np.arange(len(store), dtype=np.int32)
            zeros = np.zeros(len(store), np.int32)
            cells = {"label": count, "crop_index": count, "n_nuclei": zeros}
            cells |= {name: zeros.astype(bool) for name in ("exceeds_window", "padded", "touches_border")}
            cells |= {name: zeros.astype(np.float32) for name in ("area_um2", "nucleus_area_um2")}
            field = {"field_id": "field", "version": "0123456789ab", "shard": self.shard, "n_cells": len(store)}
            about = {self.shard: {name: known[name] for name in STORE}}
            write_index(folder, pd.DataFrame([field]), [pa.table(cells)], about)
        return CropIndex(folder, self.folder)


class _OursByZarr(Layout):
    """The files of the store, read by zarr-python."""

    name = "crop store, by zarr-python"

    def __init__(self, folder):
        self.path = _Ours(folder).path

    def open(self):
        data = zarr.open_group(self.path, mode="r")["images"]
        return lambda rows: np.stack([data[row] for row in rows.tolist()])


class _Decompress(Layout):
    """The limit: the same blocks, in memory, each decoded into its place without looking at anything else."""

    name = "limit: decoding from memory"

    def __init__(self, folder):
        self.path = _Ours(folder).path

    def open(self):
        array = CropStore(self.path)._arrays["images"]
        blocks = [array._block(row)[:-4].tobytes() for row in range(len(array))]
        decode, shape = imagecodecs.blosc_decode, array.shape[1:]

        def read(rows):
            out = np.empty((len(rows), *shape), np.uint8)
            for place, row in zip(out.reshape(len(rows), -1), rows.tolist(), strict=True):
                decode(blocks[row], numthreads=1, out=place)
            return out

        return read


class _Batches(Dataset):
    """A layout as torch's loader reads it: opened in the worker, a whole batch at a time."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.read: Reader | None = None

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, rows: np.ndarray) -> torch.Tensor:
        if self.read is None:
            self.read = self.layout.open()
        return torch.from_numpy(self.read(rows))


def fields_of(folder: Path | None) -> list[np.ndarray]:
    """Fields (4, H, W) uint8: images of the folder's blue, red, yellow and green, or simulated ones."""
    if folder is None:
        source = {"kind": "simulated", "mode": "four_roles", "seed": 5, "field_px": 1024, "faults": 0, "proteins": 6}
        fill_defaults(source, schema()["$defs"]["simulated_source"])
        specs = list(plan_source("benchmark", source).specs.values())[:6]
        planes = [draw(spec).channels for spec in specs]
        return [
            np.stack([np.clip(image[role] / image[role].max() * 255, 0, 255).astype(np.uint8) for role in ROLES])
            for image in planes
        ]
    names = sorted(path.name.rsplit("_", 1)[0] for path in (folder / "green").iterdir())
    colours = ("blue", "red", "yellow", "green")
    return [
        np.stack([cv2.imread(str(next((folder / colour).glob(f"{name}*"))), 1).max(-1) for colour in colours])
        for name in names
    ]


def windows(fields: list[np.ndarray], side: int, number: int) -> np.ndarray:
    """Windows of twice the side, brought to it by area means: (number, 4, side, side) uint8."""
    rng = np.random.default_rng(0)
    out = np.empty((number, 4, side, side), np.uint8)
    for place in out:
        field = fields[rng.integers(len(fields))]
        y, x = (int(rng.integers(0, length - 2 * side + 1)) for length in field.shape[1:])
        resample(field[:, y : y + 2 * side, x : x + 2 * side], (side, side), "area", place)
    return out


def bytes_and_files(path: Path) -> tuple[int, int]:
    """Bytes and number of the files below a folder."""
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    return sum(sizes), len(sizes)


def drop_cache(path: Path) -> None:
    """Let the system forget what it has read of the files below a folder."""
    gc.collect()
    for file in path.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def order(kind: str, count: int, seed: int) -> np.ndarray:
    """Batches of rows, (n, BATCH), sequential from a random start or shuffled."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(count) if kind == "shuffled" else np.roll(np.arange(count), int(rng.integers(count)))
    return rows[: count // BATCH * BATCH].reshape(-1, BATCH)


def timed(batches: Iterator[object], seconds: float) -> list[float]:
    """Seconds of each batch, until the given time is over."""
    times, start = [], time.perf_counter()
    last = start
    for _ in batches:
        now = time.perf_counter()
        times.append(now - last)
        last = now
        if now - start > seconds:
            break
    return times


def one_process(read: Reader, rows: np.ndarray, seconds: float) -> tuple[list[float], float]:
    """Times of batches read in this process, and the processor seconds of all; the first does not count."""
    read(rows[0])
    start = time.process_time()
    return timed((read(batch) for batch in rows[1:]), seconds), time.process_time() - start


def two_workers(layout: Layout, kind: str, count: int, seed: int, seconds: float) -> tuple[list[float], float]:
    """Times at which batches of two workers arrive; the first eight, while workers start and queues fill, do not count.

    What these take is the second result.
    """
    start = time.perf_counter()
    with layout.two_workers(kind, count, seed) as batches:
        for _ in range(8):
            next(batches)
        started = time.perf_counter() - start
        return timed(batches, seconds), started


def drawn_masks(shape: tuple[int, int], side: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Labels of cell and nucleus of 49 cells on a field, and their centres."""
    height, width = shape
    cell, nucleus = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
    y, x = np.mgrid[:height, :width]
    centres = []
    for row in np.linspace(side, height - side - 1, 7).astype(int):
        for column in np.linspace(side, width - side - 1, 7).astype(int):
            centres.append((int(row), int(column)))
            far = (((y - row) / 0.7) ** 2 + (x - column) ** 2) / side**2
            cell[(far < 1) & (cell == 0)], nucleus[far < 0.15] = len(centres), len(centres)
    return cell, nucleus, centres


def plain(field: np.ndarray, cell: np.ndarray, label: int, box: tuple[slice, slice], side: int) -> np.ndarray:
    """Crop, mask and resize as numpy is commonly written: copy, set what is not the cell to 0, resize each channel."""
    crop = field[(slice(None), *box)].copy()
    crop[:, cell[box] != label] = 0
    return np.stack([cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in crop])


def lean(field: np.ndarray, cell: np.ndarray, label: int, box: tuple[slice, slice], side: int) -> np.ndarray:
    """The same by the fastest way known, a product of bytes."""
    crop = field[(slice(None), *box)] * (cell[box] == label).view(np.uint8)
    return np.stack([cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in crop])


def cutting(fields: list[np.ndarray], folder: Path, side: int, rounds: int) -> pd.DataFrame:
    """Cells a second of cutting and writing, and of crop, mask and resize in memory without any store.

    One row a way; columns `wall` and `processor`.

    The store has the masks of cell and nucleus as well, compressed and written; the others make neither.
    """
    field = max(fields, key=lambda one: one.shape[1])
    cell, nucleus, centres = drawn_masks(field.shape[1:], side)
    window = Window(side, 2 * side, 0.16)
    boxes = [(slice(row - side, row + side), slice(column - side, column + side)) for row, column in centres]
    repeats = 10

    def store() -> None:
        with CropWriter(folder / "cut.zarr", ROLES, side, field.dtype) as writer:
            for repeat in range(repeats):
                for label, centre in enumerate(centres, start=1):
                    writer.add(f"{repeat}:{label}", *cut_cell(field, nucleus, cell, label, centre, window, "area"))
            writer.finish({"pixel_size_um": 0.16, "window_um": side * 0.16})

    def in_memory(way: Callable[..., np.ndarray]) -> None:
        for _ in range(repeats):
            for label, box in enumerate(boxes, start=1):
                way(field, cell, label, box, side)

    ways = {"store": store, "plain": lambda: in_memory(plain), "lean": lambda: in_memory(lean)}
    seconds = []
    for turn in range(rounds):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            seconds.append((name, time.perf_counter() - wall, time.process_time() - processor))
        shutil.rmtree(folder / "cut.zarr")
        progress(f"cutting {turn + 1}/{rounds}")
    frame = pd.DataFrame(seconds, columns=["way", "wall", "processor"])
    return repeats * len(centres) / frame.groupby("way").median()


def progress(text: str) -> None:
    """Say on one line of the terminal what is being done."""
    print(f"\r{text:80s}", end="", file=sys.stderr)


def write_all(layouts: list[Layout], pool: np.ndarray, count: int) -> pd.DataFrame:
    """Write every layout; crops a second, bytes, files and bytes over those of the pixels."""
    lines = []
    for layout in layouts:
        start = time.perf_counter()
        layout.write((pool[row % len(pool)] for row in range(count)), (count, *pool.shape[1:]))
        seconds = time.perf_counter() - start
        size, files = bytes_and_files(layout.path)
        raw = count * pool[0].nbytes
        line = {"layout": layout.name, "write/s": count / seconds, "files": files}
        lines.append(line | {"MB": size / 1e6, "of raw": size / raw})
        progress(f"written: {layout.name}")
    os.sync()
    return pd.DataFrame(lines).set_index("layout")


def read_all(layouts: list[Layout], count: int, rounds: int, seconds: float) -> tuple[Times, pd.DataFrame, pd.Series]:
    """Read every layout in every way, layouts taking turns.

    Returns:
        Times of batches by layout and way, one list a round; crops a processor second of what one process read, one
        column a round; seconds until two workers had given their first batches, by layout.
    """
    times: Times = defaultdict(list)
    busy: dict[tuple[str, str], list[float]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    opened = {layout.name: layout.open() for layout in layouts}
    for cold, workers, kind in itertools.product((False, True), (1, 2), ("sequential", "shuffled")):
        if cold:
            opened.clear()
        for turn in range(rounds if not cold else 1):
            for layout in layouts:
                if isinstance(layout, _Decompress) and (cold or workers == 2):
                    continue
                rows = order(kind, count, turn)
                if cold:
                    drop_cache(layout.path)
                elif turn == 0 and workers == 1:
                    one_process(opened[layout.name], rows, seconds)
                name = f"{'cold ' if cold else ''}{kind} {workers}"
                progress(f"{name}, round {turn + 1}: {layout.name}")
                if workers == 2:
                    found, started = two_workers(layout, kind, count, turn, seconds)
                    starts[layout.name].append(started)
                else:
                    found, spent = one_process(opened.get(layout.name) or layout.open(), rows, seconds)
                    busy[layout.name, name].append(BATCH * len(found) / spent)
                times[layout.name, name].append(found)
    started_in = pd.Series({name: float(np.median(values)) for name, values in starts.items()})
    return times, pd.DataFrame({key: pd.Series(values) for key, values in busy.items()}).T, started_in


def rates(times: Times) -> pd.DataFrame:
    """Crops a second of every layout and way, one column a round."""
    return pd.DataFrame(
        {key: pd.Series([BATCH * len(batch) / sum(batch) for batch in turns]) for key, turns in times.items()}
    ).T


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=20_000, help="number of crops")
    parser.add_argument("--side", type=int, default=128, help="height and width of a crop")
    parser.add_argument("--fields", type=Path, help="folder with folders blue, red, yellow and green of HPA images")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder is made in it")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each reader")
    parser.add_argument("--seconds", type=float, default=1.5, help="longest time of a turn")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    fields = fields_of(options.fields)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        pool = windows(fields, options.side, min(DISTINCT, options.crops))
        stores: list[Layout] = [kind(folder) for kind in (_Png, _Hdf5Gzip, _Hdf5Lzf, _PlainZarr, _Ours)]
        written = write_all(stores, pool, options.crops)
        cut = cutting(fields, folder, options.side, options.rounds)
        readers = [*stores, _OursByZarr(folder), _Decompress(folder)]
        times, busy, starts = read_all(readers, options.crops, options.rounds, options.seconds)
        found = rates(times)
        # before the many small files are removed, which takes its time
        print(file=sys.stderr)
        print(
            report(written, found, busy, times, starts).T.to_string(
                float_format=lambda value: f"{value:,.{2 if value < 10 else 0}f}"
            )
        )
        print(
            "cells a second (a processor second) of cutting and writing, and of crop, mask and resize in memory: "
            + "; ".join(f"{way} {row.wall:,.0f} ({row.processor:,.0f})" for way, row in cut.iterrows())
        )
        print(json.dumps(ratios(options, written, found, busy, cut, float((pool == 0).mean()))))


def report(
    written: pd.DataFrame, found: pd.DataFrame, busy: pd.DataFrame, times: Times, starts: pd.Series
) -> pd.DataFrame:
    """One row a layout: what writing took, crops a second of each way, the 99th percentile of a batch (ms).

    Then crops a processor second, and the seconds until two workers had given their first eight batches.
    """
    median = found.median(axis=1).unstack()
    ways = list(dict.fromkeys(way for _, way in times))
    slowest = pd.Series({key: 1e3 * np.percentile(np.concatenate(turns), 99) for key, turns in times.items()}).unstack()
    p99 = slowest[["shuffled 1", "shuffled 2"]].add_prefix("p99 ms ")
    names = list(dict.fromkeys(layout for layout, _ in times))
    spent = busy.median(axis=1).unstack()[["sequential 1", "shuffled 1"]].add_suffix(", processor")
    return pd.concat([written, median[ways], p99, spent, starts.rename("start of 2, s")], axis=1).reindex(names)


def ratios(
    options: argparse.Namespace,
    written: pd.DataFrame,
    found: pd.DataFrame,
    busy: pd.DataFrame,
    cut: pd.DataFrame,
    zeros: float,
) -> dict[str, object]:
    """The last line."""

    def times_faster(other: type[Layout], way: str, rate: pd.DataFrame = found) -> float:
        return round(float((rate.loc[_Ours.name, way] / rate.loc[other.name, way]).median()), 2)

    def cut_faster(other: str, clock: str = "wall") -> float:
        return round(float(cut.loc["store", clock] / cut.loc[other, clock]), 2)

    others = [found.loc[kind.name, "shuffled 2"].median() for kind in (_Png, _Hdf5Gzip, _Hdf5Lzf, _PlainZarr)]
    return {
        "benchmark": "crops",
        "crops": options.crops,
        "side": options.side,
        "fields": "real" if options.fields else "simulated",
        "zeros": round(zeros, 3),
        "shuffled_vs_png": times_faster(_Png, "shuffled 1"),
        "shuffled_vs_hdf5": times_faster(_Hdf5Lzf, "shuffled 1"),
        "shuffled_vs_zarr": times_faster(_OursByZarr, "shuffled 1"),
        "shuffled_vs_decompress": times_faster(_Decompress, "shuffled 1"),
        "cut_vs_numpy": cut_faster("plain"),
        "cut_vs_lean_numpy": cut_faster("lean"),
        "two_workers_vs_best": round(float(found.loc[_Ours.name, "shuffled 2"].median() / max(others)), 2),
        "cold_shuffled_vs_png": times_faster(_Png, "cold shuffled 1"),
        "cold_shuffled_vs_hdf5": times_faster(_Hdf5Lzf, "cold shuffled 1"),
        "bytes_vs_lzf": round(float(written.loc[_Ours.name, "MB"] / written.loc[_Hdf5Lzf.name, "MB"]), 3),
        "files": int(written.loc[_Ours.name, "files"]),
        "processor": {
            "shuffled_vs_png": times_faster(_Png, "shuffled 1", busy),
            "shuffled_vs_hdf5": times_faster(_Hdf5Lzf, "shuffled 1", busy),
            "shuffled_vs_zarr": times_faster(_OursByZarr, "shuffled 1", busy),
            "shuffled_vs_decompress": times_faster(_Decompress, "shuffled 1", busy),
            "cut_vs_numpy": cut_faster("plain", "processor"),
        },
    }


if __name__ == "__main__":
    main()
