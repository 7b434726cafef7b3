"""Readers: every format gives the pixels that were written, or a reason."""

import gzip
import io
import logging
import threading
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from real_data import real_data
from wherein import readers
from wherein.decoders.tiff import _overheard
from wherein.readers import (
    UnreadableImage,
    binned,
    header,
    open_image,
    pixel_size,
    read_field,
    read_plane,
    sharpness,
)
from wherein.reasons import FIELD_REASONS


def pixels(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def tiff_bytes(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def reason_of(path: str, **options: str) -> tuple[str, str]:
    with pytest.raises(UnreadableImage) as caught:
        read_plane(path, **options)
    assert caught.value.reason in FIELD_REASONS
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "int16", "int32", "float16", "float32", "float64", ">u2", ">f4"]
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_gives_back_what_was_written(tmp_path, dtype, compression):
    array = pixels((33, 47), dtype)
    path = written(tmp_path / "a.tif", tiff_bytes(array, compression=compression))
    found = read_plane(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert header(path) == (np.dtype(dtype).newbyteorder("=").name, None)


@pytest.mark.parametrize(
    "options", [{"bigtiff": True}, {"tile": (16, 16), "compression": "lzw"}, {"byteorder": ">"}, {"rowsperstrip": 5}]
)
def test_tiff_layouts(tmp_path, options):
    array = pixels((64, 48))
    np.testing.assert_array_equal(read_plane(written(tmp_path / "a.tif", tiff_bytes(array, **options))), array)


def test_gzipped_tiff(tmp_path):
    array = pixels((40, 30))
    path = written(tmp_path / "a.tif.gz", gzip.compress(tiff_bytes(array)))
    np.testing.assert_array_equal(read_plane(path), array)
    assert header(path) == ("uint16", None)


@pytest.mark.parametrize("where", ["front", "end"])
def test_header_of_a_gzipped_tiff(tmp_path, where, monkeypatch):
    array = pixels((300, 300), "uint16" if where == "end" else ">u2")
    options = {"imagej": True, "resolution": (5.0, 5.0), "metadata": {"unit": "um"}}
    content = tiff_bytes(array, **options) if where == "front" else _directory_at_the_end(array)
    path = written(tmp_path / "a.tif.gz", gzip.compress(content))
    if where == "front":
        monkeypatch.setattr(readers, "open_image", lambda path: pytest.fail("the whole file is unpacked"))
    assert header(path) == ("uint16", pytest.approx(0.2) if where == "front" else None)


def test_ome_tiff_axes_channels_and_pixel_size(tmp_path):
    array = pixels((3, 2, 20, 30))
    path = str(tmp_path / "a.ome.tif")
    metadata = {
        "axes": "ZCYX",
        "PhysicalSizeX": 80.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 80.0,
        "PhysicalSizeYUnit": "nm",
        "Channel": {"Name": ["DNA", "GFP"]},
    }
    tifffile.imwrite(path, array, ome=True, metadata=metadata)
    np.testing.assert_array_equal(read_plane(path, "GFP"), array[:, 1].max(0))
    np.testing.assert_array_equal(read_plane(path, "0", "2"), array[2, 0])
    assert pixel_size(path) == pytest.approx(0.08)
    assert "DNA, GFP" in reason_of(path)[1]
    assert reason_of(path, channel="RFP")[0] == "missing_channel"
    assert reason_of(path, channel="2")[0] == "missing_channel"
    assert reason_of(path, channel="0", z="3")[0] == "missing_channel"


def test_imagej_hyperstack_and_pixel_size(tmp_path):
    array = pixels((4, 2, 20, 30))
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, array, imagej=True, resolution=(5.0, 5.0), metadata={"axes": "ZCYX", "unit": "micron"})
    np.testing.assert_array_equal(read_plane(path, "1"), array[:, 1].max(0))
    np.testing.assert_array_equal(read_plane(path, "1", "3"), array[3, 1])
    assert pixel_size(path) == pytest.approx(0.2)


def test_the_resolution_for_printing_is_no_pixel_size(tmp_path):
    path = written(tmp_path / "a.tif", tiff_bytes(pixels((8, 8)), resolution=(72, 72), resolutionunit="inch"))
    assert pixel_size(path) is None


def test_oblong_pixels_are_told(tmp_path):
    path = str(tmp_path / "a.ome.tif")
    metadata = {"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2}
    tifffile.imwrite(path, pixels((8, 8)), ome=True, metadata=metadata)
    reason, sentence = reason_of(path)
    assert reason == "unsupported_format"
    assert "0.2 x 0.1" in sentence


@pytest.mark.parametrize("axes", ["CYX", "ZYX"])
def test_shaped_tiff_with_declared_axes(tmp_path, axes):
    array = pixels((3, 20, 30))
    path = written(tmp_path / "a.tif", tiff_bytes(array, photometric="minisblack", metadata={"axes": axes}))
    if axes == "CYX":
        np.testing.assert_array_equal(read_plane(path, "2"), array[2])
    else:
        np.testing.assert_array_equal(read_plane(path), array.max(0))


@pytest.mark.parametrize("pages", [2, 3, 5])
def test_pages_without_declared_axes_are_told(tmp_path, pages):
    shaped = written(tmp_path / "a.tif", tiff_bytes(pixels((pages, 20, 30)), photometric="minisblack"))
    plain = written(tmp_path / "b.tif", tiff_bytes(pixels((pages, 20, 30)), photometric="minisblack", metadata=None))
    for path in (shaped, plain):
        reason, sentence = reason_of(path)
        assert reason == "unsupported_format"
        assert str(pages) in sentence
        assert "sources.*.roles.*.axes" in sentence
        assert "sources.*.axes" in sentence
        assert reason_of(path, channel="0")[0] == "unsupported_format"


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2,), "CYX"),
        ((2,), "C2YX"),
        ((5,), "ZYX"),
        ((5, 2), "ZC2YX"),
        ((5, 2), "Z5CYX"),
        ((5, 2), "Z5C2YX"),
        ((2, 5), "C2ZYX"),
        ((1, 2), "ZC2YX"),
        ((5, 1), "ZC1YX"),
        ((), "CYX"),
    ],
)
@pytest.mark.parametrize("packing", [None, "shape", "gzip", "zlib"])
def test_pages_are_read_in_the_order_that_the_configuration_names(tmp_path, shape, axes, packing):
    array = pixels((*shape, 20, 30))
    options = {} if packing == "shape" else {"metadata": None}
    options |= {"compression": "zlib"} if packing == "zlib" else {}
    content = tiff_bytes(array, photometric="minisblack", **options)
    path = written(tmp_path / "a.tif", gzip.compress(content) if packing == "gzip" else content)
    letters = [letter for letter in axes[:-2] if letter in "CZ"]
    whole = array.reshape((*(shape or (1,) * len(letters)), 20, 30))
    for channel in range(whole.shape[letters.index("C")] if "C" in letters else 1):
        one = whole.take(channel, letters.index("C")) if "C" in letters else whole
        one = one.max(0) if "Z" in letters else one
        np.testing.assert_array_equal(read_plane(path, str(channel), "max", axes), one)
    table = files(protein=(path, "0")).assign(axes=axes)
    first = whole.take(0, letters.index("C")) if "C" in letters else whole
    np.testing.assert_array_equal(read_field(table)["protein"], first.max(0) if "Z" in letters else first)


