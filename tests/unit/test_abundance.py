import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from wherein.analysis.abundance import PROTEINS, SAMPLES, detection, interval, measure_abundance
from wherein.analysis.controls import control_limits, held_out_share
from wherein.tables import FIELDS, cells_schema, qc_schema, write_table
from wherein.views.abundance_page import draw_abundance

SETTINGS = {"percentile": 99, "min_control_cells": 20, "max_q": 0.05, "replicate": "well"}


class Screen:
    """Fields of one shard with the intensities that a test chooses."""

    def __init__(self, folder):
        self.folder, self.fields, self.cells = folder, [], []
        self.rng = np.random.default_rng(0)

    def add(self, gene, mean, cells=30, **about):
        name = f"f{len(self.fields):03d}"
        values = mean if isinstance(mean, np.ndarray) else mean * np.exp(0.05 * self.rng.normal(size=cells))
        row = {"field_id": name, "version": "v", "shard": "a-0001", "source": "a", "release": "1", "plate": "P1",
               "well": name, "sample": str(gene), "genes": [gene] if gene else [], "cell_line": "U2OS",
               "control": gene is None, "pixel_size_um": 0.5, "full_scale": 1000.0}  # fmt: skip
        self.fields.append(row | about)
        for label, value in enumerate(values):
            # 100 square micrometres are 400 pixels
            self.cells.append({"cell_id": f"{name}@v:{label}", "field_id": name, "version": "v", "label": label,
                               "status": "kept", "reason": "kept", "area_um2": 100.0, "touches_border": label == 0,
                               "mean_protein": value, "sum_protein": 400.0 * value})  # fmt: skip

    def measure(self, saturated=(), **over):
        folder = self.folder
        write_table(folder / "fields.parquet", pd.DataFrame(self.fields), FIELDS)
        write_table(folder / "cells.parquet", pd.DataFrame(self.cells), cells_schema(("protein",)))
        qc = [{"field_id": row["field_id"], "version": "v", "status": "passed",
               "saturated_protein": 0.01 * (row["field_id"] in saturated)} for row in self.fields]  # fmt: skip
        write_table(folder / "qc.parquet", pd.DataFrame(qc), qc_schema(("protein",)))
        pd.DataFrame({"field_id": [], "version": [], "status": []}, dtype=str).to_parquet(folder / "samples.parquet")
        measure_abundance(
            folder / "fields.parquet", [folder / "qc.parquet"], [folder / "cells.parquet"], folder / "samples.parquet",
            SETTINGS | over, folder / "a.parquet", folder / "s.parquet", folder / "b.tsv", folder / "told.json",
        )  # fmt: skip
        tables = [pd.read_parquet(folder / f"{name}.parquet") for name in "as"]
        return (*tables, pd.read_csv(folder / "b.tsv", sep="\t"), json.loads((folder / "told.json").read_text()))


def test_background_of_the_plate_then_of_the_source_then_none(tmp_path):
    screen = Screen(tmp_path)
    for plate, level in (("P1", 100), ("P1", 102), ("P2", 200)):
        screen.add(None, level, plate=plate, sample=f"c{plate}{level}")
    for plate in ("P1", "P2", "P3"):
        screen.add("A", 300, plate=plate)
    screen.add("A", 300, source="b", plate="P1")
    rows, samples, background, told = screen.measure()
    assert background.set_index(["source", "plate"])["basis"].to_dict() == {
        ("a", "P1"): "plate", ("a", "P2"): "plate", ("a", "P3"): "source", ("b", "P1"): "none"
    }  # fmt: skip
    own = samples[~samples["control"]].set_index(["source", "plate"])
    assert own["background_from"].to_dict()[("b", "P1")] == "none"
    cells = pd.DataFrame(screen.cells).merge(pd.DataFrame(screen.fields)[["field_id", "plate", "control", "source"]])
    for plate in ("P1", "P2"):
        middle = np.median(cells.loc[cells["control"] & (cells["plate"] == plate), "mean_protein"])
        assert own.loc[("a", plate), "background"] == pytest.approx(middle)
        found = np.median(
            cells.loc[~cells["control"] & (cells["plate"] == plate) & (cells["source"] == "a"), "mean_protein"]
        )
        assert own.loc[("a", plate), "signal"] == pytest.approx(found - middle)
        assert own.loc[("a", plate), "relative"] == pytest.approx((found - middle) / 1000)
    # cells at the border have no sum
    inside = cells[~cells["control"] & (cells["plate"] == "P1") & (cells["source"] == "a") & ~cells["touches_border"]]
    middle = own.loc[("a", "P1"), "background"]
    assert own.loc[("a", "P1"), "integrated"] == pytest.approx(np.median(inside["sum_protein"] - 400 * middle))
    assert own.loc[("a", "P1"), "share_above"] == 1
    assert np.isnan(own.loc[("b", "P1"), "share_above"])
    assert own.loc[("b", "P1"), "signal"] == pytest.approx(own.loc[("b", "P1"), "mean"])
    assert np.isnan(own.loc[("b", "P1"), "background"])
    assert any("no background: b" in note for note in told["notes"])
    assert rows.loc[rows["source"] == "b", "reason"].tolist() == ["no_controls"]


