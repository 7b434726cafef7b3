"""No model may tell a protein's place from anything but the protein: nuisance and markers must tell nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kruskal
from simulated_source import main_class, source
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict
from wherein.simulate.field import draw_field
from wherein.simulate.plan import plan_source
from wherein.simulate.spec import tuning_seed

pytestmark = pytest.mark.slow

POINTS = 0.03
"""Accuracy above chance that a classifier without the protein's image may reach."""

DRAWS = 10
"""Draws of classes among genes that chance is measured on."""


def planned(**words):
    plan = plan_source("leaks", source(fields_per_protein=1, controls=0, faults=0, **words))
    table = plan.fields.assign(
        gene=plan.fields["genes"].str[0],
        kind=[main_class(plan.specs[i]) for i in plan.fields["field_id"]],
        order=np.arange(len(plan.fields)),
        row=plan.fields["well"].str[0],
        column=plan.fields["well"].str[1:].astype(int),
        letter=[int(i[1:5], 16) for i in plan.fields["field_id"]],
        seed=[plan.specs[i].seed for i in plan.fields["field_id"]],
    )
    return plan, table


def nuisance(plan, table):
    """How fields were laid out and imaged, (n, features)."""
    one_hot = pd.get_dummies(table[["plate", "row", "cell_line"]], dtype=float)
    rows = []
    for field_id in table["field_id"]:
        spec, image = plan.specs[field_id], plan.specs[field_id].imaging
        single = (image.defocus_um, image.illumination, image.bleed_through, image.gain, image.read_noise, image.offset)
        rows.append([*image.exposure, *image.background, *single, *image.centre, spec.confluence, spec.debris])
    counted = table[["column", "order", "letter"]].to_numpy(float)
    return np.hstack([one_hot.to_numpy(), counted, rows])


def look(image):
    """Simple features of one channel."""
    image = image.astype(np.float32)
    edges = [np.abs(np.diff(image[::step, ::step], axis=0)).mean() for step in (1, 2, 4)]
    return [image.mean(), image.std(), *edges, *np.percentile(image, [1, 5, 25, 50, 75, 95, 99, 99.9])]


def accuracy(features, kinds, genes, trees=40):
    forest = RandomForestClassifier(trees, min_samples_leaf=3, random_state=0)
    return float((cross_val_predict(forest, features, kinds, groups=genes, cv=GroupKFold(5)) == kinds).mean())


def chance(features, kinds, genes):
    """Accuracies where classes are dealt anew among the genes."""
    of_gene = dict(zip(genes, kinds, strict=True))
    names = sorted(of_gene)
    found = []
    for draw in range(DRAWS):
        dealt = np.random.default_rng(draw).permutation([of_gene[name] for name in names])
        again = dict(zip(names, dealt, strict=True))
        found.append(accuracy(features, np.array([again[gene] for gene in genes]), genes, trees=25))
    return np.array(found)


def highest_allowed(null):
    """Chance and three points, or what 99 of 100 classifiers without any knowledge stay below, if that is more."""
    return null.mean() + max(POINTS, 2.33 * null.std(ddof=1))


@pytest.fixture(scope="module")
def drawn():
    plan, table = planned(proteins=124, field_px=256, seed=tuning_seed(11))
    fields = {field_id: draw_field(plan.specs[field_id]) for field_id in table["field_id"]}
    markers, protein, counts, total = [], [], [], []
    for field_id in table["field_id"]:
        field, imaging = fields[field_id], plan.specs[field_id].imaging
        markers.append([x for role in ("nucleus", "microtubules", "er") for x in look(field.channels[role])])
        protein.append(look(field.channels["protein"]))
        inside = field.cell > 0
        counts.append([len(field.cells), field.cells["mitotic"].mean(), inside.mean(), (field.nucleus > 0).mean()])
        total.append((field.channels["protein"][inside].mean() - imaging.offset) / imaging.exposure[3])
    assert len(table) >= 150
    return plan, table, np.array(markers), np.array(protein), np.array(counts), np.array(total)


def test_nuisance_tells_no_class(drawn):
    plan, table, _, _, counts, _ = drawn
    features = np.hstack([nuisance(plan, table), counts])
    kinds, genes = table["kind"].to_numpy(), table["gene"].to_numpy()
    assert accuracy(features, kinds, genes) <= highest_allowed(chance(features, kinds, genes))


def test_marker_channels_tell_no_class(drawn):
    _, table, markers, _, counts, _ = drawn
    features = np.hstack([markers, counts])
    kinds, genes = table["kind"].to_numpy(), table["gene"].to_numpy()
    assert accuracy(features, kinds, genes) <= highest_allowed(chance(features, kinds, genes))


def test_the_protein_channel_does_tell(drawn):
    # the same classifier on as simple features: the tests above can fail
    _, table, _, protein, _, _ = drawn
    kinds, genes = table["kind"].to_numpy(), table["gene"].to_numpy()
    null = chance(protein, kinds, genes)
    assert accuracy(protein, kinds, genes) > highest_allowed(null) + 0.05


def test_total_intensity_is_the_same_for_all_classes(drawn):
    _, table, _, _, _, total = drawn
    groups = [total[(table["kind"] == kind).to_numpy()] for kind in sorted(set(table["kind"]))]
    assert kruskal(*[group for group in groups if len(group) >= 4]).pvalue > 0.01
    means = np.array([group.mean() for group in groups if len(group) >= 4])
    assert means.std() / means.mean() < 0.06


def test_the_plate_tells_the_class_where_it_is_confounded():
    _, table = planned(proteins=124, confounded=True, seed=tuning_seed(11))
    plates = pd.get_dummies(table["plate"], dtype=float).to_numpy()
    kinds, genes = table["kind"].to_numpy(), table["gene"].to_numpy()
    assert accuracy(plates, kinds, genes) > 0.9
    _, table = planned(proteins=124, seed=tuning_seed(11))
    plates = pd.get_dummies(table["plate"], dtype=float).to_numpy()
    kinds, genes = table["kind"].to_numpy(), table["gene"].to_numpy()
    assert accuracy(plates, kinds, genes) <= highest_allowed(chance(plates, kinds, genes))
