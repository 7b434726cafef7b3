"""The configuration: defaults, errors in one line, and settings of one source."""

import copy
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from real_data import real_data
from wherein.models.weights import read_weights
from wherein.settings import (
    ROLES_OF_KIND,
    STAGES_BY_SOURCE,
    ConfigError,
    biology_settings,
    catalog_settings,
    check_config,
    check_files,
    check_tables,
    complexes_settings,
    enrichment_settings,
    for_source,
    gene_set_files,
    heterogeneity_settings,
    left_out,
    merge,
    missing_roles,
    models_of_source,
    prerank_settings,
    roles_of_source,
    schema,
)
from wherein.sources.table import COLUMNS, PIXEL_SIZES_UM, TableError

HOUSE = Path(__file__).parents[2]


def load(*names: str) -> dict:
    config: dict = {}
    for name in names:
        merge(config, yaml.safe_load((HOUSE / name).read_text()))
    return config


def table(**options: object) -> dict:
    return {"kind": "table", "table": "t.csv", "roles": {"protein": {"path": "{field_id}.tif"}}, **options}


def error(config: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(schema())


def test_defaults_are_filled_in_at_every_depth():
    config = {"sources": {"lab": table()}}
    check_config(config)
    lab = config["sources"]["lab"]
    assert lab["release"] == "1"
    assert lab["roles"]["protein"] == {"path": "{field_id}.tif", "channel": None, "z": "max", "axes": None}
    assert lab["qc"] == {}
    assert config["models"]["classic"]["level"] == "cell"
    assert config["qc"]["min_cells"] is not None
    again = copy.deepcopy(config)
    check_config(again)
    assert again == config


def test_defaults_of_one_run_do_not_leak_into_the_next():
    first: dict = {"sources": {"lab": table()}}
    check_config(first)
    first["models"]["other"] = {}
    second: dict = {"sources": {"lab": table()}}
    check_config(second)
    assert list(second["models"]) == ["classic"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, ["'sources' is missing"]),
        ({"sources": {}}, ["'sources'"]),
        (
            {"sources": {"lab": {"kind": "tabel"}}},
            ["'sources.lab.kind'", "found 'tabel'", "'table', 'hpa'"],
        ),
        ({"sources": {"lab": {"table": "x"}}}, ["'sources.lab'", "'kind' is missing"]),
        ({"sources": {"My Lab": {"kind": "simulated"}}}, ["'sources'", "found 'My Lab'", "[a-z]"]),
        ({"sources": {"lab": table(rolls={})}}, ["'sources.lab'", "unknown key 'rolls'", "allowed are", "roles"]),
        ({"sources": {"lab": table(release=1)}}, ["'sources.lab.release'", "found 1", "quotes"]),
        ({"sources": {"lab": table(pixel_size_um=80)}}, ["'sources.lab.pixel_size_um'", "80", "maximum of 10"]),
        ({"sources": {"lab": table(roles={"green": {"path": "x"}})}}, ["found 'green'", "'nucleus'"]),
        ({"sources": {"lab": table(roles={"protein": {"path": "x", "z": "mean"}})}}, ["protein.z", "'mean'", "`max`"]),
        ({"sources": {"lab": table(roles={"protein": {"path": "x", "channel": -1}})}}, ["protein.channel", "-1"]),
        ({"sources": {"lab": table(columns={"gene": "Gene"})}}, ["found 'gene'", "'genes'"]),
        ({"sources": {"lab": table(qc={"nope": 1})}}, ["'sources.lab.qc'", "unknown key 'nope'", "min_cells"]),
        ({"sources": {"lab": table()}, "qc": {"nope": 1}}, ["'qc'", "unknown key 'nope'"]),
        ({"sources": {"lab": table()}, "devise": "cpu"}, ["unknown key 'devise'", "device"]),
        ({"sources": {"lab": table()}, "device": "gpu"}, ["'device'", "found 'gpu'", "'auto', 'cuda', 'cpu'"]),
        ({"sources": {"lab": table()}, "shards": {"fields": 0}}, ["'shards.fields'", "0 is less than"]),
    ],
)
def test_errors_name_the_key_what_was_found_and_what_is_allowed(config, says):
    sentence = error(config)
    for part in says:
        assert part in sentence


def test_a_model_without_its_roles_stops_the_run_or_is_skipped():
    net = {"kind": "gapnet-pl", "weights": "untrained"}
    config = {"sources": {"lab": table()}, "models": {"net": net, "classic": {"kind": "classic"}}}
    sentence = error(copy.deepcopy(config))
    assert "'net' needs the role nucleus, microtubules, er" in sentence
    assert "'lab' does not have (it has protein)" in sentence
    assert "skip" in sentence
    config["models"]["net"]["missing_roles"] = "skip"
    check_config(config)
    assert models_of_source(config, "lab") == ["classic"]
    assert missing_roles(config, "net", "lab") == ["nucleus", "microtubules", "er"]


