import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
from wherein.crops.ledger import settings_for
from wherein.crops.samples import count_samples, in_small_sample, judged_samples
from wherein.settings import fill_defaults, schema
from wherein.tables import FIELDS, SAMPLES, cells_schema, write_table

FIELDS_OF = [
    ("a1", "human", "s1", None),
    ("a2", "human", "s1", None),
    ("a3", "human", "s2", None),
    ("old", "human", "s2", "2"),
    ("a4", "human", None, None),
    ("y1", "yeast", "s1", None),
    ("y2", "gone", "s9", None),
]


def catalog():
    return pd.DataFrame(
        [
            {"field_id": name, "version": "v", "source": source, "sample": sample, "retired_in": retired}
            for name, source, sample, retired in FIELDS_OF
        ]
    )


def ledger(path, counts):
    rows = []
    for name, (kept, rejected) in counts.items():
        rows += [
            {"cell_id": f"{name}@v:{n}", "field_id": name, "version": "v", "status": "kept" if n < kept else "rejected"}
            for n in range(kept + rejected)
        ]
    write_table(path, pd.DataFrame(rows), cells_schema(["protein"]))
    return path


@pytest.fixture
def samples(tmp_path):
    """Two shards: the fields of the human sample s1 lie in both."""
    write_table(tmp_path / "fields.parquet", catalog(), FIELDS)
    cells = [
        ledger(tmp_path / "one.parquet", {"a1": (3, 9), "a3": (4, 0), "old": (50, 0), "y2": (1, 0)}),
        ledger(tmp_path / "two.parquet", {"a2": (2, 0), "y1": (29, 30)}),
    ]
    path = tmp_path / "samples.parquet"
    count_samples(tmp_path / "fields.parquet", cells, {"human": 5, "yeast": 30}, path, tmp_path / "s.json")
    return path


def test_a_sample_is_counted_over_all_its_fields_and_shards(samples):
    assert pq.read_schema(samples).equals(SAMPLES)
    table = pd.read_parquet(samples).set_index("field_id")
    assert table.index.tolist() == ["a1", "a2", "a3", "a4", "y1"]
    assert table["n_cells"].tolist() == [3, 2, 4, 0, 29]
    # retired versions count no more, and samples of the same name in two sources are two
    assert table["sample_cells"].tolist() == [5, 5, 4, 0, 29]
    assert table["reason"].tolist() == ["kept", "kept", "small_sample", "small_sample", "small_sample"]
    told = json.loads((samples.parent / "s.json").read_text())
    assert told["counts"] == {"in": 38, "kept": 5, "small_sample": 33}
    assert any("yeast: the sample s1 has 29 cells in all its fields, of 30" in note for note in told["notes"])


def test_units_of_small_samples_are_known_by_their_field(samples):
    units = pd.DataFrame(
        {"field_id": ["a3", "a1", "a3", "nowhere"], "version": ["v", "v", "w", "v"]}, index=[5, 6, 7, 8]
    )
    found = in_small_sample(units, samples)
    assert found.tolist() == [True, False, False, False]
    assert found.index.tolist() == [5, 6, 7, 8]


def test_no_limit_leaves_nobody_out():
    table = judged_samples(catalog(), pd.Series(dtype=int), {"human": 0})
    assert (table["status"] == "kept").all()


def test_yeast_and_human_cells_have_their_own_limits():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["crop"])
    human, _ = settings_for(values, ["nucleus", "protein"])
    yeast, needs_nucleus = settings_for(values, ["protein", "reference"])
    assert (human["min_sample_cells"], human["min_nucleus_um2"], human["border"]) == (5, 16, "nucleus")
    assert (yeast["min_sample_cells"], yeast["min_nucleus_um2"], yeast["border"]) == (30, 0, "cell")
    assert not needs_nucleus
    # 5 and 95 % of a crop of 10.24 um
    assert yeast["min_cell_um2"] == pytest.approx(0.05 * 10.24**2, rel=0.02)
    assert yeast["max_cell_um2"] == pytest.approx(0.95 * 10.24**2, rel=0.02)
