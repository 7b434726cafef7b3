"""How well every method outlines nuclei and cells, in one table, on held-out fields.

The fields are drawn from seeds, densities and cell lines that nothing was tuned on: human cells of four lines in two
modes, sparse to confluent, and yeast with each reference. Prints a table and, last, one JSON line.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.metrics.segmentation_objects import curve, object_table, scores  # noqa: E402
from wherein.segmentation.methods import (  # noqa: E402
    AUTO,
    METHODS,
    MethodContext,
    Outlines,
    method_for,
    missing_roles,
)
from wherein.settings import fill_defaults, schema  # noqa: E402
from wherein.simulate.drawing import DrawnField  # noqa: E402
from wherein.simulate.plan import generator, plan_source  # noqa: E402
from wherein.simulate.shard import draw  # noqa: E402
from wherein.simulate.spec import CellLine, FieldSpec, held_out_seed  # noqa: E402
from wherein.views.composites import composite, contrast, outlines, painted  # noqa: E402

HUMAN = (
    CellLine("HeLa-like", 13.3, 0.13, 1.22, 25.0, 0.17, 1.35, 0.14, 1.8, 5.0, 0.30, 0.05, 0.70),
    CellLine("MCF-7-like", 12.0, 0.12, 1.18, 20.5, 0.15, 1.20, 0.10, 0.4, 3.0, 0.85, 0.07, 0.75),
    CellLine("PC-3-like", 15.0, 0.14, 1.45, 30.0, 0.18, 1.70, 0.18, 3.5, 8.0, 0.10, 0.04, 0.60),
    CellLine("SH-SY5Y-like", 9.8, 0.12, 1.25, 16.0, 0.16, 1.40, 0.15, 1.6, 6.0, 0.60, 0.08, 0.55),
)
"""Lines that the simulator does not draw by itself: between, beyond and smaller than its own."""

YEAST = (
    CellLine("W303-like", 1.9, 0.09, 1.06, 5.4, 0.14, 1.15, 0.02, 0.0, 0.0, 0.60, 0.0, 0.45),
    CellLine("CEN.PK-like", 1.7, 0.08, 1.05, 4.5, 0.12, 1.10, 0.02, 0.0, 0.0, 0.90, 0.0, 0.60),
)

SETS = (
    ("four_roles", None, 0.6),
    ("two_roles", None, 0.2),
    ("yeast", "rfp", 1 / 15),
    ("yeast", "nuclear_pore", 1 / 15),
    ("yeast", "brightfield", 1 / 15),
)
"""Mode, reference, and share of the fields."""

HUMAN_ALL, YEAST_ALL, ALL = "human, all", "yeast, all", "all"

CONFLUENCE = (0.25, 0.92)
"""Range of the share of a field that cells cover; a line has one value in the simulator, with little variation."""

OF_YEAST = ("whole_cells", "yeast")
"""Methods that look for small round cells: human ones are not asked of them."""

SHOWN = ("nucleus", "microtubules", "er", "reference", "protein")


def defaults(section: str, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a section of the schema, with all defaults."""
    fill_defaults(given, schema()["$defs"][section])
    return given


def held_out(number: int, fields: int) -> list[tuple[str, FieldSpec]]:
    """Name of the set and spec of each field.

    Args:
        number: of the held-out source.
        fields: how many in all; each set has its share of them.
    """
    seed = held_out_seed(number)
    chosen = []
    for mode, reference, share in SETS:
        count = max(1, round(share * fields))
        given = {"kind": "simulated", "mode": mode, "seed": seed, "proteins": count, "controls": 0, "faults": 0}
        given |= {"fields_per_protein": 1, "field_px": 512 if mode == "yeast" else 1024}
        if reference:
            given["reference"] = reference
        plan = plan_source(f"held_out_{mode}_{reference}", defaults("simulated_source", given))
        lines = YEAST if mode == "yeast" else HUMAN
        specs = [plan.specs[field_id] for field_id in sorted(plan.specs)][:count]
        rng = generator(seed, "density", mode, reference)
        for place, spec in enumerate(specs):
            line, confluence = lines[place % len(lines)], float(rng.uniform(*CONFLUENCE))
            changed = replace(spec, cell_line=line, confluence=confluence)
            chosen.append((mode if reference is None else f"{mode}, {reference}", changed))
    return chosen


def settings_with(weights: list[str]) -> dict[str, Any]:
    """The section `segment`, all defaults but the weights that are given as `unet.weights=file`."""
    given: dict[str, Any] = {}
    for pair in weights:
        key, path = pair.split("=", 1)
        method, name = key.split(".")
        given.setdefault(method, {})[name] = path
    settings = defaults("segment", given)
    settings["unet"]["weights"] = str(ROOT / settings["unet"]["weights"])
    return settings


def can_run(name: str, settings: dict[str, Any]) -> bool:
    """Whether a method needs no weights, or has them."""
    if name == AUTO or not METHODS[name].network:
        return True
    paths = [path for key, path in settings[name].items() if key.endswith("weights") and path]
    return bool(paths) and all(Path(path).is_file() for path in paths)


