"""The atlas over releases: what it keeps of each, and what it says of the last two."""

import json

import numpy as np
import pandas as pd
import pytest
from fake_embeddings import Run, settings
from wherein.analysis.atlas import build_atlas
from wherein.analysis.history import HISTORY, HistoryError, read_history, release_state, space_of
from wherein.tables import write_vectors

OUTPUTS = ("proteins.h5ad", "units.parquet", "clusters.tsv", "history.parquet", "moved.tsv", "summary.json")


def build(run, folder, names=None, **over):
    paths = run.write(names)
    del paths["predictions"]
    outputs = {name.split(".")[0]: folder / name for name in OUTPUTS} | {"unit_map": folder / "map.npz"}
    build_atlas(model="m", level=run.level, settings=settings("atlas", **over), **paths, **outputs)
    return (
        pd.read_parquet(outputs["history"]),
        pd.read_csv(outputs["moved"], sep="\t", keep_default_na=False, na_values={"p": "", "q": "", "expected": ""}),
        json.loads(outputs["summary"].read_text()),
    )


def fields_of(run, rng, protein, count, place, **about):
    return [run.add(protein, place + rng.normal(size=(8, 6)), sample=f"{protein}/U2OS", **about) for _ in range(count)]


@pytest.fixture
def run(tmp_path):
    """Thirty proteins of three fields, eight cells each."""
    rng = np.random.default_rng(0)
    run = Run(tmp_path, releases={"a": "v1", "unused": "7"})
    places = rng.normal(size=(30, 6)) * 6
    for number in range(30):
        fields_of(run, rng, f"G{number:02d}", 3, places[number])
    return run


def retire(run, *names):
    for row in run.fields:
        if row["field_id"] in names:
            row["retired_in"] = "v2"


def test_a_first_release(run, tmp_path):
    history, moved, summary = build(run, tmp_path)
    assert history.columns.tolist() == HISTORY.names
    assert (history["state"] == "a:v1").all()
    assert history["space"].nunique() == 1
    assert history["protein"].tolist() == [f"G{n:02d}" for n in range(30)]
    row = history.iloc[4]
    assert list(row["fields"]) == [f"field{n:04d}@v1" for n in (12, 13, 14)]
    assert list(row["field_units"]) == [8, 8, 8]
    assert (row["n_units"], row["n_fields"]) == (24, 3)
    assert row["vector"] == pytest.approx(np.concatenate(run.vectors[12:15]).mean(0), abs=1e-5)
    assert len(moved) == 0
    assert summary["old_state"] is None
    assert (summary["moved"], summary["relabelled"]) == (0, 0)


def test_the_next_release_and_back(run, tmp_path):
    rng = np.random.default_rng(1)
    first, _, _ = build(run, tmp_path)
    # G00 is shown elsewhere now, G01 where it was, G02 has other labels, G03 is gone, NEW is new
    g00 = np.concatenate(run.vectors[:3]).mean(0)
    g01 = np.concatenate(run.vectors[3:6]).mean(0)
    retire(run, "field0000", "field0001", "field0009", "field0010", "field0011")
    fields_of(run, rng, "G00", 3, g00 + 9)
    fields_of(run, rng, "G01", 3, g01)
    for row in run.fields[6:9]:
        row["labels"] = ["Nucleoli"]
    fields_of(run, rng, "NEW", 2, g00)
    run.releases = {"a": "v2"}
    history, moved, summary = build(run, tmp_path)
    assert history["state"].unique().tolist() == ["a:v1", "a:v2"]
    pd.testing.assert_frame_equal(history.iloc[:30], first)
    rows = moved.set_index("protein")
    assert set(rows.index) == {f"G{n:02d}" for n in range(30)} - {"G03"}
    assert rows.index[rows["moved"]].tolist() == ["G00"]
    assert rows["mark"].replace("", np.nan).dropna().to_dict() == {"G00": "moved", "G02": "relabelled"}
    assert rows.loc["G02", ["labels_before", "labels_after", "labels_added", "labels_removed"]].tolist() == [
        "Cytosol", "Nucleoli", "Nucleoli", "Cytosol",
    ]  # fmt: skip
    assert rows.loc["G00", ["n_fields_before", "n_fields_after", "n_fields_kept"]].tolist() == [3, 4, 1]
    assert rows.loc["G00", "p"] < 1e-3
    assert rows.loc["G01", "p"] > 0.05
    assert rows["p"].notna().sum() == 2
    assert rows.loc["G00", "shift"] > 3 * rows.loc["G00", "expected"]
    assert summary["old_state"] == "a:v1"
    assert (summary["moved"], summary["relabelled"]) == (1, 1)
    second = [(tmp_path / name).read_bytes() for name in ("history.parquet", "moved.tsv")]

    # the same state again: the same files
    build(run, tmp_path)
    assert second == [(tmp_path / name).read_bytes() for name in ("history.parquet", "moved.tsv")]

    # back to the first release: it is compared with the second, and stands last
    for row in run.fields:
        row["retired_in"] = None if int(row["field_id"][5:]) < 90 else "v1"
    for row in run.fields[6:9]:
        row["labels"] = ["Cytosol"]
    run.releases = {"a": "v1"}
    history, moved, summary = build(run, tmp_path)
    assert history["state"].unique().tolist() == ["a:v2", "a:v1"]
    pd.testing.assert_frame_equal(history[history["state"] == "a:v1"].reset_index(drop=True), first)
    assert summary["old_state"] == "a:v2"
    assert moved.set_index("protein")["mark"].replace("", np.nan).dropna().to_dict() == {
        "G00": "moved", "G02": "relabelled",
    }  # fmt: skip


