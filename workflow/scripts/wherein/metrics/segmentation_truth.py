"""What the objects of a field are in truth: drawn by the simulator, or outlined by people."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wherein.metrics.segmentation_plan import Patterns, truth_files
from wherein.segmentation.elsewhere import read_labels
from wherein.segmentation.masks import read_masks


class Truth:
    """True label images, read field by field.

    Args:
        simulated: folders results/truth/{shard}.
        patterns: paths of people's label images by source, as `truth_patterns` gives them.
    """

    def __init__(self, simulated: Sequence[str | Path], patterns: dict[str, Patterns]) -> None:
        self._drawn = {Path(folder).name: Path(folder) / "masks.zarr" for folder in simulated}
        self._patterns = patterns

    def read(self, shard: str, source: str, field_id: str, version: str, nuclei: bool) -> dict[str, np.ndarray]:
        """True labels of one field.

        Args:
            shard: its shard.
            source: its source.
            field_id: the field.
            version: its version.
            nuclei: whether the field has a channel of nuclei: drawn ones that no channel shows are not judged.

        Returns:
            (H, W) labels by object; an object of which no truth is there is left out.

        Raises:
            UnreadableImage: a label image is there and cannot be read.
        """
        if shard in self._drawn:
            nucleus, cell = read_masks(self._drawn[shard], field_id, version)
            return {"nucleus": nucleus, "cell": cell} if nuclei else {"cell": cell}
        paths = truth_files(self._patterns.get(source, {}), field_id)
        return {name: read_labels(path) for name, path in paths.items()}
