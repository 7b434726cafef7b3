import json

import numpy as np
import pandas as pd
import pytest
from scored_fields import WORDS, K, scored_fields
from wherein import tables
from wherein.models.annotated import (
    BOTH_WRONG,
    JUDGE_COLUMNS,
    MODEL_WRONG,
    PEOPLE_WRONG,
    UNIT_COLUMNS,
    AnnotationError,
    agreed,
    beside_people,
    read_annotations,
)
from wherein.models.break_down import MOST_PROBABLE, TUNED, break_down
from wherein.models.single_location import rounds_of_folds, rounds_of_parts, tune_last_layer
from wherein.models.statistics import mean_vectors, scorable, write_fields


def told_apart(seed=0, n=200, folds=4):
    """Vectors of three classes in a plane; every fourth field has two classes."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    truth = np.eye(4, dtype=bool)[kind]
    truth[::4, 3] = True
    centres = np.array([[0, 4], [4, 0], [-4, -4]])
    vectors = (centres[kind] + rng.normal(0, 1, (n, 2))).astype(np.float32)
    return vectors, truth, (np.arange(n) % folds).astype(float)


def test_the_last_layer_is_tuned_to_fields_of_one_location():
    vectors, truth, fold = told_apart()
    vectors[5, 0] = np.nan
    found = tune_last_layer(vectors, truth, rounds_of_folds(fold), 0)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert (found[:, 3] == 0).all(), "no field has the fourth class alone"
    single = truth.sum(axis=1) == 1
    assert (found.argmax(axis=1) == truth.argmax(axis=1))[single].mean() > 0.95


def test_a_fold_is_told_by_what_its_own_fields_have_no_part_in():
    vectors, truth, fold = told_apart()
    turned = truth.copy()
    turned[fold == 2] = np.roll(truth[fold == 2], 1, axis=1)
    first, second = (tune_last_layer(vectors, own, rounds_of_folds(fold), 0) for own in (truth, turned))
    np.testing.assert_array_equal(first[fold == 2], second[fold == 2])
    assert not np.array_equal(first[fold == 1], second[fold == 1])


def test_test_rows_of_a_network_are_told_by_its_other_rows():
    vectors, truth, fold = told_apart()
    part = np.where(fold == 0, "test", np.where(fold == 1, "validation", "train"))
    found = tune_last_layer(vectors, truth, rounds_of_parts(part), 0)
    assert np.isfinite(found[fold == 0]).all()
    assert np.isnan(found[fold != 0]).all()


def test_one_class_cannot_be_tuned():
    vectors, truth, fold = told_apart()
    truth[:] = False
    truth[:, 1] = True
    assert np.isnan(tune_last_layer(vectors, truth, rounds_of_folds(fold), 0)).all()


def test_mean_vectors_leave_out_what_is_unknown():
    vectors = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 2.0]], np.float32)
    found = mean_vectors(vectors, [np.array([0, 1]), np.array([1, 2])])
    np.testing.assert_array_equal(found, [[2, np.nan], [4, 2]])
    assert mean_vectors(vectors, []).shape == (0, 2)


def table_of(rows):
    return pd.DataFrame(rows, columns=["field_id", "annotator", "group", "locations"]).assign(cell_id="")


def test_people_and_model_field_by_field():
    units = pd.DataFrame({"field_id": list("abcde"), "version": "v"})
    names = WORDS.classes
    truth = np.zeros((5, K), bool)
    truth[np.arange(5), [0, 1, 2, 3, 0]] = True
    truth[4, 1] = True  # two locations: not compared
    model = np.full((5, K), 0.1)
    model[np.arange(5), [0, 1, 5, 0, 0]] = 0.9
    rows = []
    answers = {"a": (0, 0), "b": (2, 3), "c": (4, 4), "d": (3, 3), "e": (0, 0)}
    for field_id, (one, two) in answers.items():
        rows += [(field_id, "E1", "expert", [names[one]]), (field_id, "E2", "expert", [names[two]])]
    rows.append(("zz", "E1", "expert", [names[0]]))
    judges, fields, told = beside_people(table_of(rows), units, truth, model, WORDS, 0, ())
    assert judges.columns.tolist() == JUDGE_COLUMNS
    assert fields.columns.tolist() == UNIT_COLUMNS
    assert told["n_fields"] == 4
    assert any("1 annotated fields are not among" in note for note in told["notes"])
    by_name = judges.set_index("judge")
    assert by_name.loc["model", "accuracy"] == 0.5
    assert by_name.loc["E1", ["both", "model_only", "judge_only", "neither"]].tolist() == [1, 1, 1, 1]
    assert by_name.loc["mean of expert", "accuracy"] == 0.5
    assert by_name.loc["vote of expert", "accuracy"] == 0.5
    kinds = fields.set_index("field_id")["kind"]
    assert kinds.to_dict() == {"a": "", "b": PEOPLE_WRONG, "c": BOTH_WRONG, "d": MODEL_WRONG}
    assert fields.set_index("field_id").loc["b", "answers"] == f"E1: {names[2]};E2: {names[3]}"
    assert told["agreement"]["n_pairs"] == 5
    assert told["agreement"]["same"] == 0.8


def test_several_answers_are_no_answer_and_strange_words_are_told():
    units = pd.DataFrame({"field_id": ["a"], "version": "v"})
    truth = np.eye(1, K, dtype=bool)
    rows = [("a", "P", "people", [WORDS.classes[0], WORDS.classes[1]]), ("a", "Q", "people", ["Xyzzy"])]
    judges, fields, told = beside_people(table_of(rows), units, truth, truth * 0.9, WORDS, 0, ())
    assert judges.set_index("judge").loc[["P", "Q"], "accuracy"].tolist() == [0, 0]
    assert "Xyzzy" in told["notes"][0]
    assert told["agreement"]["same"] == 0
    assert "none, or several" in fields["answers"][0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("field_id,who\na,b\n", "add annotator, locations"),
        ("field_id,annotator,locations\na,,Cytosol\n", "line 2: annotator is empty"),
        ("field_id,annotator,locations\na,P,Cytosol\na,P,Nucleoli\n", "P annotates the field a twice"),
        ("annotator,locations\nP,Cytosol\n", "add field_id .or cell_id."),
        ("field_id,cell_id,annotator,locations\n,a@v:1,P,Cytosol\n,,P,Cytosol\n", "line 3: field_id and cell_id are"),
        ("cell_id,annotator,locations\na@v:1,P,Cytosol\na@v:1,P,Cytosol\n", "P annotates the cell a@v:1 twice"),
        ("field_id,cell_id,annotator,locations\na,ab@v:1,P,Cytosol\n", "line 2: the cell is of another field"),
    ],
)
def test_a_broken_table_of_annotations_says_how_to_mend_it(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(AnnotationError, match=said):
        read_annotations(str(tmp_path / "a.csv"))


def test_tables_without_groups_and_with_tabs(tmp_path):
    (tmp_path / "a.tsv").write_text("field_id\tannotator\tlocations\na\tP\tCytosol; Nucleoli\nb\tP\t\n")
    found = read_annotations(str(tmp_path / "a.tsv"))
    assert found["group"].tolist() == ["people", "people"]
    assert found["locations"].tolist() == [["Cytosol", " Nucleoli"], []]


def test_people_agree_over_all_that_they_judged(tmp_path):
    one, two = WORDS.classes[:2]
    rows = [f"s{k},,{who},{one}" for k in range(4) for who in "AB"]  # a field that the model is not scored on
    # ten cells are judged twice, nine of them alike; another is judged once
    rows += [
        f"a,a@v:{k},{who},{two if k == 3 and who == 'B' else (one, two)[k % 2]}" for k in range(10) for who in "AB"
    ]
    rows += [f",zz@v:7,A,{one}", f",zz@v:8,A,{one}", f"a,,A,{one}"]
    rows[8 + 2 * 4 + 1] = f",a@v:4,B,{two}"
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["field_id,cell_id,annotator,locations", *rows]) + "\n")
    units, truth = pd.DataFrame({"field_id": ["a"], "version": "v"}), np.eye(1, K, dtype=bool)
    described = {f"a@v:{k}" for k in range(10)}
    judges, _, told = beside_people(read_annotations(str(path)), units, truth, truth * 0.9, WORDS, 0, described)
    assert (told["n_fields"], told["n_cells"]) == (1, 12)
    cells = told["agreement_of_cells"]
    assert (cells["n_units"], cells["n_pairs"], cells["same"]) == (10, 10, 0.9)
    assert 0.3 < cells["by_chance"] < 0.7
    assert told["agreement"]["n_pairs"] == 4, "fields that no model is scored on count, and cells do not"
    assert "2 of 12 annotated cells are not among what the model describes: zz@v:7, zz@v:8" in told["notes"]
    assert judges["judge"].tolist() == ["model", "A"], "judgements of cells are none of the field"
    of_fields = beside_people(read_annotations(str(path)), units, truth, truth * 0.9, WORDS, 0, {"a@v"})[2]
    assert of_fields["notes"] == told["notes"], "a model of fields knows the cell's field version"


def test_terms_without_a_class_agree_with_themselves_alone():
    rows = [("a", "P", "people", ["Xyzzy"]), ("a", "Q", "people", ["Plugh"]),
            ("b", "P", "people", ["Xyzzy"]), ("b", "Q", "people", ["xyzzy"])]  # fmt: skip
    assert agreed(table_of(rows), "field_id", WORDS, 0)["same"] == 0.5
    assert agreed(table_of([]), "field_id", WORDS, 0) is None


@pytest.fixture
def run(tmp_path):
    """The tables of a finished evaluation, vectors that know the class, and two people."""
    scored, catalog = scored_fields(160, genes=40)
    fields = scorable(scored, catalog)
    write_fields(str(tmp_path / "scored.parquet"), fields, WORDS, "m")
    catalog = catalog.assign(retired_in=None, control=False)
    tables.write_table(tmp_path / "fields.parquet", catalog, tables.FIELDS)
    split = scored.units[["field_id", "version", "gene_group"]].assign(
        gene_fold=scored.units["fold"].astype(int), field_fold=0
    )
    tables.write_table(tmp_path / "split.parquet", split, tables.SPLIT)
    rng = np.random.default_rng(0)
    vectors = (3 * fields.truth[:, :6] + rng.normal(0, 1, (160, 6))).astype(np.float32)
    tables.write_vectors(tmp_path / "e.parquet", scored.units, vectors, {"dimensions": []})
    names = np.array(WORDS.classes)
    answers = [
        (f"f{k}", who, names[fields.truth[k].argmax()] if k % 3 else names[9]) for k in range(40) for who in "AB"
    ]
    pd.DataFrame(answers, columns=["field_id", "annotator", "locations"]).to_csv(tmp_path / "people.csv", index=False)
    names = ("groups", "tests", "curves", "confusion", "judges", "annotated")

    def go(training=(), annotations=None):
        outputs = {name: str(tmp_path / f"{name}.tsv") for name in names}
        break_down(
            model="m",
            scored=str(tmp_path / "scored.parquet"),
            fields=str(tmp_path / "fields.parquet"),
            split=str(tmp_path / "split.parquet"),
            embeddings=[str(tmp_path / "e.parquet")],
            training=list(training),
            annotations=annotations,
            evaluation={"draws": 100, "seed": 0},
            outputs={**outputs, "breakdown": str(tmp_path / "breakdown.json"), "summary": "not read"},
            summary=str(tmp_path / "summary.json"),
        )
        told = json.loads((tmp_path / "breakdown.json").read_text())
        return told, {name: pd.read_csv(tmp_path / f"{name}.tsv", sep="\t") for name in names}

    return go, tmp_path, fields


def test_a_model_is_broken_down(run):
    go, folder, fields = run
    told, found = go(annotations=str(folder / "people.csv"))
    assert told["tuned"]["tuned_accuracy"] > 0.85
    assert set(found["confusion"]["answer"]) == {MOST_PROBABLE, TUNED}
    assert told["people"]["answer"] == MOST_PROBABLE, "the forest on the vectors answers, not another layer"
    assert told["people"]["agreement"]["same"] == 1
    single = fields.truth[:40].sum(axis=1) == 1
    assert told["people"]["n_fields"] == single.sum()
    assert len(found["annotated"]) == single.sum()
    assert found["judges"]["judge"].tolist() == ["model", "A", "B", "mean of people", "vote of people"]
    assert found["groups"].loc[0, "n_train"] == pytest.approx(120)
    with (folder / "people.csv").open("a") as people:
        people.write(f"zz,A,{WORDS.classes[0]}\nzz,B,{WORDS.classes[1]}\n")
    again = go(annotations=str(folder / "people.csv"))[0]["people"]
    assert again["n_fields"] == told["people"]["n_fields"]
    assert again["agreement"]["n_units"] == told["people"]["agreement"]["n_units"] + 1
    assert again["agreement_of_cells"] is None
    without, found = go()
    assert without["people"] is None
    assert found["judges"].empty


def test_a_network_is_tuned_on_the_rows_it_was_trained_on(run):
    go, folder, fields = run
    rows = fields.units[["unit_id", "field_id", "version"]].assign(
        part=np.where(fields.folds == 0, "test", np.where(fields.folds == 1, "validation", "train"))
    )
    rows = pd.concat([rows, pd.DataFrame(fields.truth, columns=list(WORDS.classes))], axis=1)
    rows.to_parquet(folder / "training.parquet")
    test = (fields.folds == 0) & (fields.truth.sum(axis=1) == 1)
    told, found = go(training=[str(folder / "training.parquet")])
    assert told["tuned"]["n_fields"] == test.sum()
    assert told["tuned"]["tuned_accuracy"] > 0.8
    assert found["groups"].loc[0, "n_train"] == (rows["part"] == "train").sum()