def test_the_fallback_that_is_named_counts_as_the_role():
    four = {role: {"path": f"{{field_id}}_{role}.tif"} for role in ("nucleus", "protein", "microtubules", "reference")}
    net = {"kind": "gapnet-pl", "weights": "untrained"}
    config = {"sources": {"lab": table(roles=four)}, "models": {"net": net}}
    assert "needs the role er" in error(copy.deepcopy(config))
    net["roles"] = {"er": "reference"}
    check_config(config)
    assert models_of_source(config, "lab") == ["net"]
    config["sources"]["lab"]["roles"].pop("reference")
    assert "needs the role reference" in error(config)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"kind": "gapnet-pl"}, ["'models.m.weights' is missing", "'untrained'"]),
        ({"kind": "classic", "weights": "untrained"}, ["'models.m.weights'", "found 'untrained'", "no weights"]),
        ({"kind": "classic", "roles": {"er": "protein"}}, ["'models.m.roles'", "'er'", "allowed are none"]),
        (
            {"kind": "gapnet-pl", "weights": "untrained", "roles": {"dna": "nucleus"}},
            ["'models.m.roles'", "'dna'", "'nucleus', 'protein', 'microtubules', 'er'"],
        ),
    ],
)
def test_keys_that_a_kind_of_model_cannot_follow(model, says):
    sentence = error({"sources": {"demo": {"kind": "simulated"}}, "models": {"m": model}})
    for part in says:
        assert part in sentence


def test_files_that_cannot_be_had_stop_the_run(tmp_path):
    own = tmp_path / "weights.tsv"
    own.write_text((HOUSE / "resources" / "weights.tsv").read_text())

    def told(name: str, **more: object) -> str:
        models = {"m": {"kind": "gapnet-pl", "weights": name, "missing_roles": "skip"}}
        config = {"sources": {"demo": {"kind": "simulated"}}, "models": models, **more}
        check_config(config)
        try:
            check_files(config, str(own))
        except ConfigError as caught:
            return str(caught)
        return ""

    assert told("untrained") == ""
    assert "found 'gapnet'; allowed are 'untrained' and" in told("gapnet")
    assert "write its path or its address under weights.gapnet-pl-2019" in told("gapnet-pl-2019")
    assert "no such file" in told("gapnet-pl-2019", weights={"gapnet-pl-2019": str(tmp_path / "none.npz")})
    assert told("gapnet-pl-2019", weights={"gapnet-pl-2019": str(own)}) == ""
    assert told("gapnet", sources={"demo": {"kind": "simulated", "mode": "yeast"}}) == ""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "gapnet-pl-2019.npz").touch()
    assert told("gapnet-pl-2019") == ""
    assert "'biology.gene_sets.go'" in told("untrained", biology={"gene_sets": {"go": str(tmp_path / "none.gmt")}})


def test_settings_of_a_source_lie_over_those_of_the_stage():
    config = {"sources": {"lab": table(qc={"min_cells": 9}), "other": table()}}
    check_config(config)
    ours, theirs = for_source(config, "qc", "lab"), for_source(config, "qc", "other")
    assert ours["min_cells"] == 9
    assert theirs == config["qc"]
    ours["focus"] = None
    assert config["qc"]["focus"] is not None
    assert {**for_source(config, "qc", "lab"), "min_cells": 0} == {**theirs, "min_cells": 0}


def test_merge_goes_into_dictionaries_and_replaces_the_rest():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    over = {"a": {"c": [3]}, "d": {"e": 1}}
    merge(base, over)
    assert base == {"a": {"b": 1, "c": [3]}, "d": {"e": 1}}
    base["a"]["c"].append(4)
    assert over["a"]["c"] == [3]


def test_roles_of_sources():
    assert roles_of_source({"kind": "simulated", "mode": "yeast"}) == ("protein", "reference")
    assert roles_of_source({"kind": "simulated", "mode": "four_roles"}) == ("nucleus", "microtubules", "er", "protein")
    assert roles_of_source(table()) == ("protein",)


def test_the_schema_knows_every_kind_and_every_column():
    assert set(ROLES_OF_KIND) == {
        "classic",
        *(row.kind for row in read_weights(HOUSE / "resources/weights.tsv").values()),
    }
    source = schema()["$defs"]["table_source"]["properties"]
    assert set(source["columns"]["propertyNames"]["enum"]) == set(COLUMNS)
    assert (source["pixel_size_um"]["minimum"], source["pixel_size_um"]["maximum"]) == PIXEL_SIZES_UM
    for stage in STAGES_BY_SOURCE:
        assert stage in source


@pytest.mark.parametrize("name", ["config", "hpa", "localization", "opencell", "two_roles", "yeast"])
def test_ready_runs_run_as_they_are(name, monkeypatch):
    monkeypatch.chdir(HOUSE)
    config = load(f"config/{name}.yaml")
    check_config(config)
    check_tables(config)
    check_files(config)


