"""Whether the channels of a field show the same cells: each pair against itself out of place.

Where two channels show the same cells, they agree better as they lie than shifted against each other in any way; where
one comes from another field, no shift is special. So the agreement as they lie is divided by the best that any larger
shift gives. All shifts are tried at once by Fourier transforms, with the field continued periodically.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from scipy import fft

from wherein.quality.counting import Nuclei
from wherein.segmentation.grid import blur, shrink, working_shape

Pair = tuple[str, str]


def pairwise_fit(
    markers: Mapping[str, np.ndarray], nuclei: Nuclei | None, pixel_size_um: float, options: dict[str, Any]
) -> dict[Pair, float]:
    """How well each pair of a field's structural channels fits.

    Args:
        markers: (H, W) by role, without the nucleus; any real type.
        nuclei: the field's nuclei; None where the source has no nucleus channel.
        pixel_size_um: micrometres a pixel.
        options: `qc.fit` of the configuration.

    Returns:
        Agreement as the channels lie over the best agreement of any shift farther than `apart_um`, by pair of roles:
        above 1 for channels of one field. Pairs with a flat channel or without nuclei are left out.
    """
    if not markers:
        return {}
    first = next(iter(markers.values()))
    shape = working_shape(first.shape, pixel_size_um, options["grid_um"])
    step = pixel_size_um * first.shape[0] / shape[0]
    planes = {
        role: _spectrum(ranked(blur(shrink(image, shape), options["smoothing_um"] / step)), step, options)
        for role, image in markers.items()
    }
    planes = {role: plane for role, plane in planes.items() if plane is not None}
    far = _far(shape, options["apart_um"] / step)
    if not far.any():
        return {}
    found: dict[Pair, float] = {}
    for one, two in combinations(planes, 2):
        found[one, two] = _stands_out(_correlation(planes[one], planes[two], shape), far)
    around = _surroundings(nuclei, shape, step, options) if nuclei is not None else None
    if around is not None:
        for role, plane in planes.items():
            found["nucleus", role] = _stands_out(_explained(plane, *around, shape), far)
    return found


def culprit(fits: Mapping[Pair, float], minimum: float) -> str | None:
    """The role that fits none of the others, if the pairs tell which one it is.

    Args:
        fits: as `pairwise_fit` gives them.
        minimum: a pair below it does not fit.

    Returns:
        The role; None if all fit, or if with two roles either may be wrong.
    """
    roles = sorted({role for pair in fits for role in pair})
    wrong = [role for role in roles if all(fit < minimum for pair, fit in fits.items() if role in pair)]
    return wrong[0] if len(wrong) == 1 and len(roles) > 2 else None


def ranked(image: np.ndarray) -> np.ndarray:
    """Each pixel's rank among all, 0 to 1: specks of debris count no more than any other bright pixel.

    Args:
        image: (h, w) float32.

    Returns:
        (h, w) float32; all 0 for a flat image.
    """
    if float(image.min()) == float(image.max()):
        return np.zeros_like(image)
    ranks = np.empty(image.size, np.float32)
    ranks[np.argsort(image, axis=None)] = np.linspace(0, 1, image.size, dtype=np.float32)
    return ranks.reshape(image.shape)


def _spectrum(image: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray | None:
    """Fourier transform of an image without its slow changes (illumination), of mean 0 and variance 1."""
    fine = image - blur(image, options["texture_um"] / step_um)
    fine -= fine.mean()
    spread = float(fine.std())
    return fft.rfft2(fine / spread) if spread > 1e-6 else None


def _surroundings(
    nuclei: Nuclei, shape: tuple[int, int], step_um: float, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray] | None:
    """What nuclei let expect of a marker: more of it near them, and more or less of it inside them."""
    inside = shrink(nuclei.mask, shape)
    if not 0 < float(inside.mean()) < 1:
        return None
    distance = cv2.distanceTransform((inside < 0.5).astype(np.uint8), cv2.DIST_L2, 5) * step_um
    near = np.exp(-((distance / options["reach_um"]) ** 2)).astype(np.float32)
    both = (
        _spectrum(near, step_um, options),
        _spectrum(blur(inside, options["smoothing_um"] / 2 / step_um), step_um, options),
    )
    return None if both[0] is None or both[1] is None else both  # type: ignore[return-value]


def _correlation(one: np.ndarray, two: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pearson's correlation of two images at every periodic shift: (h, w)."""
    return fft.irfft2(one * np.conj(two), shape) / (shape[0] * shape[1])


def _explained(plane: np.ndarray, near: np.ndarray, inside: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Multiple correlation of an image with two others at every shift: (h, w)."""
    first, second = _correlation(plane, near, shape), _correlation(plane, inside, shape)
    both = float(_correlation(near, inside, shape)[0, 0])
    share = (first**2 + second**2 - 2 * both * first * second) / max(1 - both**2, 1e-6)
    return np.sqrt(np.clip(share, 0, 1))


def _stands_out(agreement: np.ndarray, far: np.ndarray) -> float:
    highest = float(agreement[far].max())
    return float(agreement[0, 0]) / highest if highest > 0 else float("inf")


def _far(shape: tuple[int, int], radius_px: float) -> np.ndarray:
    """Shifts of more than `radius_px`, in the order of a Fourier transform: (h, w) bool."""
    y, x = (np.minimum(np.arange(side), side - np.arange(side)) for side in shape)
    return y[:, None] ** 2 + x[None] ** 2 > radius_px**2
