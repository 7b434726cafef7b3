import gc
import json
import os
import pickle
import subprocess
import sys

import google_crc32c
import imagecodecs
import numpy as np
import pytest
import zarr
from wherein.crops import blocks
from wherein.crops.blocks import BlockArray, BlockWriter, DamagedCropsError, shard_path
from wherein.reading.batches import SCRIPTS

SHAPE = (2, 9, 7)


def write(path, array, room=3):
    writer = BlockWriter(path, array.shape[1:], array.dtype, room)
    for block in array:
        writer.append(block)
    writer.finish(("cell", "channel", "y", "x"))
    return path


def noise(n, dtype=np.uint16, seed=0):
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    return (np.random.default_rng(seed).random((n, *SHAPE)) * top).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 3, 4, 8])
def test_zarr_reads_what_is_written_and_we_read_what_zarr_writes(tmp_path, n, dtype):
    array = noise(n, np.dtype(dtype))
    path = write(tmp_path / "ours", array)
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], array)
    np.testing.assert_array_equal(BlockArray(path).read(range(n)), array)
    metadata = json.loads((path / "zarr.json").read_text())
    theirs = zarr.create_array(
        tmp_path / "theirs",
        shape=array.shape,
        dtype=array.dtype,
        chunks=(metadata["chunk_grid"]["configuration"]["chunk_shape"][0], *SHAPE),
        serializer=metadata["codecs"][0],
        compressors=None,
        fill_value=0,
        dimension_names=("cell", "channel", "y", "x"),
    )
    theirs[...] = array
    np.testing.assert_array_equal(BlockArray(tmp_path / "theirs").read(range(n)), array)
    assert zarr.open_array(path).metadata.to_dict() == zarr.open_array(tmp_path / "theirs").metadata.to_dict()


def test_any_order_repeated_into_a_given_place(tmp_path):
    array = noise(8)
    reader = BlockArray(write(tmp_path / "a", array))
    order = [7, 0, 3, 3, 1, 7]
    np.testing.assert_array_equal(reader.read(order), array[order])
    buffer = np.zeros((10, *SHAPE), np.uint16)
    given = reader.read(np.array(order), out=buffer[2:8])
    assert np.shares_memory(given, buffer)
    np.testing.assert_array_equal(buffer[2:8], array[order])
    assert not buffer[:2].any()
    assert not buffer[8:].any()
    assert reader.read([]).shape == (0, *SHAPE)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, *SHAPE), np.uint16),
        np.zeros((3, *SHAPE), np.uint8),
        np.zeros((*SHAPE, 3), np.uint16).transpose(3, 0, 1, 2),
    ],
)
def test_a_place_that_does_not_fit_is_refused(tmp_path, out):
    reader = BlockArray(write(tmp_path / "a", noise(4)))
    with pytest.raises(ValueError, match="is needed"):
        reader.read([0, 1, 2], out=out)


def rewrite(path, change):
    """Change the body of block 1 of 3 and mend checksums, so that only what is decoded can tell."""
    content = path.read_bytes()
    index = np.frombuffer(content[-3 * 16 - 4 : -4], "<u8").reshape(3, 2).astype(np.int64).copy()
    parts = [content[start : start + size - 4] for start, size in index]
    parts[1] = change(parts[1])
    body, places = b"", []
    for part in parts:
        whole = blocks.with_checksum(part)
        places.append((len(body), len(whole)))
        body += whole
    path.write_bytes(body + blocks.with_checksum(np.array(places, "<u8").tobytes()))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_blocks_of_another_size_or_codec_raise(tmp_path, dtype):
    array = noise(3, dtype)
    short = np.ascontiguousarray(array[0, :1])
    encode = blocks._encoder(blocks.compression(np.dtype(dtype)))
    for name, change in (
        ("short", lambda _: encode(short)),
        ("long", lambda _: encode(np.concatenate([array[0], array[0]]))),
        ("other", lambda _: imagecodecs.zlib_encode(array[0].tobytes())),
        ("nothing", lambda _: b""),
    ):
        path = write(tmp_path / name, array)
        rewrite(shard_path(path, 0, 3), change)
        reader = BlockArray(path)
        np.testing.assert_array_equal(reader.read([0, 2]), array[[0, 2]])
        with pytest.raises(DamagedCropsError, match="crop 1"):
            reader.read([1])


