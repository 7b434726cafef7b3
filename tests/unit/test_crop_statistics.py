import json

import dask
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from wherein import tables
from wherein.crops.store import CropWriter
from wherein.reading import statistics
from wherein.reading.normalization import normalize
from wherein.reading.statistics import (
    CODES,
    codes,
    count_pixels,
    intensities,
    lazy_array,
    limits,
    percentile,
    statistics_run,
)

SIDE = 24


def write(path, source, roles, dtype, n, seed, retired=()):
    """Write a store and its ledger; gives images, masks and two flags: within the field, and not retired."""
    rng = np.random.default_rng(seed)
    images = rng.gamma(2, 300, (n, len(roles), SIDE, SIDE))
    if np.dtype(dtype).kind in "ui":
        images = np.clip(images, np.iinfo(dtype).min, np.iinfo(dtype).max)
    images = images.astype(dtype)
    masks = rng.integers(0, 3, (n, 2, SIDE, SIDE)).astype(np.uint8)
    with CropWriter(path, roles, SIDE, np.dtype(dtype)) as writer:
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            writer.add(f"{source}@v:{number}", image, mask)
        padded = [[None, True, False][number % 3] for number in range(n)]
        current = np.array([number not in retired for number in range(n)], bool)
        key = {"field_id": path.stem, "version": np.where(current, "new", "old")}
        ledger = pd.DataFrame({**key, "status": "kept", "crop_index": range(n), "padded": padded})
        rejected = pd.DataFrame(
            {"field_id": path.stem, "version": ["old"], "status": ["rejected"], "crop_index": [None], "padded": [True]}
        )
        rows = pd.concat([rejected, ledger.iloc[::-1].astype(object)]) if n else rejected
        tables.write_table(path.with_suffix(".parquet"), rows, tables.cells_schema(roles))
        writer.finish({"pixel_size_um": 0.1, "window_um": 2.4, "shard": path.stem, "source": source})
    return images, masks, np.array([value is not True for value in padded], bool), current


def write_catalog(path, names):
    """Two versions of a field of each name: `old`, which is retired, and `new`."""
    versions = [("old", "2"), ("new", None)]
    rows = [{"field_id": name, "version": version, "retired_in": end} for name in names for version, end in versions]
    tables.write_table(path, pd.DataFrame(rows, columns=["field_id", "version", "retired_in"]), tables.FIELDS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics")
    kinds = [
        # some crops within a chunk, and a chunk as a whole
        ("a", ["nucleus", "protein"], np.uint8, 37, (1, 6, 8, 9, 10, 11, 36)),
        ("a", ["nucleus", "protein"], np.uint8, 5, ()),
        ("b", ["protein"], np.uint16, 23, (0,)),
        ("b", ["er", "protein"], np.uint16, 3, ()),
        ("c", ["protein"], np.float32, 11, ()),
        ("d", ["protein"], np.uint16, 0, ()),
        ("e", ["protein"], np.uint16, 2, (0, 1)),
    ]
    stores = []
    for number, (source, roles, dtype, n, retired) in enumerate(kinds):
        path = folder / f"{source}-{number:04d}.zarr"
        stores.append((path, source, roles, *write(path, source, roles, dtype, n, number, retired)))
    fields = folder / "fields.parquet"
    write_catalog(fields, [store[0].stem for store in stores])
    outputs = [folder / name for name in ("crops.tsv", "histograms.parquet", "summary.json")]
    # chunks of a few crops, so that there are several to add up
    old, statistics.CHUNK_PIXELS = statistics.CHUNK_PIXELS, 4 * SIDE * SIDE
    try:
        paths = [store[0] for store in stores]
        statistics_run(fields, paths, [path.with_suffix(".parquet") for path in paths], *outputs, threads=2)
    finally:
        statistics.CHUNK_PIXELS = old
    return stores, outputs


def pixels(stores, source, role, region):
    found = [np.zeros(0)]
    for _, own, roles, images, masks, whole, current in stores:
        if own == source and role in roles:
            plane = images[:, roles.index(role)]
            counted = (masks[:, 0] == 1) & current[:, None, None] if region == "cell" else whole & current
            found.append(plane[counted].ravel().astype(np.float64))
    return np.concatenate(found)


def test_statistics_are_numpys_over_all_pixels_at_once(run):
    stores, (table, _, summary) = run
    rows = pd.read_csv(table, sep="\t")
    assert len(rows) == 2 * (2 + 2 + 1)
    for row in rows.to_dict("records"):
        values = pixels(stores, row["source"], row["role"], row["region"])
        exact = row["source"] != "c"
        close = {"rtol": 1e-6} if exact else {"rtol": 0.008}
        assert row["pixels"] == len(values)
        np.testing.assert_allclose(row["mean"], values.mean(), **close)
        np.testing.assert_allclose(row["deviation"], values.std(), **close)
        np.testing.assert_allclose([row["min"], row["max"]], [values.min(), values.max()], **close)
        shares = statistics.PERCENTILES
        wanted = np.percentile(values, shares, method="inverted_cdf")
        np.testing.assert_allclose([row[f"p{share:g}"] for share in shares], wanted, **close)
    assert rows.set_index(["source", "role", "region"]).loc[("b", "protein", "cell"), "crops"] == 25
    assert set(rows["source"]) == {"a", "b", "c"}, "all crops of e are of a retired version"
    assert json.loads(summary.read_text())["counts"] == {"in": 81, "kept": 71, "retired": 10}


def test_histograms_count_every_pixel(run):
    stores, (_, histograms, _) = run
    frame = pd.read_parquet(histograms)
    for (source, role, region), rows in frame.groupby(["source", "role", "region"]):
        values, counts = np.unique(pixels(stores, source, role, region), return_counts=True)
        if source == "c":
            assert rows["pixels"].sum() == counts.sum()
        else:
            assert rows["intensity"].tolist() == values.tolist()
            assert rows["pixels"].tolist() == counts.tolist()


def test_limits_for_normalizing(run):
    stores, (table, _, _) = run
    found = limits(table, "a", ["protein", "nucleus"])
    for column, role in enumerate(["protein", "nucleus"]):
        wanted = np.percentile(pixels(stores, "a", role, "window"), [1, 99], method="inverted_cdf")
        np.testing.assert_allclose(found[:, column], wanted)
    with pytest.raises(ValueError, match="has no er of a: it has nucleus, protein"):
        limits(table, "a", ["er"])


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_limits_go_into_normalizing_as_they_are(run, kind):
    stores, (table, _, _) = run
    roles, images = stores[0][2:4]
    low, high = limits(table, "a", roles)
    found = np.asarray(normalize(kind(images), "stringer2021", roles, limits=limits(table, "a", roles)))
    wanted = (images - low[:, None, None]) / (high - low)[:, None, None]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_lazy_array_is_plain_zarrs(run):
    stores, _ = run
    path, _, _, images, masks, _, _ = stores[0]
    for name, wanted in (("images", images), ("masks", masks)):
        lazy = lazy_array(path, name)
        np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), wanted)
        np.testing.assert_array_equal(lazy[5:30:4, 1, ::3].compute(scheduler="synchronous"), wanted[5:30:4, 1, ::3])
        np.testing.assert_array_equal(zarr.open_group(path, mode="r")[name][...], wanted)


