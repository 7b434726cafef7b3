"""What the configuration asks to export, checked before any job."""

from collections.abc import Mapping, Sequence
from typing import Any

NEEDS = {"h5sc": (), "cytoself": ("protein",), "webdataset": ()}
"""Roles that a layout cannot do without."""


def export_sources(settings: Mapping[str, Any], layout: str, sources: Sequence[str]) -> list[str]:
    """Sources that are exported in a layout: those that its section names, or all."""
    named = settings[layout]["sources"]
    return [name for name in sources if name in named or not named]


def check_export(
    settings: Mapping[str, Any], roles: Mapping[str, Sequence[str]], windows: Mapping[str, float]
) -> str | None:
    """Find what of the section `export` cannot be done.

    Args:
        settings: the section, with defaults.
        roles: roles of each source of the run.
        windows: side of the crops of each source in micrometres, where the configuration says it.

    Returns:
        A sentence for the user, or None.
    """
    for layout in settings["formats"]:
        unknown = [name for name in settings[layout]["sources"] if name not in roles]
        if unknown:
            return (
                f"configuration key 'export.{layout}.sources': found {', '.join(map(repr, unknown))}; allowed are the "
                f"sources of this run: {', '.join(map(repr, roles))}"
            )
        for source in export_sources(settings, layout, list(roles)):
            lacking = [role for role in NEEDS[layout] if role not in roles[source]]
            if lacking:
                return (
                    f"configuration key 'export.formats': the layout {layout!r} needs the role {', '.join(lacking)}, "
                    f"which source {source!r} does not have (it has {', '.join(roles[source])}): name other sources "
                    f"under export.{layout}.sources, or leave the layout out"
                )
            window = "window_um" if "nucleus" in roles[source] else "without_nucleus.window_um"
            wrong = _too_large(layout, settings[layout], source, windows.get(source), window)
            if wrong:
                return wrong
    return None


def _too_large(layout: str, settings: Mapping[str, Any], source: str, window_um: float | None, key: str) -> str | None:
    """Whether crops of a source are smaller than what is to be exported of them."""
    pixel, size = settings["pixel_size_um"], settings["size_px"]
    # a window is a whole number of the source's pixels, so that it may be a little smaller than the configuration says
    if window_um is None or pixel is None or size is None or size * pixel <= window_um * 1.05:
        return None
    return (
        f"configuration key 'export.{layout}': {size} pixels of {pixel:g} um are {size * pixel:g} um, and the crops of "
        f"source {source!r} are {window_um:g} um wide: set crop.{key} to {size * pixel:g} or more, or "
        f"export.{layout}.size_px to {max(1, int(window_um / pixel))} or less, or name other sources under "
        f"export.{layout}.sources"
    )