def test_without_lengths_axes_fit_a_file_that_tells_its_shape_alone(tmp_path):
    array = pixels((5, 2, 20, 30))
    shaped = written(tmp_path / "a.tif", tiff_bytes(array, photometric="minisblack"))
    np.testing.assert_array_equal(read_plane(shaped, "1", "max", "ZCYX"), array[:, 1].max(0))
    flat = written(tmp_path / "b.tif", tiff_bytes(array, photometric="minisblack", metadata=None))
    with pytest.raises(UnreadableImage, match=r"has 10 pages, which do not fit axes: ZCYX .*sources\.\*\.axes"):
        read_plane(flat, "1", "max", "ZCYX")


@pytest.mark.parametrize(
    ("shape", "axes", "found"),
    [
        ((5,), "ZC2YX", "5"),
        ((2, 5), "ZC2YX", "2 x 5"),
        ((3,), "C2YX", "3"),
        ((5, 2), "ZYX", "5 x 2"),
    ],
)
def test_pages_that_the_named_order_does_not_fit_are_told(tmp_path, shape, axes, found):
    """Two planes of five channels would else be read as five of two."""
    path = written(tmp_path / "a.tif", tiff_bytes(pixels((*shape, 20, 30)), photometric="minisblack"))
    with pytest.raises(UnreadableImage, match=f"has {found} pages, which do not fit axes: {axes}") as caught:
        read_plane(path, "0", "max", axes)
    assert caught.value.reason == "unsupported_format"


