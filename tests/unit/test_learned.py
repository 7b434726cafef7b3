import copy
from pathlib import Path

import pytest
from wherein.models.learned import (
    COMPETITION_ROLES,
    SEARCHED,
    files_learned_from,
    inference_settings,
    learned_from,
    search_settings,
    start_of,
    table_settings,
    tables_of,
    training_settings,
)
from wherein.models.networks.registry import NETWORKS
from wherein.reading.normalization import COMPETITION_MEAN
from wherein.settings import ConfigError, check_config, check_reagents, missing_roles

ROOT = Path(__file__).resolve().parents[2]

NET = {"kind": "gapnet-pl", "level": "field", "training": {}}

METRIC = {"loss": {"arcface": 1}}


def checked(**models):
    config = {"sources": {"s": {"kind": "simulated"}}, "models": copy.deepcopy(models)}
    check_config(config)
    return config


def test_a_network_is_trained_with_a_section_alone():
    model = checked(net=NET)["models"]["net"]
    assert model["training"]["epochs"] >= 1
    assert model["training"]["loss"]["bce"] == 1
    assert training_settings(model)["normalization"] == "rumetshofer2019"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "resnet999", "training": {}}, "'models.net.kind': found 'resnet999'; allowed are 'classic'"),
        ({"kind": "classic", "training": {}}, "'classic' learns nothing"),
        ({"kind": "densenet121", "level": "field"}, "weights' is missing"),
        ({"kind": "densenet121", "level": "field", "weights": "untrained"}, "published weights are known of gapnet-pl"),
        ({**NET, "weights": "untrained"}, "a model that is trained here has no weights"),
        ({**NET, "kind": "densenet121", "tile_px": 16}, "densenet121 takes 32 pixels or more"),
        ({**NET, "field_px": 256, "pixel_size_um": 0.5}, "both say how coarse"),
        ({**NET, "normalization": "ouyang2019", "inputs": ["reference", "protein"]}, "ouyang2019 knows no reference"),
        ({**NET, "training": {"test_fold": 5}}, "split.folds is 5"),
        ({**NET, "training": {"test_fold": 1}}, "which is the test_fold"),
        ({**NET, "training": {"start": "nowhere.pt"}}, "there is no such file"),
        ({**NET, "training": {"distillation": {"teacher": "net"}}}, "allowed are none"),
        (
            {**NET, "training": {"augmentation": {"policy": {"kind": "searched"}}}},
            "searched policy is read from a file",
        ),
        ({**NET, "training": {"augmentation": {"policy": {"file": "a.json"}}}}, "a random one has none"),
        ({**NET, "training": {"augmentation": {"policy": {"kind": "searched", "file": "a.json"}}}}, "no such file"),
        (
            {**NET, "training": {"augmentation": {"policy": {"kind": "searched", "file": SEARCHED.format(model="x")}}}},
            "policies are searched with 'net'",
        ),
        ({**NET, "training": {"loss": {"guess": 1}}}, "unknown key 'guess'"),
        ({"kind": "ensemble", "level": "field", "members": ["a"]}, "allowed are two or more of none"),
        ({**NET, "inputs": ["nucleus", "reference"]}, "needs the role reference"),
        ({**NET, "training": {"loss": {"bce": 0}}}, "found no weight above 0"),
        ({**NET, "training": {**METRIC, "schedule": "plateau"}}, "'plateau', which follows the validation score"),
        ({**NET, "training": {**METRIC, "early_stopping_epochs": 3}}, "early_stopping_epochs': found 3"),
        ({**NET, "training": {"loss": {"arcface": 1, "bce": 1}}}, "found bce beside arcface"),
        ({**NET, "training": {**METRIC, "distillation": {"teacher": "x"}}}, "learns no probabilities"),
        ({**NET, "training": {"start": "net"}}, "learns from 'net' itself"),
    ],
)
def test_what_is_wrong_is_said(model, message):
    with pytest.raises(ConfigError) as error:
        checked(net=model)
    assert message in str(error.value)


def test_members_of_an_ensemble_are_alike():
    both = {"kind": "ensemble", "level": "field", "members": ["a", "b"]}
    config = checked(a=NET, b={**NET, "kind": "densenet121"}, both=both)
    assert missing_roles(config, "both", "s") == []
    other = {**NET, "training": {"vocabulary": "hpa28"}}
    with pytest.raises(ConfigError, match=r"same training.vocabulary; a has 'hpa19', b has 'hpa28'"):
        checked(a=NET, b=other, both=both)
    with pytest.raises(ConfigError, match=r"same training.test_fold"):
        checked(a=NET, b={**NET, "training": {"test_fold": 2}}, both=both)
    with pytest.raises(ConfigError, match=r"models.both.level"):
        checked(a=NET, b=NET, both={**both, "level": "cell"})
    with pytest.raises(ConfigError, match=r"models.both.members"):
        checked(a=NET, b={"kind": "classic"}, both=both)


def test_who_learns_from_whom():
    taught = {**NET, "training": {"distillation": {"teacher": "both"}}}
    config = checked(a=NET, b=NET, both={"kind": "ensemble", "level": "field", "members": ["a", "b"]}, small=taught)
    assert learned_from("small", config["models"]) == {"small", "both", "a", "b"}
    round_about = {**NET, "training": {"distillation": {"teacher": "b"}}}
    with pytest.raises(ConfigError, match="learns from"):
        checked(a=round_about, b={**NET, "training": {"distillation": {"teacher": "a"}}})


