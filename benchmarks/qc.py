"""How well quality control finds bad fields, and what it costs beside the steps of Ouyang et al. 2019.

Fields are drawn from held-out seeds: good ones, and every kind of fault at three severities. Prints a table and, last,
one JSON line.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from skimage.exposure import is_low_contrast
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label
from skimage.morphology import remove_small_objects
from skimage.segmentation import clear_border

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.qc import judge_field  # noqa: E402
from wherein.readers import read_field  # noqa: E402
from wherein.settings import fill_defaults, schema  # noqa: E402
from wherein.simulate.plan import plan_source  # noqa: E402
from wherein.simulate.shard import draw, write_images  # noqa: E402
from wherein.simulate.spec import FieldSpec, held_out_seed, tuning_seed  # noqa: E402

PROTEINS = 120


def defaults(section: str, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a section of the schema, with all defaults."""
    fill_defaults(given, schema()["$defs"][section])
    return given


def planned(seed: int, mode: str, good: int, each: int, field_px: int) -> tuple[list[FieldSpec], pd.DataFrame]:
    """Specs of `good` good fields and of `each` fields of every fault and severity, and the fields' table."""
    faults = 7 * 3 * each
    source = {
        "kind": "simulated",
        "mode": mode,
        "seed": seed,
        "field_px": field_px,
        "faults": faults,
        "proteins": PROTEINS if mode != "yeast" else 60,
        "fields_per_protein": -(-(faults + good) // (PROTEINS if mode != "yeast" else 60)) + 1,
    }
    plan = plan_source("benchmark", defaults("simulated_source", source))
    specs = list(plan.specs.values())
    chosen = [spec for spec in specs if spec.fault is None][:good] + [spec for spec in specs if spec.fault]
    return chosen, plan.fields.set_index("field_id")


def judged(specs: list[FieldSpec], fields: pd.DataFrame, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Draw, write, read and judge each field; seconds of reading, of quality control and of the published steps."""
    for number, spec in enumerate(specs, start=1):
        with tempfile.TemporaryDirectory() as folder:
            files = pd.DataFrame(write_images(draw(spec), spec, "v", Path(folder), Path(folder)))
            meta = fields.loc[spec.field_id]
            read = published = np.nan
            start = time.perf_counter()
            if spec.fault != "corrupt":
                planes = read_field(files)
                read = time.perf_counter() - start
                start = time.perf_counter()
                if "microtubules" in planes:
                    steps_of_paper(planes, spec.pixel_size_um)
                    published = time.perf_counter() - start
            start = time.perf_counter()
            row = judge_field(files, meta, settings)
            whole = time.perf_counter() - start
        yield {
            "fault": spec.fault or "good",
            "severity": spec.severity,
            "field_id": spec.field_id,
            "read": read,
            "qc": whole - read,
            "published": published,
            **row,
        }
        print(f"\r{number}/{len(specs)}", end="", file=sys.stderr)


def steps_of_paper(planes: dict[str, np.ndarray], pixel_size_um: float) -> int:
    """Count and contrast check of Ouyang et al. 2019 with scikit-image, as its methods name them."""
    smooth = gaussian(planes["microtubules"], 0.4 / pixel_size_um)
    mask = remove_small_objects(smooth > threshold_otsu(smooth), max_size=int(51.2 / pixel_size_um**2))
    is_low_contrast(planes["protein"], fraction_threshold=0.2, upper_percentile=99.99)
    return int(label(clear_border(mask)).max())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a fault and severity: number, share that did not pass, share with the right reason, the other reasons."""
    lines = []
    for (fault, severity), group in rows.groupby(["fault", "severity"], sort=False):
        right = "passed" if fault == "good" else fault
        others = group.loc[group["reason"] != right, "reason"].value_counts()
        lines.append(
            {
                "fault": fault,
                "severity": severity,
                "n": len(group),
                "caught": (group["status"] != "passed").mean(),
                "right": (group["reason"] == right).mean(),
                "otherwise": ", ".join(f"{reason} {count}" for reason, count in others.items()),
            }
        )
    return pd.DataFrame(lines).sort_values(["fault", "severity"])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=200, help="number of good fields")
    parser.add_argument("--each", type=int, default=20, help="number of fields of each fault and severity")
    parser.add_argument("--field-px", type=int, default=768, help="height and width of a field")
    parser.add_argument("--mode", default="four_roles", help="four_roles, two_roles or yeast")
    parser.add_argument("--number", type=int, default=0, help="number of the held-out source")
    parser.add_argument("--tuning", action="store_true", help="draw from the seeds for tuning")
    parser.add_argument("--table", type=Path, help="Parquet file to keep all measures in")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    seed = (tuning_seed if options.tuning else held_out_seed)(options.number)
    specs, fields = planned(seed, options.mode, options.good, options.each, options.field_px)
    rows = pd.DataFrame(judged(specs, fields, defaults("qc", {})))
    print(file=sys.stderr)
    if options.table:
        rows.to_parquet(options.table)
    print(table(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    bad, good = rows[rows["fault"] != "good"], rows[rows["fault"] == "good"]
    right = bad["reason"] == bad["fault"]
    seconds = rows[["read", "qc", "published"]].median()
    ratios = {
        "benchmark": "qc",
        "mode": options.mode,
        "seed": seed,
        "fields": len(rows),
        "right_plain": round(float(right[bad["severity"] > 1].mean()), 4),
        "right_mild": round(float(right[bad["severity"] == 1].mean()), 4),
        "good_rejected": round(float((good["status"] != "passed").mean()), 4),
        "qc_seconds": round(float(seconds["qc"]), 4),
        "published_over_qc": round(float(seconds["published"] / seconds["qc"]), 2),
        "qc_over_read": round(float(seconds["qc"] / seconds["read"]), 2),
    }
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
