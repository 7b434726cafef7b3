import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from imagecodecs import jpeg8_encode, png_encode
from real_data import real_data
from wherein.decoders.image import UnreadableImage
from wherein.readers import read_field, read_plane
from wherein.reading.batches import BatchReader
from wherein.reading.fields import FieldList, TileSampler, WindowSampler, WindowSource, moments
from wherein.reading.samplers import SequentialSampler, UniformSampler
from wherein.reading.tiling import tiles

ROLES = ["nucleus", "protein"]
SIZES = [(90, 130), (200, 160), (64, 64), (150, 40)]
WINDOWS = [
    (slice(10, 50), slice(100, 133)),
    (slice(0, 300), slice(0, 420)),
    (slice(250, 400), slice(400, 500)),
    (slice(64, 128), slice(64, 128)),
    (slice(299, 300), slice(0, 1)),
    (slice(500, 600), slice(0, 10)),
]


def plane(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four fields of two channels, as tiled TIFF, with their rows of the download table."""
    folder = tmp_path_factory.mktemp("fields")
    images, files, fields = [], [], []
    for number, size in enumerate(SIZES):
        image = plane((2, *size), np.uint16, number)
        images.append(image)
        fields.append({"field_id": f"f{number}", "version": "v", "height": size[0], "width": size[1]})
        for role, channel in zip(ROLES, image, strict=True):
            path = folder / f"{number}_{role}.tif"
            tifffile.imwrite(path, channel, tile=(32, 32), compression="zlib")
            files.append(
                {
                    **fields[-1],
                    "role": role,
                    "path": str(path),
                    "z": "max",
                    "status": "ok",
                    "channel": None,
                    "gain": 1,
                    "bin": 1,
                }
            )
    return FieldList(pd.DataFrame(fields)), pd.DataFrame(files).drop(columns=["height", "width"]), images


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
        {"tile": (64, 48), "compression": "zstd"},
        {"tile": (128, 128), "compression": "lzw", "predictor": 2, "byteorder": ">"},
        {"tile": (64, 64), "compression": "jpeg2000"},
        {"bigtiff": True, "rowsperstrip": 300, "compression": "packbits"},
    ],
    ids=str,
)
def test_a_window_of_a_tiff_is_that_of_the_whole(tmp_path, options):
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, plane((300, 420), np.uint16), **options)
    whole = read_plane(path)
    for window in WINDOWS:
        found = read_plane(path, window=window)
        np.testing.assert_array_equal(found, whole[window])
        assert found.flags.c_contiguous


def test_a_window_of_jpeg_within_tiff(tmp_path):
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, plane((300, 420), np.uint8), tile=(64, 64), compression="jpeg")
    for window in WINDOWS:
        np.testing.assert_array_equal(read_plane(path, window=window), read_plane(path)[window])


@pytest.mark.parametrize("z", ["max", "focus", "1"])
def test_a_window_of_a_stack(tmp_path, z):
    stack = plane((3, 2, 300, 420), np.uint16)
    ome, store = str(tmp_path / "a.ome.tif"), tmp_path / "a.zarr"
    tifffile.imwrite(ome, stack, ome=True, metadata={"axes": "ZCYX"}, tile=(64, 64), compression="zlib")
    group = zarr.create_group(store)
    group.create_array("0", data=stack, chunks=(1, 1, 64, 64))
    axes = [{"name": name, "type": "space"} for name in "zcyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    for path in (ome, str(store)):
        whole = read_plane(path, "1", z)
        for window in WINDOWS:
            np.testing.assert_array_equal(read_plane(path, "1", z, window=window), whole[window])


@pytest.mark.parametrize("encode", [jpeg8_encode, png_encode])
def test_a_window_of_what_is_decoded_whole(tmp_path, encode):
    path = tmp_path / "a.image"
    path.write_bytes(encode(plane((300, 420, 3), np.uint8)))
    for window in WINDOWS:
        np.testing.assert_array_equal(read_plane(str(path), window=window), read_plane(str(path))[window])


def test_a_window_after_binning(tmp_path, run):
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, plane((301, 420), np.uint8), tile=(64, 64))
    rows = pd.DataFrame(
        [{"role": "protein", "path": path, "channel": None, "z": "max", "status": "ok", "gain": 257, "bin": 2}]
    )
    whole = read_field(rows)["protein"]
    for window in WINDOWS:
        np.testing.assert_array_equal(read_field(rows, window=window)["protein"], whole[window])


def test_only_the_tiles_that_a_window_touches_are_read(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, plane((256, 256), np.uint16), tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offsets, counts = tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts
    whole = read_plane(str(path))
    content = bytearray(path.read_bytes())
    for tile in set(range(16)) - {5, 6}:
        content[offsets[tile] : offsets[tile] + counts[tile]] = bytes(counts[tile])
    path.write_bytes(content)
    window = (slice(70, 128), slice(64, 192))
    np.testing.assert_array_equal(read_plane(str(path), window=window), whole[window])
    with pytest.raises(UnreadableImage):
        read_plane(str(path), window=(slice(60, 128), slice(64, 192)))


@pytest.mark.parametrize("workers", [0, 2])
def test_random_windows_are_parts_of_their_fields(run, workers):
    fields, files, images = run
    sampler = WindowSampler(fields, 64, 3, seed=4)
    source = WindowSource(fields, files, ["protein", "nucleus"], "uint16", window_px=64)
    with BatchReader(source, sampler, workers=workers) as reader:
        epochs = [list(reader) for _ in range(2)]
    for batches in epochs:
        assert sorted(field for batch in batches for field in batch.rows[:, 0]) == list(range(len(SIZES)))
        for batch in batches:
            assert batch.masks is None
            for (field, top, left), found in zip(batch.rows, batch.images, strict=True):
                wanted = images[field][::-1, top : top + 64, left : left + 64]
                height, width = wanted.shape[1:]
                assert (height, width) == tuple(min(64, length) for length in SIZES[field])
                np.testing.assert_array_equal(found[:, :height, :width], wanted)
                assert not found[:, height:].any()
                assert not found[:, :, width:].any()
    assert epochs[0][0].rows.tolist() != epochs[1][0].rows.tolist()


def test_every_place_of_a_window_is_drawn(run):
    fields, _, _ = run
    sampler = WindowSampler(fields, 60, 4)
    corners = {tuple(row) for epoch in range(400) for row in sampler.rows(epoch, 0).tolist() if row[0] == 2}
    assert corners == {(2, top, left) for top in range(5) for left in range(5)}


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_tiles_cover_every_field(run, workers, hold):
    fields, files, images = run
    sampler = TileSampler(fields, 64, 5)
    seen = [np.zeros(size, bool) for size in SIZES]
    source = WindowSource(fields, files, ROLES, "uint16", window_px=64, hold=hold)
    with BatchReader(source, sampler, workers=workers) as reader:
        for batch in reader:
            for (field, top, left), found in zip(batch.rows, batch.images, strict=True):
                wanted = images[field][:, top : top + 64, left : left + 64]
                np.testing.assert_array_equal(found[:, : wanted.shape[1], : wanted.shape[2]], wanted)
                seen[field][top : top + 64, left : left + 64] = True
    assert all(part.all() for part in seen)
    assert sampler.length == sum(len(tiles(*size, 64)) for size in SIZES)


def test_previews_are_area_means_of_whole_fields(run):
    fields, files, images = run
    sampler = UniformSampler(fields, 2)
    with BatchReader(WindowSource(fields, files, ROLES, "uint16", size_px=50), sampler) as reader:
        found = {int(row): image for batch in reader for row, image in zip(batch.rows, batch.images, strict=True)}
    assert sorted(found) == list(range(len(SIZES)))
    # 200 x 160 becomes 50 x 40: every pixel the mean of 4 x 4
    blocks = images[1].reshape(2, 50, 4, 40, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(found[1][:, :, :40], blocks, atol=0.51)
    assert not found[1][:, :, 40:].any()
    # a field that is smaller stays as it is
    small = FieldList(fields.fields.iloc[[2]])
    with BatchReader(WindowSource(small, files, ROLES, "uint16", size_px=80), SequentialSampler(small, 1)) as reader:
        (batch,) = reader
    np.testing.assert_array_equal(batch.images[0][:, :64, :64], images[2])


def test_moments_are_numpys(run):
    _, files, images = run
    mean, deviation = moments(files[files["field_id"] == "f1"], ["protein", "nucleus"])
    np.testing.assert_allclose(mean, images[1][::-1].mean(axis=(1, 2)))
    np.testing.assert_allclose(deviation, images[1][::-1].std(axis=(1, 2)))


def test_what_cannot_be_read_is_told(run):
    fields, files, _ = run
    with pytest.raises(ValueError, match="1 fields have no files in the download tables, the first is f1@v"):
        WindowSource(fields, files[files["field_id"] != "f1"], ROLES, "uint16", window_px=64)
    with pytest.raises(ValueError, match="give size_px"):
        WindowSource(fields, files, ROLES, "uint16")
    source = WindowSource(fields, files, ROLES, "uint8", window_px=64)
    with (
        BatchReader(source, WindowSampler(fields, 64, 4), workers=1) as reader,
        pytest.raises(ValueError, match="pixels of uint16"),
    ):
        list(reader)
    gone = files.assign(path="/nowhere/a.tif")
    with (
        BatchReader(
            WindowSource(fields, gone, ROLES, "uint16", window_px=64), WindowSampler(fields, 64, 4), workers=1
        ) as reader,
        pytest.raises(UnreadableImage, match=r"/nowhere/a\.tif"),
    ):
        list(reader)


def test_a_state_is_of_its_fields(run):
    fields, _, _ = run
    state = WindowSampler(fields, 64, 3).state_dict()
    for other in (WindowSampler(fields, 32, 3), WindowSampler(FieldList(fields.fields.iloc[:3]), 64, 3)):
        with pytest.raises(ValueError, match="not of this sampler"):
            other.load_state_dict(state)


def test_windows_of_a_real_field():
    paths = sorted(real_data("smoke_hpa_4ch").glob("*green*.jpg")) or sorted(
        real_data("smoke_hpa_4ch").rglob("*green*.jpg")
    )
    whole = read_plane(str(paths[0]))
    files = pd.DataFrame(
        [
            {
                "field_id": "a",
                "version": "v",
                "role": "protein",
                "path": str(paths[0]),
                "z": "max",
                "status": "ok",
                "channel": None,
            }
        ]
    )
    fields = FieldList(
        pd.DataFrame([{"field_id": "a", "version": "v", "height": whole.shape[0], "width": whole.shape[1]}])
    )
    source = WindowSource(fields, files, ["protein"], "uint8", window_px=1024)
    with BatchReader(source, WindowSampler(fields, 1024, 1)) as reader:
        (batch,) = reader
    (_, top, left), image = batch.rows[0], batch.images[0, 0]
    np.testing.assert_array_equal(image, whole[top : top + 1024, left : left + 1024])