def test_a_training_that_starts_from_a_model_of_the_run():
    fine = {**NET, "training": {"start": "a"}}
    small = {**NET, "training": {"distillation": {"teacher": "fine"}}}
    config = checked(a=NET, fine=fine, small=small)
    assert start_of("fine", config["models"]) == "a"
    assert learned_from("small", config["models"]) == {"small", "fine", "a"}
    assert tables_of("small", config["models"]) == ["small", "a", "fine"]
    # by the path at which its weights will be: there is no such file yet
    config = checked(a=NET, fine={**NET, "training": {"start": "./results/models/a/weights.pt"}})
    assert start_of("fine", config["models"]) == "a"
    both = {"kind": "ensemble", "level": "field", "members": ["fine", "b"]}
    config = checked(a=NET, b=NET, fine=fine, both=both)
    assert tables_of("both", config["models"]) == ["fine", "b", "a"]


@pytest.mark.parametrize(
    ("model", "start", "message"),
    [
        ({"training": {"test_fold": 2}}, {}, r"same training.test_fold; net has 2, a has 0"),
        ({"training": {"validation_fold": 2}}, {}, r"same training.validation_fold"),
        ({"kind": "densenet121"}, {}, r"which is of the kind 'gapnet-pl'; 'net' is 'densenet121'"),
        ({"level": "cell"}, {}, r"same level"),
        ({}, {"inputs": ["protein", "nucleus"]}, r"sees protein, nucleus and knows no microtubules, er"),
        ({}, {"training": {"start": "net"}}, r"learns from '(net|a)' itself"),
    ],
)
def test_what_a_start_has_to_be(model, start, message):
    own = {**NET, **model, "training": {"start": "a", **model.get("training", {})}}
    with pytest.raises(ConfigError, match=message):
        checked(net=own, a={**NET, **start})


def test_weights_made_elsewhere_are_told(tmp_path):
    file = tmp_path / "w.pt"
    file.write_bytes(b"")
    outside = {**NET, "training": {"start": str(file)}}
    config = checked(a=outside, fine={**NET, "training": {"start": "a"}}, other=NET)
    assert files_learned_from("fine", config["models"]) == [str(file)]
    assert files_learned_from("other", config["models"]) == []


def test_a_teacher_gives_probabilities():
    with pytest.raises(ConfigError, match="tells reagents apart and gives no probabilities"):
        checked(a={**NET, "training": METRIC}, net={**NET, "training": {"distillation": {"teacher": "a"}}})


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("field_id,reagent\nf,A1\ng,A2\n", True),
        ("field_id,reagent\nf,A1\ng,A1\n", False),
        ("field_id,reagent\nf,\ng,NA\n", False),
        ("field_id,genes\nf,A\n", False),
    ],
)
def test_reagents_to_tell_apart(tmp_path, text, allowed):
    (tmp_path / "fields.csv").write_text(text)
    roles = {role: {"path": "{field_id}.tif"} for role in COMPETITION_ROLES}
    source = {"kind": "table", "table": str(tmp_path / "fields.csv"), "roles": roles, "release": "1"}
    config = {"sources": {"lab": source}, "models": {"net": {**NET, "training": copy.deepcopy(METRIC)}}}
    check_config(config)
    if allowed:
        check_reagents(config)
        return
    with pytest.raises(ConfigError, match=r"no source of the model has two of them \(lab\)"):
        check_reagents(config)
    drawn = {"sources": {"s": {"kind": "simulated"}}, "models": {"net": {**NET, "training": copy.deepcopy(METRIC)}}}
    check_config(drawn)
    check_reagents(drawn)


def test_how_a_model_predicts_trains_nothing_anew():
    before = checked(net=NET)["models"]["net"]
    after = checked(net={**NET, "test_time": "flips", "tiles": "max", "batch": 4, "threshold": 0.3})["models"]["net"]
    assert training_settings(after) == training_settings(before)
    assert inference_settings(after) != inference_settings(before)
    longer = checked(net={**NET, "training": {"epochs": 31}})["models"]["net"]
    assert training_settings(longer) != training_settings(before)
    assert table_settings(longer) == table_settings(before)
    saved_often = checked(net={**NET, "training": {"checkpoint_minutes": 1}})["models"]["net"]
    assert training_settings(saved_often) == training_settings(before)
    for own in ({"processes": 4}, {"launcher": "srun"}, {"policy_search": {"trials": 2}}):
        assert training_settings(checked(net={**NET, "training": own})["models"]["net"]) == training_settings(before)


def test_a_search_does_not_depend_on_the_policy_that_is_taken():
    random = checked(net={**NET, "training": {"augmentation": {"flips": True, "policy": {}}}})["models"]["net"]
    file = {"kind": "searched", "file": SEARCHED.format(model="net")}
    searched = checked(net={**NET, "training": {"augmentation": {"flips": True, "policy": file}}})["models"]["net"]
    assert search_settings(random) == search_settings(searched)
    assert training_settings(random) != training_settings(searched)


def test_neither_the_device_nor_a_curators_word_is_a_parameter_of_training():
    rules = (ROOT / "workflow/rules/train.smk").read_text()
    names = ("training_table", "train", "search_policy")
    table, train, search = (rules.split(f"rule {name}:")[1].split("\nrule ")[0] for name in names)
    assert "device=" not in train + search
    assert "relabelled" not in table


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_every_network_of_the_registry_may_be_trained(kind):
    model = checked(net={"kind": kind, "level": "field", "training": {}})["models"]["net"]
    assert training_settings(model)["normalization"] == NETWORKS[kind].normalization


def test_the_parser_knows_of_which_roles_the_competition_had_a_mean():
    # the module that knows imports numpy, which parsing the workflow must not
    assert set(COMPETITION_ROLES) == set(COMPETITION_MEAN)
