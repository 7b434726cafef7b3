"""From raw intensities to what a network is fed. Every way is named after the paper that uses it.

The functions take numpy arrays and torch tensors alike and give back what they were given, on the same device: stored
crops travel as the few bits that they have, and become floating-point numbers where the network is.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

Array = Any
"""A numpy array or a torch tensor."""

MARKER_FLOOR = 0.05
"""Markers of human cells below this share of a crop's range become 0 (Lu et al. 2019, methods)."""

FLOORED = ("nucleus", "microtubules")
"""Roles that have such a floor (the same sentence; the yeast screens' markers have none)."""

PERCENTILES = (1.0, 99.0)
"""Stringer et al. 2021, methods: 0 is the 1st and 1 the 99th percentile of the image."""

COMPETITION_MEAN = {"microtubules": 0.074598, "protein": 0.050630, "nucleus": 0.050891, "er": 0.076287}
COMPETITION_DEVIATION = {"microtubules": 0.122813, "protein": 0.085745, "nucleus": 0.129882, "er": 0.119411}
"""Mean and standard deviation of each channel as shares of full scale: of the winner's images in Ouyang et al. 2019
(released code of team 1), for full fields of the Human Protein Atlas."""

MASKED = ("none", "neighbours", "all")
"""What is blanked outside the cell: nothing, other cells, or everything (Le et al. 2022, winning cell model)."""

NORMALIZATIONS = ("raw", "lu2019", "kobayashi2022", "ouyang2019", "rumetshofer2019", "stringer2021")
"""Every way that `normalize` knows."""


def normalize(
    images: Array,
    name: str,
    roles: Sequence[str],
    full_scale: Array | None = None,
    moments: tuple[Array, Array] | None = None,
    limits: tuple[Array, Array] | Array | None = None,
    distance: Array | None = None,
) -> Array:
    """Bring crops to the scale that a model was trained on.

    Args:
        images: (N, C, H, W) of any real type.
        name: one of NORMALIZATIONS.
        roles: role of each channel.
        full_scale: (N,) highest intensity of each crop's detector, for `ouyang2019`.
        moments: mean and standard deviation of each crop's field, (N, C) each, for `rumetshofer2019`.
        limits: intensities that become 0 and 1, (C,) or (N, C) each, for `stringer2021`; PERCENTILES of each crop's
            channels where they are not given.
        distance: (N, 1, H, W) signed distance to the nuclear boundary, for `kobayashi2022`; without it that gives the
            channels alone.

    Returns:
        (N, C, H, W) float32; (N, C + 1, H, W) with a distance.

    Raises:
        ValueError: the name is none, or what it needs is not given.
    """
    needed = {"ouyang2019": full_scale, "rumetshofer2019": moments}
    if name not in NORMALIZATIONS:
        raise ValueError(f"normalization {name!r}: allowed are {', '.join(NORMALIZATIONS)}")
    if name in needed and needed[name] is None:
        what = "each crop's full scale" if name == "ouyang2019" else "mean and standard deviation of each crop's field"
        raise ValueError(f"normalization {name} needs {what}")
    ways: Mapping[str, Callable[[], Array]] = {
        "raw": lambda: as_float(images),
        "lu2019": lambda: lu2019(images, roles),
        "kobayashi2022": lambda: kobayashi2022(images, distance),
        "ouyang2019": lambda: ouyang2019(images, roles, full_scale),
        "rumetshofer2019": lambda: rumetshofer2019(images, *moments),
        "stringer2021": lambda: stringer2021(images, limits),
    }
    return ways[name]()


def unit_range(images: Array) -> Array:
    """Each channel of each crop from 0 (its lowest intensity) to 1 (its highest); a constant one becomes 0.

    Args:
        images: (..., H, W) of any real type.

    Returns:
        As `images`, float32.
    """
    values = as_float(images)
    low, high = _extreme(values, "amin"), _extreme(values, "amax")
    return (values - low) / _nonzero(high - low)


def kobayashi2022(images: Array, distance: Array | None = None) -> Array:
    """Each channel of each crop from 0 to 1 and, as the last one, the distance from nuclei from -1 to 1.

    Kobayashi et al. 2022 (methods, image data preprocessing) do not say by what they divide distances: here by the
    crop's largest, so that the border of nuclei stays 0. The unit of distances is then of no consequence.

    Args:
        images: (N, C, H, W) of any real type.
        distance: (N, 1, H, W), positive within nuclei (`wherein.segmentation.distance`); None to leave it out.

    Returns:
        (N, C + 1, H, W) float32, or (N, C, H, W).
    """
    scaled = unit_range(images)
    if distance is None:
        return scaled
    values = as_float(distance)
    most = _extreme(abs(values), "amax")
    return _namespace(images).concatenate([scaled, values / _nonzero(most)], axis=1)


def lu2019(images: Array, roles: Sequence[str]) -> Array:
    """Each channel of each crop from 0 to 1, and the nucleus and microtubules from MARKER_FLOOR to 1 once more.

    Lu et al. 2019 (methods, datasets) rescale each crop to [0, 1] and set markers below 0.05 to 0; their released code
    stretches what is above to [0, 1], as is done here.

    Args:
        images: (N, C, H, W) of any real type.
        roles: role of each channel.

    Returns:
        As `images`, float32.
    """
    floor = [MARKER_FLOOR if role in FLOORED else 0.0 for role in roles]
    floors = _like(floor, images).reshape(-1, 1, 1)
    scaled = (unit_range(images) - floors) / (1 - floors)
    return scaled * (scaled > 0)