def test_a_labs_run_asks_for_the_images_first():
    config = load("config/fields.yaml")
    check_config(config)
    with pytest.raises(TableError, match="not one file of the role nucleus exists"):
        check_tables(config)


def test_what_has_an_address_is_not_asked_for(tmp_path):
    sets = {"web": "https://x/sets.gmt", "library": {"library": "GO_Cellular_Component_2023"}}
    models = {"m": {"kind": "gapnet-pl", "weights": "gapnet-pl-2019"}}
    weights = {"gapnet-pl-2019": "https://x/gapnet.npz"}
    config = {
        "sources": {"demo": {"kind": "simulated"}},
        "models": models,
        "weights": weights,
        "biology": {"gene_sets": sets},
    }
    check_config(config)
    check_files(config, str(HOUSE / "resources" / "weights.tsv"))
    assert gene_set_files(config) == {
        "web": "resources/gene_sets/fetched/web.gmt",
        "library": "resources/gene_sets/fetched/library.gmt",
    }
    assert "gene_set_server" not in biology_settings(config)
    config["biology"]["gene_sets"] = {"my/sets": "https://x/sets.gmt"}
    with pytest.raises(ConfigError, match="the name 'my/sets'"):
        check_files(config, str(HOUSE / "resources" / "weights.tsv"))


def test_gene_sets_made_of_annotations(tmp_path):
    annotations = tmp_path / "goa.gaf"
    config = {"sources": {"demo": {"kind": "simulated"}}, "models": {}}
    config["biology"] = {"gene_sets": {"go": {"annotations": str(annotations)}}}
    check_config(config)
    assert config["biology"]["gene_sets"]["go"]["leave_out_assigned_by"] == ["HPA"]
    assert gene_set_files(config) == {"go": "results/gene_sets/go.gmt"}
    weights = str(HOUSE / "resources" / "weights.tsv")
    with pytest.raises(ConfigError, match=r"biology\.gene_sets\.go\.annotations': found .*there is no such file"):
        check_files(config, weights)
    annotations.touch()
    check_files(config, weights)
    config["biology"]["genome"] = str(tmp_path / "genome.tsv")
    with pytest.raises(ConfigError, match=r"biology\.genome': found"):
        check_files(config, weights)


def test_cells_are_compared_whatever_is_asked_of_gene_sets():
    config = {"sources": {"demo": {"kind": "simulated"}}, "models": {}}
    check_config(config)
    cells, sets = biology_settings(config), enrichment_settings(config)
    config["biology"] |= {"permutations": 7, "set_pairs": [], "identifiers": "x"}
    config["biology"]["complexes"]["vectors"] = "raw"
    assert biology_settings(config) == cells
    assert heterogeneity_settings(config) == cells | {"scale_units": config["atlas"]["scale_units"]}
    assert enrichment_settings(config) == sets | {"permutations": 7, "identifiers": "x"}
    assert complexes_settings(config)["gene_sets"] == {}
    assert prerank_settings(config)["seed"] == 0


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"libary": "x"}, "unknown key 'libary'"),
        (3, "found 3"),
        ({"library": "x", "organism": "cat"}, "found 'cat'"),
        ({"annotations": "x", "library": "x"}, "allowed is: {annotations, ontology"),
        ({"annotations": "x", "aspect": "X"}, "allowed are 'C', 'P', 'F'"),
    ],
)
def test_gene_sets_are_a_path_an_address_or_a_library(found, says):
    assert says in error({"sources": {"demo": {"kind": "simulated"}}, "biology": {"gene_sets": {"go": found}}})


def test_the_real_run(monkeypatch):
    real_data("smoke_hpa_4ch")
    monkeypatch.chdir(HOUSE)
    config = load("config/fields.yaml", "tests/real/fields.yaml")
    check_config(config)
    check_tables(config)
    assert models_of_source(config, "nuclei_only") == []
    assert "gapnet-pl" in models_of_source(config, "fields")
    assert Path(config["weights"]["gapnet-pl-2019"]).exists()


def test_what_is_left_out_is_told():
    config = {
        "sources": {"lab": {"kind": "table", "table": "t.csv", "roles": {"nucleus": {"path": "{field_id}.tif"}}}},
        "models": {"classic": {"kind": "classic", "missing_roles": "skip"}},
    }
    check_config(config)
    rows = left_out(config)
    assert [row[:3] for row in rows] == [["model", "classic", "lab"], ["stage", "embed", "lab"]]
    assert "needs the role protein" in rows[0][3]
    assert "has nucleus" in rows[0][3]


def test_the_catalog_does_not_hear_of_later_stages():
    config = {"sources": {"demo": {"kind": "simulated", "qc": {"min_cells": 3}, "licence": "CC0"}}}
    check_config(config)
    assert not {"qc", "segment", "crop", "licence", "attribution"} & set(catalog_settings(config)["demo"])
