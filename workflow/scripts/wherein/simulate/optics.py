"""The microscope: what the camera makes of densities. Blur, bleed-through, background, uneven light, noise, 12 bits."""

from itertools import pairwise

import cv2
import numpy as np

from wherein.channels import in_order
from wherein.simulate.spec import FULL_SCALE, FieldSpec, Imaging
from wherein.simulate.streams import stream
from wherein.simulate.texture import blur, noise

IMAGING = 64
"""Part of a field's random numbers that the microscope draws from, apart from those of the drawing."""

NUMERICAL_APERTURE = 1.3
REFRACTIVE_INDEX = 1.518
"""Of an oil immersion objective."""

WAVELENGTH_UM = {
    "nucleus": 0.461,
    "microtubules": 0.565,
    "er": 0.668,
    "protein": 0.519,
    "rfp": 0.607,
    "nuclear_pore": 0.607,
    "brightfield": 0.550,
}
"""Emission peaks, by role; for `reference` by what it shows: DAPI, Alexa Fluor 555, 647 and 488, RFP, green light."""

TRANSMITTED = ("brightfield",)
"""What is seen by the lamp's light, not by fluorescence: it neither bleeds through nor has unspecific signal."""

BACKGROUND_UM = 25.0
"""Width of the clouds in the unspecific background."""

TO_THE_RED, TO_THE_BLUE = 1.0, 0.25
"""Share of `Imaging.bleed_through` by the side of the neighbour: a dye's tail reaches far to the red, little to the
blue."""

PROTEIN_SPILL = 0.2
"""What of its bleed-through the protein's light keeps: marker channels are taken one after another, each with light
that hardly excites the protein's dye. With all of it (1.0), a regression on the markers' texture tells the protein's
class up to 1 point above chance on fields of 26 micrometres, with three times as much up to 5; larger fields tell more.
"""


def image_channels(density: dict[str, np.ndarray], spec: FieldSpec) -> dict[str, np.ndarray]:
    """Take the picture of a drawn field.

    The order is that of the light: unspecific background is added, the whole is blurred by the objective and by
    defocus, dims to the field's edge, bleeds into the neighbouring channels, and is counted by the camera.

    Args:
        density: role -> (H, W) float32, in the units of `wherein.simulate.spec`; every role of the field.
        spec: the field; its seed and `imaging` are all that the microscope knows.

    Returns:
        role -> (H, W) uint16, 0 to FULL_SCALE, in the order of storage.
    """
    roles = in_order(density)
    shade = shading(next(iter(density.values())).shape, spec.imaging)
    light = {}
    for i, role in enumerate(roles):
        rng = stream(spec.seed, IMAGING, i)
        dye = dye_of(role, spec)
        image = density[role].astype(np.float32, copy=False)
        if dye not in TRANSMITTED:
            image = image + background(rng, image.shape, spec.imaging.background[i], spec.pixel_size_um)
        image = blur(image, blur_um(dye, spec.imaging.defocus_um) / spec.pixel_size_um)
        light[role] = image * (shade * np.float32(spec.imaging.exposure[i]))
    light = bleed_through(light, spec)
    return {role: expose(light[role], spec.imaging, stream(spec.seed, IMAGING, i, 1)) for i, role in enumerate(roles)}


def dye_of(role: str, spec: FieldSpec) -> str:
    """What a role shows, a key of WAVELENGTH_UM."""
    return spec.reference if role == "reference" and spec.reference else role


def blur_um(dye: str, defocus_um: float) -> float:
    """Standard deviation of the Gaussian that stands for the point spread function, in micrometres.

    In focus it is sqrt(2) / (k NA), k = 2 pi / wavelength: the Gaussian with the curvature of the Airy disc's peak.
    Out of focus a point is a disc, whose standard deviation along an axis is half its radius.
    """
    in_focus = np.sqrt(2) * WAVELENGTH_UM[dye] / (2 * np.pi * NUMERICAL_APERTURE)
    disc = abs(defocus_um) * np.tan(np.arcsin(NUMERICAL_APERTURE / REFRACTIVE_INDEX))
    return float(np.hypot(in_focus, disc / 2))


def background(rng: np.random.Generator, shape: tuple[int, ...], level: float, pixel_size_um: float) -> np.ndarray:
    """Unspecific signal everywhere, in soft clouds around `level`; (H, W) float32, at least 0.3 of `level`."""
    clouds = noise(rng, (shape[0], shape[1]), BACKGROUND_UM / 2 / pixel_size_um)
    return np.float32(level) * np.maximum(1 + np.float32(0.25) * clouds, np.float32(0.3))


def shading(shape: tuple[int, ...], imaging: Imaging) -> np.ndarray:
    """Share of the light that reaches each pixel: 1 at its centre, less by `illumination` in the far corner."""
    y, x = (
        (np.arange(length, dtype=np.float32) - np.float32(centre * length)) / np.float32(length)
        for length, centre in zip(shape, imaging.centre, strict=True)
    )
    distance = y[:, None] ** 2 + x[None, :] ** 2
    return 1 - np.float32(imaging.illumination) * distance / max(float(distance.max()), 1e-6)


def bleed_through(light: dict[str, np.ndarray], spec: FieldSpec) -> dict[str, np.ndarray]:
    """Let each fluorescent channel see a share of its spectral neighbours' light, of the protein's less."""
    dyes = sorted((WAVELENGTH_UM[dye_of(role, spec)], role) for role in light if dye_of(role, spec) not in TRANSMITTED)
    order = [role for _, role in dyes]
    share = spec.imaging.bleed_through
    seen = dict(light)
    for bluer, redder in pairwise(order):
        for one, other, side in ((bluer, redder, TO_THE_RED), (redder, bluer, TO_THE_BLUE)):
            spill = share * side * (PROTEIN_SPILL if one == "protein" else 1.0)
            seen[other] = cv2.addWeighted(seen[other], 1.0, light[one], spill, 0.0)
    return seen


def expose(light: np.ndarray, imaging: Imaging, rng: np.random.Generator) -> np.ndarray:
    """Count photo-electrons and read them out.

    The Poisson count is drawn by the square-root transform: (sqrt(n + 3/8) + z / 2)^2 - 5/8 with z standard normal has
    the mean n and the variance n + 1/2 and nearly a Poisson's skew (Anscombe 1948, whose transform it inverts), at a
    tenth of the cost of exact draws.

    Args:
        light: (H, W) float32, mean camera units over the offset.
        imaging: gain, read noise and offset.
        rng: random numbers.

    Returns:
        (H, W) uint16, clipped to 0 to FULL_SCALE.
    """
    count = np.maximum(light, 0)
    count *= np.float32(1 / imaging.gain)
    count += np.float32(0.375)
    np.sqrt(count, out=count)
    z = rng.standard_normal(light.shape, dtype=np.float32)
    z *= np.float32(0.5)
    count += z
    count *= count
    count *= np.float32(imaging.gain)
    rng.standard_normal(dtype=np.float32, out=z)
    z *= np.float32(imaging.read_noise)
    count += z
    # half a unit more, so that cutting off the fraction rounds
    count += np.float32(imaging.offset - 0.625 * imaging.gain + 0.5)
    np.clip(count, 0, FULL_SCALE, out=count)
    return count.astype(np.uint16)