def ouyang2019(images: Array, roles: Sequence[str], full_scale: Array) -> Array:
    """Shares of full scale, less each role's mean over the competition's images, by its standard deviation.

    Args:
        images: (N, C, H, W) of any real type.
        roles: role of each channel; of those in COMPETITION_MEAN.
        full_scale: (N,) highest intensity of each crop's detector.

    Returns:
        As `images`, float32.

    Raises:
        ValueError: a role was not in the competition.
    """
    unknown = [role for role in roles if role not in COMPETITION_MEAN]
    if unknown:
        raise ValueError(
            f"normalization ouyang2019 has no mean of {', '.join(unknown)}: it is for {', '.join(COMPETITION_MEAN)}"
        )
    mean = _like([COMPETITION_MEAN[role] for role in roles], images).reshape(-1, 1, 1)
    deviation = _like([COMPETITION_DEVIATION[role] for role in roles], images).reshape(-1, 1, 1)
    return (as_float(images) / _like(full_scale, images).reshape(-1, 1, 1, 1) - mean) / deviation


def rumetshofer2019(images: Array, mean: Array, deviation: Array) -> Array:
    """Less the mean of the crop's field, by its standard deviation; a channel of deviation 0 becomes 0 at its mean.

    Rumetshofer et al. 2019 (dataset) bring whole fields to mean 0 and variance 1. A crop's own mean would hide how
    bright the cell is.

    Args:
        images: (N, C, H, W) of any real type.
        mean: (N, C) of each channel of the crop's field (`wherein.reading.fields.moments`).
        deviation: (N, C).

    Returns:
        As `images`, float32.
    """
    mean, deviation = (_like(value, images)[..., None, None] for value in (mean, deviation))
    return (as_float(images) - mean) / _nonzero(deviation)


def stringer2021(images: Array, limits: tuple[Array, Array] | Array | None = None) -> Array:
    """From 0 at a low percentile to 1 at a high one; beyond them intensities go on below 0 and above 1.

    Args:
        images: (N, C, H, W) of any real type.
        limits: intensities that become 0 and 1, (C,) or (N, C) each (of a data set: the (2, C) of
            `wherein.reading.statistics.limits`); PERCENTILES of each channel of each crop where they are not given.

    Returns:
        As `images`, float32.
    """
    values = as_float(images)
    given = limits is not None
    low, high = (_like(limit, images)[..., None, None] for limit in limits) if given else _percentiles(values)
    return (values - low) / _nonzero(high - low)


def mask_out(images: Array, masks: Array, what: str) -> Array:
    """Blank what is not the cell, before intensities are scaled.

    Args:
        images: (N, C, H, W) of any real type.
        masks: (N, 2, H, W), cell then nucleus: 0 none, 1 this one, 2 another.
        what: one of MASKED.

    Returns:
        (N, C, H, W) in the type of `images`: a copy, or `images` itself for `none`.

    Raises:
        ValueError: `what` is none of them.
    """
    if what not in MASKED:
        raise ValueError(f"masked {what!r}: allowed are {', '.join(MASKED)}")
    if what == "none":
        return images
    cell = masks[:, :1]
    keep = cell != 2 if what == "neighbours" else cell == 1
    namespace = _namespace(images)
    # torch multiplies no unsigned integers of 16 bits; its `where` takes them
    return namespace.where(keep, images, namespace.zeros_like(images))


def as_float(images: Array) -> Array:
    """The same numbers in float32, which holds every integer of 16 bits exactly."""
    namespace = _namespace(images)
    return images.astype(np.float32) if namespace is np else images.to(namespace.float32)


def _extreme(values: Array, which: str) -> Array:
    return getattr(_namespace(values), which)(values, axis=(-2, -1), keepdims=True)


def _nonzero(spread: Array) -> Array:
    namespace = _namespace(spread)
    return namespace.where(spread > 0, spread, namespace.ones_like(spread))


def _percentiles(values: Array) -> tuple[Array, Array]:
    """Percentiles of each channel of each crop, linear between order statistics, (N, C, 1, 1) each."""
    namespace = _namespace(values)
    flat = values.reshape(*values.shape[:-2], -1)
    ordered = namespace.sort(flat, -1)
    ordered = ordered if namespace is np else ordered.values
    found = []
    for percentile in PERCENTILES:
        place = percentile / 100 * (flat.shape[-1] - 1)
        low = int(place)
        high = min(low + 1, flat.shape[-1] - 1)
        below, above = ordered[..., low], ordered[..., high]
        found.append((below + (above - below) * (place - low))[..., None, None])
    return found[0], found[1]


def _like(values: Any, images: Array) -> Array:
    """Numbers as float32 of the same library, on the same device."""
    namespace = _namespace(images)
    if namespace is np:
        return np.asarray(values, np.float32)
    return namespace.as_tensor(values, dtype=namespace.float32, device=images.device)


def _namespace(array: Array) -> Any:
    """Numpy or torch: whichever the array is of. Torch is not loaded for those who do without it."""
    return import_module(type(array).__module__.partition(".")[0])
