"""OME-Zarr 0.4 and 0.5: the first, finest level of one image."""

from functools import partial
from typing import Any

import numpy as np

from wherein.decoders.image import MICROMETRES, Image, UnreadableImage, plane_of, square_pixel


def open_zarr(path: str) -> Image:
    """Open the folder of an OME-Zarr image.

    Args:
        path: a group with `multiscales`, or one written by bioformats2raw that holds a single such group, `0`.

    Raises:
        UnreadableImage: `unsupported_format`, the folder is no OME-Zarr image or holds several.
    """
    # only here: no other format needs it
    import zarr
    from zarr.errors import GroupNotFoundError

    try:
        group = zarr.open_group(path, mode="r")
    except (FileNotFoundError, GroupNotFoundError) as error:
        raise UnreadableImage("unsupported_format", f"{path} is a folder, but no OME-Zarr image") from error
    said = _metadata(group)
    if "multiscales" not in said:
        images = [name for name, _ in group.groups() if name != "OME"]
        if "bioformats2raw.layout" not in said or images != ["0"]:
            found = f": it holds {', '.join(sorted(images)[:5])}" if images else ""
            raise UnreadableImage(
                "unsupported_format", f"{path} is no single OME-Zarr image{found}; name the folder of one image"
            )
        group = group["0"]
        said = _metadata(group)
    scales = said["multiscales"][0]
    array = group[scales["datasets"][0]["path"]]
    axes = "".join(_letter(axis) for axis in scales["axes"])
    channels = tuple(str(channel.get("label", "")) for channel in said.get("omero", {}).get("channels", []))
    size = _pixel_size(scales, path)
    return Image(axes, array.shape, array.dtype, channels, size, partial(plane_of, array, axes))


def _metadata(group: Any) -> dict[str, Any]:
    """What OME-Zarr says of a group: under `ome` from version 0.5 on."""
    attributes = dict(group.attrs)
    return attributes.get("ome", attributes)


def _letter(axis: dict[str, Any] | str) -> str:
    name = axis if isinstance(axis, str) else axis["name"]
    return name[0].upper() if name.lower() in ("t", "c", "z", "y", "x") else "Q"


def _pixel_size(scales: dict[str, Any], path: str) -> float | None:
    steps = {}
    for place, axis in enumerate(scales["axes"]):
        if isinstance(axis, str) or axis["name"] not in ("y", "x"):
            continue
        unit = MICROMETRES.get(str(axis.get("unit", "")).lower())
        if unit is None:
            return None
        transformations = [
            *scales["datasets"][0].get("coordinateTransformations", []),
            *scales.get("coordinateTransformations", []),
        ]
        factors = [step["scale"][place] for step in transformations if step["type"] == "scale"]
        steps[axis["name"]] = float(np.prod(factors)) * unit if factors else None
    return square_pixel(steps.get("y"), steps.get("x"), path)
