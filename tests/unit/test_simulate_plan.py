import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from real_data import real_data
from scipy.stats import chi2_contingency, kruskal, kstest
from simulated_source import main_class, source
from wherein.digest import SCRIPTS, import_closure
from wherein.labels import vocabulary
from wherein.reasons import FIELD_REASONS
from wherein.simulate.plan import FAULTS, SEVERITIES, plan_source, seed_of, shares
from wherein.simulate.proteins import classes_of, draw_proteins, read_proteins
from wherein.simulate.spec import HELD_OUT, held_out_seed, tuning_seed
from wherein.tables import FIELDS


@pytest.fixture(scope="module")
def plan():
    return plan_source("demo", source(proteins=76, faults=21))


def test_the_same_configuration_gives_the_same_plan(plan):
    again = plan_source("demo", source(proteins=76, faults=21))
    pd.testing.assert_frame_equal(plan.fields, again.fields)
    assert plan.specs == again.specs
    assert [plan.version(i) for i in plan.specs] == [again.version(i) for i in plan.specs]


def test_rows_are_what_the_fields_table_holds(plan):
    assert set(plan.fields.columns) <= set(FIELDS.names)
    assert plan.fields["field_id"].is_unique
    assert set(plan.fields["field_id"]) == set(plan.specs)
    assert set(plan.fields["full_scale"]) == {4095.0}
    row = plan.fields.iloc[0]
    assert row["uri_er"] == f"simulated:{row['field_id']}/er"
    assert "uri_reference" not in plan.fields.columns


def test_every_class_is_shown_and_many_proteins_are_in_two_places(plan):
    shown = {location for spec in plan.specs.values() for location in spec.protein_locations}
    assert shown == set(vocabulary("hpa19").classes) - {"Negative"}
    proteins = {spec.gene: spec.protein_locations for spec in plan.specs.values() if spec.gene}
    assert len(proteins) == 76
    assert 0.3 < np.mean([len(places) > 1 for places in proteins.values()]) < 0.5


def test_reagents_lines_and_controls(plan):
    shown = plan.fields[~plan.fields["control"]]
    genes = shown["genes"].str[0]
    assert shown.groupby(genes)["reagent"].nunique().value_counts().to_dict()[2] >= 5
    assert shown.groupby(genes)["cell_line"].nunique().max() == 2
    assert set(shown["cell_line"]) == {"U-2 OS", "A-431", "HEK 293"}
    assert (shown.groupby("reagent")["ensembl_ids"].apply(lambda ids: len({i[0] for i in ids})) == 1).all()
    controls = plan.fields[plan.fields["control"]]
    assert len(controls) == 6
    assert all(labels == ["Negative"] for labels in controls["labels"])
    assert all(len(genes) == 0 for genes in controls["genes"])
    assert all(plan.specs[i].control and not plan.specs[i].locations for i in controls["field_id"])


def test_a_sample_has_its_fields_and_lies_in_one_well(plan):
    good = plan.fields[[plan.specs[i].fault is None for i in plan.fields["field_id"]]]
    assert set(good.groupby("sample").size()) == {2}
    assert (plan.fields.groupby("sample")[["plate", "well"]].nunique() == 1).all(axis=None)
    assert plan.fields.groupby(["plate", "well"])["sample"].nunique().max() == 1
    assert not plan.fields.duplicated(["plate", "well", "position"]).any()


def test_faults_are_extra_fields_of_every_kind_and_severity(plan):
    faults = Counter((spec.fault, spec.severity) for spec in plan.specs.values() if spec.fault)
    assert faults == {(fault, severity): 1 for fault in FAULTS for severity in SEVERITIES}
    assert set(FAULTS) <= set(FIELD_REASONS)
    without = plan_source("demo", source(proteins=76, faults=0))
    assert set(without.specs) < set(plan.specs)
    assert all(plan.version(i) == without.version(i) for i in without.specs if not plan.specs[i].mislabelled)


