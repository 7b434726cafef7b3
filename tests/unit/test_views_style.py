"""Colours, shapes, labels that do not cover each other, and how a figure is saved."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from wherein.labels import VOCABULARIES, vocabulary
from wherein.views.style import (
    MULTI,
    UNKNOWN,
    class_shades,
    class_styles,
    figure_file,
    heading,
    nothing_to_show,
    shortened,
    spread_labels,
)


def test_no_two_classes_look_the_same():
    styles = class_styles([f"class {number}" for number in range(49)])
    looks = [look for name, look in styles.items() if name not in (MULTI, UNKNOWN)]
    assert len(looks) == 49
    assert all(one != two for one, two in combinations(looks, 2))


@pytest.mark.parametrize("name", VOCABULARIES)
def test_classes_that_share_a_colour_differ_in_shape(name):
    styles = class_styles(vocabulary(name).classes)
    by_colour = {}
    for each in vocabulary(name).classes:
        by_colour.setdefault(styles[each][0], []).append(styles[each][1])
    assert all(len(set(shapes)) == len(shapes) for shapes in by_colour.values())


def test_shades_tell_the_classes_of_a_vocabulary_apart():
    shades = class_shades(vocabulary("hpa19").classes)
    assert len(set(shades.values())) == len(shades) == 21


def test_several_and_unlabelled_are_grey_wherever_they_stand():
    first, last = class_styles([MULTI, "a", UNKNOWN, "b"]), class_styles(["a", "b"])
    assert first == last


def test_labels_do_not_cover_each_other(tmp_path):
    rng = np.random.default_rng(0)
    points = [(x, y, f"GENE{number}") for number, (x, y) in enumerate(rng.uniform(0, 1, (120, 2)))]
    with figure_file(tmp_path / "labels.png", 5, 4, 100) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        count = spread_labels(axes, points, 200)
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == count
        assert 10 < count < 120
        assert not any(one.overlaps(two) for one, two in combinations(boxes, 2))


def test_no_more_labels_than_asked(tmp_path):
    with figure_file(tmp_path / "few.png", 5, 4, 100) as figure:
        axes = figure.subplots()
        assert spread_labels(axes, [(0.1 * n, 0.1 * n, "G") for n in range(10)], 3) == 3


def test_a_figure_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "figure.png"
    with pytest.raises(RuntimeError, match="half way"), figure_file(path, 4, 3, 100):
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []
    with figure_file(path, 4, 3, 100) as figure:
        heading(figure, "What is seen", "and what to know " * 20)
        nothing_to_show(figure.subplots(), "there was nothing")
    assert Image.open(path).size == (400, 300)


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("one.png", "two.png"):
        with figure_file(tmp_path / name, 3, 2, 80) as figure:
            figure.subplots().plot([0, 1], [1, 0])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_long_texts_are_cut():
    assert shortened("nucleolus", 20) == "nucleolus"
    assert shortened("a very long term of the ontology", 10) == "a very lo…"