def test_a_block_that_the_index_lacks_raises(tmp_path):
    path = write(tmp_path / "a", noise(4))
    metadata = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(metadata.replace('"shape": [\n  4,', '"shape": [\n  5,', 1))
    with pytest.raises(DamagedCropsError, match="crop 4 is missing"):
        BlockArray(path).read([4])


def test_an_index_that_points_beyond_the_blocks_raises(tmp_path):
    path = write(tmp_path / "a", noise(3))
    file = shard_path(path, 0, 3)
    content = file.read_bytes()
    index = np.frombuffer(content[-52:-4], "<u8").copy()
    index[1] += len(content)
    file.write_bytes(content[:-52] + blocks.with_checksum(index.tobytes()))
    with pytest.raises(DamagedCropsError, match="crop 0 is missing"):
        BlockArray(path).read([0])


def test_an_array_of_another_make_is_refused(tmp_path):
    zarr.create_array(tmp_path / "plain", shape=(4, *SHAPE), dtype="u2", chunks=(1, *SHAPE))
    zarr.create_array(tmp_path / "sixteen", shape=(4, *SHAPE), dtype="u2", chunks=(2, *SHAPE), shards=(4, *SHAPE))
    for name in ("plain", "sixteen"):
        with pytest.raises(ValueError, match="not made of one checked block a crop"):
            BlockArray(tmp_path / name)


def test_a_writer_that_stops_leaves_no_file_that_passes(tmp_path):
    array = noise(2)
    writer = BlockWriter(tmp_path / "a", SHAPE, array.dtype, 3)
    for block in array:
        writer.append(block)
    writer.close()
    assert not (tmp_path / "a/zarr.json").exists()
    whole = write(tmp_path / "b", array)
    (tmp_path / "a/zarr.json").write_bytes((whole / "zarr.json").read_bytes())
    with pytest.raises(DamagedCropsError, match="torn"):
        BlockArray(tmp_path / "a").read([0])


def test_files_in_use_are_few_and_the_oldest_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_OPEN", 2)
    blocks._opened.clear()
    array = noise(8)
    one, two = (BlockArray(write(tmp_path / name, array)) for name in "ab")
    order = np.random.default_rng(0).integers(0, 8, 60)
    for row in order:
        for reader in (one, two):
            np.testing.assert_array_equal(reader.read([row]), array[[row]])
            assert len(one._open) + len(two._open) <= 2
    copy = pickle.loads(pickle.dumps(one))
    assert copy._open == {}
    del one, two
    gc.collect()
    np.testing.assert_array_equal(copy.read([0, 3, 6]), array[[0, 3, 6]])


def test_bytes_are_compressed_for_reading_and_wider_types_for_size(tmp_path):
    y, x = np.mgrid[:64, :64]
    # what no prediction saves: the lowest bits are noise, as in a camera's 12 bits in 16
    rng = np.random.default_rng(0)
    smooth = (400 * np.exp(-((y - 32) ** 2 + (x - 32) ** 2) / 300))[None, None] + rng.normal(100, 2, (6, 2, 64, 64))
    for array, most in ((smooth.clip(0, 255).astype(np.uint8), 0.85), (smooth.astype(np.uint16), 0.6)):
        path = write(tmp_path / array.dtype.name, array)
        size = sum(shard_path(path, shard, 3).stat().st_size for shard in range(2))
        assert size < most * array.nbytes
    assert blocks.compression(np.dtype(np.uint8))["name"] == "blosc"
    assert blocks.compression(np.dtype(np.uint16))["name"] == "zstd"


def test_the_checksum_is_zarrs():
    assert blocks.with_checksum(b"123456789")[-4:] == (0xE3069283).to_bytes(4, "little")
    assert google_crc32c.value(b"123456789") == 0xE3069283


def test_a_process_that_may_takes_more_files_itself():
    code = (
        "import resource\n"
        "from wherein.crops import blocks\n"
        "_, highest = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, highest))\n"
        "blocks._allow_files()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], highest)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(SCRIPTS)})  # fmt: skip
    now, highest = map(int, done.stdout.split())
    assert now == (60_000 if highest == -1 else min(60_000, highest))