def test_a_file_that_declares_its_axes_is_read_by_its_own_word(tmp_path):
    array = pixels((3, 2, 20, 30))
    path = str(tmp_path / "a.ome.tif")
    tifffile.imwrite(path, array, ome=True, metadata={"axes": "ZCYX"}, photometric="minisblack")
    np.testing.assert_array_equal(read_plane(path, "1", "max", "C3ZYX"), array[:, 1].max(0))
    one = written(tmp_path / "c.tif", tiff_bytes(array[0, 0]))
    np.testing.assert_array_equal(read_plane(one, "0", "max", "C2YX"), array[0, 0], "a single page has no order")
    colours = written(tmp_path / "b.tif", tiff_bytes(pixels((20, 30, 3), "uint8"), photometric="rgb"))
    assert read_plane(colours, "1", "max", "CYX").shape == (20, 30)


def test_three_pages_are_not_taken_for_colours(tmp_path):
    # without a word on photometry tifffile writes them as planes of one colour image
    path = written(tmp_path / "a.tif", tiff_bytes(pixels((3, 20, 30)), photometric="rgb"))
    assert reason_of(path)[0] == "unsupported_format"


def test_images_of_different_size_in_one_tiff_are_told(tmp_path):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for size in (20, 30):
            tiff.write(pixels((size, size)), metadata=None, contiguous=False)
    reason, sentence = reason_of(written(tmp_path / "a.tif", buffer.getvalue()))
    assert reason == "unsupported_format"
    assert "2 images" in sentence


def test_time_series_are_told(tmp_path):
    path = str(tmp_path / "a.ome.tif")
    tifffile.imwrite(path, pixels((4, 8, 8)), ome=True, metadata={"axes": "TYX"})
    assert "4 points in time" in reason_of(path)[1]


def test_focus_takes_the_sharpest_plane(tmp_path):
    from scipy.ndimage import gaussian_filter

    sharp = (np.random.default_rng(1).random((64, 64)) > 0.97) * 3000.0
    noise = np.random.default_rng(2).normal(100, 60, (5, 64, 64))
    stack = np.stack([gaussian_filter(sharp, abs(level - 3) + 0.7) for level in range(5)]) + noise.clip(0)
    stack = stack.astype("uint16")
    path = written(tmp_path / "a.tif", tiff_bytes(stack, photometric="minisblack", metadata={"axes": "ZYX"}))
    np.testing.assert_array_equal(read_plane(path, z="focus"), stack[3])


def test_sharpness_as_defined():
    plane = pixels((7, 9)).astype(float)
    slow = sum(
        plane[y, x] * plane[y, x + 1] - plane[y, x] * plane[y, x + 2]
        for y in range(plane.shape[0])
        for x in range(plane.shape[1] - 2)
    )
    assert sharpness(plane) == pytest.approx(slow)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png(tmp_path, dtype, samples):
    array = pixels((20, 30, samples), dtype)
    if samples in (2, 4):
        array[..., -1] = np.iinfo(dtype).max  # alpha counts for nothing
    path = written(tmp_path / "a.png", imagecodecs.png_encode(array[..., 0] if samples == 1 else array))
    np.testing.assert_array_equal(read_plane(path), array[..., : 3 if samples >= 3 else 1].max(-1))
    assert header(path) == (dtype, None)
    if samples == 3:
        np.testing.assert_array_equal(read_plane(path, "1"), array[..., 1])


def test_jpeg_is_grey_by_the_maximum_over_colours(tmp_path):
    grey = np.repeat(np.repeat(pixels((8, 8), "uint8"), 16, 0), 16, 1)
    coded = np.zeros((*grey.shape, 3), np.uint8)
    coded[..., 1] = grey
    # named as another format: the first bytes count
    path = written(tmp_path / "a.png", imagecodecs.jpeg8_encode(coded, level=95))
    found = read_plane(path)
    np.testing.assert_array_equal(found, imagecodecs.jpeg8_decode(Path(path).read_bytes()).max(-1))
    assert np.abs(found.astype(int) - grey).mean() < 3
    assert header(path) == ("uint8", None)


