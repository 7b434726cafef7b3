"""The space of a finished atlas: how vectors come onto the scale on which its proteins were clustered."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from wherein.analysis.aggregate import Scale


def scale_of_atlas(atlas: Any, features: list[str]) -> tuple[Scale, list[int]]:
    """The scale of an atlas, for the features that vectors share with it.

    Args:
        atlas: AnnData of results/atlas/{model}/proteins.h5ad.
        features: names of the vectors' features.

    Returns:
        The scale, and the places of its features among the vectors'. A value that is not known becomes 0.
    """
    place = {name: number for number, name in enumerate(features)}
    shared = [str(name) for name in atlas.var_names if str(name) in place]
    own = atlas.var.loc[shared]
    centre = own["centre"].to_numpy(float)
    # the atlas limits nothing where it scales nothing
    clip = json.loads(str(atlas.uns["wherein"]))["clip"]
    scale = Scale(centre, centre, own["spread"].to_numpy(float), own["used"].to_numpy(bool), clip)
    return scale, [place[name] for name in shared]


def read_atlas(path: str | Path) -> Any:
    """The AnnData of results/atlas/{model}/proteins.h5ad."""
    from anndata import read_h5ad

    return read_h5ad(path)


def scaled_proteins(atlas: Any) -> np.ndarray:
    """(P, D) float64 scaled mean vectors of the proteins, features that tell nothing left out."""
    vectors = np.asarray(atlas.layers["scaled"], np.float64)
    return vectors[:, atlas.var["used"].to_numpy(bool)] if vectors.size else vectors
