"""No model may tell a protein's place from anything but the protein: nuisance and markers must tell nothing.

What classifiers may reach is chance and POINTS; `leak_probe.beyond_chance` says what chance is. Luck alone must stay
well below that, or the bound would say nothing: sources of many seeds are planned, and as many fields are drawn.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from leak_probe import Found, beyond_chance, forest, ridge, texture
from scipy.stats import kruskal
from simulated_source import main_class, source
from wherein.simulate import optics
from wherein.simulate.field import draw_human
from wherein.simulate.plan import plan_source
from wherein.simulate.spec import tuning_seed

pytestmark = pytest.mark.slow

POINTS = 3.0
"""Hundredths above chance that a classifier without the protein's image may tell right."""

LUCK = 1.0
"""Most that luck may carry a classifier without any knowledge, one standard deviation, for a test to mean something."""

PLANNED, DRAWN, SHOWN = 20, 9, 3
"""Sources that are only planned, that are drawn too, and whose protein channel is looked at."""

FLOOD = 10.0
"""What of its bleed-through the protein's light keeps where the markers are flooded with it (`PROTEIN_SPILL`)."""

FIELDS = {"fields_per_protein": 1, "controls": 0, "faults": 0}

DEALS = {"ridge": 60, "forest": 8}


def planned(numbers, **words):
    """Specs of all fields of some sources, and what is known of them without a look at their pixels."""
    specs, tables = [], []
    for number in numbers:
        plan = plan_source(
            "leaks",
            source(**{"proteins": 150, "seed": tuning_seed(100 + number), **FIELDS, **words}),
        )
        table = plan.fields
        well = table["well"]
        tables.append(
            pd.DataFrame(
                {
                    "source": number,
                    "plate": table["plate"],
                    "plate_number": pd.factorize(table["plate"], sort=True)[0],
                    "row": well.str[0].map(ord),
                    "column": well.str[1:].astype(int),
                    "order": np.arange(len(table)),
                    "letter": [int(i[1:5], 16) for i in table["field_id"]],
                    "reagent": [int(i[-4:]) for i in table["reagent"]],
                    "cell_line": table["cell_line"],
                }
            )
        )
        specs += [plan.specs[i] for i in table["field_id"]]
    return specs, pd.concat(tables, ignore_index=True)


def nuisance(specs, table):
    """How fields were laid out and imaged: (n, features) numbers, and the same with plates and lines told apart."""
    rows = []
    for spec in specs:
        image = spec.imaging
        single = (image.defocus_um, image.illumination, image.bleed_through, image.gain, image.read_noise, image.offset)
        rows.append([*image.exposure, *image.background, *single, *image.centre, spec.confluence, spec.debris])
    lines = pd.get_dummies(table["cell_line"], dtype=float)
    numbers = table.drop(columns=["plate", "cell_line"])
    continuous = np.hstack([numbers.to_numpy(float), rows, lines])
    plates = pd.get_dummies(table[["plate", "row"]].astype(str), dtype=float)
    return continuous, np.hstack([continuous, continuous**2, plates])


def classes(specs):
    return np.array([main_class(spec) for spec in specs])


def genes(specs):
    return np.array([spec.gene for spec in specs])


def nothing_known(found: Found) -> bool:
    return found.accuracy <= POINTS and found.recall <= POINTS


def luck_is_small(found: Found) -> bool:
    return max(found.luck) < LUCK


class Drawn(NamedTuple):
    """Fields of many sources: what is seen in the markers, in them with more bleed-through, in the protein."""

    specs: list
    markers: np.ndarray
    flooded: np.ndarray
    protein: np.ndarray
    total: np.ndarray


@pytest.fixture(scope="module")
def drawn():
    specs, table = planned(range(DRAWN), field_px=128)
    markers, flooded, protein, total = [], [], [], []
    for spec, number in zip(specs, table["source"], strict=True):
        drawing = draw_human(spec)
        shown = optics.image_channels(drawing.density, spec)
        inside = drawing.cell > 0
        counts = [len(drawing.cells), drawing.cells["mitotic"].mean(), inside.mean(), (drawing.nucleus > 0).mean()]
        markers.append([*texture(channels(shown, "nucleus", "microtubules", "er")), *counts])
        total.append((shown["protein"][inside].mean() - spec.imaging.offset) / spec.imaging.exposure[3])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optics, "PROTEIN_SPILL", FLOOD)
            more = optics.image_channels(drawing.density, spec)
        flooded.append([*texture(channels(more, "nucleus", "microtubules", "er")), *counts])
        if number < SHOWN:
            protein.append(texture(channels(shown, "nucleus", "protein")))
    return Drawn(specs, *(np.nan_to_num(np.array(values)) for values in (markers, flooded, protein, total)))


def channels(shown, *roles):
    return np.stack([shown[role] for role in roles])


@pytest.mark.parametrize("mode", ["four_roles", "two_roles", "yeast"])
def test_nuisance_tells_no_class_to_a_regression(mode):
    words = {"proteins": 75} if mode == "yeast" else {}
    specs, table = planned(range(PLANNED), **{"mode": mode, **words})
    _, features = nuisance(specs, table)
    found = beyond_chance(ridge(features, genes(specs)), classes(specs), genes(specs), DEALS["ridge"])
    assert luck_is_small(found)
    assert nothing_known(found)


def test_nuisance_tells_no_class_to_a_forest():
    specs, table = planned(range(PLANNED))
    features, _ = nuisance(specs, table)
    found = beyond_chance(forest(features, genes(specs)), classes(specs), genes(specs), DEALS["forest"])
    assert luck_is_small(found)
    assert nothing_known(found)


def test_the_plate_tells_the_class_where_it_is_confounded():
    # the same features and classifiers: the tests above can fail
    specs, table = planned(range(3), confounded=True)
    numbers, features = nuisance(specs, table)
    for scores in (ridge(features, genes(specs)), forest(numbers, genes(specs))):
        found = beyond_chance(scores, classes(specs), genes(specs), DEALS["forest"])
        assert found.accuracy > 10 * POINTS
        assert found.recall > 10 * POINTS


def test_marker_channels_tell_no_class(drawn):
    found = beyond_chance(
        ridge(drawn.markers, genes(drawn.specs)), classes(drawn.specs), genes(drawn.specs), DEALS["ridge"]
    )
    assert luck_is_small(found)
    assert nothing_known(found)


def test_marker_channels_would_tell_the_class_by_more_bleed_through(drawn):
    # the probe sees the protein's light in the markers where there is more of it than the microscope lets through
    specs = drawn.specs
    found = beyond_chance(ridge(drawn.flooded, genes(specs)), classes(specs), genes(specs), DEALS["ridge"])
    assert found.accuracy > POINTS
    assert found.recall > POINTS


def test_the_protein_channel_does_tell(drawn):
    specs = drawn.specs[: len(drawn.protein)]
    found = beyond_chance(ridge(drawn.protein, genes(specs)), classes(specs), genes(specs), DEALS["ridge"])
    assert found.accuracy > 10 * POINTS
    assert found.recall > 10 * POINTS


def test_total_intensity_is_the_same_for_all_classes(drawn):
    kinds = classes(drawn.specs)
    groups = [drawn.total[kinds == kind] for kind in sorted(set(kinds))]
    assert kruskal(*groups).pvalue > 0.01
    means = np.array([group.mean() for group in groups])
    assert means.std() / means.mean() < 0.06
