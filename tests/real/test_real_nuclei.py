"""Nuclei of real fields against points that were marked by eye."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from real_data import real_data
from scipy import ndimage
from wherein.metrics.segmentation import compare_points
from wherein.readers import read_plane
from wherein.segmentation.methods import METHODS, MethodContext
from wherein.settings import fill_defaults, schema

POINTS = Path(__file__).parent / "nuclei_points.tsv"
COLOURS = {"nucleus": "blue", "microtubules": "red", "er": "yellow"}
REACH_UM = 5.0


def settings():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["segment"])
    return values


def outlined(images, pixel_size_um):
    return METHODS["watershed"].load().outline(images, pixel_size_um, settings(), MethodContext())[:2]


def centres(labels):
    found = ndimage.center_of_mass(labels > 0, labels, range(1, int(labels.max()) + 1))
    return np.array([place for place in found if not np.isnan(place[0])]).reshape(-1, 2)


def points(field_id):
    table = pd.read_csv(POINTS, sep="\t", comment="#")
    return table.loc[table["field_id"] == field_id, ["y", "x"]].to_numpy(float)


@pytest.mark.parametrize(
    "field_id", ["800_A6_1", "B2AI_1_untreated_A1_R1", "B2AI_1_untreated_A1_R2", "B2AI_1_untreated_A1_R4"]
)
def test_nuclei_lie_where_a_person_sees_them(field_id):
    folder = real_data("smoke_hpa_4ch")
    images = {role: read_plane(str(folder / colour / f"{field_id}_{colour}.jpg")) for role, colour in COLOURS.items()}
    nucleus, cell = outlined(images, 0.08)
    result = compare_points(points(field_id), centres(nucleus), REACH_UM / 0.08)
    assert result.n_true >= 15
    assert result.f1 >= 0.90, f"{result.matched} of {result.n_true} marked and {result.n_found} found nuclei match"
    with_cell = np.unique(cell[nucleus > 0])
    assert (cell[nucleus > 0] > 0).mean() > 0.95
    assert len(with_cell) >= 0.95 * nucleus.max()


def test_a_field_without_nuclei_gives_none_and_one_with_nuclei_gives_them():
    folder = real_data("qc_controls/opencell_hoechst_snaps")
    # the snaps declare no pixel size; 0.2 um is about that of a 63x objective with binned camera pixels
    empty, _ = outlined({"nucleus": read_plane(str(folder / "no-nuclei-1.tif"))}, 0.2)
    assert empty.max() == 0
    good, cell = outlined({"nucleus": read_plane(str(folder / "good-1.tif"))}, 0.2)
    result = compare_points(points("good-1"), centres(good), REACH_UM / 0.2)
    assert result.f1 >= 0.90
    assert cell.max() == good.max()
