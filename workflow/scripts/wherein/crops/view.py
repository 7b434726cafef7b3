"""One store seen by a model: a smaller window or other pixels, without cutting again."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from wherein.crops.resample import resample, resample_masks
from wherein.crops.window import Window, part_of


class Crops(Protocol):
    """What has crops to give: a store, or a view of one."""

    roles: list[str]
    cell_ids: list[str]
    pixel_size_um: float
    window_um: float
    window_px: int

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Pixels of some crops: (n, C, window_px, window_px)."""
        ...

    def masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Masks of some crops: (n, 2, window_px, window_px) uint8."""
        ...

    def nucleus_distance(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Distances to the nuclear boundary of some crops: (n, window_px, window_px), micrometres."""
        ...


class CropView:
    """The middle of every crop of a store, with other pixels; reads as the store does.

    512 pixels of 0.08 um are 64 of 0.64 to paired cell inpainting (2019, methods), and the store's window may be any
    larger one.

    Args:
        crops: the store.
        pixel_size_um: micrometres a pixel; None for the store's own.
        size_px: side of the view, pixels; None for as many as the store's window holds.
        resampling: key of `wherein.crops.resample.METHODS`.

    Attributes:
        roles: channels of `images`, in order.
        pixel_size_um: micrometres a pixel, exactly: a view is made from whole pixels of the store, and one that is a
            pixel wider than the window from all of them.
        window_um: side of the view.
        window_px: side of the view in pixels.
        cell_ids: the cells, in order.

    Raises:
        ValueError: the view is larger than the store's window.
    """

    def __init__(
        self, crops: Crops, pixel_size_um: float | None = None, size_px: int | None = None, resampling: str = "area"
    ) -> None:
        wanted = pixel_size_um or crops.pixel_size_um
        size = size_px or max(1, int(crops.window_um / wanted + 1e-6))
        self._window = part_of(size, crops.pixel_size_um, wanted)
        if self._window.resampled and self._window.source_px == crops.window_px + 1:
            # windows have an even number of pixels: one of as many micrometres may be a pixel short of the view
            self._window = Window(size, crops.window_px, crops.window_um / size)
        if self._window.source_px > crops.window_px:
            raise ValueError(
                f"a view of {size} pixels of {wanted:g} um is {size * wanted:g} um wide; the crops are "
                f"{crops.window_um:g} um: set `crop.window_um` to that much or more, and run `crop` again"
            )
        self._crops = crops
        self._start = (crops.window_px - self._window.source_px) // 2
        self._resampling = resampling
        self.roles, self.cell_ids = crops.roles, crops.cell_ids
        self.pixel_size_um, self.window_um = self._window.pixel_size_um, self._window.window_um
        self.window_px = size

    def __len__(self) -> int:
        return len(self.cell_ids)

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Pixels of some crops: (n, C, window_px, window_px) in the source's type; as `CropStore.images`."""
        part = self._middle(self._crops.images(indices))
        return resample(part, (self.window_px,) * 2, self._resampling) if self._window.resampled else part

    def masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Masks of some crops: (n, 2, window_px, window_px) uint8; as `CropStore.masks`."""
        part = self._middle(self._crops.masks(indices))
        return resample_masks(part, self.window_px) if self._window.resampled else part

    def nucleus_distance(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Distances to the nuclear boundary: (n, window_px, window_px) float16, micrometres.

        Those of the whole crops, cut and brought to the view's pixels as masks are: nuclei beyond the view count.
        """
        part = self._middle(self._crops.nucleus_distance(indices))
        return resample_masks(part, self.window_px) if self._window.resampled else part

    def _middle(self, crops: np.ndarray) -> np.ndarray:
        end = self._start + self._window.source_px
        return crops[..., self._start : end, self._start : end]
