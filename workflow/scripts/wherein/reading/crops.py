"""Crops as a source of minibatches: where in which store the cells of a batch are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wherein.reading.index import CropIndex, CropIndexError, Selection
from wherein.reading.pixels import Layout, Part, PixelReader
from wherein.reading.samplers import EMPTY


class CropSource:
    """The crops of chosen cells, as one model wants them.

    Args:
        index: the index.
        selection: the chosen cells.
        roles: channels, in order; those of the stores if not given.
        masks: whether masks are read.
        distance: whether the signed distance to the nuclear boundary is given (Kobayashi et al. 2022): as stored (key
            `crop.nucleus_distance`), else as the processes that decode compute it of each crop's masks.
        pixel_size_um: micrometres a pixel to bring crops to, None for the stores' own.
        size_px: side of the crops, None for as many pixels as the stores' window holds.
        resampling: `area` or `linear`, where pixels change.

    Attributes:
        reader: what decodes.

    Raises:
        CropIndexError: the stores differ in what no view makes equal, or lack a role.
    """

    def __init__(
        self,
        index: CropIndex,
        selection: Selection,
        roles: Sequence[str] | None = None,
        masks: bool = True,
        distance: bool = False,
        pixel_size_um: float | None = None,
        size_px: int | None = None,
        resampling: str = "area",
    ) -> None:
        self._index = index
        codes, names = index.shards
        stores = {names[code]: index.stores[names[code]] for code in np.unique(codes[selection.fields])}
        layout = common_layout(stores, roles, masks, (pixel_size_um, size_px, resampling))
        self.reader = PixelReader(layout._replace(distance=distance), index.crops, stores)

    def shape(self, rows: np.ndarray) -> tuple[int, ...]:
        """As `rows`: one crop each."""
        return rows.shape

    def parts(self, rows: np.ndarray) -> list[Part]:
        """What has to be read of which store; EMPTY rows are in no part."""
        flat = rows.ravel()
        there = np.flatnonzero(flat != EMPTY)
        codes, names, crops = self._index.places(flat[there])
        order = np.argsort(codes, kind="stable")
        ends = np.flatnonzero(np.diff(codes[order])) + 1
        return [Part(names[codes[own[0]]], crops[own], there[own]) for own in np.split(order, ends) if len(own)]


def common_layout(
    stores: Mapping[str, Mapping[str, Any]],
    roles: Sequence[str] | None,
    masks: bool,
    view: tuple[float | None, int | None, str],
) -> Layout:
    """What the crops of some stores look like to one reader.

    Args:
        stores: what the index says of each shard's store.
        roles: channels, in order; those of the stores if None.
        masks: whether masks are read.
        view: micrometres a pixel, pixels and resampling; None and None for as stored.

    Raises:
        CropIndexError: stores differ in roles, pixel size or window, or lack a role.
    """
    pixel_size_um, size_px, resampling = view
    viewed = pixel_size_um is not None or size_px is not None
    wanted = tuple(roles) if roles is not None else tuple(_same(stores, "roles", "name the roles to read"))
    for name, store in stores.items():
        if lacking := [role for role in wanted if role not in store["roles"]]:
            raise CropIndexError(
                f"{name} has no {' and no '.join(lacking)}: it has {', '.join(store['roles'])}; choose other sources "
                "or other roles"
            )
    # shards of one source may have 8 and 16 bits: the type that holds the intensities of all
    dtype = np.result_type(*(np.dtype(store["dtype"]) for store in stores.values())).name
    if pixel_size_um is None:
        _same(stores, "pixel_size_um", "name the pixel size to bring them to")
    if size_px is None:
        window = _same(stores, "window_um" if pixel_size_um else "window_px", "name the pixels of the view")
        size_px = max(1, int(window / pixel_size_um + 1e-6)) if pixel_size_um else window
    return Layout(wanted, int(size_px), dtype, masks, pixel_size_um, resampling, viewed)


def _same(stores: Mapping[str, Mapping[str, Any]], what: str, advice: str) -> Any:
    found: dict[str, str] = {}
    for name, store in stores.items():
        found.setdefault(str(store[what]), name)
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise CropIndexError(f"the crops of {first} and of {second} differ in {what}, {one} and {other}: {advice}")
    return next(iter(stores.values()))[what]
