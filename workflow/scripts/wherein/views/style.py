"""How figures look: colours that the colour-blind can tell apart, shapes beside them, one way to save."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from wherein.atomic import atomic_path

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A500")
"""Okabe & Ito 2008, "Color Universal Design": without black, and with a yellow dark enough for white paper."""

SHAPES = ("o", "s", "^", "P", "v", "D", "X")
"""Marker shapes of matplotlib; a class has a colour and a shape, so that either may fail."""

GREY = "#8A9099"
INK = "#1C2430"
SOFT = "#5C6673"
PAPER = "#FFFFFF"
GOOD = OKABE_ITO[2]
BAD = OKABE_ITO[3]

MULTI = "Multi"
"""What the atlas calls the location of a protein with several."""

UNKNOWN = "no label"
"""What figures and pages call the location of a protein without any."""

_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#AEB5BE",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
}


def class_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker shape of each class, so that no two of up to 49 classes share both.

    Args:
        names: class names in the order of their vocabulary. `Multi` and unlabelled are always grey.

    Returns:
        name -> (colour as `#rrggbb`, marker of matplotlib).
    """
    styles: dict[str, tuple[str, str]] = {}
    for name in names:
        if name in (MULTI, UNKNOWN) or name in styles:
            continue
        number = len(styles)
        # neighbours in the order differ in both; classes of one colour have shapes that look unlike
        row = number // len(OKABE_ITO)
        styles[name] = (OKABE_ITO[number % len(OKABE_ITO)], SHAPES[(number + row * 2) % len(SHAPES)])
    return {**styles, MULTI: (GREY, "o"), UNKNOWN: ("#C9CDD2", "o")}


def class_shades(names: Iterable[str]) -> dict[str, str]:
    """Colour of each class where there is no shape: the colours of `class_styles`, light and dark as they come again.

    Args:
        names: class names in the order of their vocabulary.

    Returns:
        name -> colour as `#rrggbb`, no two alike among the first 21.
    """
    seen: dict[str, int] = {}
    shades = {}
    for name, (colour, _) in class_styles(names).items():
        turn = seen[colour] = seen.get(colour, -1) + 1
        towards, share = ((0.0, 0.0), (1.0, 0.55), (0.0, 0.5))[turn % 3]
        shades[name] = to_hex([(1 - share) * part + share * towards for part in to_rgb(colour)])
    return shades


@contextmanager
def figure_file(path: str | Path, width: float, height: float, dpi: int) -> Iterator[Figure]:
    """A figure in the house's style that is written to `path`, atomically, when the block ends.

    Args:
        path: PNG file.
        width: inches.
        height: inches.
        dpi: dots an inch.

    Yields:
        An empty figure with constrained layout.
    """
    with mpl.rc_context(_SETTINGS):
        figure = plt.figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03)  # type: ignore[union-attr]
        try:
            yield figure
            with atomic_path(path) as partial:
                # Software and date in the file would make two runs' figures differ
                figure.savefig(partial, dpi=dpi, format="png", metadata={"Software": None})
        finally:
            plt.close(figure)


def nothing_to_show(axes: Axes, reason: str) -> None:
    """Turn a panel into a sentence: what would be here, and why it is not."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, fill(f"Nothing to show: {reason}", 52), ha="center", va="center", color=SOFT, fontsize=10,
        transform=axes.transAxes, bbox={"boxstyle": "round,pad=1", "facecolor": "#F3F5F7", "edgecolor": "#D8DDE3"},
    )  # fmt: skip


def heading(figure: Figure, title: str, subtitle: str = "") -> None:
    """Write over the whole figure what is seen, and below it what to know to read it."""
    width, height = figure.get_size_inches()
    lines = fill(subtitle, int(width * 15.5)).split("\n") if subtitle else []
    taken = (0.36 + 0.165 * len(lines)) / height
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - taken))  # type: ignore[union-attr]
    left = 0.1 / width
    figure.text(left, 1 - 0.09 / height, title, va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(left, 1 - 0.34 / height, "\n".join(lines), va="top", fontsize=9, color=SOFT, linespacing=1.25)


def words(name: str) -> str:
    """A column's or reason's name as people read it: `too_few_cells` -> `too few cells`."""
    return name.replace("_", " ")


def shortened(text: str, length: int) -> str:
    """`text`, cut with an ellipsis where it is longer than `length` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def spread_labels(axes: Axes, points: Sequence[tuple[float, float, str]], most: int, **style: object) -> int:
    """Write names beside points, skipping each that would cover a name written before.

    Args:
        axes: axes with their final limits.
        points: (x, y, name), the most important first.
        most: most names to write.
        style: of the text.

    Returns:
        Number of names written.
    """
    figure = axes.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = axes.get_window_extent(renderer)
    taken: list[mpl.transforms.Bbox] = []
    for x, y, name in points:
        if len(taken) >= most:
            break
        for dx, dy, ha, va in ((5, 3, "left", "bottom"), (-5, 3, "right", "bottom"), (5, -3, "left", "top"),
                               (-5, -3, "right", "top")):  # fmt: skip
            label = axes.annotate(name, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=7, **style)
            box = label.get_window_extent(renderer)
            if inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1) and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()
    return len(taken)
