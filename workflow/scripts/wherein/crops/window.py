"""Where the window around a cell lies on the source's pixels."""

from typing import NamedTuple


class Window(NamedTuple):
    """A square window.

    Attributes:
        size_px: pixels of the crop along each side.
        source_px: pixels of the source that they are made from; the same where nothing is resampled.
        pixel_size_um: micrometres a pixel of the crop, exactly: whole pixels of the source make a window, so this may
            differ from the wanted size by 0.5 pixels in `source_px`.
    """

    size_px: int
    source_px: int
    pixel_size_um: float

    @property
    def window_um(self) -> float:
        """Side of the window in micrometres."""
        return self.size_px * self.pixel_size_um

    @property
    def resampled(self) -> bool:
        """Whether the crop is not on the source's own grid."""
        return self.size_px != self.source_px


def window_px(window_um: float, pixel_size_um: float) -> int:
    """Side of a window in pixels: the nearest even number, at least 2."""
    return max(2, 2 * round(window_um / pixel_size_um / 2))


def window_of(window_um: float, source_um: float, wanted_um: float | None) -> Window:
    """The window of a source.

    Args:
        window_um: side, micrometres.
        source_um: micrometres a pixel of the source.
        wanted_um: micrometres a pixel of the crops; None for the source's own grid.
    """
    size = window_px(window_um, wanted_um or source_um)
    return part_of(size, source_um, wanted_um or source_um)


def part_of(size_px: int, source_um: float, wanted_um: float) -> Window:
    """The window of `size_px` pixels of `wanted_um` micrometres, on a source with pixels of `source_um`."""
    source = max(1, round(size_px * wanted_um / source_um))
    return Window(size_px, source, source_um if source == size_px else source * source_um / size_px)


def window_corner(centre: tuple[float, float], side: int) -> tuple[int, int]:
    """First row and column of a window of `side` pixels around `centre` (y, x); may lie beyond the field."""
    return round(centre[0]) - side // 2, round(centre[1]) - side // 2
