"""Is what came over the line the image that was asked for?"""

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

from wherein.readers import GZIP, JPEG, PNG, TIFF, UnreadableImage, decode_all, read_plane
from wherein.transfer.cache import suffix
from wherein.transfer.errors import TransferError, described

MAGIC = {**dict.fromkeys((".jpg", ".jpeg", ".png"), (JPEG, PNG)), ".gz": (GZIP,), ".tif": TIFF, ".tiff": TIFF}
"""First bytes that a file with this ending must have; there are JPEGs called .png."""

ANY = (JPEG, PNG, GZIP, *TIFF)
"""First bytes of any image that is read."""


def image_size(part: Path, url: str, readings: Iterable[tuple[str | None, ...]]) -> tuple[int, int] | None:
    """Decode all of an image, and look how large it is where it will be read.

    Args:
        part: the file.
        url: where it came from; its ending tells the format.
        readings: channel, plane and axes of each role that is taken from it, as `read_plane` takes them.

    Returns:
        (H, W) in pixels; None where the file is whole but holds no such channel, which quality control will tell.

    Raises:
        TransferError: `not_an_image`, the first bytes are of something else; `corrupt`, it cannot be decoded.
    """
    with part.open("rb") as content:
        start = content.read(512)
    ending = suffix(url)
    allowed = MAGIC.get("." + ending.rpartition(".")[2], ANY)
    if start.startswith(allowed) and start.startswith(GZIP):
        # servers pack their error pages, too
        start, allowed = _unpacked_start(part, url), TIFF
    if not start.startswith(allowed):
        raise TransferError("not_an_image", f"{url} gave {described(start)} where {ending or 'an image'} was expected")
    shape = None
    try:
        # planes that no role takes are checked too: a file is whole, or it is not
        decode_all(str(part))
        for reading in readings:
            try:
                shape = read_plane(str(part), *reading).shape
            except UnreadableImage as error:
                if error.reason in ("corrupt", "missing_file"):
                    raise
    except UnreadableImage as error:
        raise TransferError("corrupt", str(error).replace(str(part), url)) from error
    return shape


def _unpacked_start(part: Path, url: str) -> bytes:
    try:
        with gzip.open(part) as content:
            return content.read(512)
    except (EOFError, OSError, zlib.error) as error:
        raise TransferError("corrupt", f"{url} cannot be unpacked: {error}") from error
