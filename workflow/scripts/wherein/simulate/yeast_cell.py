"""One budding yeast cell: its compartments, and how a protein looks in each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CORTEX_UM = 0.16
"""Width (standard deviation) of a membrane seen edge on, before the microscope blurs it."""


@dataclass(frozen=True)
class YeastCell:
    """Shape of a mother cell and its bud; lengths in micrometres, coordinates in the field.

    Attributes:
        y: centre of the mother.
        x: centre of the mother.
        radius: mean radius of the mother.
        ratio: ratio of the mother's axes, the long one towards the bud.
        direction: of the bud, radians.
        bud: radius of the bud, 0 for a cell without one.
        cycle: place in the cell cycle, 0 to 1.
        mitotic: whether the nucleus is dividing.
    """

    y: float
    x: float
    radius: float
    ratio: float
    direction: float
    bud: float
    cycle: float
    mitotic: bool

    @property
    def bud_centre(self) -> tuple[float, float]:
        """(y, x) of the bud's centre."""
        reach = self.radius * np.sqrt(self.ratio) + 0.82 * self.bud
        return self.y + reach * np.sin(self.direction), self.x + reach * np.cos(self.direction)

    @property
    def circles(self) -> list[tuple[float, float, float]]:
        """(y, x, radius) of the mother and, where there is one, of the bud."""
        mother = (self.y, self.x, self.radius * np.sqrt(self.ratio))
        return [mother] if self.bud == 0 else [mother, (*self.bud_centre, self.bud)]


class Style(NamedTuple):
    """What is the protein's own, the same in all its fields.

    Attributes:
        count: puncta against the usual number.
        size: their size against the usual.
        share: share of the signal that is specific, at most.
    """

    count: float
    size: float
    share: float


@dataclass
class Anatomy:
    """Compartments of one cell on its own pixels; images are (H, W) float32, lengths micrometres.

    Attributes:
        y: (H, 1) coordinates in the field.
        x: (1, W) coordinates in the field.
        depth: thickness of the cell at each pixel, 0 outside.
        edge: depth below the outline (of mother or bud), negative outside.
        in_bud: whether a pixel is the bud's.
        nucleus: thickness of the nucleus.
        nucleus_edge: depth below the outline of the nucleus, negative outside.
        lobes: (y, x, radius) of the nucleus, two for a dividing one.
        vacuole: thickness of the vacuoles.
        vacuole_edge: depth below their outline, negative outside.
        shape: the cell.
    """

    y: np.ndarray
    x: np.ndarray
    depth: np.ndarray
    edge: np.ndarray
    in_bud: np.ndarray
    nucleus: np.ndarray
    nucleus_edge: np.ndarray
    lobes: list[tuple[float, float, float]]
    vacuole: np.ndarray
    vacuole_edge: np.ndarray
    shape: YeastCell


