"""The grids on which whole fields are stored for networks. Read when the workflow is parsed: imports nothing heavy."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

PATTERN = r"source|[0-9]+(?:\.[0-9]+)?um|[0-9]+px"
"""Regular expression of the names of all grids."""


class Grid(NamedTuple):
    """How coarse fields are stored.

    Attributes:
        pixel_size_um: micrometres a pixel; None for the source's own, or where `side_px` says it.
        side_px: pixels of a field's longer side; None where it is not this that says it.
    """

    pixel_size_um: float | None = None
    side_px: int | None = None

    @property
    def name(self) -> str:
        """The name in paths: `source`, `0.64um`, `256px`."""
        if self.side_px is not None:
            return f"{self.side_px}px"
        return "source" if self.pixel_size_um is None else f"{self.pixel_size_um:g}um"

    def size(self, height: int, width: int, pixel_size_um: float) -> tuple[int, int]:
        """Height and width in pixels that a field has on this grid; a field is never made finer.

        Args:
            height: pixels of the field.
            width: pixels of the field.
            pixel_size_um: micrometres a pixel of the field.
        """
        if self.side_px is not None:
            factor = self.side_px / max(height, width)
        else:
            factor = pixel_size_um / self.pixel_size_um if self.pixel_size_um else 1.0
        factor = min(factor, 1.0)
        return max(round(height * factor), 1), max(round(width * factor), 1)


def grid_of(settings: Mapping[str, Any]) -> Grid:
    """The grid of a model's fields.

    Args:
        settings: `pixel_size_um` and `field_px` of the model's configuration, one of them null.
    """
    if settings["field_px"] is not None:
        return Grid(side_px=settings["field_px"])
    size = settings["pixel_size_um"]
    return Grid(pixel_size_um=None if size is None else float(size))


def parse_grid(name: str) -> Grid:
    """The grid of a name.

    Raises:
        ValueError: there is no grid of that name.
    """
    if not re.fullmatch(PATTERN, name):
        raise ValueError(f"grid {name!r}: allowed are `source`, micrometres a pixel (`0.64um`), a side (`256px`)")
    if name == "source":
        return Grid()
    return Grid(side_px=int(name[:-2])) if name.endswith("px") else Grid(pixel_size_um=float(name[:-2]))