def test_grey_jpeg(tmp_path):
    array = np.repeat(np.repeat(pixels((8, 8), "uint8"), 8, 0), 8, 1)
    path = written(tmp_path / "a.jpg", imagecodecs.jpeg8_encode(array, level=95))
    assert read_plane(path).shape == (64, 64)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99, "one byte"])
@pytest.mark.parametrize(
    "kind", ["jpg", "progressive", "png", "tif", "zlib.tif", "lzw.tif", "ome.tif", "end.tif", "tif.gz"]
)
def test_truncated_files_are_corrupt(tmp_path, kind, share):
    array = pixels((256, 256))
    whole = {
        "jpg": lambda: imagecodecs.jpeg8_encode(array.astype("uint8"), level=90),
        "progressive": lambda: _progressive(array.astype("uint8")),
        "png": lambda: imagecodecs.png_encode(array),
        "tif": lambda: tiff_bytes(array),
        "zlib.tif": lambda: tiff_bytes(array, compression="zlib"),
        "lzw.tif": lambda: tiff_bytes(array, compression="lzw", rowsperstrip=16),
        "ome.tif": lambda: tiff_bytes(
            np.stack([array, array]), ome=True, compression="zlib", metadata={"axes": "ZYX"}, photometric="minisblack"
        ),
        "end.tif": lambda: _directory_at_the_end(array),
        "tif.gz": lambda: gzip.compress(tiff_bytes(array)),
    }[kind]()
    keep = len(whole) - 1 if share == "one byte" else int(len(whole) * share)
    path = written(tmp_path / kind, whole[:keep])
    assert read_plane(written(tmp_path / f"whole.{kind}", whole)).shape == (256, 256)
    assert reason_of(path)[0] == "corrupt"


