"""Judging fields: verdicts, a curator's word, fields that cannot be read, the table and the summary."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
from real_data import real_data
from wherein.overrides import Override
from wherein.qc import (
    REMEDIES,
    UnreadableFieldsError,
    comparable,
    count_reasons,
    follow,
    judge_field,
    judge_shard,
    measure,
    stop_if_unreadable,
)
from wherein.reasons import FIELD_REASONS, UNDECODABLE_REASONS
from wherein.settings import fill_defaults, schema
from wherein.simulate.drawing import DrawnField
from wherein.simulate.plan import FAULTS, plan_source
from wherein.simulate.shard import draw, write_images
from wherein.simulate.spec import tuning_seed
from wherein.tables import FIELDS, FILES, qc_schema, write_table

SETTINGS: dict = {}
fill_defaults(SETTINGS, schema()["$defs"]["qc"])

ROLES = ("nucleus", "microtubules", "er", "protein")


def simulated(seed: int, faults: int = 0, mode: str = "four_roles", **more):
    source = {"kind": "simulated", "mode": mode, "seed": tuning_seed(seed), "field_px": 768, "faults": faults, **more}
    fill_defaults(source, schema()["$defs"]["simulated_source"])
    return plan_source("sim", source)


def first(plan, fault=None, severity=0):
    return next(
        one for one in plan.specs.values() if (one.fault, one.severity) == (fault, severity) and not one.control
    )


@pytest.fixture(scope="module")
def plan():
    return simulated(900, faults=len(FAULTS) * 3, proteins=40)


@pytest.fixture(scope="module")
def good(plan):
    spec = first(plan)
    return spec, draw(spec).channels


def verdict(planes, control=False, settings=SETTINGS, pixel=0.16, full_scale=4095.0):
    measures, wrong = measure(planes, pixel, full_scale, control, settings)
    return next((reason for reason in FIELD_REASONS if reason in wrong), "passed"), measures, wrong


# verdicts on simulated fields; benchmarks/qc.py has the large sample


@pytest.mark.parametrize("mode", ["four_roles", "two_roles", "yeast"])
def test_good_fields_pass(mode):
    plan = simulated(901, proteins=20, mode=mode, controls=1)
    for spec in list(plan.specs.values())[:2]:
        reason, measures, wrong = verdict(draw(spec).channels, spec.control)
        assert (reason, wrong) == ("passed", {})
        assert measures["marker_fit"] > 1


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "corrupt"])
@pytest.mark.parametrize("severity", [2, 3])
def test_bad_fields_are_caught_with_the_right_reason(plan, fault, severity):
    reason, _, wrong = verdict(draw(first(plan, fault, severity)).channels)
    assert reason == fault
    assert "asked for" in wrong[reason] or "may be" in wrong[reason]


@pytest.mark.parametrize("mode", ["two_roles", "yeast"])
def test_a_channel_from_another_field_is_caught_with_two_roles(mode):
    plan = simulated(902, faults=21, proteins=20, mode=mode)
    assert verdict(draw(first(plan, "channel_mismatch", 2)).channels)[0] == "channel_mismatch"


def test_the_channel_from_another_field_is_named(good, plan):
    other = draw([spec for spec in plan.specs.values() if spec.fault is None][-1]).channels
    for role in ("nucleus", "microtubules", "er"):
        reason, _, wrong = verdict({**good[1], role: other[role]})
        assert reason == "channel_mismatch"
        assert wrong[reason].startswith(f"{role} fits none of the others")


@pytest.mark.parametrize("other", ["microtubules", "er"])
def test_swapped_roles(good, other):
    planes = {**good[1], "nucleus": good[1][other], other: good[1]["nucleus"]}
    reason, _, wrong = verdict(planes)
    assert reason == "swapped_roles"
    assert other in wrong[reason]


def test_a_control_may_be_dark(good):
    planes = {**good[1], "protein": np.full_like(good[1]["protein"], 100)}
    assert verdict(planes)[0] == "low_contrast"
    assert verdict(planes, control=True)[0] == "passed"


def test_the_count_is_a_choice(good):
    _, measures, _ = verdict(good[1])
    assert measures["n_nuclei"] > measures["n_marker"]
    strict = {**SETTINGS, "count": "marker", "min_cells": measures["n_marker"] + 1}
    assert verdict(good[1], settings=strict)[0] == "too_few_cells"
    assert verdict(good[1], settings={**strict, "count": "nuclei"})[0] == "passed"


def test_full_scale_decides_on_contrast_and_saturation(good):
    assert verdict(good[1], full_scale=65535.0)[0] == "low_contrast"
    assert verdict(good[1], full_scale=200.0)[2].keys() >= {"saturated"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("roles", [ROLES, ("nucleus", "protein"), ("protein", "reference"), ("protein",)])
def test_where_every_channel_is_overexposed_that_is_the_reason(roles, dtype):
    top = np.iinfo(dtype).max
    full = np.full((300, 400), top, dtype)
    most = full.copy()
    most[:, :190] = 0
    for plane in (full, most):
        reason, measures, wrong = verdict(dict.fromkeys(roles, plane), full_scale=None)
        assert (reason, list(wrong)) == ("saturated", ["saturated"])
        assert "of the pixels of" in wrong["saturated"]
        assert measures[f"saturated_{roles[0]}"] == pytest.approx((plane == top).mean())
    less = full.copy()
    less[:, :210] = 0
    wrong = verdict(dict.fromkeys(roles, less), full_scale=None)[2]
    # a protein alone shows no cells to be counted
    assert "saturated" in wrong
    assert len(wrong) > 1 or roles == ("protein",)


def test_one_overexposed_channel_leaves_the_others_to_be_judged(good):
    full = np.full_like(good[1]["er"], 4095)
    assert verdict({**good[1], "er": full})[0] == "saturated"
    blurred = {role: cv2.GaussianBlur(plane, None, 12) for role, plane in good[1].items()}
    assert verdict({**blurred, "protein": full})[0] == "out_of_focus"
    # who allows any share asks for the other reasons
    allowed = {**SETTINGS, "saturation": {**SETTINGS["saturation"], "max_share": 1, "max_share_markers": 1}}
    everywhere = dict.fromkeys(ROLES, full)
    assert verdict(everywhere)[0] == "saturated"
    assert "saturated" not in verdict(everywhere, settings=allowed)[2]
    assert verdict(everywhere, settings=allowed)[0] != "passed"


def test_an_oblong_field_of_16_bits(good):
    planes = {role: plane[:600] for role, plane in good[1].items()}
    reason, measures, _ = verdict(planes)
    assert reason == "passed"
    assert (measures["height"], measures["width"], measures["dtype"]) == (600, 768, "uint16")


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 25)])
def test_a_tiny_field_is_judged(shape):
    planes = {role: np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16) for role in ROLES}
    assert verdict(planes)[0] in FIELD_REASONS


def test_comparable_roles():
    fit = SETTINGS["fit"]
    assert comparable(ROLES, False, fit) == ["nucleus", "microtubules", "er"]
    assert comparable(ROLES, False, {**fit, "protein": "always"}) == ["nucleus", "microtubules", "er", "protein"]
    assert comparable(["nucleus", "protein"], False, fit) == ["nucleus", "protein"]
    assert comparable(["nucleus", "protein"], True, fit) == []
    assert comparable(["nucleus", "protein"], False, {**fit, "protein": "never"}) == []
    assert comparable(["protein"], False, fit) == []
    assert comparable(["nucleus"], False, fit) == []


# a curator's word


def row(status="rejected", reason="low_contrast"):
    return {"field_id": "a", "version": "0" * 12, "status": status, "reason": reason, "detail": "found this"}


def word(action, what="a"):
    return Override("field", what, action, "", "ml", "seen twice")


def test_a_curator_keeps_and_rejects():
    kept = follow(row(), [word("keep")])
    assert (kept["status"], kept["reason"], kept["detail"]) == ("passed", "passed", None)
    assert kept["override"] == "ml: seen twice"
    rejected = follow(row("passed", "passed"), [word("reject")])
    assert (rejected["status"], rejected["reason"]) == ("rejected", "overridden")
    assert follow(row(), [word("keep", "b")]) == row()


def test_nothing_is_kept_that_cannot_be_read():
    assert follow(row("failed", "corrupt"), [word("keep")]) == row("failed", "corrupt")


# fields that cannot be read


def failed(number, reason="corrupt", total=20):
    bad = [{**row("failed", reason), "field_id": f"bad{i}"} for i in range(number)]
    return bad + [row("passed", "passed")] * (total - number)


def test_many_unreadable_fields_stop_a_shard():
    with pytest.raises(UnreadableFieldsError, match=r"bad0 .*copy or download these files again") as stopped:
        stop_if_unreadable(failed(5), "hpa-0001", SETTINGS)
    for part in ("hpa-0001", "5 of 20", "20%", "qc.failed_share", "found this"):
        assert part in str(stopped.value)


@pytest.mark.parametrize(
    "rows",
    [failed(4, total=6), failed(5, total=25), failed(20, "retired"), [row("rejected", "empty")] * 20],
    ids=["fewer than five", "a fifth", "retired", "rejected"],
)
def test_few_unreadable_retired_and_rejected_fields_stop_nothing(rows):
    stop_if_unreadable(rows, "hpa-0001", SETTINGS)


def test_every_reason_has_a_remedy():
    assert set(REMEDIES) == set(UNDECODABLE_REASONS)


def test_counts_balance():
    rows = [row(), row("passed", "passed"), row("failed", "corrupt"), row("passed", "passed")]
    assert count_reasons(rows) == {"in": 4, "kept": 2, "corrupt": 1, "low_contrast": 1}


# a shard

NAMES = ["f_good", "f_empty", "f_cut", "f_gone", "f_old"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory, plan, good):
    """Folder with the catalog and the files of five fields: good, empty, truncated, one without a file, one retired."""
    folder = tmp_path_factory.mktemp("shard")
    empty, cut = first(plan, "empty", 3), first(plan, "corrupt", 2)
    drawn = {good[0].field_id: DrawnField(good[1], None, None, None)}
    files, fields = [], []
    for name, spec in zip(NAMES, [good[0], empty, cut, good[0], good[0]], strict=True):
        if spec.field_id not in drawn:
            drawn[spec.field_id] = draw(spec)
        images = folder / name
        images.mkdir()
        rows = write_images(drawn[spec.field_id], spec, "0" * 12, images, images)
        files += [{**one, "field_id": name} for one in rows]
        fields.append({**plan.fields.set_index("field_id").loc[spec.field_id].to_dict(), "field_id": name})
    files = pd.DataFrame(files)
    gone = (files["field_id"] == "f_gone") & (files["role"] == "er")
    files.loc[gone, ["path", "status", "reason"]] = [None, "failed", "no_address"]
    files.loc[files["field_id"] == "f_old", ["status", "reason"]] = ["failed", "retired"]
    table = pd.DataFrame(fields).assign(version="0" * 12, shard="sim-0001", source="sim", control=False)
    # the catalog's order is not the shard's
    write_table(folder / "fields.parquet", table.iloc[::-1][[c for c in table if c in FIELDS.names]], FIELDS)
    write_table(folder / "files.parquet", files.reindex(columns=FILES.names), FILES)
    return folder


@pytest.fixture
def shard(tmp_path, tables):
    """A function that judges the five fields, and gives the table and the summary."""

    def judge(settings=SETTINGS, overrides=()):
        judge_shard(
            shard="sim-0001",
            fields=tables / "fields.parquet",
            files=str(tables / "files.parquet"),
            settings=settings,
            overrides=overrides,
            qc=tmp_path / "qc.parquet",
            summary=tmp_path / "summary.json",
        )
        return pq.read_table(tmp_path / "qc.parquet"), json.loads((tmp_path / "summary.json").read_text())

    return judge


def test_a_shard(shard):
    table, summary = shard()
    assert table.schema.equals(qc_schema(ROLES))
    frame = table.to_pandas().set_index("field_id")
    assert list(frame.index) == NAMES
    assert list(frame["reason"]) == ["passed", "empty", "corrupt", "no_address", "retired"]
    assert list(frame["status"]) == ["passed", "rejected", "failed", "failed", "failed"]
    assert frame["detail"].isna().tolist() == [True, False, False, False, False]
    assert frame.loc["f_good", ["n_nuclei", "contrast", "focus_er", "marker_fit", "phash"]].notna().all()
    assert frame.loc["f_cut", ["height", "n_nuclei", "contrast", "phash"]].isna().all()
    assert summary["counts"] == {"in": 5, "kept": 1, "no_address": 1, "retired": 1, "corrupt": 1, "empty": 1}
    assert shard()[0].equals(table)


def test_a_shard_with_a_curators_word(shard):
    words = [["field", "f_empty", "keep", "", "ml", "cells are there"], ["field", "f_good", "reject", "", "ml", "no"]]
    frame = shard(overrides=words)[0].to_pandas().set_index("field_id")
    assert list(frame["reason"]) == ["overridden", "passed", "corrupt", "no_address", "retired"]
    assert frame.loc["f_empty", "override"] == "ml: cells are there"


def test_a_shard_that_stops_leaves_nothing(shard, tmp_path):
    with pytest.raises(UnreadableFieldsError):
        shard({**SETTINGS, "failed_fields": 1})
    assert not (tmp_path / "qc.parquet").exists()
    assert not (tmp_path / "summary.json").exists()


# real fields

SMOKE = ("800_A6_1", "B2AI_1_untreated_A1_R1", "B2AI_1_untreated_A1_R2", "B2AI_1_untreated_A1_R4")
COLOURS = {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}


def real_files(paths: dict[str, Path]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"field_id": "f", "version": "v", "role": role, "path": str(path), "channel": None, "z": "max",
             "status": "ok", "reason": None}
            for role, path in paths.items()
        ]
    )  # fmt: skip


def judge_real(paths: dict[str, Path], pixel: float, full_scale: float):
    meta = {"pixel_size_um": pixel, "full_scale": full_scale, "control": False}
    return judge_field(real_files(paths), meta, SETTINGS)


def eye_marked() -> pd.DataFrame:
    path = Path(__file__).resolve().parents[1] / "real" / "nuclei_points.tsv"
    points = pd.read_csv(path, sep="\t", comment="#")
    return points[~points["note"].str.startswith("doubtful")]


@pytest.mark.parametrize("field_id", SMOKE)
def test_real_fields_pass_dim_and_dense_as_they_are(field_id):
    folder = real_data("smoke_hpa_4ch")
    judged = judge_real({role: folder / c / f"{field_id}_{c}.jpg" for role, c in COLOURS.items()}, 0.08, 255.0)
    assert (judged["status"], judged["reason"]) == ("passed", "passed")
    marked = eye_marked().query("field_id == @field_id")
    assert judged["n_nuclei"] == pytest.approx((marked["at_border"] == 0).sum(), rel=0.2)
    assert judged["n_nuclei_all"] == pytest.approx(len(marked), rel=0.2)
    # where neighbours touch, the published count finds next to nothing
    assert judged["n_marker"] < 5
    assert judged["marker_fit"] > 1.2


def test_the_real_mismatch_is_rejected():
    folder = real_data("qc_controls") / "channel_mismatch_57_F11_1"
    judged = judge_real({role: folder / f"57_F11_1_{c}.png" for role, c in COLOURS.items()}, 0.08, 255.0)
    assert judged["reason"] == "channel_mismatch"
    assert judged["detail"].startswith("er fits none of the others")
    assert judged["height"] == 1728


@pytest.mark.parametrize("pixel", [0.1, 0.2])
def test_real_nucleus_channels_alone(pixel):
    folder = real_data("qc_controls") / "opencell_hoechst_snaps"
    seen = judge_real({"nucleus": folder / "good-1.tif"}, pixel, 65535.0)
    assert seen["reason"] == "passed"
    assert seen["n_nuclei_all"] == pytest.approx(len(eye_marked().query("field_id == 'good-1'")), rel=0.2)
    empty = judge_real({"nucleus": folder / "no-nuclei-1.tif"}, pixel, 65535.0)
    assert (empty["reason"], empty["n_nuclei_all"]) == ("empty", 0)


def test_channels_of_different_size_are_a_row_with_a_reason(tmp_path):
    for role, side in (("nucleus", 64), ("protein", 60)):
        tifffile.imwrite(tmp_path / f"{role}.tif", np.zeros((side, side), np.uint16))
    judged = judge_real({role: tmp_path / f"{role}.tif" for role in ("nucleus", "protein")}, 0.1, 4095.0)
    assert (judged["status"], judged["reason"]) == ("failed", "size_mismatch")
    assert "64" in judged["detail"]
    assert "60" in judged["detail"]