def test_a_known_share_of_samples_is_mislabelled():
    plan = plan_source("demo", source(proteins=100, mislabelled=0.1))
    known = plan.fields.assign(wrong=[plan.specs[i].mislabelled for i in plan.fields["field_id"]])
    samples = known[~known["control"]].groupby("sample")["wrong"].agg(["nunique", "first"])
    assert (samples["nunique"] == 1).all()
    assert samples["first"].sum() == round(0.1 * len(samples))
    published = {protein.gene: list(protein.published) for protein in read_proteins("human")}
    to_classes = vocabulary("hpa19").to_classes
    for row in known[~known["control"]].itertuples():
        if row.wrong:
            assert not set(to_classes(row.labels)) & set(plan.specs[row.field_id].protein_locations)
        else:
            assert list(row.labels) == published[row.genes[0]]
    assert not any(spec.mislabelled for spec in plan_source("demo", source(mislabelled=0.0)).specs.values())


def test_a_wrong_label_is_no_other_version(plan):
    field_id = next(iter(plan.specs))
    before = plan.version(field_id)
    assert re.fullmatch("[0-9a-f]{12}", before)
    flipped = replace(plan.specs[field_id], mislabelled=not plan.specs[field_id].mislabelled)
    assert plan._replace(specs={field_id: flipped}).version(field_id) == before
    moved = replace(plan.specs[field_id], confluence=0.5)
    assert plan._replace(specs={field_id: moved}).version(field_id) != before


def test_names_and_order_tell_nothing(plan):
    text = plan.fields[["field_id", "plate", "reagent", "uri_protein"]].to_csv(index=False).lower()
    for protein in read_proteins("human"):
        assert not re.search(rf"\b{protein.gene.lower()}\b", text)
    kinds = [main_class(plan.specs[i]) for i in plan.fields["field_id"]]
    neighbours = np.mean([one == other for one, other in pairwise(kinds)])
    assert neighbours < 0.15


@pytest.mark.parametrize("column", ["plate", "row", "column", "position", "cell_line", "order", "first_letter"])
def test_layout_is_independent_of_class(column):
    plan = plan_source("demo", source(proteins=150, fields_per_protein=1, faults=0, seed=17))
    fields = plan.fields.assign(
        row=plan.fields["well"].str[0],
        column=(plan.fields["well"].str[1:].astype(int) + 2) // 3,
        order=np.arange(len(plan.fields)) * 6 // len(plan.fields),
        first_letter=plan.fields["field_id"].str[1],
    )
    kinds = [main_class(plan.specs[i]) for i in fields["field_id"]]
    table = pd.crosstab(pd.Series(kinds, name="class"), fields[column])
    assert table.shape[1] == 1 or chi2_contingency(table).pvalue > 0.01


NUISANCE = {
    "exposure": lambda spec: spec.imaging.exposure[3],
    "background": lambda spec: spec.imaging.background[3],
    "defocus": lambda spec: spec.imaging.defocus_um,
    "illumination": lambda spec: spec.imaging.illumination,
    "noise": lambda spec: spec.imaging.read_noise,
    "debris": lambda spec: spec.debris,
    "confluence": lambda spec: spec.confluence,
}


def test_nuisance_is_independent_of_class():
    found = {name: [] for name in NUISANCE}
    for number in range(20):
        seed = tuning_seed(500 + number)
        plan = plan_source("demo", source(proteins=150, fields_per_protein=1, faults=0, controls=0, seed=seed))
        kinds = np.array([main_class(spec) for spec in plan.specs.values()])
        assert len({spec.mitotic_share for spec in plan.specs.values()}) == 1
        for name, measure in NUISANCE.items():
            values = np.array([measure(spec) for spec in plan.specs.values()])
            found[name].append(kruskal(*(values[kinds == kind] for kind in sorted(set(kinds)))).pvalue)
    # without any dependence p is uniform over the draws; Bonferroni over the measures
    for name, p in found.items():
        assert kstest(p, "uniform", alternative="greater").pvalue > 0.01 / len(found), name


def test_a_confounded_source_has_each_class_on_plates_of_its_own():
    plan = plan_source("demo", source(proteins=76, confounded=True))
    kinds = pd.Series([main_class(plan.specs[i]) for i in plan.fields["field_id"]])
    assert (kinds.groupby(plan.fields["plate"]).nunique() == 1).all()
    assert kinds.nunique() == plan.fields["plate"].nunique()
    assert plan.fields.groupby(["plate", "well"])["sample"].nunique().max() == 1


