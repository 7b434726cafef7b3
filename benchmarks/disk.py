"""What the results of a finished run take on disk: the figures of resources/measured.tsv, which cost pages scale.

    python benchmarks/disk.py RUN "what the run is of" --source demo --configfile RUN/config/config.yaml

prints rows of that table and, last, one JSON line: bytes a field of all that was measured.
"""

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from wherein.cost.geometry import COLUMNS, Geometry, geometry_of
from wherein.cost.volumes import STAGE, bytes_of
from wherein.settings import check_config, for_source, merge
from wherein.shards import Shard, read_shards

PER = {
    "simulate": "image_megabyte",
    "qc": "field",
    "segment": "megapixel",
    "crop": "crop_megabyte",
    "split": "field",
    "embed": "unit",
    "evaluate": "unit",
    "atlas": "unit",
}
"""What the bytes of each stage grow with."""


def geometry(root: Path, config: dict[str, Any], source: str, shards: list[Shard]) -> Geometry:
    """Size and cells of a source's fields, from its finished shards."""
    pixel = pq.read_table(
        root / "results/catalog/fields.parquet", columns=["pixel_size_um"], filters=[("source", "=", source)]
    )["pixel_size_um"][0].as_py()
    told = json.loads((root / f"results/crops/{shards[0].name}.zarr/images/zarr.json").read_text())
    names = [shard.name for shard in shards]
    depth = np.dtype(told["data_type"]).itemsize
    crop = for_source(config, "crop", source)
    return geometry_of(config["sources"][source], crop, pixel, shards[0].roles, depth, names, root, {})


def rows(root: Path, config: dict[str, Any], source: str, shards: list[Shard]) -> list[tuple]:
    """What, kind, unit, bytes of one, number measured; of the stages that have run."""
    own = geometry(root, config, source, shards)
    fields = sum(len(shard.members) for shard in shards)
    area = own.shape[0] * own.shape[1] * own.pixel_size_um**2 / 1e6
    marker = "nucleus" if "nucleus" in shards[0].roles else "reference"
    found = [("cells", marker, "mm2", own.cells / area, round(own.cells * fields))]
    for stage, per in PER.items():
        for model in config["models"] if "model" in STAGE[stage].per else [None]:
            told = config["models"][model] if model else {"kind": "", "level": "cell"}
            amount = own.amount(per, fields, told["level"])
            names = [shard.name for shard in shards] if "shard" in STAGE[stage].per else [None]
            kind = f"{8 * own.pixel_bytes} bit" if stage == "crop" else told["kind"]
            paths = [pattern.format(model=model, shard=name) for pattern in STAGE[stage].outputs for name in names]
            if all((root / path).exists() for path in paths):
                size = sum(bytes_of(root / path) for path in paths)
                found.append((stage, kind, per, size / amount, round(amount)))
    return found


def main() -> None:
    """Measure a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("told", help="what the table says of the run")
    parser.add_argument("--source", required=True)
    parser.add_argument("--configfile", type=Path, nargs="+", required=True)
    asked = parser.parse_args()
    config: dict[str, Any] = {}
    for path in asked.configfile:
        merge(config, yaml.safe_load(path.read_text()))
    check_config(config)
    table = read_shards(asked.run / "results/catalog/shards.tsv").values()
    shards = [shard for shard in table if shard.source == asked.source]
    found = rows(asked.run, config, asked.source, shards)
    print(*COLUMNS, sep="\t")
    for what, kind, per, value, count in found:
        print(what, kind, per, f"{value:.4g}", count, date.today(), asked.told, sep="\t")
    fields = sum(len(shard.members) for shard in shards)
    total = sum(value * count for what, _, _, value, count in found if what != "cells")
    print(json.dumps({"bytes_per_field": round(total / fields)}))


if __name__ == "__main__":
    main()
