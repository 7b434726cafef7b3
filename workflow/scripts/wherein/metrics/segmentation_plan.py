"""Which fields have known outlines, and which methods are judged on them: read from the configuration alone."""

import glob
import os
from typing import Any

from wherein.segmentation.methods import METHODS, check_methods, label_paths, method_for, missing_roles

PLACE = "{field_id}"
"""Stands for the field's name in the path of a label image."""

Patterns = dict[str, str | None]


def truth_patterns(sources: dict[str, Any]) -> dict[str, Patterns]:
    """Paths of people's label images.

    Args:
        sources: the section `sources` of the configuration, with defaults.

    Returns:
        For each source that has some, paths by object (`nucleus`, `cell`; None for none), with PLACE for the field's
        name. They are relative to the folder of the source's table; without a table, to that of the run.
    """
    found: dict[str, Patterns] = {}
    for name, source in sources.items():
        given = source.get("truth", {})
        if any(given.values()):
            folder = os.path.dirname(source.get("table", ""))
            found[name] = {part: path and os.path.join(folder, path) for part, path in given.items()}
    return found


def has_truth(source: dict[str, Any]) -> bool:
    """Whether the outlines of some fields of a source are known: it is simulated, or people outlined them."""
    return source["kind"] == "simulated" or any(source.get("truth", {}).values())


def truth_files(patterns: Patterns, field_id: str) -> dict[str, str]:
    """Label images of one field that are there.

    Args:
        patterns: paths by object, with PLACE for the field's name; None for none.
        field_id: the field.

    Returns:
        Paths by object, of files and OME-Zarr folders that exist.
    """
    return {name: str(path) for name, path in label_paths(patterns, "", field_id).items() if path.exists()}


def all_truth_files(patterns: Patterns) -> list[str]:
    """Label images of all fields that are there; a folder of OME-Zarr labels is known by its metadata."""
    found = [path for pattern in patterns.values() if pattern for path in glob.glob(_any_field(pattern))]
    return sorted(os.path.join(path, _metadata(path)) if os.path.isdir(path) else path for path in found)


def _any_field(pattern: str) -> str:
    return glob.escape(pattern).replace(glob.escape(PLACE), "*")


def _metadata(folder: str) -> str:
    return next((name for name in ("zarr.json", ".zattrs") if os.path.exists(os.path.join(folder, name))), "")


def judged_beside(roles: tuple[str, ...], settings: dict[str, Any], wanted: list[str]) -> list[str]:
    """Methods to judge on a source beside the one in use: those whose roles it has.

    Args:
        roles: that the source has.
        settings: the section `segment`, the source's own words over it.
        wanted: `evaluate.methods`.
    """
    used = method_for(roles, settings)
    return [name for name in wanted if name != used and not missing_roles(METHODS[name], roles)]


def judged_settings(settings: dict[str, Any], method: str) -> dict[str, Any]:
    """The section `segment` as a method has it that is judged beside the one in use."""
    return {**settings, "method": method, "second": None}


def check_judged(source: str, roles: tuple[str, ...], settings: dict[str, Any], wanted: list[str]) -> str | None:
    """What is wrong with the methods that are judged on a source, in a sentence; None if nothing."""
    found = (
        check_methods(source, roles, judged_settings(settings, name)) for name in judged_beside(roles, settings, wanted)
    )
    return next((sentence for sentence in found if sentence), None)


def not_judged(roles: tuple[str, ...], wanted: list[str]) -> dict[str, str]:
    """Methods of `evaluate.methods` that cannot work on a source, and the roles that they lack there."""
    missing = {name: missing_roles(METHODS[name], roles) for name in wanted}
    return {name: ", ".join(lacks) for name, lacks in missing.items() if lacks}