def anatomy(cell: YeastCell, nucleus_um: float, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> Anatomy:
    """Lay out the compartments of a cell.

    Args:
        cell: its shape.
        nucleus_um: diameter of a nucleus.
        y: (H, 1) coordinates of the pixels in the field, micrometres.
        x: (1, W) likewise.
        rng: random numbers of this cell.
    """
    cos, sin = np.float32(np.cos(cell.direction)), np.float32(np.sin(cell.direction))
    along = (y - np.float32(cell.y)) * sin + (x - np.float32(cell.x)) * cos
    across = (y - np.float32(cell.y)) * cos - (x - np.float32(cell.x)) * sin
    stretch = np.float32(np.sqrt(cell.ratio))
    q = np.sqrt((along / stretch) ** 2 + (across * stretch) ** 2) / np.float32(cell.radius)
    edge = np.float32(cell.radius) * (1 - q)
    in_bud = np.zeros(edge.shape, bool)
    depth = 2 * np.float32(cell.radius) * np.sqrt(np.maximum(1 - q * q, 0))
    if cell.bud:
        bud_edge, bud_depth = sphere((*cell.bud_centre, cell.bud), y, x)
        in_bud = bud_edge > edge
        edge, depth = np.maximum(edge, bud_edge), np.maximum(depth, bud_depth)
    lobes = nuclear_lobes(cell, nucleus_um / 2, rng)
    vacuoles = place_vacuoles(cell, lobes[0], rng)
    nucleus_edge, nucleus = union(lobes, y, x)
    vacuole_edge, vacuole = union(vacuoles, y, x)
    vacuole = np.minimum(vacuole, depth)
    return Anatomy(y, x, depth, edge, in_bud, nucleus, nucleus_edge, lobes, vacuole, vacuole_edge, cell)


def sphere(ball: tuple[float, float, float], y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the outline (negative outside) and thickness of a ball (y, x, radius) at each pixel."""
    radius = np.float32(ball[2])
    distance = np.sqrt((y - np.float32(ball[0])) ** 2 + (x - np.float32(ball[1])) ** 2)
    return radius - distance, 2 * np.sqrt(np.maximum(radius * radius - distance * distance, 0))


def union(balls: list[tuple[float, float, float]], y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the common outline and thickness of several balls."""
    edge, depth = sphere(balls[0], y, x)
    for ball in balls[1:]:
        other_edge, other_depth = sphere(ball, y, x)
        edge, depth = np.maximum(edge, other_edge), np.maximum(depth, other_depth)
    return edge, depth


def nuclear_lobes(cell: YeastCell, radius: float, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Where the nucleus is: near the bud's neck before it divides, in mother and bud when it does."""
    radius *= float(np.clip(cell.radius / 2.5, 0.75, 1.2)) * float(rng.uniform(0.92, 1.08))
    shift = cell.radius * (rng.uniform(0.25, 0.5) if cell.bud else rng.uniform(0.0, 0.35))
    angle = cell.direction + rng.normal(0, 0.35)
    place = (cell.y + shift * np.sin(angle), cell.x + shift * np.cos(angle), radius)
    if cell.mitotic and cell.bud:
        bud_y, bud_x = cell.bud_centre
        small = min(0.8 * radius, 0.8 * cell.bud)
        return [(place[0], place[1], 0.9 * radius), (bud_y, bud_x, small)]
    return [place]


def place_vacuoles(
    cell: YeastCell, nucleus: tuple[float, float, float], rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """One to three vacuoles, away from the nucleus."""
    number = int(rng.choice([1, 1, 2, 3]))
    away = np.arctan2(cell.y - nucleus[0], cell.x - nucleus[1]) if number else 0.0
    found = []
    for i in range(number):
        radius = cell.radius * rng.uniform(0.34, 0.46) / (1 + 0.35 * (number - 1))
        angle = away + (i - (number - 1) / 2) * 1.3 + rng.normal(0, 0.2)
        reach = cell.radius - radius - rng.uniform(0.25, 0.45)
        found.append((cell.y + reach * np.sin(angle), cell.x + reach * np.cos(angle), radius))
    return found


def bell(distance: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian of a distance, with peak 1."""
    return np.exp(np.float32(-0.5 / sigma**2) * distance * distance)


def spots(here: Anatomy, places: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian dots at (n, 2) places (y, x in micrometres)."""
    image = np.zeros(here.depth.shape, np.float32)
    for y, x in places.astype(np.float32):
        image += bell(here.y - y, sigma) * bell(here.x - x, sigma)
    return image


def somewhere(here: Anatomy, weight: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, 2) places (y, x in micrometres), drawn with the weight of the pixels."""
    total = np.cumsum(weight, dtype=np.float64)
    pick = np.searchsorted(total, rng.random(max(number, 1)) * total[-1]).clip(0, weight.size - 1)
    rows, columns = np.divmod(pick, weight.shape[1])
    return np.stack([here.y[rows, 0], here.x[0, columns]], axis=1)


def many(mean: float, style: Style, rng: np.random.Generator) -> int:
    """Number of puncta in a cell, at least 1."""
    return max(1, int(rng.poisson(mean * style.count)))


def cytosol(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The cytoplasm, thinner over the nucleus, and nothing in the vacuoles."""
    return np.maximum(here.depth - 0.95 * here.vacuole - 0.8 * here.nucleus, 0.02 * here.depth)


def nucleus(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The whole nucleus, as thick as it is."""
    return here.nucleus


def nucleolus(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """A crescent at the side of the nucleus that faces away from the bud."""
    image = np.zeros_like(here.depth)
    for y, x, radius in here.lobes:
        angle = here.shape.direction + np.pi + rng.normal(0, 0.4)
        centre = np.array([[y + 0.62 * radius * np.sin(angle), x + 0.62 * radius * np.cos(angle)]])
        image += spots(here, centre, 0.38 * radius * style.size)
    return image * (here.nucleus_edge > 0)


def nuclear_periphery(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The envelope of the nucleus, brightest at its rim."""
    return bell(here.nucleus_edge, CORTEX_UM) + 0.12 * (here.nucleus_edge > 0)


def reticulum(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The envelope of the nucleus and patches below the plasma membrane."""
    cortex = bell(here.edge - 0.28, 0.2)
    angle = np.arctan2(here.y - here.shape.y, here.x - here.shape.x)
    waves = sum(np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    patches = 1 / (1 + np.exp(-4 * waves - 2))
    return bell(here.nucleus_edge, CORTEX_UM) + 0.7 * cortex * patches + 0.06 * (here.edge > 0)


def golgi(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Puncta of middle size, apart from nucleus and vacuole."""
    inner = (here.edge > 0.3) & (here.nucleus_edge < 0) & (here.vacuole_edge < 0)
    return spots(here, somewhere(here, inner + 1e-6, many(5, style, rng), rng), 0.24 * style.size)


def mitochondria(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Tubes that wind below the cortex."""
    image = np.zeros_like(here.depth)
    for _ in range(many(3.5, style, rng)):
        cortex = (here.edge > 0.2) & (here.edge < 1.2) & (here.vacuole_edge < 0.1)
        y, x = somewhere(here, cortex + 1e-6, 1, rng)[0]
        angle = np.arctan2(y - here.shape.y, x - here.shape.x) + np.pi / 2
        steps = int(rng.integers(6, 16))
        turn = rng.normal(0.16, 0.18, steps).cumsum() + angle
        path = np.stack([y + 0.22 * np.sin(turn).cumsum(), x + 0.22 * np.cos(turn).cumsum()], axis=1)
        image = np.maximum(image, spots(here, path, 0.16 * style.size))
    return image * (here.edge > 0.1)


def vacuole(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The lumen of the vacuoles."""
    return here.vacuole


def vacuole_membrane(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The rim of the vacuoles."""
    return bell(here.vacuole_edge, CORTEX_UM) + 0.1 * (here.vacuole_edge > 0)


def cell_periphery(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The plasma membrane of mother and bud."""
    return bell(here.edge - 0.1, CORTEX_UM) + 0.05 * (here.edge > 0)


def bud_neck(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """A short bar across the neck; before a bud is there, a patch at its future place."""
    shape = here.shape
    reach = shape.radius * np.sqrt(shape.ratio) - 0.05
    y, x = shape.y + reach * np.sin(shape.direction), shape.x + reach * np.cos(shape.direction)
    half = 0.45 if shape.bud else 0.2
    along = np.linspace(-half, half, 7)
    path = np.stack([y + along * np.cos(shape.direction), x - along * np.sin(shape.direction)], axis=1)
    return spots(here, path, 0.15 * style.size) * (1.0 if shape.bud else 0.35)


def endosome(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Few large puncta beside the vacuole."""
    beside = bell(here.vacuole_edge + 0.25, 0.15) * (here.edge > 0.2)
    return spots(here, somewhere(here, beside + 1e-9, many(2.5, style, rng), rng), 0.3 * style.size)


def peroxisome(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Small puncta anywhere in the cytoplasm."""
    inner = (here.edge > 0.25) & (here.nucleus_edge < 0.1) & (here.vacuole_edge < 0)
    return spots(here, somewhere(here, inner + 1e-6, many(6, style, rng), rng), 0.15 * style.size)


def lipid_particle(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Small bright puncta that gather at the envelope of the nucleus."""
    near = bell(here.nucleus_edge + 0.3, 0.3) * (here.edge > 0.2) * (here.vacuole_edge < 0)
    return spots(here, somewhere(here, near + 1e-9, many(8, style, rng), rng), 0.17 * style.size)


def spindle_pole(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """One dot at the nucleus, two when it is about to divide."""
    places = []
    for y, x, radius in here.lobes:
        turns = (0.0, np.pi) if len(here.lobes) == 1 and here.shape.cycle > 0.55 else (0.0,)
        angle = here.shape.direction + rng.normal(0, 0.3)
        places += [(y + radius * np.sin(angle + turn), x + radius * np.cos(angle + turn)) for turn in turns]
    return spots(here, np.array(places), 0.18 * style.size)


def actin(here: Anatomy, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Patches below the cortex, most of them in the bud."""
    cortex = bell(here.edge - 0.2, 0.15)
    if here.shape.bud:
        cortex = cortex * np.where(here.in_bud, 1.0, 0.06 if here.shape.bud < 0.7 * here.shape.radius else 0.5)
    return spots(here, somewhere(here, cortex + 1e-9, many(12, style, rng), rng), 0.17 * style.size)


PATTERNS: dict[str, Callable[[Anatomy, Style, np.random.Generator], np.ndarray]] = {
    "cytosol": cytosol,
    "nucleus": nucleus,
    "nucleolus": nucleolus,
    "nuclear periphery": nuclear_periphery,
    "ER": reticulum,
    "Golgi": golgi,
    "mitochondria": mitochondria,
    "vacuole": vacuole,
    "vacuole membrane": vacuole_membrane,
    "cell periphery": cell_periphery,
    "bud neck": bud_neck,
    "endosome": endosome,
    "peroxisome": peroxisome,
    "lipid particle": lipid_particle,
    "spindle pole": spindle_pole,
    "actin": actin,
}
"""How a protein looks in each place: a function of the cell, the protein's style and the cell's random numbers.

It gives a (H, W) image of any scale, at least 0."""