def test_other_weights_are_another_space(run, tmp_path):
    build(run, tmp_path)
    run.releases = {"a": "v2"}
    history, moved, summary = build(run, tmp_path, names=list("uvwxyz"))
    assert history["space"].nunique() == 2
    assert len(moved) == 0
    assert summary["old_state"] is None
    run.releases = {"a": "v3"}
    _, moved, summary = build(run, tmp_path)
    assert summary["old_state"] == "a:v1"
    assert len(moved) == 30
    assert not moved["moved"].any()


def test_what_makes_a_space(tmp_path):
    units = pd.DataFrame({"unit_id": ["u"], "field_id": ["f"], "version": ["v"]})
    said = {"kind": "gapnet-pl", "level": "cell", "weights_sha256": "1", "normalization": "n", "model": "m"}

    def space(features=("a", "b"), **over):
        write_vectors(tmp_path / "e.parquet", units, np.zeros((1, 2)), said | over)
        return space_of([tmp_path / "e.parquet"], features)

    assert space() == space(model="other name") == space(roles=["protein"])
    different = [
        space(), space(("b", "a")), space(weights_sha256="2"), space(normalization="o"), space(kind="classic"),
        space(level="field"),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    made_elsewhere = [space(kind="published", weights=name, weights_sha256=None) for name in ("", "v1", "v2")]
    assert len(set(made_elsewhere)) == 3, "sources.<name>.space"
    assert space(weights="a.pt") == space(weights="b.pt"), "of a network the weights count, not their path"
    # the number of shards makes no difference
    assert space_of([tmp_path / "e.parquet"] * 2, ("a", "b")) == space_of([tmp_path / "e.parquet"], ("a", "b"))


def test_names_of_states(run):
    fields = run.write()["fields"]
    assert release_state(fields, ["a", "a"]) == "a:v1"
    assert release_state(fields, ["unused", "a"]) == "a:v1;unused:7"
    assert release_state(fields, []) == ""


def test_outlying_cells_count_in_the_history_as_on_the_map(run, tmp_path):
    names = list("uvwxyz")
    build(run, tmp_path, names=names, clip=3)
    run.vectors[0][0] += 1e4
    run.releases = {"a": "v2"}
    _, moved, _ = build(run, tmp_path, names=names, clip=3)
    assert moved.set_index("protein").loc["G00", "shift"] < 1


def test_a_broken_history_is_told(run, tmp_path):
    (tmp_path / "history.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(HistoryError, match=r"take it from a backup, or delete it"):
        build(run, tmp_path)
    assert read_history(tmp_path / "none.parquet").columns.tolist() == HISTORY.names


@pytest.mark.parametrize("proteins", [0, 1])
def test_an_atlas_of_nothing_keeps_the_history(tmp_path, proteins):
    rng = np.random.default_rng(3)
    run = Run(tmp_path)
    for number in range(proteins):
        fields_of(run, rng, f"G{number}", 2, np.zeros(6))
    history, moved, _ = build(run, tmp_path)
    assert len(history) == proteins
    run.releases = {"a": "2"}
    history, moved, _ = build(run, tmp_path)
    assert len(history) == 2 * proteins
    assert len(moved) == proteins
    assert not moved["moved"].astype(bool).any()


def test_field_level(tmp_path):
    rng = np.random.default_rng(4)
    run = Run(tmp_path, "field")
    places = rng.normal(size=(12, 5)) * 5
    for number in range(12):
        for _ in range(4):
            run.add(f"G{number}", places[number] + rng.normal(size=(1, 5)))
    build(run, tmp_path)
    for _ in range(4):
        run.add("G3", places[3] + 12 + rng.normal(size=(1, 5)))
    run.releases = {"a": "2"}
    _, moved, _ = build(run, tmp_path)
    assert moved.loc[moved["moved"], "protein"].tolist() == ["G3"]
