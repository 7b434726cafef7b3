"""Tables: what is written comes back, with the promised columns and types."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wherein.channels import ROLES, in_order, uri_column
from wherein.tables import (
    FIELDS,
    FILES,
    SPLIT,
    cells_schema,
    current_fields,
    fields_of_shard,
    qc_schema,
    read_metadata,
    read_tables,
    read_vectors,
    write_predictions,
    write_table,
    write_tsv,
    write_vectors,
)

UNITS = pd.DataFrame({"unit_id": ["a@1:1", "a@1:2"], "field_id": ["a", "a"], "version": ["1", "1"]})


@pytest.mark.parametrize("schema", [FIELDS, FILES, SPLIT, qc_schema(ROLES), cells_schema(("protein",))])
def test_every_table_can_be_empty_and_has_all_its_columns(tmp_path, schema):
    for frame in (pd.DataFrame(), pd.DataFrame(columns=schema.names), pd.DataFrame([{}, {}])):
        write_table(tmp_path / "a.parquet", frame, schema)
        assert pq.read_schema(tmp_path / "a.parquet").equals(schema)
        assert pq.read_table(tmp_path / "a.parquet").num_rows == len(frame)


def test_values_come_back_and_nothing_is_null(tmp_path):
    rows = [
        {"field_id": "a", "genes": ["X", "Y"], "control": True, "pixel_size_um": 0.1, "plate": None},
        {"field_id": "b", "genes": [], "control": False, "pixel_size_um": float("nan"), "plate": "7"},
    ]
    write_table(tmp_path / "a.parquet", pd.DataFrame(rows), FIELDS, {"note": [1]})
    again = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["genes"] for row in again] == [["X", "Y"], []]
    assert [row["plate"] for row in again] == [None, "7"]
    assert [row["pixel_size_um"] for row in again] == [0.1, None]
    assert read_metadata(tmp_path / "a.parquet") == {"note": [1]}
    # what pandas made of it can be written again
    write_table(tmp_path / "b.parquet", pd.read_parquet(tmp_path / "a.parquet"), FIELDS)
    assert pq.read_table(tmp_path / "b.parquet").to_pylist() == again
    assert read_metadata(tmp_path / "b.parquet") == {}


def test_integers_with_gaps_stay_integers(tmp_path):
    frame = pd.DataFrame({"label": [1, 2], "crop_index": [0, None]})
    write_table(tmp_path / "a.parquet", frame, cells_schema(()))
    assert pq.read_table(tmp_path / "a.parquet")["crop_index"].to_pylist() == [0, None]
    assert pq.read_table(tmp_path / "a.parquet")["crop_index"].type == pa.int32()


def test_unknown_columns_are_told(tmp_path):
    with pytest.raises(ValueError, match="unknown columns"):
        write_table(tmp_path / "a.parquet", pd.DataFrame({"colour": [1]}), FIELDS)
    assert not (tmp_path / "a.parquet").exists()


def test_vectors_come_back(tmp_path):
    vectors = np.arange(6, dtype=np.float64).reshape(2, 3)
    for name in "ab":
        write_vectors(tmp_path / name, UNITS, vectors, {"model": "classic"})
    write_vectors(tmp_path / "none", UNITS[:0], np.zeros((0, 3), np.float32))
    units, found = read_vectors([tmp_path / "a", tmp_path / "none", tmp_path / "b"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate([vectors, vectors]))
    assert units["unit_id"].tolist() == UNITS["unit_id"].tolist() * 2
    assert read_metadata(tmp_path / "a") == {"model": "classic"}
    assert pq.read_schema(tmp_path / "a").field("vector").type == pa.list_(pa.float32(), 3)
    units, found = read_vectors([tmp_path / "none"])
    assert len(units) == len(found) == 0
    assert read_vectors([])[1].shape == (0, 0)


def test_vectors_of_many_pieces_keep_their_order(tmp_path):
    vectors = np.arange(40, dtype=np.float32).reshape(10, 4)
    units = pd.DataFrame({name: [str(i) for i in range(10)] for name in UNITS.columns})
    write_vectors(tmp_path / "a", units, vectors)
    pq.write_table(pq.read_table(tmp_path / "a"), tmp_path / "b", row_group_size=3)
    np.testing.assert_array_equal(read_vectors([tmp_path / "b"])[1], vectors)


def test_predictions_are_float32(tmp_path):
    units = UNITS.assign(fold=[0, None])
    write_predictions(tmp_path / "a", units, pd.DataFrame({"Cytosol": [0.25, 1]}), {"classes": ["Cytosol"]})
    found = pq.read_table(tmp_path / "a")
    assert found.column_names == [*UNITS.columns, "fold", "Cytosol"]
    assert found["fold"].to_pylist() == [0, None]
    assert found.schema.field("Cytosol").type == pa.float32()


def test_shards_with_different_columns_are_read_together(tmp_path):
    pd.DataFrame({"a": ["x"], "b": [1.0]}).to_parquet(tmp_path / "1")
    pd.DataFrame({"a": ["y"], "c": [2.0]}).to_parquet(tmp_path / "2")
    pd.DataFrame({"a": [], "d": []}).to_parquet(tmp_path / "3")
    paths = [tmp_path / name for name in "123"]
    found = read_tables(paths)
    assert found["a"].tolist() == ["x", "y"]
    assert found["b"].isna().tolist() == [False, True]
    assert list(read_tables(paths, ["a"]).columns) == ["a"]
    # a column that no shard has is null, so that who asked for it finds it
    assert read_tables(paths, ["a", "z"])["z"].isna().all()
    assert list(read_tables(paths).columns) == ["a", "b", "c", "d"]
    assert list(read_tables([], ["a", "b"]).columns) == ["a", "b"]


def test_small_tables_are_written_as_text(tmp_path):
    frame = pd.DataFrame({"b": [0.1 + 0.2, None], "a": ["x", 'y "z"']})
    write_tsv(tmp_path / "a.tsv", frame, ("a", "b", "c"))
    assert (tmp_path / "a.tsv").read_text() == 'a\tb\tc\nx\t0.3\t\n"y ""z"""\t\t\n'
    with pytest.raises(ValueError, match="unknown columns"):
        write_tsv(tmp_path / "b.tsv", frame, ("a",))


def test_current_fields_and_those_of_a_shard(tmp_path):
    rows = [
        {"field_id": "a", "shard": "s-0001", "retired_in": "2"},
        {"field_id": "a", "shard": "s-0002", "retired_in": None},
        {"field_id": "b", "shard": "s-0001", "retired_in": None},
    ]
    write_table(tmp_path / "a", pd.DataFrame(rows), FIELDS)
    assert current_fields(tmp_path / "a")[["field_id", "shard"]].to_numpy().tolist() == [
        ["a", "s-0002"],
        ["b", "s-0001"],
    ]
    assert fields_of_shard(tmp_path / "a", "s-0001")["field_id"].tolist() == ["a", "b"]
    assert len(fields_of_shard(tmp_path / "a", "s-0009")) == 0
    write_table(tmp_path / "b", pd.DataFrame(rows[1:]), FIELDS)
    assert len(current_fields(tmp_path / "b")) == 2


def test_roles_in_the_order_of_storage():
    assert in_order({"protein", "nucleus", "er"}) == ["nucleus", "er", "protein"]
    with pytest.raises(ValueError, match="unknown role green"):
        in_order(["green"])
    assert [uri_column(role) for role in ROLES] == [name for name in FIELDS.names if name.startswith("uri_")]
