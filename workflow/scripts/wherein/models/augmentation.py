"""Random changes of a batch that leave its labels true: tensor operations on the device where the batch is.

What is drawn is drawn on the processor, so that one seed gives the same changes on every device.
"""

from collections.abc import Mapping
from math import pi
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

DIHEDRAL = 8
"""Flips and quarter turns of a square: 4 turns, and each after a flip."""


class Changes(NamedTuple):
    """What is drawn for a batch of N crops with C channels.

    Attributes:
        element: (N,) int64, number of the flip and turn, see `dihedral`.
        corner: (N, 2) float32 in [0, 1): place of the smaller crop within the room that there is.
        matrix: (N, 2, 3) float32, map of places of the result to places of the crop, see `affine`; None for none.
        gain: (N, C) float32, factor of each channel.
        offset: (N, C) float32, share of a channel's own spread that is added.
        kept: (N, C) bool, whether a channel is kept.
    """

    element: Tensor
    corner: Tensor
    matrix: Tensor | None
    gain: Tensor
    offset: Tensor
    kept: Tensor

    def of(self, crops: slice) -> "Changes":
        """Those of some of the crops."""
        return Changes(*(None if part is None else part[crops] for part in self))


class Augmentation:
    """Random changes, in this order: affine map, smaller crop, flips and quarter turns, intensities, dropped channels.

    Args:
        settings: any of these keys; a change that is not named is not made.
            `flips` (bool): flips along y and along x, each in half of the crops. Lu et al. 2019, training.
            `quarter_turns` (bool): turns by 0, 90, 180 or 270 degrees. Kobayashi et al. 2022, training.
            `crop_px` (int): side of a square cut out at a random place.
            `rotation_degrees` (float): turns by up to this angle either way.
            `scale` (float): sizes from 1 / (1 + scale) to 1 + scale, uniform in their logarithm.
            `shift` (float): shifts by up to this share of the side, along y and along x.
            `gain` (float): intensities times 1 / (1 + gain) to 1 + gain, each channel by itself.
            `offset` (float): plus up to this share of the channel's standard deviation in the crop, either way.
            `drop_channel` (float): probability that a channel becomes 0; one channel of a crop always stays.
        seed: of all draws.

    Raises:
        ValueError: a key is unknown or its value makes no sense.
    """

    KEYS = ("flips", "quarter_turns", "crop_px", "rotation_degrees", "scale", "shift", "gain", "offset", "drop_channel")

    def __init__(self, settings: Mapping[str, Any], seed: int = 0) -> None:
        unknown = sorted(set(settings) - set(self.KEYS))
        if unknown:
            raise ValueError(f"augmentation knows no {', '.join(unknown)}: there are {', '.join(self.KEYS)}")
        negative = [key for key, value in settings.items() if value < 0]
        if negative or not 0 <= settings.get("drop_channel", 0) < 1:
            raise ValueError(f"augmentation {dict(settings)}: numbers are 0 or more, drop_channel is below 1")
        self.settings = dict(settings)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Change a batch.

        Args:
            images: (N, C, H, W) floating point, normalized; square for quarter turns. Channels of bags and pairs are
                changed each crop by itself: give them as (N * k, C, H, W).
            masks: (N, M, H, W) of the same crops, of any type, which follow where pixels go; None for none.

        Returns:
            images: (N, C, h, w) of the same type; h and w are `crop_px` where that is set.
            masks: (N, M, h, w), or None.
        """
        return self.apply(images, self.draw(images.shape[0], images.shape[1]), masks)

    def apply(self, images: Tensor, changes: Changes, masks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Make changes that were drawn; images and masks as in a call."""
        crop = self.settings.get("crop_px")
        if changes.matrix is not None:
            images = affine(images, changes.matrix)
            masks = None if masks is None else affine(masks, changes.matrix)
        if crop:
            images = random_crop(images, changes.corner, crop)
            masks = None if masks is None else random_crop(masks, changes.corner, crop)
        if self.settings.get("flips") or self.settings.get("quarter_turns"):
            images = dihedral(images, changes.element)
            masks = None if masks is None else dihedral(masks, changes.element)
        if self.settings.get("gain") or self.settings.get("offset"):
            images = intensity(images, changes.gain, changes.offset)
        if self.settings.get("drop_channel"):
            images = drop_channels(images, changes.kept)
        return images, masks

    def state_dict(self) -> dict[str, Any]:
        """The state of the draws."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as after the state was taken."""
        self._generator.set_state(state["generator"])

    def draw(self, count: int, channels: int) -> Changes:
        """Draw the changes of `count` crops. As many numbers are drawn whatever is set: settings do not shift draws."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=self._generator)

        turns, flips, corner, geometry, light, dropped = (
            uniform(count), uniform(count, 2), uniform(count, 2), uniform(count, 4), uniform(count, 2, channels),
            uniform(count, channels),
        )  # fmt: skip
        return Changes(
            element=self._element(turns, flips),
            corner=corner,
            matrix=self._matrix(geometry),
            gain=(1 + self.settings.get("gain", 0.0)) ** (2 * light[:, 0] - 1),
            offset=self.settings.get("offset", 0.0) * (2 * light[:, 1] - 1),
            kept=_one_kept(dropped, self.settings.get("drop_channel", 0.0)),
        )

    def _element(self, turns: Tensor, flips: Tensor) -> Tensor:
        # a flip along y is one along x after a half turn
        half = (flips[:, 0] < 0.5) if self.settings.get("flips") else torch.zeros_like(turns, dtype=torch.bool)
        flipped = (half ^ (flips[:, 1] < 0.5)) if self.settings.get("flips") else half
        quarters = (turns * 4).long() if self.settings.get("quarter_turns") else torch.zeros_like(turns).long()
        return (quarters + 2 * half.long()) % 4 + 4 * flipped.long()

    def _matrix(self, drawn: Tensor) -> Tensor | None:
        if not any(self.settings.get(key) for key in ("rotation_degrees", "scale", "shift")):
            return None
        signed = 2 * drawn - 1
        angle = signed[:, 0] * self.settings.get("rotation_degrees", 0.0) * pi / 180
        size = (1 + self.settings.get("scale", 0.0)) ** signed[:, 1]
        # the coordinates of a side go from -1 to 1
        shift = 2 * self.settings.get("shift", 0.0) * signed[:, 2:]
        cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
        return torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)


def dihedral(pixels: Tensor, element: Tensor) -> Tensor:
    """Flip and turn each crop by itself.

    Args:
        pixels: (N, C, H, W) of any type; square where a crop takes a turn by 90 or 270 degrees.
        element: (N,) 0 to 7: quarter turns (from y towards x) by `element % 4`, after a flip along x from 4 on.

    Returns:
        (N, C, H, W) of the same type.

    Raises:
        ValueError: a crop that is not square takes a quarter turn.
    """
    if pixels.shape[-1] != pixels.shape[-2] and bool((element % 2 == 1).any()):
        raise ValueError(f"crops of {pixels.shape[-2]} x {pixels.shape[-1]} pixels take no quarter turns: cut squares")
    out = torch.empty_like(pixels)
    for number in range(DIHEDRAL):
        # places are found on the processor: no device has to wait for an answer
        places = (element == number).nonzero()[:, 0].to(pixels.device)
        if len(places):
            part = pixels[places]
            part = part.flip(-1) if number >= 4 else part
            out[places] = torch.rot90(part, number % 4, (-2, -1))
    return out


def random_crop(pixels: Tensor, corner: Tensor, side: int) -> Tensor:
    """Cut a square out of each crop.

    Args:
        pixels: (N, C, H, W) of any type.
        corner: (N, 2) in [0, 1): share of the room along y and along x.
        side: pixels.

    Returns:
        (N, C, side, side).

    Raises:
        ValueError: a crop is smaller than that.
    """
    room = torch.tensor([pixels.shape[-2] - side + 1, pixels.shape[-1] - side + 1])
    if bool((room < 1).any()):
        raise ValueError(f"crops of {pixels.shape[-2]} x {pixels.shape[-1]} pixels hold no square of {side}")
    starts = (corner * room).long().to(pixels.device)
    steps = torch.arange(side, device=pixels.device)
    rows, columns = (starts[:, axis, None] + steps for axis in (0, 1))
    crops = torch.arange(len(pixels), device=pixels.device)[:, None, None, None]
    channels = torch.arange(pixels.shape[1], device=pixels.device)[None, :, None, None]
    return pixels[crops, channels, rows[:, None, :, None], columns[:, None, None, :]]


def affine(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Turn, scale and shift each crop by itself; what comes from beyond a crop is 0.

    Args:
        pixels: (N, C, H, W). Floating-point numbers are taken linearly between pixels, others from the nearest.
        matrix: (N, 2, 3), from places (x, y, 1) of the result to those of the crop, where each side goes from -1 to 1.

    Returns:
        (N, C, H, W) of the same type.
    """
    continuous = pixels.is_floating_point()
    values = pixels if continuous else pixels.float()
    aspect = pixels.shape[-1] / pixels.shape[-2]
    # turns are those of pixels, not of sides: crops need not be square
    matrix = matrix * torch.tensor([[1.0, 1 / aspect, 1.0], [aspect, 1.0, 1.0]])
    grid = functional.affine_grid(matrix.to(values), list(values.shape), align_corners=False)
    mode = "bilinear" if continuous else "nearest"
    out = functional.grid_sample(values, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return out if continuous else out.to(pixels.dtype)


def intensity(images: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Multiply each channel of each crop, and add a share of its standard deviation.

    Args:
        images: (N, C, H, W) floating point.
        gain: (N, C).
        offset: (N, C), in standard deviations of the channel in that crop.

    Returns:
        (N, C, H, W).
    """
    gain, offset = (value.to(images)[..., None, None] for value in (gain, offset))
    spread = images.std(dim=(-2, -1), correction=0, keepdim=True)
    return images * gain + offset * spread


def drop_channels(images: Tensor, kept: Tensor) -> Tensor:
    """Set channels of crops to 0: (N, C, H, W) images, (N, C) bool whether each is kept."""
    return images * kept.to(images)[..., None, None]


def _one_kept(drawn: Tensor, probability: float) -> Tensor:
    kept = drawn >= probability
    none = ~kept.any(dim=1)
    kept[none, drawn[none].argmax(dim=1)] = True
    return kept