def _progressive(array: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def _directory_at_the_end(array: np.ndarray) -> bytes:
    """As libtiff writes it: the pixels first, then the directory."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "TIFF")
    return buffer.getvalue()


def test_broken_bytes_are_corrupt(tmp_path):
    png = bytearray(imagecodecs.png_encode(pixels((64, 64))))
    png[len(png) // 2] ^= 0xFF
    assert reason_of(written(tmp_path / "a.png", bytes(png)))[0] == "corrupt"
    assert reason_of(written(tmp_path / "b.tif", b""))[0] == "corrupt"
    assert reason_of(written(tmp_path / "c.tif", b"II*\0" + bytes(40)))[0] == "corrupt"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_told(tmp_path, value):
    array = pixels((16, 16), "float32")
    array[3, 4] = value
    reason, sentence = reason_of(written(tmp_path / "a.tif", tiff_bytes(array)))
    assert reason == "corrupt"
    assert "0.39%" in sentence


def test_missing_and_unknown_files(tmp_path):
    assert reason_of(str(tmp_path / "none.tif"))[0] == "missing_file"
    for name, told in {"a.czi": "Zeiss CZI", "a.nd2": "Nikon ND2", "a.lif": "Leica LIF", "a.txt": "no TIFF"}.items():
        reason, sentence = reason_of(written(tmp_path / name, b"something else entirely"))
        assert reason == "unsupported_format"
        assert told in sentence
        assert "bioformats2raw" in sentence
    assert reason_of(written(tmp_path / "b.tif.gz", gzip.compress(b"text")))[0] == "unsupported_format"
    (tmp_path / "folder").mkdir()
    assert reason_of(str(tmp_path / "folder"))[0] == "unsupported_format"
    boolean = written(tmp_path / "c.tif", tiff_bytes(np.ones((8, 8), bool)))
    assert reason_of(boolean)[0] == "unsupported_format"


def ome_zarr(path: Path, array: np.ndarray, axes: str, version: str, names: list[str] | None = None) -> str:
    root = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    kinds = {"c": "channel", "z": "space", "y": "space", "x": "space", "t": "time"}
    multiscales = {
        "axes": [
            {"name": axis, "type": kinds[axis], **({"unit": "micrometer"} if axis in "zyx" else {})} for axis in axes
        ],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [0.5 if axis in "zyx" else 1.0 for axis in axes]}
                ],
            }
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [0.2 if axis in "yx" else 1.0 for axis in axes]}],
    }
    said: dict[str, object] = {"multiscales": [multiscales]}
    if names:
        said["omero"] = {"channels": [{"label": name} for name in names]}
    if version == "0.4":
        multiscales["version"] = "0.4"
        root.attrs.update(said)
    else:
        root.attrs["ome"] = {"version": version, **said}
    root.create_array("0", data=array, chunks=(1,) * (array.ndim - 2) + array.shape[-2:])
    return str(path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    array = pixels((1, 2, 3, 20, 30))
    path = ome_zarr(tmp_path / "a.zarr", array, "tczyx", version, ["DNA", "GFP"])
    np.testing.assert_array_equal(read_plane(path, "GFP"), array[0, 1].max(0))
    np.testing.assert_array_equal(read_plane(path, "0", "1"), array[0, 0, 1])
    assert pixel_size(path) == pytest.approx(0.1)
    assert header(path)[0] == "uint16"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_of_bioformats2raw(tmp_path, version):
    array = pixels((20, 30))
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2 if version == "0.4" else 3)
    layout = {"bioformats2raw.layout": 3}
    root.attrs.update(layout if version == "0.4" else {"ome": {"version": "0.5", **layout}})
    ome_zarr(tmp_path / "a.zarr" / "0", array, "yx", version)
    np.testing.assert_array_equal(read_plane(str(tmp_path / "a.zarr")), array)
    ome_zarr(tmp_path / "a.zarr" / "1", array, "yx", version)
    reason, sentence = reason_of(str(tmp_path / "a.zarr"))
    assert reason == "unsupported_format"
    assert "0, 1" in sentence
    np.testing.assert_array_equal(read_plane(str(tmp_path / "a.zarr" / "1")), array)


def test_ome_zarr_with_a_broken_chunk_is_corrupt(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", pixels((20, 30)), "yx", "0.5")
    chunk = next(found for found in (tmp_path / "a.zarr" / "0" / "c").rglob("*") if found.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-20])
    assert reason_of(path)[0] == "corrupt"


def files(**roles: tuple[str, str | None]) -> pd.DataFrame:
    rows = [
        {"role": role, "path": path, "channel": channel, "z": "max", "status": "ok", "reason": None}
        for role, (path, channel) in roles.items()
    ]
    return pd.DataFrame(rows)


def test_read_field_in_the_order_of_storage(tmp_path):
    array = pixels((2, 20, 30))
    both = written(tmp_path / "a.tif", tiff_bytes(array, photometric="minisblack", metadata={"axes": "CYX"}))
    er = written(tmp_path / "b.tif", tiff_bytes(array[0]))
    table = files(protein=(both, "1"), er=(er, None), nucleus=(both, "0"))
    found = read_field(table)
    assert list(found) == ["nucleus", "er", "protein"]
    np.testing.assert_array_equal(found["protein"], array[1])
    assert list(read_field(table, ["protein"])) == ["protein"]
    with pytest.raises(UnreadableImage) as caught:
        read_field(table, ["reference"])
    assert caught.value.reason == "missing_channel"


def test_read_field_tells_what_does_not_fit(tmp_path):
    a = written(tmp_path / "a.tif", tiff_bytes(pixels((20, 30))))
    b = written(tmp_path / "b.tif", tiff_bytes(pixels((30, 20))))
    c = written(tmp_path / "c.tif", tiff_bytes(pixels((20, 30), "uint8")))
    with pytest.raises(UnreadableImage, match="nucleus 20 x 30, protein 30 x 20") as caught:
        read_field(files(nucleus=(a, None), protein=(b, None)))
    assert caught.value.reason == "size_mismatch"
    with pytest.raises(UnreadableImage, match="nucleus uint16, protein uint8") as caught:
        read_field(files(nucleus=(a, None), protein=(c, None)))
    assert caught.value.reason == "unsupported_format"
    gone = files(nucleus=(a, None), protein=(b, None))
    gone.loc[1, ["path", "status", "reason"]] = [None, "failed", "no_address"]
    with pytest.raises(UnreadableImage) as caught:
        read_field(gone)
    assert caught.value.reason == "no_address"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(8, 6), (9, 7), (2, 3), (1, 5)])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_binned_is_the_mean_of_blocks(dtype, shape, side):
    plane = np.random.default_rng(5).integers(0, 250, shape).astype(dtype)
    if dtype.startswith("int"):
        plane -= 100
    found = binned(plane, side)
    height, width = shape[0] // side, shape[1] // side
    assert found.shape == (height, width)
    assert found.dtype == plane.dtype
    for y in range(height):
        for x in range(width):
            block = plane[y * side : (y + 1) * side, x * side : (x + 1) * side]
            mean = sum(float(value) for value in block.ravel()) / side**2
            wanted = np.floor(mean + 0.5) if plane.dtype.kind in "ui" else np.asarray(mean).astype(dtype)
            assert found[y, x] == wanted


def test_binned_does_not_overflow():
    for dtype in ("uint8", "uint16", "uint32"):
        full = np.full((4, 4), np.iinfo(dtype).max, dtype)
        np.testing.assert_array_equal(binned(full, 2), full[:2, :2])


def test_read_field_averages_the_projection(tmp_path):
    """First the maximum over z, then the mean over pixels: the other way round is something else."""
    stack = pixels((5, 2, 21, 30))
    path = written(tmp_path / "a.tif", tiff_bytes(stack, photometric="minisblack", metadata={"axes": "ZCYX"}, ome=True))
    table = files(nucleus=(path, "0"), protein=(path, "1")).assign(bin=2, gain=1)
    found = read_field(table)
    for channel, role in enumerate(("nucleus", "protein")):
        projected = stack[:, channel].max(0)[:20].astype(float)
        wanted = np.floor(projected.reshape(10, 2, 15, 2).mean((1, 3)) + 0.5)
        np.testing.assert_array_equal(found[role], wanted)
        assert found[role].dtype == np.uint16


def test_eight_bits_stand_in_for_sixteen(tmp_path):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = written(tmp_path / "a.png", imagecodecs.png_encode(every))
    grey = written(tmp_path / "b.jpg", imagecodecs.jpeg8_encode(np.full((16, 16), 255, np.uint8)))
    found = read_field(files(nucleus=(path, None), protein=(grey, None)).assign(gain=257))
    assert {plane.dtype for plane in found.values()} == {np.dtype("uint16")}
    np.testing.assert_array_equal(found["nucleus"].ravel(), [value * 65535 // 255 for value in range(256)])
    assert found["protein"].max() == 65535
    sixteen = written(tmp_path / "c.tif", tiff_bytes(pixels((16, 16))))
    with pytest.raises(UnreadableImage, match=r"stands in for a file of 16 bits and has to have 8, but .* uint16"):
        read_field(files(protein=(sixteen, None)).assign(gain=257))
    # as tables of before, and those of drawn fields, have it
    for said in (None, np.nan, 1):
        assert read_field(files(nucleus=(path, None)).assign(gain=said, bin=said))["nucleus"].dtype == np.uint8


def test_a_broken_file_does_not_disturb_other_threads():
    log = logging.getLogger("tifffile")
    with _overheard() as said:
        thread = threading.Thread(target=log.error, args=("invalid value offset of another thread's file",))
        thread.start()
        thread.join()
        assert said == []
        log.error("invalid value offset %d", 7)
        assert said == ["invalid value offset 7"]
    log.error("too late")
    assert len(said) == 1
    assert not [handler for handler in log.handlers if "Ear" in type(handler).__name__]


def test_errors_in_the_callers_code_are_not_the_images(tmp_path):
    path = written(tmp_path / "a.tif", tiff_bytes(pixels((8, 8))))
    with pytest.raises(ZeroDivisionError), open_image(path):
        _ = 1 / 0


def test_real_fields():
    folder = real_data("smoke_hpa_4ch")
    for colour in ("blue", "green", "red", "yellow"):
        path = folder / colour / f"800_A6_1_{colour}.jpg"
        plane = read_plane(str(path))
        assert plane.shape == (2048, 2048)
        np.testing.assert_array_equal(plane, imagecodecs.jpeg8_decode(path.read_bytes()).max(-1))


def test_real_jpeg_named_png():
    folder = real_data("qc_controls/channel_mismatch_57_F11_1")
    assert read_plane(str(folder / "57_F11_1_yellow.png")).shape == (1728, 1728)


def test_real_snaps():
    folder = real_data("qc_controls/opencell_hoechst_snaps")
    for name in ("good-1", "no-nuclei-1"):
        plane = read_plane(str(folder / f"{name}.tif"))
        assert plane.shape == (1024, 1024)
        assert plane.dtype == np.uint16