def test_nothing_is_read_before_it_is_computed(run, monkeypatch):
    stores, _ = run
    read = []
    real = statistics.BlockArray.read
    monkeypatch.setattr(
        statistics.BlockArray, "read", lambda self, rows, out=None: read.append(rows) or real(self, rows, out)
    )
    counts = statistics.lazy_counts(stores[0][0], *stores[0][-2:])
    assert not read
    dask.compute(counts, scheduler="synchronous")
    assert sum(len(rows) for rows in read) == 2 * 37


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_codes_of_small_integers_are_exact(dtype):
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype)
    numbers = codes(values)
    assert (np.diff(numbers.astype(int)) == 1).all()
    np.testing.assert_array_equal(intensities(dtype)[numbers], values)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32", "int32"])
def test_codes_of_other_types_keep_order_and_all_but_a_hundredth(dtype):
    rng = np.random.default_rng(0)
    values = np.sort(np.concatenate([rng.normal(0, 1, 500), rng.gamma(2, 1e5, 500), -rng.gamma(2, 1e5, 500)]))
    values = (abs(values) if dtype == "uint32" else values).astype(dtype)
    values.sort()
    numbers = codes(values).astype(int)
    assert (np.diff(numbers) >= 0).all()
    np.testing.assert_allclose(
        intensities(dtype)[numbers], values, rtol=0.0041, atol=1e-30 if dtype[0] == "f" else 1e-2
    )


def test_counting_is_that_of_a_loop():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 65536, (6, 2, 9, 11)).astype(np.uint16)
    masks = rng.integers(0, 3, (6, 2, 9, 11)).astype(np.uint8)
    whole = np.array([True, False, True, True, False, True])
    for current in (np.ones(6, bool), np.array([True, True, False, True, True, False]), np.zeros(6, bool)):
        found = count_pixels(images, masks, whole, current)
        assert found.shape == (2, 2, CODES)
        for channel in range(2):
            window = images[whole & current, channel].ravel()
            np.testing.assert_array_equal(found[channel, 0], np.bincount(window, minlength=CODES))
            own = images[current, channel][masks[current, 0] == 1]
            np.testing.assert_array_equal(found[channel, 1], np.bincount(own, minlength=CODES))


@pytest.mark.parametrize("share", [0, 0.1, 1, 25, 50, 75, 99.9, 100])
@pytest.mark.parametrize("n", [1, 2, 4, 100, 1000])
def test_percentile_is_numpys(share, n):
    values, counts = np.unique(np.random.default_rng(n).integers(0, 50, n), return_counts=True)
    every = np.repeat(values, counts)
    assert percentile(counts, values, share) == np.percentile(every, share, method="inverted_cdf")


def test_a_run_without_crops(tmp_path):
    outputs = [tmp_path / name for name in ("crops.tsv", "histograms.parquet", "summary.json")]
    write_catalog(tmp_path / "fields.parquet", [])
    statistics_run(tmp_path / "fields.parquet", [], [], *outputs)
    assert pd.read_csv(outputs[0], sep="\t").columns.tolist() == list(statistics.COLUMNS)
    assert tables.read_tables([outputs[1]]).columns.tolist() == statistics.HISTOGRAMS.names
