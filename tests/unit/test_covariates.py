import numpy as np
import pandas as pd
import pytest
from scipy.stats import f as fisher
from wherein.analysis import covariates as measured_by
from wherein.analysis.covariates import (
    FAR_UM,
    LEDGER,
    NAMES,
    explained,
    read_covariates,
    standardized,
    without_covariates,
)
from wherein.analysis.heterogeneous_samples import batches, explanation, minority
from wherein.tables import SEGMENTATION, qc_schema, write_table

ROLES = ("nucleus", "protein")


def test_covariates_of_cells_outlined_here_and_elsewhere(tmp_path):
    rows = [("f@v:1", "f", 5, 40, 30, 70), ("f@v:2", "f", 100, 100, 150, 160), ("g@v:1", "g", 0, 0, 20, 20)]
    units = pd.DataFrame(rows, columns=["unit_id", "field_id", *[name for name in LEDGER if name.startswith("bbox")]])
    units = units.assign(version="v", area_um2=[100.0, 200, 50], nucleus_area_um2=[30.0, 40, np.nan])
    qc = pd.DataFrame({"field_id": ["f", "g"], "version": "v", "height": [400, 20], "width": [400, 20]})
    write_table(tmp_path / "qc.parquet", qc, qc_schema(ROLES))
    quality = pd.DataFrame({"cell_id": ["f@v:2", "f@v:1"], "field_id": "f", "version": "v", "contrast": [0.2, 0.1]})
    write_table(tmp_path / "quality.parquet", quality, SEGMENTATION)
    fields = pd.DataFrame({"field_id": ["f", "g"], "version": "v", "pixel_size_um": [0.5, 0.5]})
    found = read_covariates(units, fields, [tmp_path / "qc.parquet"], [tmp_path / "quality.parquet"])
    assert list(found.columns) == list(NAMES)
    assert found["border_um"].iloc[0] == 2.5
    assert found["border_um"].iloc[1] == FAR_UM
    assert np.isnan(found["border_um"].iloc[2]), "of a crop nobody knows where the field ends"
    assert found["contrast"].tolist()[:2] == pytest.approx([0.1, 0.2])
    assert np.isnan(found.loc[2, ["contrast", "score", "nucleus_area_um2"]].astype(float)).all()
    assert found["nucleus_sum_nucleus"].isna().all()


def test_standardized_within_fields_and_limited():
    rng = np.random.default_rng(0)
    fields = np.repeat(np.arange(40), 25)
    values = rng.normal(size=(1000, 2)) * [1, 50] + fields[:, None]
    values[0, 0], values[5, 1] = 1e6, np.nan
    found = standardized(values, fields, np.zeros(1000, int))
    assert found.max() == 3
    assert found[5, 1] == 0
    assert found[25:].std(axis=0) == pytest.approx([1, 1], abs=0.1)
    assert not standardized(np.full((4, 1), np.nan), np.zeros(4, int), np.zeros(4, int)).any()
    assert not standardized(np.ones((4, 1)), np.zeros(4, int), np.zeros(4, int)).any()


def test_what_covariates_do_to_all_proteins_alike_goes_and_the_rest_stays():
    rng = np.random.default_rng(1)
    fields = np.repeat(np.arange(60), 20)
    lines = (fields >= 30).astype(int)
    covariates = rng.normal(size=(1200, 2))
    covariates -= pd.DataFrame(covariates).groupby(fields).transform("mean").to_numpy()
    own = rng.normal(size=(1200, 3))
    loads = rng.normal(size=(2, 2, 3)) * 3
    shift = np.einsum("nq,nqd->nd", covariates, loads[lines])
    squares = covariates[:, :1] ** 2 - pd.DataFrame(covariates[:, :1] ** 2).groupby(fields).transform("mean").to_numpy()
    left = without_covariates(own + shift + 2 * squares, covariates, fields, lines)
    assert np.corrcoef(left[:, 0], own[:, 0])[0, 1] > 0.98
    assert left.std(axis=0) == pytest.approx(own.std(axis=0), rel=0.05)
    few = without_covariates(own[:20], covariates[:20], fields[:20], lines[:20])
    assert np.array_equal(few, own[:20]), "too few cells to tell four terms"
    assert len(without_covariates(own[:0], covariates[:0], fields[:0], lines[:0])) == 0


def test_explained_by_brute_force():
    rng = np.random.default_rng(2)
    samples = np.repeat([0, 1, 2], 30)
    fields = samples * 2 + np.tile([0, 1], 45)
    covariates = rng.normal(size=(90, len(NAMES)))
    covariates[:, NAMES.index("score")] = 0
    area = NAMES.index("area_um2")
    axis = rng.normal(size=90)
    axis[:30] += 3 * covariates[:30, area]
    axis[60:] = np.nan
    found = explained(axis, covariates, NAMES, fields, samples, 3)
    own = pd.DataFrame({"axis": axis[:30], "x": covariates[:30, area], "field": fields[:30]})
    own[["axis", "x"]] -= own.groupby("field")[["axis", "x"]].transform("mean")
    r2 = np.corrcoef(own["axis"], own["x"])[0, 1] ** 2
    assert found.loc[0, "size_r2"] == pytest.approx(r2)
    assert found.loc[0, "size_p"] == pytest.approx(fisher.sf(r2 / (1 - r2) * 27, 1, 27))
    assert found.loc[0, "size_p"] < 1e-6 < found.loc[1, "size_p"]
    assert found.loc[2].isna().all()
    assert explanation(found.loc[0].to_dict()).split(";")[0] == "size"
    assert explanation(found.loc[2].to_dict()) is None


def test_covariates_that_say_the_same_count_once():
    rng = np.random.default_rng(6)
    samples = np.repeat(np.arange(3), 25)
    axis, once = rng.normal(size=75), np.zeros((75, len(NAMES)))
    once[:, NAMES.index("contrast")], once[:, NAMES.index("solidity")] = rng.normal(size=(2, 75))
    twice = once.copy()
    twice[:, NAMES.index("nucleus_contrast")] = 2 * once[:, NAMES.index("contrast")]
    twice[:, NAMES.index("nucleus_solidity")] = once[:, NAMES.index("solidity")]
    alone, both = (explained(axis, own, NAMES, samples, samples, 3) for own in (once, twice))
    assert both["outline_p"].tolist() == pytest.approx(alone["outline_p"].tolist())
    assert both["outline_r2"].tolist() == pytest.approx(alone["outline_r2"].tolist())


def test_a_sample_costs_no_more_in_a_larger_run(monkeypatch):
    groups = []
    own = measured_by.group_means
    monkeypatch.setattr(measured_by, "group_means", lambda *told: groups.append(told[2]) or own(*told))
    rng = np.random.default_rng(4)
    samples = np.repeat(np.arange(50), 20)
    fields = samples * 2 + np.tile([0, 1], 500)
    explained(rng.normal(size=1000), rng.normal(size=(1000, len(NAMES))), NAMES, fields, samples, 50)
    # once all fields, then those of each sample, for each group of covariates
    assert sum(groups) == 100 + 50 * 3 * 2


def test_minority_and_batches():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0, 1, 75), rng.normal(9, 1, 25)])
    assert minority(values) == 0.25
    assert np.isnan(minority(np.ones(5)))
    plates = pd.Series(["p", "p", "p", "q", None, "p"])
    found = batches(plates, np.array([0, 0, 0, 0, 0, 1]))
    assert len(set(found[:3])) == 1
    assert found[3] == found[4] != found[0]
    assert found[5] not in found[:5]
