"""Outlines of several methods against the truth of simulated fields and of people's label images."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tifffile
from wherein.metrics.segmentation import compare
from wherein.metrics.segmentation_plan import (
    all_truth_files,
    has_truth,
    judged_beside,
    not_judged,
    truth_files,
    truth_patterns,
)
from wherein.metrics.segmentation_run import evaluate_segmentation
from wherein.segmentation.masks import write_masks
from wherein.settings import check_config
from wherein.tables import FIELDS, cells_schema, qc_schema, write_table

SHAPE = (90, 120)
PIXEL = 0.5


def grid(rows=3, columns=4, size=18, gap=10):
    """Squares away from the border, numbered from 1."""
    labels = np.zeros(SHAPE, np.uint32)
    for number in range(rows * columns):
        y, x = 5 + (number // columns) * (size + gap), 6 + (number % columns) * (size + gap)
        labels[y : y + size, x : x + size] = number + 1
    return labels


def without(labels, *numbers):
    return np.where(np.isin(labels, numbers), 0, labels).astype(np.uint32)


def merged(labels, one, other):
    """Two neighbours as one, the ground between them included."""
    ys, xs = np.nonzero(np.isin(labels, (one, other)))
    out = labels.copy()
    out[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = one
    return out


class Run:
    """One shard of two fields of a simulated source, and what the rules would hand over."""

    def __init__(self, folder, source="sim"):
        self.folder, self.source, self.shard = folder, source, f"{source}-0001"
        self.keys = [("f1", "000000000001"), ("f2", "0000000000e2")]
        self.lines = ["A", "B"]
        rows = [
            {"field_id": field, "version": version, "shard": self.shard, "source": source, "cell_line": line,
             "pixel_size_um": PIXEL, "uri_nucleus": "x"}
            for (field, version), line in zip(self.keys, self.lines, strict=True)
        ]  # fmt: skip
        write_table(folder / "fields.parquet", pd.DataFrame(rows), FIELDS)
        verdicts = [
            {"field_id": field, "version": version, "shard": self.shard, "source": source, "status": "passed",
             "reason": "passed", "height": SHAPE[0], "width": SHAPE[1]}
            for field, version in self.keys
        ]  # fmt: skip
        write_table(folder / "qc" / f"{self.shard}.parquet", pd.DataFrame(verdicts), qc_schema(["nucleus"]))
        self.ledger({})

    def ledger(self, rejected):
        rows = [
            {"field_id": field, "version": version, "label": label,
             "status": "rejected" if label in rejected.get(field, ()) else "kept"}
            for field, version in self.keys
            for label in range(1, 13)
        ]  # fmt: skip
        write_table(self.folder / "cells" / f"{self.shard}.parquet", pd.DataFrame(rows), cells_schema(["nucleus"]))

    def masks(self, path, method, pairs, seconds=0.5):
        fields = [(*key, nucleus, cell) for key, (nucleus, cell) in zip(self.keys, pairs, strict=True)]
        write_masks(self.folder / f"{path}.zarr", fields, {"method": method, "pixel_size_um": PIXEL})
        told = [{"field_id": field, "version": version, "seconds": seconds} for field, version in self.keys]
        schema = pa.schema([("label", pa.int32())])
        write_table(self.folder / f"{path}.parquet", pd.DataFrame(), schema, {"fields": told})

    def evaluate(self, others=(), truth=True, patterns=None):
        def paths(pattern):
            return [str(self.folder / pattern.format(shard=self.shard))]

        inputs = {
            "fields": str(self.folder / "fields.parquet"),
            "qc": paths("qc/{shard}.parquet"),
            "cells": paths("cells/{shard}.parquet"),
            "masks": paths("masks/{shard}.zarr"),
            "quality": paths("masks/{shard}.parquet"),
            "other_masks": [path for name in others for path in paths(f"methods/{name}/{{shard}}.zarr")],
            "other_quality": [path for name in others for path in paths(f"methods/{name}/{{shard}}.parquet")],
            "truth": paths("truth/{shard}") if truth else [],
        }
        names = ("objects.parquet", "fields.tsv", "methods.tsv", "curves.tsv", "scores.json", "summary.json")
        outputs = {name.split(".")[0]: str(self.folder / "out" / name) for name in names}
        evaluate_segmentation(inputs, patterns or {}, outputs)
        text = dict.fromkeys(["version", "value", "cell_line"], str)
        return {
            "objects": pd.read_parquet(outputs["objects"]),
            **{
                name: pd.read_csv(outputs[name], sep="\t", dtype=text) for name in ("fields", "methods", "curves")
            },
            **{name: json.loads((self.folder / "out" / f"{name}.json").read_text()) for name in ("scores", "summary")},
        }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    true = grid()
    run.masks("truth/sim-0001/masks", "simulated", [(true, true)] * 2)
    # the method in use misses a cell in f1 and joins two in f2; the other finds all but a false one
    run.masks("masks/sim-0001", "watershed", [(true, without(true, 5)), (true, merged(true, 1, 2))])
    false = true.copy()
    false[60:62, 100:118] = 99
    run.masks("methods/other/sim-0001", "other", [(true, true), (true, false)], seconds=2.0)
    return run


def test_methods_stand_side_by_side(run):
    told = run.evaluate(others=["other"])
    cells = told["methods"].query("object == 'cell' and group == 'all'").set_index("method")
    assert cells["in_use"].to_dict() == {"watershed": True, "other": False}
    assert cells["n_true"].tolist() == [24, 24]
    used, other = cells.loc["watershed"], cells.loc["other"]
    # of the two that were joined neither shares 0.6 with the union
    assert (used["n_found"], used["matched"], used["n_merged"], used["n_split"]) == (22, 21, 2, 0)
    assert used["recall"] == pytest.approx(21 / 24)
    assert used["count_error"] == pytest.approx(2 / 24)
    assert used["count_bias"] == pytest.approx(-2 / 24)
    assert (other["n_found"], other["matched"]) == (25, 24)
    assert cells["seconds_per_field"].to_dict() == {"watershed": 0.5, "other": 2.0}
    assert told["scores"]["methods"]["sim"]["other"]["cell"]["f1"] == pytest.approx(48 / 49)
    assert told["summary"]["methods"] == ["other", "watershed"]
    assert told["summary"]["counts"] == {"in": 2, "kept": 2}


def test_scores_of_the_run_are_of_the_method_in_use(run):
    run.ledger({"f1": [1, 2, 3]})
    told = run.evaluate(others=["other"])["scores"]
    true = grid()
    found = [without(true, 5), merged(true, 1, 2)]
    total = compare(true, found[0]) + compare(true, found[1])
    assert (told["iou"], told["n_fields"]) == (0.6, 2)
    assert told["cell"]["f1"] == pytest.approx(total.f1, abs=1e-6)
    assert told["cell"]["false_share"] == pytest.approx(total.false_share, abs=1e-6)
    assert told["nucleus"]["f1"] == 1
    assert told["kept_cell"]["recall"] == pytest.approx((21 - 3) / 24)
    assert told["sources"]["sim"]["cell"] == told["cell"]
    assert "kept_cell" not in told["methods"]["sim"]["other"]


def test_worst_fields_come_first_and_cell_lines_apart(run):
    told = run.evaluate(others=["other"])
    fields = told["fields"]
    assert fields["version"].tolist()[:2] == ["0000000000e2", "000000000001"]
    assert fields["method"].tolist() == ["watershed"] * 2 + ["other"] * 2
    by_line = told["methods"].query("method == 'watershed' and object == 'cell' and group == 'cell line'")
    assert dict(zip(by_line["value"], by_line["n_merged"], strict=True)) == {"A": 0, "B": 2}
    assert dict(zip(by_line["value"], by_line["n_fields"], strict=True)) == {"A": 1, "B": 1}


def test_objects_have_sizes_shared_by_all_methods(run):
    sizes = np.zeros(SHAPE, np.uint32)
    for number, side in enumerate((6, 7, 12, 13, 24, 25), start=1):
        sizes[8 : 8 + side, 2 + number * 3 + sum((6, 7, 12, 13, 24, 25)[: number - 1]) :][:, :side] = number
    run.masks("truth/sim-0001/masks", "simulated", [(sizes, sizes)] * 2)
    run.masks("masks/sim-0001", "watershed", [(sizes, sizes)] * 2)
    run.masks("methods/other/sim-0001", "other", [(sizes, without(sizes, 1, 2))] * 2)
    told = run.evaluate(others=["other"])
    table = told["methods"].query("object == 'cell' and group == 'size'").set_index(["method", "value"])
    assert table.loc["watershed", "n_true"].to_dict() == {"small": 4, "medium": 4, "large": 4}
    assert table.loc["other", "recall"].to_dict() == {"small": 0, "medium": 1, "large": 1}
    assert table.loc[("watershed", "small"), ["low_um2", "high_um2"]].tolist() == [36 * PIXEL**2, 49 * PIXEL**2]
    assert set(told["objects"]["size"]) == {"small", "medium", "large"}


def test_curves_hold_every_level(run):
    curves = run.evaluate(others=["other"])["curves"]
    assert len(curves) == 10 * (3 + 2)
    assert curves.query("method == 'other' and object == 'nucleus'")["f1"].tolist() == [1.0] * 10


def test_truth_of_people_enters_by_field(tmp_path):
    run = Run(tmp_path, source="lab")
    true = grid()
    run.masks("masks/lab-0001", "watershed", [(true, without(true, 5, 6)), (true, true)])
    tifffile.imwrite(tmp_path / "f1_cells.tif", true.astype(np.uint16))
    patterns = {"lab": {"nucleus": None, "cell": str(tmp_path / "{field_id}_cells.tif")}}
    told = run.evaluate(truth=False, patterns=patterns)
    # nobody outlined f2, and nobody the nuclei
    assert told["scores"]["n_fields"] == 1
    assert told["scores"]["cell"]["recall"] == pytest.approx(10 / 12)
    assert "nucleus" not in told["scores"]


def test_truth_that_does_not_fit_is_a_note(tmp_path):
    run = Run(tmp_path, source="lab")
    true = grid()
    run.masks("masks/lab-0001", "watershed", [(true, true)] * 2)
    np.save(tmp_path / "f1.npy", true[:-1])
    (tmp_path / "f2.npy").write_bytes(b"no array")
    told = run.evaluate(truth=False, patterns={"lab": {"cell": str(tmp_path / "{field_id}.npy"), "nucleus": None}})
    assert told["scores"]["n_fields"] == 0
    notes = " ".join(told["summary"]["notes"])
    assert "f1@000000000001 is not judged: its true labels (cell) are 89 x 120 px, and the field 90 x 120" in notes
    assert "f2@0000000000e2 is not judged" in notes
    assert len(told["methods"]) == len(told["curves"]) == len(told["objects"]) == 0


def configured(**source):
    config = {"sources": {"lab": {"kind": "table", "table": "data/t.tsv", "roles": {"nucleus": {"path": "{field_id}"}},
                                  **source}, "sim": {"kind": "simulated"}},
              "models": {"classic": {"kind": "classic", "missing_roles": "skip"}}}  # fmt: skip
    check_config(config)
    return config


def test_patterns_are_relative_to_the_table(tmp_path):
    sources = configured(truth={"cell": "labels/{field_id}.png"})["sources"]
    assert truth_patterns(sources) == {"lab": {"nucleus": None, "cell": "data/labels/{field_id}.png"}}
    assert [has_truth(sources[name]) for name in ("lab", "sim")] == [True, True]
    assert not has_truth(configured()["sources"]["lab"])
    patterns = {"nucleus": f"{tmp_path}/[1]{{field_id}}.png", "cell": f"{tmp_path}/{{field_id}}.zarr"}
    (tmp_path / "[1]a.png").touch()
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").touch()
    assert truth_files(patterns, "a") == {"nucleus": f"{tmp_path}/[1]a.png", "cell": f"{tmp_path}/a.zarr"}
    assert truth_files(patterns, "b") == {}
    assert all_truth_files(patterns) == [f"{tmp_path}/[1]a.png", f"{tmp_path}/a.zarr/zarr.json"]


def test_methods_are_judged_where_their_roles_are():
    settings = {"method": "auto", "second": None}
    wanted = ["watershed", "log-mce", "yeast"]
    assert judged_beside(("nucleus", "protein"), settings, wanted) == ["log-mce", "yeast"]
    assert judged_beside(("reference",), {**settings, "method": "whole_cells"}, wanted) == ["yeast"]
    assert not_judged(("reference",), wanted) == {"watershed": "nucleus", "log-mce": "nucleus"}
