"""Where the locations of simulated fields lie, on the grid of an image: truth, which only the stage evaluate reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wherein import tables
from wherein.crops.resample import resample
from wherein.labels import Vocabulary
from wherein.models.scored import KEY
from wherein.segmentation.masks import read_masks
from wherein.simulate.plan import Plan, plan_source
from wherein.simulate.shard import planned
from wherein.simulate.structures import MODES, densest, structures

HELD = 0.8
"""Share of a structure's light that its compartment holds: the smallest region that does. All of it would be nearly the
whole cell, since structures fade out."""


class Drawn(NamedTuple):
    """What is known of one simulated field.

    Attributes:
        compartments: class -> (H, W) bool, where the field has it; only classes that it truly has.
        cells: (H, W) bool, the drawn cells.
    """

    compartments: dict[str, np.ndarray]
    cells: np.ndarray


class Compartments:
    """Compartments of simulated fields.

    Args:
        truth: folders results/truth/{shard}.
        sources: the section `sources` of the configuration.
        words: the vocabulary of the classes.
    """

    def __init__(self, truth: Sequence[str], sources: Mapping[str, Any], words: Vocabulary) -> None:
        self._sources, self._words = sources, words
        self._plans: dict[str, Plan] = {}
        self._folders = {
            tuple(key): Path(folder)
            for folder in truth
            for key in tables.read_tables([str(Path(folder) / "fields.parquet")], KEY).to_numpy()
        }

    def of(self, field_id: str, version: str, size: tuple[int, int]) -> Drawn | None:
        """Compartments of one field.

        Args:
            field_id: of the field.
            version: of the field.
            size: height and width in pixels of the image that they are wanted on.

        Returns:
            None for a field that is not simulated, of which the configuration no longer gives this version, or in a
            mode whose structures are not known.
        """
        folder = self._folders.get((field_id, version))
        if folder is None:
            return None
        source = folder.name.rsplit("-", 1)[0]
        if source not in self._plans:
            self._plans[source] = plan_source(source, self._sources[source])
        spec = planned(self._plans[source], field_id, version)
        if spec is None or spec.mode not in MODES:
            return None
        found: dict[str, np.ndarray] = {}
        for place, density in structures(spec).items():
            small = np.maximum(resample(density, size, "area"), 0)
            for name in self._words.to_classes([place]):
                found[name] = found.get(name, 0) + small
        _, cell = read_masks(folder / "masks.zarr", field_id, version)
        cells = resample((cell > 0).astype(np.float32), size, "area") >= 0.5
        marked = {name: densest(density, HELD) for name, density in found.items() if density.any()}
        return Drawn(marked, cells)