def test_more_samples_than_a_plate_has_wells_open_another():
    plan = plan_source("demo", source(proteins=150, fields_per_protein=1, controls=300, confounded=True))
    assert plan.fields.groupby("plate")["well"].nunique().max() <= 96
    assert plan.fields.groupby(["plate", "well"])["sample"].nunique().max() == 1


def test_variation_is_known_and_the_same_in_all_fields_of_a_protein(plan):
    by_gene = {}
    for spec in plan.specs.values():
        if spec.gene:
            own = (spec.gene_seed, spec.variable_kind, spec.variable_share, spec.variable_locations, spec.cycle_peak)
            assert by_gene.setdefault(spec.gene, own) == own
        if spec.variable_kind == "spatial":
            assert not set(spec.variable_locations) & set(spec.locations)
            assert 0.2 <= spec.variable_share <= 0.4
        if spec.variable_kind is None:
            assert spec.variable_share == 0
            assert spec.variable_locations == ()
    kinds = Counter(own[1] for own in by_gene.values())
    assert kinds["spatial"] >= 4
    assert kinds["intensity"] >= 4
    assert sum(own[4] is not None for own in by_gene.values()) >= 4


def test_seeds_of_fields_never_meet():
    seeds = [
        {spec.seed for spec in plan_source("demo", source(seed=seed)).specs.values()}
        for seed in (tuning_seed(1), tuning_seed(2), held_out_seed(1), held_out_seed(2))
    ]
    assert len(set.union(*seeds)) == sum(map(len, seeds))


def test_tuning_and_held_out_seeds_are_disjoint():
    tuning = {tuning_seed(number) for number in range(HELD_OUT)}
    held_out = {held_out_seed(number) for number in range(HELD_OUT)}
    assert not tuning & held_out
    for number in (-1, HELD_OUT):
        with pytest.raises(ValueError, match="counted from 0"):
            tuning_seed(number)
    with pytest.raises(ValueError, match="counted from 0"):
        held_out_seed(-1)


def test_two_sources_of_one_run_share_no_field():
    one, other = (plan_source(name, source(proteins=5)) for name in ("one", "other"))
    assert not set(one.specs) & set(other.specs)


@pytest.mark.parametrize("number", [1, 18, 150, 151, 600])
def test_any_number_of_proteins(number):
    plan = plan_source("demo", source(proteins=number))
    assert len({spec.gene for spec in plan.specs.values() if spec.gene}) == number


def test_a_small_source_draws_from_the_best_known_alone():
    assert len(read_proteins("human")) == len(read_proteins("human", 150)) == 150
    assert len({protein.gene for protein in read_proteins("human", 151)}) == 600
    counts = Counter(place for protein in read_proteins("human", 600) for place in protein.locations)
    assert min(counts.values()) >= 15


def test_too_many_proteins_say_how_many_there_are():
    with pytest.raises(ValueError, match="has 75 for yeast"):
        plan_source("demo", source(mode="yeast", proteins=76))


@pytest.mark.parametrize("mode", ["two_roles", "yeast"])
def test_other_modes(mode):
    plan = plan_source("demo", source(mode=mode, proteins=60, reference="nuclear_pore"))
    spec = next(iter(plan.specs.values()))
    assert spec.reference == ("nuclear_pore" if mode == "yeast" else None)
    assert len(spec.imaging.exposure) == len(spec.roles) == 2
    if mode == "yeast":
        shown = {location for spec in plan.specs.values() for location in spec.locations}
        assert shown == set(classes_of(read_proteins("yeast")))


def test_published_terms_mean_the_drawn_classes():
    known = vocabulary("hpa19")
    for protein in read_proteins("human", 600):
        assert known.unknown(protein.published) == []
        assert set(known.to_classes(protein.published)) == set(protein.locations), protein.gene
    single = Counter(protein.locations[0] for protein in read_proteins("human") if len(protein.locations) == 1)
    assert all(single[name] >= 4 for name in set(known.classes) - {"Mitotic spindle", "Aggresome", "Negative"})