def test_fields_have_one_voice_and_intervals_go_over_samples(tmp_path):
    screen = Screen(tmp_path)
    # one field of many cells, one of few, in one well; two more wells
    screen.add("A", np.full(90, 400.0), well="W1")
    screen.add("A", np.full(10, 200.0), well="W1")
    screen.add("A", np.full(10, 350.0), well="W2")
    screen.add("A", np.full(10, 310.0), well="W3")
    rows, samples, _, told = screen.measure(saturated=("f000",))
    assert samples["signal"].tolist() == [300, 350, 310]
    row = rows.iloc[0]
    half = student.ppf(0.975, 2) * np.std([300, 350, 310], ddof=1) / np.sqrt(3)
    assert (row["signal"], row["signal_low"]) == (pytest.approx(320), pytest.approx(320 - half))
    assert (row["n_samples"], row["n_fields"], row["n_cells"]) == (3, 4, 120)
    assert row["cells_in_saturated_fields"] == 90
    assert row["detected"] is None
    assert told["counts"] == {"in": 120, "kept": 120}
    assert any("two control samples" in note for note in told["notes"])
    one, low, high = interval(np.array([3.0, np.nan]))
    assert one == 3
    assert np.isnan([low, high]).all()


def test_cells_of_a_version_that_is_gone_do_not_count(tmp_path):
    screen = Screen(tmp_path)
    screen.add("A", 300)
    screen.add("A", 900)
    screen.fields.pop()
    rows, _, _, told = screen.measure()
    assert rows["n_cells"].tolist() == [30]
    assert told["counts"] == {"in": 60, "kept": 30, "retired": 30}


def test_detected_proteins_and_false_positives_of_held_out_controls(tmp_path):
    screen = Screen(tmp_path)
    for number in range(5):
        screen.add(None, 100 * np.exp(0.02 * number), sample=f"c{number}")
    for gene, level in (("ON", 180), ("OFF", 103)):
        for well in range(2):
            screen.add(gene, level, well=f"{gene}{well}")
    rows, samples, background, told = screen.measure()
    rows = rows.set_index("protein")
    assert rows["detected"].to_dict() == {"ON": True, "OFF": False}
    assert (rows["n_tests"] == 2).all()
    assert (rows["n_controls"] == 5).all()
    assert rows["controls_of"].tolist() == ["plate", "plate"]
    logs = np.log2(samples.loc[samples["control"], "mean"])
    own = np.log2(samples.loc[samples["protein"] == "ON", "mean"])
    t = (own.mean() - logs.mean()) / (logs.std(ddof=1) * np.sqrt(1 / 2 + 1 / 5))
    assert rows.loc["ON", "t"] == pytest.approx(t)
    assert rows.loc["ON", "p"] == pytest.approx(student.sf(t, 4))
    # what is background is not brighter than one deviation of its cells
    off = samples[samples["protein"] == "OFF"]
    assert np.isfinite(samples["log2_signal"]).all()
    assert off["below_background"].all() or (off["signal"] > 0).all()
    held = background.iloc[0]
    assert held["held_out_cells"] == 150
    assert 0 <= held["held_out_share"] < 0.25
    assert f"{held['held_out_above']} of 150 cells of controls" in " ".join(told["notes"])


def test_a_share_of_controls_is_above_what_others_set_by_counting():
    rng = np.random.default_rng(1)
    cells = pd.DataFrame({"source": "a", "plate": "P", "replicate": np.repeat(list("wxyz"), 50), "control": True})
    values = rng.normal(size=200)
    limits = control_limits(values, cells, 90, 40)
    expected = 0
    for own in "wxyz":
        mine = (cells["replicate"] == own).to_numpy()
        expected += (values[mine] > np.percentile(values[~mine], 90)).sum()
    assert held_out_share(limits.table) == (expected, 200)
    # with too few other controls a control is held against nothing
    alone = control_limits(values[:50], cells.iloc[:50], 90, 40)
    assert held_out_share(alone.table) == (0, 0)
    assert (alone.basis == "none").all()


def test_detection_tells_why_not():
    own = pd.DataFrame({"plate": ["P"], "mean": [5.0]})
    none = own.iloc[:0]
    assert detection(own, none)["reason"] == "no_controls"
    assert detection(own, own)["reason"] == "one_control"
    assert detection(own, pd.concat([own, own]))["reason"] == "controls_alike"
    varied = pd.DataFrame({"plate": ["P", "Q", "Q"], "mean": [4.0, 5.0, 6.0]})
    assert detection(own, varied)["controls_of"] == "source"
    assert detection(pd.DataFrame({"plate": ["P"], "mean": [0.0]}), varied)["reason"] == "no_signal"


def test_calls_are_honest_where_proteins_are_like_controls():
    rng = np.random.default_rng(5)
    p = []
    for _ in range(400):
        controls = pd.DataFrame({"plate": "P", "mean": np.exp(rng.normal(0, 0.2, 4))})
        own = pd.DataFrame({"plate": "P", "mean": np.exp(rng.normal(0, 0.2, 2))})
        p.append(detection(own, controls)["p"])
    assert 0.02 < (np.array(p) < 0.05).mean() < 0.085


def test_nothing_to_measure_gives_tables_without_rows(tmp_path):
    screen = Screen(tmp_path)
    screen.add("A", np.full(3, np.nan))
    rows, samples, _, told = screen.measure()
    assert list(rows.columns) == PROTEINS.names
    assert list(samples.columns) == SAMPLES.names
    assert not len(rows)
    assert told["counts"] == {"in": 3, "kept": 0, "no_intensity": 3}


def test_a_run_without_intensities_has_a_figure_that_says_so(tmp_path):
    rows = pd.DataFrame({name: [] for name in (*PROTEINS.names, "labels")})
    draw_abundance(rows, {"dpi": 50}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 2000
