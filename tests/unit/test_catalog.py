"""The catalog: versions, shards that never change, releases, curators' labels; and the check of files after it."""

import csv
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from wherein.catalog import build_catalog
from wherein.catalog.headers import remote_type
from wherein.catalog.planned import file_state
from wherein.catalog.release import differences, join_releases, key_of
from wherein.catalog.sharding import open_shards, pack
from wherein.download import check_shard, fingerprint
from wherein.readers import read_field
from wherein.settings import check_config, check_tables
from wherein.shards import read_shards
from wherein.sources.table import TableError
from wherein.tables import FIELDS, FILES, current_fields

ROLES = ("nucleus", "protein")
DOWNLOAD = {"unreachable_share": 0.02}
NAMES = ("fields.parquet", "shards.tsv", "release_diff.tsv", "run.json")


class Lab:
    """A folder of images, its table, and the catalog made of them."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options = options
        self.rows: dict[str, dict[str, str]] = {}

    def add(self, field_id: str, dtype: str = "uint16", **cells: str) -> None:
        self.rows[field_id] = {"genes": "TP53", "reagent": "A1", "cell_line": "U-2 OS", "labels": "Cytosol", **cells}
        for role in ROLES:
            self.write(field_id, role, dtype)

    def write(self, field_id: str, role: str, dtype: str = "uint16", value: int = 1) -> None:
        path = self.folder / f"{field_id}_{role}.tif"
        tifffile.imwrite(path, np.full((4, 4), value, dtype))
        os.utime(path, ns=(10**18, 10**18 + value))

    def source(self, release: str = "1") -> dict[str, Any]:
        columns = sorted({name for cells in self.rows.values() for name in cells})
        with open(self.folder / "fields.tsv", "w", newline="") as lines:
            table = csv.writer(lines, delimiter="\t")
            table.writerow(["field_id", *columns])
            table.writerows(
                [field_id, *(cells.get(name, "") for name in columns)] for field_id, cells in self.rows.items()
            )
        return {
            "kind": "table",
            "release": release,
            "table": str(self.folder / "fields.tsv"),
            "roles": {role: {"path": f"{{field_id}}_{role}.tif"} for role in ROLES},
            "pixel_size_um": 0.1,
            **self.options,
        }

    def build(self, release: str = "1", most: int = 10, overrides: str | None = None, **sources: Any) -> pd.DataFrame:
        config = {
            "sources": {"lab": self.source(release), **sources},
            "models": {"classic": {"kind": "classic", "missing_roles": "skip"}},
            "overrides": overrides,
        }
        return self.run(config, most)

    def run(self, config: dict[str, Any], most: int = 10) -> pd.DataFrame:
        check_config(config)
        self.config = config
        self.old_history = self.history()
        paths = [str(self.folder / "catalog" / name) for name in NAMES]
        build_catalog(config["sources"], config["overrides"], most, *paths)
        return pd.read_parquet(paths[0])

    def text(self, name: str) -> str:
        return (self.folder / "catalog" / name).read_text()

    def history(self) -> list[dict[str, str]]:
        if not (self.folder / "catalog" / "release_diff.tsv").exists():
            return []
        return list(csv.DictReader(self.text("release_diff.tsv").splitlines(), delimiter="\t"))

    def changes(self) -> list[tuple[str, str]]:
        """What the last run added to the history."""
        history = self.history()
        assert history[: len(self.old_history)] == self.old_history
        return [(row["field_id"], row["change"]) for row in history[len(self.old_history) :]]

    def replayed(self) -> dict[str, dict[str, str]]:
        """Versions of the current fields by source, as the history gives them."""
        fields: dict[str, dict[str, str]] = {}
        for row in self.history():
            own = fields.setdefault(row["source"], {})
            if row["change"] == "removed":
                assert own.pop(row["field_id"]) == row["old"]
            elif row["change"] != "relabelled":
                assert own.get(row["field_id"], "") == row["old"]
                own[row["field_id"]] = row["new"]
        return {source: own for source, own in fields.items() if own}

    def current(self) -> dict[str, dict[str, str]]:
        rows = current_fields(self.folder / "catalog" / "fields.parquet")
        return {name: dict(zip(own["field_id"], own["version"], strict=True)) for name, own in rows.groupby("source")}

    def summary(self) -> dict[str, Any]:
        return json.loads(self.text("run.json"))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    found = Lab(tmp_path)
    for name in ("a", "b", "c"):
        found.add(name)
    return found


def test_a_first_catalog(lab):
    fields = lab.build()
    assert list(fields.columns) == FIELDS.names
    assert fields["field_id"].tolist() == ["a", "b", "c"]
    assert fields["shard"].unique().tolist() == ["lab-0001"]
    assert fields["version"].str.fullmatch("[0-9a-f]{12}").all()
    row = fields.iloc[0]
    assert list(row["genes"]) == ["TP53"]
    assert list(row["labels"]) == list(row["labels_published"]) == ["Cytosol"]
    assert row["sample"] == "A1/U-2 OS"
    assert row["full_scale"] == 65535
    assert row["pixel_size_um"] == 0.1
    assert row["uri_nucleus"] == f"{lab.folder}/a_nucleus.tif#z=max"
    assert row["uri_er"] is None
    assert row["first_release"] == row["release"] == "1"
    assert lab.changes() == [("a", "added"), ("b", "added"), ("c", "added")]
    assert lab.summary()["counts"] == {"in": 3, "kept": 3}
    shard = read_shards(lab.folder / "catalog" / "shards.tsv")["lab-0001"]
    assert shard.roles == ROLES
    assert [field_id for field_id, _ in shard.members] == ["a", "b", "c"]


def test_nothing_changed_changes_nothing(lab):
    first = lab.build()
    shards, history = lab.text("shards.tsv"), lab.text("release_diff.tsv")
    table = (lab.folder / "catalog" / "fields.parquet").read_bytes()
    lab.rows = dict(reversed(lab.rows.items()))
    again = lab.build()
    pd.testing.assert_frame_equal(first, again)
    assert lab.text("shards.tsv") == shards
    assert (lab.folder / "catalog" / "fields.parquet").read_bytes() == table
    assert lab.changes() == []
    assert lab.text("release_diff.tsv") == history


def test_added_fields_open_new_shards_only(lab):
    lab.build(most=10)
    before = lab.text("shards.tsv")
    lab.add("aa")
    fields = lab.build("2")
    assert lab.text("shards.tsv").startswith(before)
    assert fields.set_index("field_id")["shard"].to_dict() == {
        "a": "lab-0001", "aa": "lab-0002", "b": "lab-0001", "c": "lab-0001",
    }  # fmt: skip
    assert fields.set_index("field_id")["release"].to_dict() == {"a": "1", "aa": "2", "b": "1", "c": "1"}
    assert lab.changes() == [("aa", "added")]


@pytest.mark.parametrize("what", ["pixels", "pixel size in the table", "full scale in the table", "pixel size", "z"])
def test_what_pixels_depend_on_makes_a_new_version(lab, what):
    old = lab.build().set_index("field_id")
    if what == "pixels":
        lab.write("b", "protein", value=2)
    elif what == "pixel size in the table":
        lab.rows["b"]["pixel_size_um"] = "0.2"
    elif what == "full scale in the table":
        lab.rows["b"]["full_scale"] = "4095"
    elif what == "pixel size":
        lab.options = {"pixel_size_um": 0.2}
    else:
        lab.options = {"roles": {role: {"path": f"{{field_id}}_{role}.tif", "z": 0} for role in ROLES}}
    changed = ["b"] if what in ("pixels", "pixel size in the table", "full scale in the table") else ["a", "b", "c"]
    fields = lab.build("2")
    now = current_fields(lab.folder / "catalog" / "fields.parquet").set_index("field_id")
    assert sorted(now.index[now["version"] != old["version"]]) == changed
    assert (now.loc[changed, "shard"] == "lab-0002").all()
    assert (now.loc[changed, "first_release"] == "1").all()
    assert (now.loc[changed, "release"] == "2").all()
    retired = fields[fields["retired_in"].notna()]
    assert retired["field_id"].tolist() == changed
    assert (retired["retired_in"] == "2").all()
    assert (retired["shard"] == "lab-0001").all()
    assert lab.changes() == [(name, "changed") for name in changed]
    assert lab.summary()["counts"] == {"in": 3 + len(changed), "kept": 3, "retired": len(changed)}


def test_words_about_a_field_make_no_new_version(lab):
    old = lab.build()
    lab.rows["b"].update({"genes": "ACTB", "labels": "Nucleoli;Cytosol", "reliability": "Supported", "plate": "7"})
    new = lab.build("2")
    assert new["version"].tolist() == old["version"].tolist()
    assert list(new.loc[1, "genes"]) == ["ACTB"]
    assert list(new.loc[1, "labels"]) == ["Nucleoli", "Cytosol"]
    assert new.loc[1, "release"] == "1"
    assert lab.changes() == [("b", "relabelled")]
    assert "Cytosol\tNucleoli;Cytosol" in lab.text("release_diff.tsv")


def test_removed_fields_are_retired_and_return_to_their_shard(lab):
    lab.build()
    shards = lab.text("shards.tsv")
    gone = lab.rows.pop("b")
    fields = lab.build("2")
    assert fields.set_index("field_id")["retired_in"].to_dict() == {"a": None, "b": "2", "c": None}
    assert lab.changes() == [("b", "removed")]
    lab.rows["b"] = gone
    fields = lab.build("3")
    assert fields["retired_in"].isna().all()
    assert fields.loc[1, "release"] == "1"
    assert lab.changes() == [("b", "added")]
    assert lab.text("shards.tsv") == shards


def test_an_old_version_that_returns_is_taken_up_again(lab):
    first = lab.build()
    lab.write("b", "protein", value=2)
    lab.build("2")
    lab.write("b", "protein", value=1)
    third = lab.build("3")
    rows = third[third["field_id"] == "b"].set_index("version")
    old = first.loc[1, "version"]
    assert rows.loc[old, "retired_in"] is None
    assert rows.drop(old)["retired_in"].tolist() == ["3"]
    assert lab.text("shards.tsv").count("\tb\t") == 2


def test_a_source_taken_out_of_the_configuration_is_retired(lab):
    other = lab.folder / "other"
    other.mkdir()
    second = Lab(other)
    second.add("z")
    lab.build(second=second.source())
    fields = lab.build()
    assert fields.set_index("field_id")["retired_in"].to_dict() == {
        "a": None,
        "b": None,
        "c": None,
        "z": "source removed",
    }
    assert lab.changes() == [("z", "removed")]
    fields = lab.build(second=second.source())
    assert fields["retired_in"].isna().all()
    assert fields.set_index("field_id").loc["z", "shard"] == "second-0001"
    assert [(row["old_release"], row["release"], row["change"]) for row in lab.history() if row["field_id"] == "z"] == [
        ("", "1", "added"), ("1", "source removed", "removed"), ("source removed", "1", "added"),
    ]  # fmt: skip


def test_a_release_after_another_and_back(lab):
    lab.add("d", labels="Nucleoli")
    lab.build("v22")
    old = lab.current()["lab"]
    rows = {name: dict(cells) for name, cells in lab.rows.items()}
    lab.rows.pop("a")
    lab.add("e")
    lab.write("b", "protein", value=2)
    lab.rows["c"]["labels"] = "Nucleoli;Cytosol"
    lab.rows["d"]["labels"] = "nucleoli"
    second = lab.build("v23")
    assert lab.changes() == [("a", "removed"), ("b", "changed"), ("c", "relabelled"), ("e", "added")]
    now = lab.current()["lab"]
    expected = ["lab", "v22", "v23"]
    assert [list(row.values()) for row in lab.history()[4:]] == [
        [*expected, "a", "removed", old["a"], ""],
        [*expected, "b", "changed", old["b"], now["b"]],
        [*expected, "c", "relabelled", "Cytosol", "Nucleoli;Cytosol"],
        [*expected, "e", "added", "", now["e"]],
    ]
    assert lab.replayed() == lab.current()
    shards = lab.text("shards.tsv")

    lab.rows = rows
    lab.write("b", "protein", value=1)
    third = lab.build("v22")
    assert lab.changes() == [("a", "added"), ("b", "changed"), ("c", "relabelled"), ("e", "removed")]
    assert {(row["old_release"], row["release"]) for row in lab.history()[8:]} == {("v23", "v22")}
    assert lab.current()["lab"] == old
    assert lab.replayed() == lab.current()
    # nothing is worked on again: every version has the shard that it had
    assert lab.text("shards.tsv") == shards
    key = ["field_id", "version"]
    assert third.set_index(key)["shard"].to_dict() == second.set_index(key)["shard"].to_dict()
    retired = third[third["retired_in"].notna()].set_index("field_id")["retired_in"].to_dict()
    assert retired == {"b": "v22", "e": "v22"}
    lab.build("v22")
    assert lab.changes() == []


def test_a_release_that_changes_nothing_is_the_next_ones_old_release(lab):
    lab.build("1")
    history = lab.text("release_diff.tsv")
    lab.build("2")
    assert lab.text("release_diff.tsv") == history
    lab.rows.pop("c")
    lab.build("3")
    assert [lab.history()[-1][name] for name in ("old_release", "release", "change")] == ["2", "3", "removed"]
    # a table that grows within a release
    lab.add("d")
    lab.build("3")
    assert [lab.history()[-1][name] for name in ("old_release", "release", "change")] == ["3", "3", "added"]


def test_a_run_that_was_stopped_writes_its_changes_once(lab, monkeypatch):
    lab.build("1")
    before = lab.text("release_diff.tsv")
    lab.add("d")
    lab.rows.pop("a")

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("wherein.catalog.build.write_table", stopped)
        with pytest.raises(KeyboardInterrupt):
            lab.build("2")
    assert lab.text("release_diff.tsv") != before
    lab.build("2")
    assert [(row["field_id"], row["change"]) for row in lab.history()[3:]] == [("a", "removed"), ("d", "added")]
    assert lab.replayed() == lab.current()
    assert lab.text("shards.tsv").count("\td\t") == 1


def test_a_history_with_other_columns_begins_anew(lab):
    lab.build()
    (lab.folder / "catalog" / "release_diff.tsv").write_text("source\trelease\tfield_id\nlab\t1\ta\n")
    lab.add("d")
    lab.build()
    assert [(row["field_id"], row["change"]) for row in lab.history()] == [("d", "added")]


def test_a_field_of_two_sources_is_told(lab):
    other = lab.folder / "other"
    other.mkdir()
    second = Lab(other)
    second.add("b")
    with pytest.raises(TableError, match="'b'"):
        lab.build(second=second.source())


RELEASES = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 2), st.sampled_from(["x", "y"])), min_size=1),
    min_size=1,
    max_size=5,
)


@given(RELEASES)
def test_any_order_of_releases_keeps_every_version_in_its_shard(releases):
    before: list[dict[str, Any]] = []
    placed: dict[tuple[str, str, str], str] = {}
    current: dict[str, tuple[str, list[str]]] = {}
    old_release: dict[str, str] = {}
    for number, fields in enumerate(releases):
        named = {"lab": f"r{number}"}
        planned = [
            {"source": "lab", "field_id": name, "version": str(version), "roles": ["protein"], "dtype": "uint8",
             "pixel_size_um": 0.1, "sample": None, "labels": [label], "release": named["lab"]}
            for name, (version, label) in fields.items()
        ]  # fmt: skip
        known = {key_of(row): row for row in before}
        for row in planned:
            row["shard"] = placed.get(key_of(row))
            if key_of(row) in known:
                row["release"] = known[key_of(row)]["release"]
        for shard, row in open_shards([row for row in planned if row["shard"] is None], 2, placed.values()):
            assert key_of(row) not in placed
            placed[key_of(row)] = row["shard"] = shard
        changes = differences(planned, before, old_release, named)
        before = join_releases(planned, before, named)
        for change in changes:
            version, labels = current.get(change.field_id, ("", []))
            if change.change == "relabelled":
                assert change.old == ";".join(labels)
                current[change.field_id] = (version, change.new.split(";"))
                continue
            assert change.old == version
            current.pop(change.field_id, None)
            if change.change != "removed":
                labels = [fields[change.field_id][1]] if change.change == "added" else labels
                current[change.field_id] = (change.new, labels)
        assert current == {name: (str(version), [label]) for name, (version, label) in fields.items()}
        assert {row["field_id"] for row in before if row["retired_in"] is None} == set(fields)
        assert {key_of(row): row["shard"] for row in before} == placed
        old_release = named


def test_curators_labels(lab):
    words = lab.folder / "words.tsv"
    head = "level\tid\taction\tvalue\twho\twhy\n"
    words.write_text(
        head + "field\tb\trelabel\tNucleoli;Golgi apparatus\tE. Curator\tantibody 7\nfield\tq\treject\t\tE\tx\n"
    )
    fields = lab.build(overrides=str(words))
    assert list(fields.loc[1, "labels"]) == ["Nucleoli", "Golgi apparatus"]
    assert list(fields.loc[1, "labels_published"]) == ["Cytosol"]
    assert fields.loc[1, "relabelled_by"] == "E. Curator: antibody 7"
    assert fields.loc[0, "relabelled_by"] is None
    assert any("names the field q" in note for note in lab.summary()["notes"])
    fields = lab.build()
    assert list(fields.loc[1, "labels"]) == ["Cytosol"]
    assert fields.loc[1, "relabelled_by"] is None
    assert lab.changes() == [("b", "relabelled")]


def test_shards_hold_one_data_type_and_one_pixel_size(lab):
    lab.add("d", "uint8")
    lab.rows["e"] = {"pixel_size_um": "0.3"}
    for role in ROLES:
        lab.write("e", role)
    fields = lab.build().set_index("field_id")
    assert fields["shard"].nunique() == 3
    assert fields.loc["d", "full_scale"] == 255
    assert fields.loc[["a", "b", "c"], "shard"].nunique() == 1


def test_fields_without_files_have_a_row_a_shard_and_a_reason(lab):
    lab.add("d")
    for role in ROLES:
        (lab.folder / f"d_{role}.tif").unlink()
    (lab.folder / "b_protein.tif").write_bytes(b"II*\0 broken")
    fields = lab.build(most=10).set_index("field_id")
    assert fields["shard"].nunique() == 1
    check_shard(
        "lab-0001",
        *(str(lab.folder / "catalog" / name) for name in ("fields.parquet", "d.parquet", "d.json")),
        DOWNLOAD,
    )
    files = pd.read_parquet(lab.folder / "catalog" / "d.parquet").set_index(["field_id", "role"])
    assert files.loc["d", "reason"].tolist() == ["missing_file"] * 2
    assert files.loc["b", "status"].tolist() == ["ok"] * 2
    # the file comes later: a new version
    for role in ROLES:
        lab.write("d", role)
    lab.build("2")
    assert lab.changes() == [("d", "changed")]


def test_pixel_size_of_the_table_then_the_file_then_the_configuration(lab):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    for name in ("b", "c"):
        for role in ROLES:
            tifffile.imwrite(lab.folder / f"{name}_{role}.tif", np.zeros((4, 4), "uint16"), ome=True, metadata=metadata)
    lab.rows["c"]["pixel_size_um"] = "0.5"
    fields = lab.build().set_index("field_id")
    assert fields["pixel_size_um"].to_dict() == {"a": 0.1, "b": 0.25, "c": 0.5}
    assert any("2 fields whose file names another pixel size" in note for note in lab.summary()["notes"])
    lab.options = {"pixel_size_um": None}
    with pytest.raises(TableError, match="row 2: the pixel size is not known"):
        lab.build()


def test_pixels_with_fractions_need_a_full_scale(lab):
    lab.add("d", "float32")
    with pytest.raises(TableError, match="field d: the pixels are float32"):
        lab.build()
    lab.options = {"full_scale": 100.0}
    assert (lab.build()["full_scale"] == 100).all()


def test_a_lost_shard_table_is_told(lab):
    lab.build()
    (lab.folder / "catalog" / "shards.tsv").unlink()
    with pytest.raises(TableError, match="backup"):
        lab.build()


def test_a_lost_fields_table_is_made_again_with_the_old_shards(lab):
    first = lab.build()
    shards = lab.text("shards.tsv")
    (lab.folder / "catalog" / "fields.parquet").unlink()
    pd.testing.assert_frame_equal(lab.build(), first)
    assert lab.text("shards.tsv") == shards


def test_a_simulated_source(tmp_path):
    lab = Lab(tmp_path)
    config = {"sources": {"demo": {"kind": "simulated", "proteins": 19, "controls": 2, "faults": 3}}}
    fields = lab.run(config, most=12)
    assert fields["field_id"].is_unique
    assert fields["control"].sum() == 2
    assert fields["shard"].value_counts().max() <= 12
    assert fields.groupby("sample")["shard"].nunique().max() == 1
    shards = lab.text("shards.tsv")
    pd.testing.assert_frame_equal(lab.run(config, most=12), fields)
    config["sources"]["demo"]["seed"] = 7
    lab.run(config, most=12)
    assert lab.text("shards.tsv").startswith(shards)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 30))
def test_blocks_are_full_even_and_in_order(sizes, most):
    samples = [[(number, member) for member in range(size)] for number, size in enumerate(sizes)]
    blocks = pack(samples, most)
    assert [member for block in blocks for member in block] == [member for sample in samples for member in sample]
    assert all(0 < len(block) <= most for block in blocks)
    for number, size in enumerate(sizes):
        holding = sum(any(member[0] == number for member in block) for block in blocks)
        assert size > most or holding == 1
    # greedy filling with pieces in order needs the fewest blocks
    if all(size == 1 for size in sizes):
        assert len(blocks) == -(-len(sizes) // most)
        assert not blocks or max(map(len, blocks)) - min(map(len, blocks)) < max(map(len, blocks))


def test_even_blocks():
    assert [len(block) for block in pack([[0]] * 201, 200)] == [101, 100]
    assert [len(block) for block in pack([[0] * 4] * 50, 150)] == [100, 100]
    assert [len(block) for block in pack([[0] * 401], 200)] == [134, 133, 134]
    assert pack([], 5) == []


def test_numbers_of_shards_go_on():
    rows = [
        {
            "source": "lab",
            "roles": ["protein"],
            "dtype": "uint8",
            "pixel_size_um": 0.1,
            "sample": None,
            "field_id": name,
        }
        for name in "cab"
    ]
    opened = open_shards(rows, 2, ["lab-0009", "lab-0002", "lab_2-0041"])
    assert [(shard, row["field_id"]) for shard, row in opened] == [
        ("lab-0010", "a"), ("lab-0010", "b"), ("lab-0011", "c"),
    ]  # fmt: skip
    assert open_shards(rows, 2, ["lab-9999"])[0][0] == "lab-10000"


def test_state_of_a_folder(tmp_path):
    image = tmp_path / "a.zarr"
    (image / "0").mkdir(parents=True)
    (image / "0" / "x").write_bytes(b"123")
    (image / "y").write_bytes(b"45")
    before = file_state(str(image))
    assert before[:2] == (2, 5)
    os.utime(image / "0" / "x", ns=(0, before[2] + 10))
    assert file_state(str(image)) == (2, 5, before[2] + 10)
    assert file_state(None) == file_state(str(tmp_path / "none")) == (0, 0, 0)


def test_a_table_of_urls_asks_no_server(lab):
    # nobody listens there
    place = "https://127.0.0.1:9/%41 b//{plate}/{field_id}"
    roles = {"nucleus": {"path": f"{place}_nucleus.tif"}, "protein": {"path": "{link}"}}
    lab.options = {"roles": roles, "full_scale": 4095}
    for name, row in lab.rows.items():
        row.update(plate="p1", link=f"http://127.0.0.1:9/{name}.tif?size=full")
    first = lab.build().set_index("field_id")
    check_tables(lab.config)
    assert first.loc["a", "uri_nucleus"] == "https://127.0.0.1:9/%41 b//p1/a_nucleus.tif#z=max"
    assert first.loc["a", "uri_protein"] == "http://127.0.0.1:9/a.tif?size=full#z=max"
    assert first["full_scale"].unique().tolist() == [4095]
    lab.rows["b"]["link"] = "http://127.0.0.1:9/b2.tif"
    lab.build("2")
    assert lab.changes() == [("b", "changed")]
    lab.options = {"roles": roles, "full_scale": None}
    with pytest.raises(TableError, match="nothing tells the highest intensity of an image that is not here yet"):
        lab.build("3")
    lab.options = {"roles": roles, "full_scale": 4095, "pixel_size_um": None}
    lab.config["sources"]["lab"]["pixel_size_um"] = None
    with pytest.raises(TableError, match="the pixel size is not known"):
        check_tables(lab.config)


def test_type_of_an_image_that_is_not_here_yet():
    assert remote_type("https://a.org/x.JPG?y=1", None) == "uint8"
    assert [remote_type("https://a.org/x.tif", top) for top in (255, 4095, 65535, 1e6)] == [
        "uint8",
        "uint16",
        "uint16",
        "uint32",
    ]


def test_check_shard(lab):
    roles = {"nucleus": {"path": "{nucleus}", "channel": 0}, "protein": {"path": "{field_id}_protein.tif"}}
    lab.options = {"roles": roles}
    for name in "abc":
        lab.rows[name]["nucleus"] = f"{name}_nucleus.tif"
    lab.rows["c"]["nucleus"] = ""
    lab.build()
    lab.rows.pop("b")
    lab.build("2")
    (lab.folder / "a_nucleus.tif").unlink()
    paths = [str(lab.folder / "catalog" / name) for name in ("fields.parquet", "files.parquet", "d.json")]
    check_shard("lab-0001", *paths, DOWNLOAD)
    files = pd.read_parquet(paths[1])
    assert list(files.columns) == FILES.names
    assert files[["field_id", "role"]].apply(tuple, axis=1).tolist() == [
        (name, role) for name in "abc" for role in ROLES
    ]
    assert files["reason"].tolist() == ["missing_file", None, "retired", "retired", "no_address", None]
    assert files["status"].tolist() == ["failed", "ok", "failed", "failed", "failed", "ok"]
    assert files["channel"].tolist() == ["0", None] * 3
    assert files.loc[4, "path"] is None
    content = (lab.folder / "a_protein.tif").read_bytes()
    assert files.loc[1, "sha256"] == hashlib.sha256(content).hexdigest()
    assert files.loc[1, "bytes"] == len(content)
    counts = json.loads(Path(paths[2]).read_text())["counts"]
    assert counts == {"in": 3, "kept": 0, "missing_file": 1, "retired": 1, "no_address": 1}


def test_fingerprint_of_a_folder(tmp_path):
    image = tmp_path / "a.zarr"
    (image / "c").mkdir(parents=True)
    (image / "c" / "0").write_bytes(b"12")
    (image / "z").write_bytes(b"3")
    first = fingerprint(str(image))
    assert first[1] == 3
    copy = tmp_path / "b.zarr"
    shutil.copytree(image, copy)
    assert fingerprint(str(copy)) == first
    (copy / "c" / "0").rename(copy / "c" / "1")
    assert fingerprint(str(copy))[0] != first[0]
    assert fingerprint(str(tmp_path / "none")) == (None, None)


def test_a_thousand_fields_are_listed_quickly(tmp_path):
    lab = Lab(tmp_path)
    content = None
    for i in range(1000):
        lab.rows[f"f{i}"] = {"genes": "TP53", "reagent": f"A{i // 4}"}
        for role in ROLES:
            path = tmp_path / f"f{i}_{role}.tif"
            if content is None:
                tifffile.imwrite(path, np.zeros((4, 4), np.uint16))
                content = path.read_bytes()
            path.write_bytes(content)
    start = time.process_time()
    fields = lab.build(most=200)
    seconds = time.process_time() - start
    assert fields["shard"].value_counts().unique().tolist() == [200]
    assert seconds < 10


@pytest.mark.parametrize(
    ("words", "says"),
    [({"channel": 7}, "has no channel '7'"), ({"z": 4}, "has no plane z = 4")],
)
def test_a_channel_that_no_file_has_stops_the_run(lab, words, says):
    lab.options = {"roles": {"protein": {"path": "{field_id}_protein.tif", **words}}}
    with pytest.raises(TableError, match=says) as told:
        lab.build()
    assert "sources.lab.roles.protein" in str(told.value)


def test_a_channel_that_one_file_lacks_is_that_fields_matter(lab):
    stack = np.zeros((2, 32, 32), np.uint16)
    for name in ("a", "b"):
        tifffile.imwrite(lab.folder / f"{name}_protein.tif", stack, metadata={"axes": "CYX"}, imagej=True)
    lab.options = {"roles": {"protein": {"path": "{field_id}_protein.tif", "channel": 1}}}
    assert len(lab.build()) == 3


def test_pages_without_declared_axes_are_read_as_the_configuration_says(lab):
    pages = np.arange(6, dtype=np.uint16).reshape(6, 1, 1) + np.zeros((6, 4, 4), np.uint16)
    for name in lab.rows:
        tifffile.imwrite(lab.folder / f"{name}_protein.tif", pages, metadata=None, photometric="minisblack")
    words = {"path": "{field_id}_protein.tif", "channel": 1}
    lab.options = {"roles": {"protein": words}}
    with pytest.raises(TableError, match=r"axes are not declared: .*sources\.\*\.roles\.\*\.axes"):
        lab.build()
    versions = []
    for axes, wanted in (("ZC2YX", 5), ("C2ZYX", 5), ("C3Z2YX", 3)):
        lab.options = {"roles": {"protein": {**words, "axes": axes}}}
        fields = lab.build()
        current = fields[fields["retired_in"].isna()]
        versions.append(current["version"].tolist())
        assert current["uri_protein"].str.endswith(f"#channel=1&z=max&axes={axes}").all()
        paths = [str(lab.folder / "catalog" / name) for name in ("fields.parquet", "files.parquet", "d.json")]
        check_shard(current["shard"].iloc[0], *paths, DOWNLOAD)
        files = pd.read_parquet(paths[1])
        assert set(files.loc[files["reason"].isna(), "axes"]) == {axes}
        assert read_field(files[files["reason"].isna()].head(1))["protein"].max() == wanted
    assert len({name for names in versions for name in names}) == 3 * len(lab.rows), "other pixels, another version"
    with pytest.raises(ValueError, match="axes"):
        check_config({"sources": {"lab": {**lab.source(), "roles": {"protein": {**words, "axes": "XYC"}}}}})
