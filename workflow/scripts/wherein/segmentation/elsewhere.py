"""The method `masks`: label images that were made elsewhere take the place of a method.

The stage reads them with `read_labels` and hands them over beside the images, under the names of LABELS.
"""

from pathlib import Path
from typing import Any

import numpy as np

from wherein.decoders.image import UnreadableImage
from wherein.readers import open_image, read_plane
from wherein.segmentation.cells import grown
from wherein.segmentation.grid import in_sequence
from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.pairing import paired_by_overlap

LABELS = {"nucleus": "labels_nucleus", "cell": "labels_cell"}
"""Names under which label images stand beside the roles' images."""


def outline(
    images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """Take outlines made elsewhere.

    Cells alone stay without nuclei; from nuclei alone cells are grown as the default method does; where both are
    there, a nucleus belongs to the cell that holds most of it.

    Args:
        images: (H, W) by role, and one or both of LABELS, of the same shape.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: not used.

    Returns:
        The outlines, without scores.
    """
    channels = {role: image for role, image in images.items() if role not in LABELS.values()}
    nucleus, cell = (images.get(name) for name in LABELS.values())
    if cell is None and nucleus is not None:
        return grown(in_sequence(nucleus), channels, pixel_size_um, settings)
    empty = np.zeros(next(iter(channels.values())).shape, np.uint32)
    return Outlines(*paired_by_overlap(empty if nucleus is None else nucleus, empty if cell is None else cell))


def read_labels(path: str | Path) -> np.ndarray:
    """Read one label image.

    Args:
        path: TIFF, gzipped TIFF, PNG or npy of one channel and one plane, or the folder of OME-Zarr labels; whole
            numbers, 0 for background, in any type.

    Returns:
        (H, W) uint32.

    Raises:
        UnreadableImage: `missing_file`, `corrupt` or `unsupported_format`.
    """
    if Path(path).suffix.lower() == ".npy":
        labels = _read_npy(Path(path))
    else:
        with open_image(str(path)) as image:
            many = [axis for axis, size in zip(image.axes, image.shape, strict=True) if axis not in "YX" and size > 1]
        if many:
            raise UnreadableImage(
                "unsupported_format", f"{path} has several planes (axes {', '.join(many)}); labels are one plane"
            )
        labels = read_plane(str(path))
    whole = np.asarray(labels)
    if whole.ndim != 2:
        raise UnreadableImage("unsupported_format", f"{path} has the shape {whole.shape}; labels are (H, W)")
    if whole.dtype.kind == "f":
        if not np.isfinite(whole).all() or (whole != np.floor(whole)).any():
            raise UnreadableImage("unsupported_format", f"{path} has pixels that are no whole numbers; labels are")
    elif whole.dtype.kind not in "uib":
        raise UnreadableImage("unsupported_format", f"{path} is {whole.dtype}; labels are whole numbers")
    if whole.size and (whole.min() < 0 or whole.max() > np.iinfo(np.uint32).max):
        raise UnreadableImage(
            "unsupported_format", f"{path} has labels from {whole.min()} to {whole.max()}; they must fit uint32"
        )
    return whole.astype(np.uint32)


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise UnreadableImage("missing_file", f"{path} is not there")
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise UnreadableImage("corrupt", f"{path}: {error}") from error
