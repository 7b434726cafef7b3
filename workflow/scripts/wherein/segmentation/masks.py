"""The store of outlines: OME-Zarr 0.5 labels, one group a field, few files, read by plain zarr and by napari."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from wherein.atomic import atomic_path

OBJECTS = ("nucleus", "cell")
"""Label images of a field, in the order in which functions give and take them."""

OME_VERSION = "0.5"

CHUNK_PX = 2048
"""Longest side of a chunk: the field of most microscopes is one file for each label image."""


class DamagedMasksError(ValueError):
    """A store of masks lacks a field or a part of it, or its bytes do not decode."""


def group_name(field_id: str, version: str) -> str:
    """Name of a field's group: `{field_id}@{version}` with every character outside `[A-Za-z0-9._@-]` as `_`."""
    return re.sub(r"[^A-Za-z0-9._@-]", "_", f"{field_id}@{version}")


def write_masks(
    path: str | Path,
    masks: Iterable[tuple[str, str, np.ndarray, np.ndarray]],
    attributes: dict[str, Any],
) -> None:
    """Write the label images of a shard's fields; the store appears when it is whole.

    Args:
        path: folder of the store, by habit `*.zarr`; what stood there is replaced.
        masks: (field_id, version, nucleus, cell) of each field, taken one by one, so that a generator needs the
            memory of one field. nucleus and cell are (H, W) of non-negative integers, axes y x, 0 for background,
            the same number for a nucleus and its cell. They are stored as uint32.
        attributes: JSON-able attributes of the root. `pixel_size_um`, where given, is written as the scale in
            micrometres of every label image too.

    Raises:
        ValueError: nucleus and cell differ in shape or are no 2-D integer images, a number does not fit uint32, or
            two fields have the same group name.
    """
    scale = attributes.get("pixel_size_um")
    names: dict[str, str] = {}
    with atomic_path(path) as partial, zarr.config.set({"array.write_empty_chunks": True}):
        root = zarr.create_group(partial, zarr_format=3)
        for field_id, version, nucleus, cell in masks:
            name = group_name(field_id, version)
            if name in names:
                raise ValueError(f"fields {names[name]!r} and {field_id!r} would share the group {name!r}: rename one")
            names[name] = field_id
            _write_field(root, name, field_id, version, (nucleus, cell), scale)
        root.attrs.update({**attributes, "fields": list(names)})


def read_masks(path: str | Path, field_id: str, version: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one field's label images.

    Args:
        path: folder of the store.
        field_id: the field.
        version: its version.

    Returns:
        nucleus, cell: (H, W) uint32 each, axes y x.

    Raises:
        KeyError: the store has no such field.
        DamagedMasksError: a part of the field is missing or does not decode; never zeros in its place.
    """
    name = group_name(field_id, version)
    if not (Path(path) / name / "zarr.json").is_file():
        raise KeyError(f"{path} has no masks of {field_id}@{version}")
    nucleus, cell = (_read_labels(Path(path) / name / "labels" / part / "0") for part in OBJECTS)
    return nucleus, cell


def _write_field(
    root: zarr.Group,
    name: str,
    field_id: str,
    version: str,
    images: tuple[np.ndarray, np.ndarray],
    scale: float | None,
) -> None:
    if images[0].shape != images[1].shape or images[0].ndim != 2:
        raise ValueError(
            f"{field_id}: nucleus has shape {images[0].shape} and cell {images[1].shape}; both must be (H, W)"
        )
    field = root.create_group(name, attributes={"field_id": field_id, "version": version})
    labels = field.create_group("labels", attributes={"ome": {"version": OME_VERSION, "labels": list(OBJECTS)}})
    for part, image in zip(OBJECTS, images, strict=True):
        group = labels.create_group(part, attributes={"ome": _label_metadata(part, scale)})
        group.create_array(
            "0",
            data=_as_uint32(image, f"{field_id}, {part}"),
            chunks=tuple(max(1, min(CHUNK_PX, side)) for side in image.shape),
            compressors=ZstdCodec(level=1, checksum=True),
            fill_value=0,
            dimension_names=("y", "x"),
        )


def _label_metadata(part: str, scale: float | None) -> dict[str, Any]:
    unit = {} if scale is None else {"unit": "micrometer"}
    step = 1.0 if scale is None else float(scale)
    return {
        "version": OME_VERSION,
        "image-label": {"version": OME_VERSION},
        "multiscales": [
            {
                "name": part,
                "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
                "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [step, step]}]}],
            }
        ],
    }


def _as_uint32(image: np.ndarray, name: str) -> np.ndarray:
    if image.dtype.kind not in "ui":
        raise ValueError(f"{name}: labels are {image.dtype}; they must be integers")
    if image.size and (image.min() < 0 or image.max() > np.iinfo(np.uint32).max):
        raise ValueError(f"{name}: labels run from {image.min()} to {image.max()}; they must fit uint32")
    return np.ascontiguousarray(image, dtype=np.uint32)


def _read_labels(path: Path) -> np.ndarray:
    try:
        array = zarr.open_array(path, mode="r")
        # zarr fills a chunk that is not there with zeros, which would read as an empty field
        if array.nchunks_initialized != array.nchunks:
            raise DamagedMasksError(f"{path}: {array.nchunks - array.nchunks_initialized} chunks are missing")
        return np.asarray(array[...])
    except DamagedMasksError:
        raise
    except Exception as error:
        raise DamagedMasksError(f"{path} cannot be read ({error}): remove the store and run `segment` again") from error
