"""The methods that outline nuclei and cells: their names, the roles that they need, and where each of them is.

Every method is a module with a function

    outline(images, pixel_size_um, settings, context) -> Outlines

where `images` are (H, W) arrays of any real type by role, all of one shape, and `settings` is the section `segment` of
the configuration with the source's own words over it. A network has two more, so that fields go to the device in
batches while the outlines of the batch before are drawn from its predictions on the processor:

    predict_batch(fields, pixel_size_um, settings, context) -> list of predictions, one a field, in their order
    finish(prediction, pixel_size_um, settings) -> Outlines

A prediction may be anything that can be pickled: `finish` runs in another process, and needs no device and no weights.
`outline` of a network is `finish` of `predict_batch` of that one field.

This module imports nothing heavy: the configuration is checked with it each time that the workflow is parsed. A method
is imported when it is first used, so that nobody needs torch who outlines without a network.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from wherein.channels import MARKERS, ROLES

if TYPE_CHECKING:
    import numpy as np

AUTO = "auto"
"""In place of a method's name: the one that the source's roles allow."""


class Outlines(NamedTuple):
    """Outlines of one field.

    Attributes:
        nucleus: (H, W) uint32, 0 for background.
        cell: (H, W) uint32, the same number for a nucleus and its cell. Together the two images have the numbers from
            1 to n without gaps; every pixel of a nucleus that has a cell belongs to that cell.
        quality: (n,) float32, how sure the method is of each number, 0 to 1; None for a method that cannot tell.
    """

    nucleus: "np.ndarray"
    cell: "np.ndarray"
    quality: "np.ndarray | None" = None


@dataclass(frozen=True)
class MethodContext:
    """What a method is given beside images and settings.

    Attributes:
        device: `cpu` or `cuda`, decided by the stage.
        weights: file of the method's weights; None for a method that has none.
        seed: of whatever is drawn at random.
    """

    device: str = "cpu"
    weights: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Method:
    """One way to outline.

    Attributes:
        name: as the configuration has it.
        needs: groups of roles; of each group one role at least must be there.
        uses: roles that it takes besides, where they are there.
        source: where the method comes from.
        module: that holds `outline`.
        network: whether it needs weights and has `predict_batch` and `finish`.
        gpu: whether it can use one.
    """

    name: str
    needs: tuple[tuple[str, ...], ...]
    uses: tuple[str, ...]
    source: str
    module: str
    network: bool = False
    gpu: bool = False

    def load(self) -> ModuleType:
        """The module with the method's functions, imported now."""
        return importlib.import_module(self.module)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("watershed", (("nucleus",),), (*MARKERS, "protein"), "this workflow", "wherein.segmentation.cells"),
        Method("whole_cells", (ROLES,), (), "this workflow", "wherein.segmentation.whole_cells"),
        Method(
            "log-mce",
            (("nucleus",),),
            (*MARKERS, "protein"),
            "Kobayashi et al. 2022, methods, nucleus segmentation",
            "wherein.segmentation.log_mce",
        ),
        Method(
            "otsu-nuclei",
            (("nucleus",),),
            (),
            "Lu et al. 2019, methods, human cells",
            "wherein.segmentation.otsu_nuclei",
        ),
        Method(
            "yeast",
            (("reference", "protein"),),
            (),
            "Lu et al. 2019, methods, yeast cells",
            "wherein.segmentation.yeast",
        ),
        Method(
            "unet",
            (("nucleus",),),
            (*MARKERS, "protein"),
            "Le et al. 2022, methods, segmentation (HPA cell segmentation)",
            "wherein.segmentation.networks.unet",
            network=True,
            gpu=True,
        ),
        Method(
            "cellpose",
            (ROLES,),
            ("nucleus", *MARKERS, "protein"),
            "Stringer et al. 2021; Pachitariu et al. 2025",
            "wherein.segmentation.networks.cellpose",
            network=True,
            gpu=True,
        ),
        Method("masks", (), (), "label images made elsewhere", "wherein.segmentation.elsewhere"),
    )
}
"""Every method, by the name that the configuration has for it."""


def method_for(roles: Iterable[str], settings: dict[str, Any]) -> str:
    """The method that the configuration asks for; `auto` takes the one that the roles allow.

    Args:
        roles: that the source has.
        settings: the section `segment` of the configuration.

    Returns:
        A name in METHODS.
    """
    if settings["method"] != AUTO:
        return str(settings["method"])
    have = set(roles)
    return "watershed" if "nucleus" in have else "yeast" if "reference" in have else "whole_cells"


def methods_of(roles: Iterable[str], settings: dict[str, Any]) -> list[Method]:
    """The method of a source, and the second one where one is configured to compare it with."""
    names = [method_for(roles, settings), settings["second"]]
    return [METHODS[name] for name in dict.fromkeys(names) if name is not None]


def own_settings(roles: Iterable[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a source's methods look at: a change of another method's changes nothing.

    Args:
        roles: that the source has.
        settings: the section `segment` of the configuration.

    Returns:
        `settings` without the sections of the methods that are not used.
    """
    used = {method.name for method in methods_of(roles, settings)}
    # bodies of yeast are found as whole cells are
    used |= {"whole_cells"} if "yeast" in used else set()
    return {key: value for key, value in settings.items() if key not in METHODS or key in used}


def missing_roles(method: Method, roles: Iterable[str]) -> list[str]:
    """What a method needs and a source lacks: a role each, or several joined by ` or ` of which one would do."""
    have = set(roles)
    return [" or ".join(group) for group in method.needs if not have & set(group)]


def check_methods(source: str, roles: Iterable[str], settings: dict[str, Any]) -> str | None:
    """What is wrong with a source's methods, in a sentence; None if nothing.

    Args:
        source: name of the source in the configuration.
        roles: that it has.
        settings: the section `segment` of the configuration, the source's own words over it.
    """
    roles = list(roles)
    for method in methods_of(roles, settings):
        missing = missing_roles(method, roles)
        if missing:
            able = [name for name, other in METHODS.items() if not missing_roles(other, roles)]
            key = "second" if method.name == settings["second"] else "method"
            return (
                f"source {source!r}: segment.{key} {method.name!r} needs the role {', '.join(missing)}, and the source "
                f"has {', '.join(roles)}: add it under sources.{source}.roles, or set sources.{source}.segment.{key} "
                f"to one of {', '.join(able)}"
            )
        if method.name == "masks" and not any(settings["masks"].values()):
            return (
                f"source {source!r}: segment.method 'masks' takes label images made elsewhere, and none are named: "
                f"write the path of at least one under sources.{source}.segment.masks (nucleus, cell)"
            )
        own = settings[method.name] if method.name == "cellpose" else {}
        if own and not (own["nucleus_weights"] or own["cell_weights"]):
            return (
                f"source {source!r}: segment.method 'cellpose' takes models that you have, and none is named: write "
                "the path of its file under segment.cellpose.nucleus_weights, segment.cellpose.cell_weights, or both"
            )
    return None


def label_paths(paths: dict[str, str | None], folder: str | Path, field_id: str) -> dict[str, Path]:
    """Where a field's label images are.

    Args:
        paths: by object (`nucleus`, `cell`), with `{field_id}` in braces; null where there are none.
        folder: that relative paths start from.
        field_id: the field.

    Returns:
        Paths by object, those without one left out.
    """
    return {
        name: Path(folder) / path.replace("{field_id}", field_id) for name, path in paths.items() if path is not None
    }
