"""Perceptual hash: a few bits that stay the same when an image is stored, scaled or brightened anew."""

import cv2
import numpy as np

SIDE = 64
"""Side of the small image that is transformed."""


def perceptual_hash(image: np.ndarray) -> str:
    """64-bit hash of a channel by the discrete cosine transform (Zauner 2010, "pHash").

    Of the transform of a 64 x 64 image, the 8 x 8 lowest frequencies that vary along both axes are compared with
    their median. The first row and column are left out, since they hold little but the illumination, which is alike
    in all fields of a microscope.

    Args:
        image: (H, W), any real type.

    Returns:
        16 hexadecimal characters.
    """
    small = cv2.resize(np.ascontiguousarray(image, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    # the root, so that a few bright specks do not decide alone
    waves = cv2.dct(np.sqrt(np.maximum(small - small.min(), 0)))[1:9, 1:9].ravel()
    bits = waves > np.median(waves)
    return np.packbits(bits).tobytes().hex()


def differing_bits(first: str, second: str) -> int:
    """Number of bits in which two hashes differ, 0 to 64."""
    return (int(first, 16) ^ int(second, 16)).bit_count()
