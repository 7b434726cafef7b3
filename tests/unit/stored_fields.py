"""Stores of small fields of random pixels, with their tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from wherein.models.field_store import write_fields
from wherein.models.grid import parse_grid

ROLES = ("nucleus", "microtubules", "er", "protein")


def write_store(
    folder: Path, sizes, grid="source", dtype="uint16", seed=0, name="s-0001", pixel_size_um=0.2, roles=ROLES
):
    """Write images of some sizes and their store; gives the store's path and the images (C, H, W) by field."""
    rng = np.random.default_rng(seed)
    most = 255 if dtype == "uint8" else 4000
    rows, files, images = [], [], {}
    for number, (height, width) in enumerate(sizes):
        field_id = f"{name}-f{number}"
        # a field has its own brightness, and structure
        coarse = rng.integers(0, most // 2, (len(roles), height // 8 + 1, width // 8 + 1))
        image = np.kron(coarse, np.ones((8, 8), int))[:, :height, :width] + rng.integers(
            0, 50, (len(roles), height, width)
        )
        images[f"{field_id}@v"] = image = np.clip(image * (number % 3 + 1) // 3, 0, most).astype(dtype)
        for role, plane in zip(roles, image, strict=True):
            path = folder / f"{field_id}_{role}.tif"
            tifffile.imwrite(path, plane)
            files.append({"field_id": field_id, "version": "v", "role": role, "path": str(path), "status": "ok",
                          "channel": None, "z": None, "reason": None, "gain": 1, "bin": 1, "axes": None})  # fmt: skip
        rows.append({"field_id": field_id, "version": "v", "height": height, "width": width,
                     "pixel_size_um": pixel_size_um, "full_scale": float(most)})  # fmt: skip
    columns = ["field_id", "version", "role"] if not files else list(files[0])
    path = folder / f"{name}.zarr"
    known = pd.DataFrame(rows, columns=["field_id", "version", "height", "width", "pixel_size_um", "full_scale"])
    write_fields(path, known, pd.DataFrame(files, columns=columns), parse_grid(grid), {"shard": name, "grid": grid})
    return path, images
