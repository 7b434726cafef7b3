"""Places outside the nucleus: one drawing for each class of the vocabulary hpa19 that lies there.

In mitotic cells the Golgi apparatus falls into vesicles, and what stays is drawn around the spindle.
"""

import numpy as np

from wherein.simulate import filaments
from wherein.simulate.anatomy import Anatomy
from wherein.simulate.diffuse import even
from wherein.simulate.filaments import Paths
from wherein.simulate.markers import draw_microtubules, draw_reticulum
from wherein.simulate.texture import blur, dots, noise, sample, web
from wherein.simulate.traits import Traits


def endoplasmic_reticulum(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """The net that the ER marker shows too, with a labelling of its own."""
    return draw_reticulum(anatomy, rng, traits.between("share", 0.34, 0.46))


def golgi_apparatus(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Ribbon of short stacks on one side of the nucleus; scattered vesicles in mitosis."""
    cells, px = anatomy.cells, anatomy.px
    pieces = rng.poisson(traits.between("count", 14, 26), len(cells) + 1) * ~cells.mitotic
    pieces[0] = 0
    owner = np.repeat(np.arange(len(cells) + 1), pieces)
    width = np.repeat(0.22 + 0.3 * rng.random(len(cells) + 1), pieces)
    turn = cells.pole[owner] + width * rng.standard_normal(len(owner))
    radius = _nucleus_radius(anatomy, owner, turn) + np.abs(0.7 + 0.8 * rng.standard_normal(len(owner))) / px
    starts = np.stack([cells.y[owner] + radius * np.sin(turn), cells.x[owner] + radius * np.cos(turn)], 1)
    heading = turn + np.pi / 2 + 0.55 * rng.standard_normal(len(owner))
    ribbons = filaments.grow(rng, anatomy.label, starts, heading, owner, 7, 0.38 / px, 0.3)
    thick = max(1, round(traits.between("size", 0.4, 0.6) / px))
    weight = np.exp(0.3 * rng.standard_normal(len(owner)))
    image = blur(filaments.draw(ribbons, weight, anatomy.shape, thick), 0.12 / px) * anatomy.over_nucleus(0.25)
    near = anatomy.nearness * anatomy.cytoplasm * np.where(anatomy.in_mitosis, np.float32(1), np.float32(0.1))
    y, x = sample(rng, near, int(anatomy.seen.size * px**2 * 0.7))
    return image + dots(anatomy.shape, y, x, np.full(len(y), 0.2 / px**2), np.full(len(y), 0.18 / px))


def _nucleus_radius(anatomy: Anatomy, owner: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Radius in pixels of the nuclei of cells `owner` in the direction `turn`, radians in the field's frame."""
    a, b = anatomy.cells.nucleus_axes[owner].T
    relative = turn - anatomy.cells.angle[owner]
    return a * b / np.sqrt((b * np.cos(relative)) ** 2 + (a * np.sin(relative)) ** 2)


def _around_nucleus(
    anatomy: Anatomy, rng: np.random.Generator, number: np.ndarray, reach: float, steps: int, curl: float
) -> Paths:
    """Threads that start beside the nucleus and run around and away from it."""
    cells = anatomy.cells
    owner = np.repeat(np.arange(len(cells) + 1), number)
    turn = rng.random(len(owner)) * 2 * np.pi
    away = (
        _nucleus_radius(anatomy, owner, turn)
        + np.abs(rng.standard_normal(len(owner))) * reach * np.maximum(cells.cell_px - cells.nucleus_px, 1)[owner]
    )
    starts = np.stack([cells.y[owner] + away * np.sin(turn), cells.x[owner] + away * np.cos(turn)], 1)
    heading = turn + np.pi / 2 * np.where(rng.random(len(owner)) < 0.5, 1, -1) + 0.7 * rng.standard_normal(len(owner))
    return filaments.grow(
        rng, anatomy.label, starts, heading, owner, steps, 0.6 / anatomy.px, curl, anatomy.edge_um, 1.8
    )


def intermediate_filaments(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Wavy bundles, woven densely around the nucleus and thinning out towards the edge."""
    cells, px = anatomy.cells, anatomy.px
    area = anatomy.area_px * px**2
    number = (np.clip(traits.between("count", 0.14, 0.26) * area, 20, 200) * ~cells.mitotic).astype(int)
    number[0] = 0
    paths = _around_nucleus(anatomy, rng, number, traits.between("form", 0.2, 0.4), 26, 0.2)
    weight = np.exp(0.6 * rng.standard_normal(len(paths.owner)))
    bundles = filaments.draw(paths, weight, anatomy.shape, max(1, round(traits.between("size", 0.16, 0.32) / px)), 4)
    image = blur(bundles, 0.07 / px) * (0.1 + 0.9 * anatomy.nearness) * anatomy.over_nucleus(0.2)
    cage = web(rng, anatomy.shape, 0.9 / px, 2.5) * anatomy.cytoplasm * anatomy.in_mitosis
    return image + 0.5 * cage


def actin_filaments(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Straight stress fibres in one direction, and the cortex."""
    cells, px = anatomy.cells, anatomy.px
    area = anatomy.area_px * px**2
    number = (np.clip(traits.between("count", 0.06, 0.12) * area, 8, 90) * ~cells.mitotic).astype(int)
    number[0] = 0
    owner = np.repeat(np.arange(len(cells) + 1), number)
    turn, away = rng.random(len(owner)) * 2 * np.pi, 0.95 * np.sqrt(rng.random(len(owner)))
    starts = np.stack(
        [
            cells.y[owner] + away * cells.cell_px[owner] * np.sin(turn),
            cells.x[owner] + away * cells.cell_px[owner] * np.cos(turn),
        ],
        1,
    )
    axis = rng.random(len(cells) + 1) * np.pi
    heading = axis[owner] + 0.1 * rng.standard_normal(len(owner)) + np.pi * (rng.random(len(owner)) < 0.5)
    fibres = filaments.grow(rng, anatomy.label, starts, heading, owner, 18, 1.0 / px, 0.012)
    weight = np.exp(0.5 * rng.standard_normal(len(owner)))
    image = filaments.draw(fibres, weight, anatomy.shape, max(1, round(0.18 / px)), 3)
    beaded = np.maximum(1 + 0.22 * noise(rng, anatomy.shape, 0.3 / px), 0.1)
    ruffles = np.exp(0.6 * noise(rng, anatomy.shape, 1.3 / px))
    cortex = np.exp(-anatomy.edge_um / 0.45) * anatomy.seen * ruffles
    return blur(image * beaded, 0.05 / px) + traits.between("form", 0.35, 0.9) * cortex + 0.08 * anatomy.thickness


def microtubules(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """The filaments that the microtubule marker shows too, with a labelling of its own."""
    return draw_microtubules(anatomy, rng, traits.between("count", 0.72, 0.88), traits.between("share", 0.3, 0.45))


def mitotic_spindle(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """The spindle of mitotic cells; the others show a weak, even signal."""
    paths = anatomy.spindles
    weight = np.exp(0.3 * rng.standard_normal(len(paths.owner)))
    fibres = blur(filaments.draw(paths, weight, anatomy.shape, max(1, round(0.3 / anatomy.px))), 0.1 / anatomy.px)
    poles = _dots_at(anatomy, anatomy.centrosomes[anatomy.cells.mitotic].reshape(-1, 2), 0.35, traits.form)
    return (fibres + poles) * anatomy.in_mitosis + even(anatomy, rng) * ~anatomy.in_mitosis


def _dots_at(anatomy: Anatomy, points: np.ndarray, size_um: float, weight: float) -> np.ndarray:
    """Dots of one size, of a peak of `weight`."""
    sigma = np.full(len(points), size_um / anatomy.px)
    return dots(anatomy.shape, points[:, 0], points[:, 1], weight * 2 * np.pi * sigma**2, sigma)


def centrosome(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """One or two dots beside the nucleus, the poles in mitotic cells; some proteins have satellites around them."""
    cells, px = anatomy.cells, anatomy.px
    n = len(cells) + 1
    pair = anatomy.centrosomes[1:]
    second = np.where((rng.random(n - 1) < 0.75) | cells.mitotic[1:], 1.0, 0.0)
    points = np.concatenate([pair[:, 0], pair[:, 1]])
    size = np.full(2 * (n - 1), traits.between("size", 0.22, 0.34) / px)
    weight = np.concatenate([np.ones(n - 1), second]) * np.exp(0.2 * rng.standard_normal(2 * (n - 1)))
    image = dots(anatomy.shape, points[:, 0], points[:, 1], weight, size)
    if traits.form > 0.6:
        number = 8
        around = np.repeat(pair.mean(1), number, 0) + rng.standard_normal((number * (n - 1), 2)) * 0.9 / px
        image += dots(
            anatomy.shape, around[:, 0], around[:, 1], np.full(len(around), 0.05), np.full(len(around), 0.15 / px)
        )
    return image * anatomy.seen


def plasma_membrane(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Outline of the cell, strong where cells touch, ruffled at free edges, and the membrane above and below."""
    px = anatomy.px
    width = traits.between("size", 0.3, 0.45)
    uneven = np.exp(0.25 * noise(rng, anatomy.shape, 0.6 / px))
    ruffles = np.exp(0.7 * noise(rng, anatomy.shape, 1.2 / px))
    contact = np.exp(-anatomy.contact_um / width) * traits.between("count", 1.2, 1.7)
    free = np.exp(-anatomy.free_um / (1.2 * width)) * 0.55 * ruffles
    fringe = web(rng, anatomy.shape, 0.7 / px, 4.0) * np.exp(-anatomy.free_um / 1.6)
    surface = traits.between("form", 0.04, 0.1) * (1 + 0.25 * anatomy.patches) * anatomy.wall
    return (np.maximum(contact, free) * uneven + 0.25 * fringe + np.maximum(surface, 0)) * anatomy.seen


def mitochondria(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Threads and short rods in the cytoplasm, more of them near the nucleus."""
    px = anatomy.px
    weight = anatomy.cytoplasm * (0.25 + 0.75 * anatomy.nearness) * (anatomy.edge_um > 0.8)
    y, x = sample(rng, weight, int(anatomy.seen.size * px**2 * traits.between("count", 0.55, 0.95)))
    owner = anatomy.label[y.astype(np.intp), x.astype(np.intp)]
    away = np.arctan2(y - anatomy.cells.y[owner], x - anatomy.cells.x[owner])
    heading = away + 0.9 * rng.standard_normal(len(y))
    steps = 5 + int(14 * traits.form)
    home = np.where(anatomy.in_nucleus, 0, anatomy.label)
    tubes = filaments.grow(rng, home, np.stack([y, x], 1), heading, owner, steps, 0.45 / px, 0.26, anatomy.edge_um, 1.0)
    tubes.length = np.minimum(tubes.length, 2 + rng.integers(0, steps + 1, len(y)))
    thick = max(1, round(traits.between("size", 0.2, 0.36) / px))
    lines = filaments.draw(tubes, np.exp(0.35 * rng.standard_normal(len(y))), anatomy.shape, thick)
    return blur(lines, 0.09 / px)


def aggresome(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """One dense clump beside the nucleus."""
    cells, px = anatomy.cells, anatomy.px
    n = len(cells) + 1
    parts = 9
    core = traits.between("size", 0.65, 1.0) / px * np.exp(0.15 * rng.standard_normal(n))
    owner = np.repeat(np.arange(1, n), parts)
    seat = np.stack([cells.y, cells.x], 1) + (_nucleus_radius(anatomy, np.arange(n), cells.pole) * 1.02 + 1.1 * core)[
        :, None
    ] * np.stack([np.sin(cells.pole), np.cos(cells.pole)], 1)
    around = seat[owner] + rng.standard_normal((len(owner), 2)) * 0.75 * core[owner][:, None]
    sigma = core[owner] * (0.35 + 0.4 * rng.random(len(owner)))
    clump = dots(anatomy.shape, around[:, 0], around[:, 1], 2 * np.pi * sigma**2, sigma)
    solid = np.minimum(clump, 1.6) * np.maximum(1 + 0.15 * noise(rng, anatomy.shape, 0.3 / px), 0.1)
    return solid * anatomy.seen * anatomy.over_nucleus(0.3)


def cytosol(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Even signal in the cytoplasm, nucleus dimmer, vacuoles left out."""
    grain = np.maximum(1 + traits.between("size", 0.06, 0.14) * noise(rng, anatomy.shape, 0.25 / anatomy.px), 0.1)
    nucleus = traits.between("form", 0.05, 0.45) * anatomy.nucleoplasm * (1 - 0.5 * anatomy.nucleoli)
    return anatomy.cytoplasm * grain * (1 - 0.4 * anatomy.holes) + nucleus * anatomy.thickness


def vesicles(anatomy: Anatomy, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Puncta all over the cytoplasm, few or many, fine or coarse, the largest with a hollow."""
    px = anatomy.px
    near = anatomy.nearness if traits.form > 0.5 else 0.25 + 0.75 * np.sqrt(anatomy.nearness)
    weight = np.minimum(anatomy.cytoplasm, 1) * near * (anatomy.edge_um > 0.3) * ~anatomy.in_nucleus
    y, x = sample(rng, weight, int(anatomy.seen.size * px**2 * traits.between("count", 0.25, 0.9)))
    size = traits.between("size", 0.14, 0.3) * np.exp(0.3 * rng.standard_normal(len(y))) / px
    peak = np.exp(0.45 * rng.standard_normal(len(y)))
    image = dots(anatomy.shape, y, x, peak * 2 * np.pi * size**2, size)
    large = size > 0.33 / px
    if large.any():
        inner = 0.6 * size[large]
        image -= 0.6 * dots(anatomy.shape, y[large], x[large], peak[large] * 2 * np.pi * inner**2, inner)
    return np.maximum(image, 0)