def outlined(
    name: str, field: DrawnField, spec: FieldSpec, settings: dict[str, Any], device: str
) -> tuple[Outlines, float] | None:
    """Outlines of a field and the processor seconds that they took; None where the method lacks a role."""
    real = method_for(field.channels, settings) if name == AUTO else name
    if missing_roles(METHODS[real], field.channels) or (name in OF_YEAST and spec.mode != "yeast"):
        return None
    module = METHODS[real].load()
    start = time.process_time()
    found = module.outline(field.channels, spec.pixel_size_um, settings, MethodContext(device))
    return found, time.process_time() - start


def judged(
    chosen: list[tuple[str, FieldSpec]], names: list[str], settings: dict[str, Any], device: str, folder: Path | None
) -> Iterator[pd.DataFrame]:
    """Objects of every field and method."""
    for number, (group, spec) in enumerate(chosen, start=1):
        field = draw(spec)
        for name in names:
            done = outlined(name, field, spec, settings, device)
            if done is None:
                continue
            found, seconds = done
            pairs = {"cell": (field.cell, found.cell)}
            if "nucleus" in field.channels:
                pairs["nucleus"] = (field.nucleus, found.nucleus)
            for part, (true, mine) in pairs.items():
                yield object_table(true, mine, spec.pixel_size_um).assign(
                    set=group, method=name, object=part, field_id=spec.field_id, version=group, seconds=seconds,
                    cell_line=spec.cell_line.name, confluence=spec.confluence,
                )  # fmt: skip
            if folder is not None:
                write_overlay(folder / f"{group.replace(', ', '_')}-{spec.field_id}-{name}.png", field, found)
        print(f"\r{number}/{len(chosen)}", end="", file=sys.stderr)


def write_overlay(path: Path, field: DrawnField, found: Outlines) -> None:
    """Outlines that were found (nuclei cyan, cells white) and true ones (red) over the channels."""
    shown = {role: field.channels[role] for role in SHOWN if role in field.channels}
    picture = composite(shown, contrast(shown, 2, 99.8))
    for labels, colour in ((field.cell, (255, 40, 40)), (found.cell, (255, 255, 255)), (found.nucleus, (0, 255, 255))):
        picture = painted(picture, outlines(labels), colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a set, method and object, and one over all human, all yeast and all fields."""
    lines = []
    sets = dict(list(rows.groupby("set", sort=False)))
    yeast = rows["set"].str.startswith("yeast")
    for name, part in {**sets, HUMAN_ALL: rows[~yeast], YEAST_ALL: rows[yeast], ALL: rows}.items():
        for (method, what), mine in part.groupby(["method", "object"], sort=False):
            told = scores(mine)
            keys = ("f1", "recall", "precision", "average_precision", "iou_mean", "count_error", "count_bias")
            per_field = mine.groupby("field_id")["seconds"].first()
            lines.append(
                {
                    "set": name,
                    "object": what,
                    "method": method,
                    "fields": mine["field_id"].nunique(),
                    "objects": told["n_true"],
                    **{key: told[key] for key in keys},
                    "split": told["split_share"],
                    "merged": told["merged_share"],
                    "seconds": per_field.median(),
                }
            )
    return pd.DataFrame(lines).sort_values(["set", "object", "f1"], ascending=[True, True, False], kind="stable")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=60, help="number of fields, about")
    parser.add_argument("--number", type=int, default=60, help="number of the held-out source")
    parser.add_argument("--methods", nargs="*", help="names of methods; without, all whose weights are there")
    parser.add_argument("--weights", nargs="*", default=[], help="unet.weights=file, cellpose.cell_weights=file, ...")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for networks")
    parser.add_argument("--overlays", type=Path, help="folder for pictures of every field and method")
    parser.add_argument("--table", type=Path, help="Parquet file to keep every object in")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    settings = settings_with(options.weights)
    names = options.methods or [AUTO, *(name for name in METHODS if name != "masks")]
    methods = [name for name in names if can_run(name, settings)]
    chosen = held_out(options.number, options.fields)
    rows = pd.concat(list(judged(chosen, methods, settings, options.device, options.overlays)), ignore_index=True)
    print(file=sys.stderr)
    if options.table:
        rows.to_parquet(options.table)
    told = table(rows)
    print(told.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    for what in ("nucleus", "cell"):
        for method in methods:
            mine = rows[(rows["method"] == method) & (rows["object"] == what)]
            if len(mine):
                f1 = curve(mine)["f1"]
                print(f"F1 of {what}, {method}, at IoU 0.5 to 0.95: {' '.join(f'{value:.3f}' for value in f1)}")
    f1 = {key: round(float(value), 4) for key, value in told.set_index(["set", "object", "method"])["f1"].items()}
    figures: dict[str, dict[str, float]] = {}
    for (group, what, method), value in f1.items():
        if group in (HUMAN_ALL, YEAST_ALL, ALL):
            figures.setdefault(f"f1_{what}_{group.split(',')[0]}", {})[method] = value
    missing = [name for name in names if name not in methods]
    head = {"benchmark": "segmentation_methods", "seed": held_out_seed(options.number)}
    print(json.dumps({**head, "fields": rows["field_id"].nunique(), **figures, "without_weights": missing}))


if __name__ == "__main__":
    main()
