"""Figures of quality control: what was measured, and fields that passed and did not."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wherein.readers import UnreadableImage
from wherein.reasons import FIELD_REASONS, PASSED
from wherein.views.composites import ROLE_COLOURS, composite, fitted, legend_in_words, reduced
from wherein.views.examples import (
    FieldImages,
    fields_with_verdict,
    in_turns,
    most_saturated,
    shared_contrast,
    sharpest,
)
from wherein.views.style import BAD, GOOD, SHAPES, SOFT, figure_file, heading, nothing_to_show, shortened, words

MEASURES = {
    "n_nuclei": ("Nuclei", "nuclei off the border"),
    "n_marker": ("Objects of the marker", "objects off the border"),
    "contrast": ("Contrast of the protein", "share of the full scale in use"),
    "marker_fit": ("Fit of the channels", "agreement of the markers"),
}
"""Columns of qc that are drawn as they are: the panel's title, and what its axis says."""

POINTS = 400
"""Most points drawn in one row of a panel; more would hide each other."""


def plot_qc(
    fields: str,
    files: Sequence[str],
    qc: Sequence[str],
    settings: dict[str, Any],
    limits: dict[str, dict[str, Any]],
    measures: str,
    examples: str,
    listed: str | None = None,
) -> None:
    """Draw the measures of every field by reason, and examples of every reason.

    Args:
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet of all shards.
        qc: results/qc/{shard}.parquet of all shards.
        settings: the section `report` of the configuration.
        limits: source -> its settings of quality control.
        measures: PNG of the measures.
        examples: PNG of the examples.
        listed: results/catalog/crops.parquet.
    """
    judged = fields_with_verdict(fields, qc)
    draw_measures(judged, limits, settings, measures)
    draw_examples(judged, FieldImages(files, listed), settings, examples)


def reasons_present(judged: pd.DataFrame) -> list[str]:
    """Reasons that occur, `passed` first, the others in the order in which quality control tries them."""
    found = set(judged["reason"].dropna())
    return [reason for reason in (PASSED, *FIELD_REASONS) if reason in found]


def measures_of(judged: pd.DataFrame) -> dict[str, tuple[str, str, pd.Series]]:
    """What is worth a panel: measures that at least one field has.

    Returns:
        name -> (title, what the axis says, values in the order of `judged`).
    """
    found = {name: (*text, judged[name]) for name, text in MEASURES.items() if name in judged}
    found["focus"] = ("Sharpness", "of the sharpest structural channel", sharpest(judged))
    found["saturated"] = ("Saturation", "share of pixels, worst channel", most_saturated(judged))
    return {
        name: (title, text, values.astype(float))
        for name, (title, text, values) in found.items()
        if values.notna().any()
    }


def thresholds(limits: dict[str, dict[str, Any]], measure: str) -> list[float]:
    """What the sources allow of a measure, each different value once; empty for a measure that judges nothing."""
    found = set()
    for own in limits.values():
        counted = "n_marker" if own["count"] == "marker" else "n_nuclei"
        allowed = {
            counted: own["min_cells"],
            "contrast": own["contrast"]["fraction"],
            "focus": own["focus"]["minimum"],
            "saturated": own["saturation"]["max_share"],
            "marker_fit": own["fit"]["minimum"],
        }
        if measure in allowed:
            found.add(float(allowed[measure]))
    return sorted(found)