def test_proteins_are_as_published():
    path = real_data("annot/hpa_subcellular_location.tsv.gz")
    published = pd.read_csv(path, sep="\t").fillna("").set_index("Gene")
    names = pd.read_csv(real_data("annot/human_gene_id_map.tsv.gz"), sep="\t").dropna(subset=["ensembl_gene_ids"])
    pairs = names[["symbol", "ensembl_gene_ids"]].itertuples(index=False, name=None)
    symbols = {(symbol, one) for symbol, ids in pairs for one in ids.split(";")}
    for protein in read_proteins("human", 600):
        row = published.loc[protein.ensembl_id]
        terms = [t for column in ("Main location", "Additional location") for t in row[column].split(";") if t]
        assert (row["Gene name"], row["Reliability"], tuple(terms)) == protein[0:1] + protein[4:5] + protein[2:3]
        assert (protein.gene, protein.ensembl_id) in symbols
        assert (protein.varies == "spatial") == bool(row["Single-cell variation spatial"])
        assert protein.cycle == ("correlation" in row["Cell cycle dependency"])


def test_gene_sets_hold_the_drawn_genes():
    genes = {protein.gene for protein in read_proteins("human")}
    lines = (SCRIPTS.parents[1] / "resources" / "gene_sets" / "go_cc_demo.gmt").read_text().splitlines()
    for line in lines:
        name, term, *members = line.split("\t")
        assert name.endswith(f"({term})")
        assert 3 <= len(set(members)) == len(members) <= 60
        assert set(members) <= genes
    assert len(lines) > 200


def test_draw_takes_turns():
    drawn = draw_proteins("human", 36, np.random.default_rng(0))
    places = Counter(place for protein in drawn for place in protein.locations)
    assert min(places[name] for name in classes_of(read_proteins("human"))) >= 1
    assert len(set(drawn)) == 36


def test_shares_fall_and_add_up():
    weights = shares(4, np.random.default_rng(0))
    assert sum(weights) == pytest.approx(1)
    assert list(weights) == sorted(weights, reverse=True)


def test_seed_of_depends_on_every_part():
    assert len({seed_of(1, "a"), seed_of(2, "a"), seed_of(1, "b"), seed_of(1, "a", 0)}) == 4


def test_the_catalog_needs_no_drawing_code():
    closure = {path.name for path in import_closure(SCRIPTS / "wherein" / "simulate" / "plan.py")}
    assert closure == {"plan.py", "proteins.py", "spec.py", "atomic.py", "channels.py", "digest.py", "__init__.py"}


def test_conditions_move_a_share_of_the_proteins_and_nothing_else():
    words = {"mode": "yeast", "proteins": 40, "fields_per_protein": 1, "faults": 0, "controls": 3, "mislabelled": 0.0}
    plan = plan_source("demo", source(**words, conditions=["none", "heat"], relocated=0.25, replicates=2))
    fields = plan.fields[~plan.fields["control"]]
    assert len(fields) == len(plan_source("demo", source(**words)).fields[lambda rows: ~rows["control"]]) * 4
    assert plan.fields["field_id"].is_unique
    assert plan.fields.loc[plan.fields["control"], "condition"].isna().all()
    assert fields.groupby(["reagent", "condition"])["well"].nunique().max() == 2
    moved = set()
    for (gene, condition), own in fields.groupby([fields["genes"].str[0], "condition"]):
        places = {plan.specs[name].protein_locations for name in own["field_id"]}
        assert len(places) == 1
        base = fields[(fields["genes"].str[0] == gene) & (fields["condition"] == "none")]
        before = plan.specs[base["field_id"].iloc[0]].protein_locations
        assert len({tuple(labels) for labels in own["labels"]} | {tuple(labels) for labels in base["labels"]}) == 1
        gone = places != {before}
        assert all(plan.specs[name].mislabelled == gone for name in own["field_id"])
        if gone:
            assert condition == "heat"
            assert not set(next(iter(places))) & set(before)
            moved.add(gene)
    assert len(moved) == 10