def draw_measures(judged: pd.DataFrame, limits: dict[str, dict[str, Any]], settings: dict[str, Any], path: str) -> None:
    """One panel a measure: a row a reason, a point a field, a dashed line a threshold."""
    reasons = reasons_present(judged)
    panels = measures_of(judged)
    columns = min(4, len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    row_height = 0.9 + 0.27 * max(len(reasons), 3)
    with figure_file(path, max(7.0, 1.4 + 2.75 * columns), 0.8 + row_height * rows, settings["dpi"]) as figure:
        heading(
            figure,
            f"{int((judged['reason'] == PASSED).sum()):,} of {len(judged):,} fields passed quality control",
            "Each point is a field, each row the reason that was found first. A rejected field should lie apart from "
            "the passed ones in the measure that rejected it. Dashed: the limit that is allowed."
            + _sources_in_words(judged),
        )
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for empty in axes[len(panels) + 1 :]:
            empty.set_axis_off()
        if not len(judged):
            nothing_to_show(axes[0], "the catalog has no fields")
            return
        _draw_counts(axes[0], judged, reasons)
        for number, (name, (title, text, values)) in enumerate(panels.items(), start=1):
            _draw_strip(axes[number], judged, values, reasons, named=number % columns == 0)
            for allowed in thresholds(limits, name):
                axes[number].axvline(allowed, color=BAD, linestyle="--", linewidth=1.1, zorder=0)
            axes[number].set_xlabel(text)
            axes[number].set_title(title, fontsize=9.5)


def _sources_in_words(judged: pd.DataFrame) -> str:
    sources = judged["source"].unique()
    if len(sources) < 2:
        return ""
    shapes = {"o": "circles", "s": "squares", "^": "triangles", "D": "diamonds", "v": "triangles down", "P": "crosses"}
    told = [f"{shapes.get(SHAPES[number], 'other shapes')} {source}" for number, source in enumerate(sources[:6])]
    return " Shapes tell the source: " + ", ".join(told) + "."


def _draw_counts(axes: Axes, judged: pd.DataFrame, reasons: list[str]) -> None:
    counts = judged["reason"].value_counts().reindex(reasons).to_numpy()
    axes.barh(range(len(reasons)), counts, color=[GOOD if reason == PASSED else BAD for reason in reasons], height=0.68)
    for row, count in enumerate(counts):
        axes.annotate(f"{count:,}", (count, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_title("Fields by reason", fontsize=9.5)
    axes.set_xlabel("fields")
    axes.margins(x=0.2)
    _name_rows(axes, reasons, named=True)


def _draw_strip(axes: Axes, judged: pd.DataFrame, values: pd.Series, reasons: list[str], named: bool) -> None:
    rng = np.random.default_rng(0)
    shape_of = {source: SHAPES[number % len(SHAPES)] for number, source in enumerate(judged["source"].unique())}
    for row, reason in enumerate(reasons):
        here = judged["reason"].eq(reason) & values.notna()
        if not here.any():
            axes.text(
                0.02, row, "not measured", transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=SOFT
            )
            continue
        for source, shape in shape_of.items():
            found = values[here & judged["source"].eq(source)].to_numpy()
            if len(found) > POINTS:
                found = np.sort(found)[np.linspace(0, len(found) - 1, POINTS).astype(int)]
            axes.scatter(
                found, row + rng.uniform(-0.26, 0.26, len(found)), s=11, marker=shape, linewidths=0,
                alpha=0.6, color=GOOD if reason == PASSED else BAD,
            )  # fmt: skip
        middle = float(values[here].median())
        axes.plot([middle, middle], [row - 0.36, row + 0.36], color="black", linewidth=1.4)
    if values.min() >= 0 and values.max() > 50 * max(values.median(), 1e-9):
        axes.set_xscale("symlog", linthresh=max(float(values[values > 0].median()) / 10, 1e-6))
    axes.grid(axis="x", color="#E8EBEE", linewidth=0.7)
    axes.set_axisbelow(True)
    _name_rows(axes, reasons, named)


def _name_rows(axes: Axes, reasons: list[str], named: bool) -> None:
    axes.set_yticks(range(len(reasons)), [words(reason) for reason in reasons] if named else [])
    axes.set_ylim(len(reasons) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def draw_examples(judged: pd.DataFrame, images: FieldImages, settings: dict[str, Any], path: str) -> None:
    """A row a reason: fields at one contrast for each source, with what was found below."""
    everything, judged = judged, judged[judged["pixels"].astype(bool)]
    reasons = reasons_present(judged)
    most = settings["examples_per_reason"]
    chosen = {reason: in_turns(judged[judged["reason"] == reason], ["source", "name"], most) for reason in reasons}
    limits = {
        source: shared_contrast(
            list(_readable(images, group).values()), settings["low_percentile"], settings["high_percentile"]
        )
        for source, group in in_turns(judged[judged["reason"] == PASSED], ["source", "name"], 60).groupby("source")
    }
    shown = pd.concat(chosen.values()) if chosen else judged.head(0)
    columns = min(5, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    with figure_file(path, max(6.0, 2.6 * columns), 0.9 + 3.25 * rows, settings["dpi"]) as figure:
        heading(
            figure,
            "Fields that passed, and fields that did not",
            "All fields of a source are drawn at the contrast of its passed fields, so that a dim field looks dim. "
            f"Below each: what was found. Colours: {legend_in_words(_roles(judged))}.",
        )
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        if not len(shown):
            why = "vectors made elsewhere have no pixels" if len(everything) else "the catalog has no fields"
            nothing_to_show(axes[0], why)
        for axis, (_, field) in zip(axes, shown.iterrows(), strict=False):
            _draw_example(axis, field, images, limits.get(field["source"], {}), settings)


def _roles(judged: pd.DataFrame) -> list[str]:
    return [role for role in ROLE_COLOURS if f"focus_{role}" in judged]


def _readable(images: FieldImages, fields: pd.DataFrame, most: int = 12) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for _, field in fields.head(most).iterrows():
        try:
            found[field["field_id"]] = images.read(field["field_id"], field["version"])
        except UnreadableImage:
            continue
    return found


def _draw_example(axes: Axes, field: pd.Series, images: FieldImages, limits: dict, settings: dict[str, Any]) -> None:
    passed = field["reason"] == PASSED
    try:
        small, _ = reduced(images.read(field["field_id"], field["version"]), 400)
    except UnreadableImage as error:
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.add_patch(_blank())
        text = f"no picture: the field cannot be read ({words(error.reason)})"
        axes.text(0.5, 0.5, fill(text, 28), ha="center", va="center", fontsize=8, color=SOFT)
    else:
        own = shared_contrast([small], settings["low_percentile"], settings["high_percentile"])
        picture = composite(small, {role: limits.get(role, own[role]) for role in small})
        axes.imshow(fitted(picture, 400), interpolation="nearest")
    who = field["name"] or ("control" if field["control"] else field["field_id"])
    axes.set_title(
        f"{words(field['reason'])} · {shortened(str(who), 18)}", fontsize=9, color="#00694B" if passed else "#A84300"
    )
    below = field["detail"] or ", ".join(filter(None, [field["cell_line"], _count(field.get("n_nuclei_all"))]))
    axes.text(
        0,
        -0.03,
        fill(shortened(str(below or ""), 150), 40),
        transform=axes.transAxes,
        va="top",
        fontsize=7.2,
        color=SOFT,
    )


def _count(nuclei: float | None) -> str | None:
    return None if nuclei is None or pd.isna(nuclei) else f"{int(nuclei)} nuclei"


def _blank() -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), 1, 1, facecolor="#EEF1F4", edgecolor="#D8DDE3")
