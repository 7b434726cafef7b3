"""What lies where in the cells of a field: distances, thickness, chromatin and the cells' inner structures.

All of it belongs to the cells, not to any protein or marker: an ER protein and the ER marker are drawn from the same
net, each with its own labelling. Each structure has its own random stream and is made when it is first asked for, so
that what one field needs never shifts what another part of it draws.
"""

from functools import cached_property

import cv2
import numpy as np

from wherein.simulate import filaments
from wherein.simulate.cells import Cells, dna_content
from wherein.simulate.filaments import Paths
from wherein.simulate.outlines import ANAPHASE, METAPHASE
from wherein.simulate.streams import STRUCTURE, stream
from wherein.simulate.texture import blur, noise, sample, web

_NUCLEOLI, _CHROMATIN, _ER, _MICROTUBULES, _PATCHES, _HOLES, _CENTROSOMES, _FREE = range(8)


class Anatomy:
    """Maps and structures of the cells of one field.

    Args:
        cells: geometry of the field.
        seed: seed of the field.
    """

    def __init__(self, cells: Cells, seed: int):
        self.cells = cells
        self.seed = seed
        self.px = cells.pixel_size_um
        self.shape = cells.shape
        self.label = cells.label
        self.seen = cells.label > 0

    def stream(self, structure: int) -> np.random.Generator:
        """Random stream of one structure of this field."""
        return stream(self.seed, STRUCTURE, structure)

    def per_cell(self, values: np.ndarray) -> np.ndarray:
        """(H, W) float32 with each cell's value, that of entry 0 in the background."""
        return np.take(np.asarray(values, np.float32), self.label)

    def cell_sums(self, image: np.ndarray) -> np.ndarray:
        """(n + 1,) float64 sum of a (H, W) image over each cell."""
        return np.bincount(self.label.ravel(), image.ravel(), len(self.cells) + 1)

    @cached_property
    def area_px(self) -> np.ndarray:
        """(n + 1,) pixels that are seen of each cell, 1 at least."""
        return np.maximum(np.bincount(self.label.ravel(), minlength=len(self.cells) + 1), 1)

    @cached_property
    def _borders(self) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) bool twice: pixels at a border to another cell, and to the background."""
        label = self.label
        contact, free = np.zeros(self.shape, bool), np.zeros(self.shape, bool)
        for axis in (0, 1):
            low = [slice(None), slice(None)]
            high = [slice(None), slice(None)]
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            one, other = label[tuple(low)], label[tuple(high)]
            differs = one != other
            touching = differs & (one > 0) & (other > 0)
            for side in (tuple(low), tuple(high)):
                contact[side] |= touching
                free[side] |= differs & ~touching
        return contact, free & self.seen

    def _distance_um(self, target: np.ndarray) -> np.ndarray:
        """(H, W) float32 distance to the nearest pixel of a (H, W) bool map; far away without one."""
        if not target.any():
            return np.full(self.shape, 1e3, np.float32)
        return cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, 3) * np.float32(self.px)

    @cached_property
    def contact_um(self) -> np.ndarray:
        """(H, W) float32 distance to the nearest border between two cells."""
        return self._distance_um(self._borders[0])

    @cached_property
    def free_um(self) -> np.ndarray:
        """(H, W) float32 distance to the nearest border of a cell to the background."""
        return self._distance_um(self._borders[1])

    @cached_property
    def edge_um(self) -> np.ndarray:
        """(H, W) float32 distance to the outline of the cell, 0 in the background."""
        return np.minimum(self.contact_um, self.free_um) * self.seen

    @cached_property
    def in_nucleus(self) -> np.ndarray:
        """(H, W) bool, nuclei of interphase cells."""
        return (self.cells.nucleus > 0) & ~self.in_mitosis

    def over_nucleus(self, factor: float) -> np.ndarray:
        """(H, W) float32, `factor` in interphase nuclei and 1 elsewhere."""
        return np.where(self.in_nucleus, np.float32(factor), np.float32(1))

    @cached_property
    def chromosomes(self) -> np.ndarray:
        """(H, W) bool, condensed chromosomes of mitotic cells."""
        return (self.cells.nucleus > 0) & self.in_mitosis

    @cached_property
    def in_mitosis(self) -> np.ndarray:
        """(H, W) bool, pixels of mitotic cells."""
        return self.cells.mitotic[self.label]

    @cached_property
    def depth_um(self) -> np.ndarray:
        """(H, W) float32 distance from the edge of the nucleus (or of the chromosomes) inwards, 0 outside."""
        nucleus = self.cells.nucleus
        inside = (nucleus > 0).astype(np.uint8)
        inside[:-1][nucleus[:-1] != nucleus[1:]] = 0
        inside[:, :-1][nucleus[:, :-1] != nucleus[:, 1:]] = 0
        return cv2.distanceTransform(inside, cv2.DIST_L2, 3) * np.float32(self.px)

    @cached_property
    def outside_um(self) -> np.ndarray:
        """(H, W) float32 distance from the cell's own nucleus, taken as an ellipse; 0 within."""
        cells = self.cells
        rows, columns = np.indices(self.shape, sparse=True, dtype=np.float32)
        dy, dx = rows - self.per_cell(cells.y), columns - self.per_cell(cells.x)
        a, b = np.maximum(cells.nucleus_axes, 1e-3).T
        cos, sin = np.cos(cells.angle), np.sin(cells.angle)
        q = self.per_cell((sin / a) ** 2 + (cos / b) ** 2) * dy * dy
        q += self.per_cell((cos / a) ** 2 + (sin / b) ** 2) * dx * dx
        q += self.per_cell(2 * sin * cos * (1 / a**2 - 1 / b**2)) * dy * dx
        return np.maximum(np.sqrt(q) - 1, 0) * self.per_cell(cells.nucleus_px * self.px)

    @cached_property
    def nearness(self) -> np.ndarray:
        """(H, W) float32, 1 at the nucleus, falling with the distance from it in the measure of the cell's size."""
        reach = np.maximum(0.55 * (self.cells.cell_px - 0.6 * self.cells.nucleus_px) * self.px, 0.5)
        return np.exp(-self.outside_um / self.per_cell(reach))

    @cached_property
    def patches(self) -> np.ndarray:
        """(H, W) float32 slow noise: thickness that differs from place to place."""
        return noise(self.stream(_PATCHES), self.shape, 2.6 / self.px)

    @cached_property
    def wall(self) -> np.ndarray:
        """(H, W) float32 in 0 to 1, how the cell thins out at its edge: slowly here, steeply there."""
        steep = np.float32(0.55) * np.exp(0.35 * self.patches)
        return (1 - np.exp(-self.edge_um / steep)) * self.seen

    @cached_property
    def thickness(self) -> np.ndarray:
        """(H, W) float32 thickness of the body, about 1 beside the nucleus; 0 in the background.

        Where a cell lies over another, the light of the lower one adds to it near the upper one's edge.
        """
        flat = (0.34 + 0.66 * self.nearness) * (1 + 0.1 * self.patches)
        flat[self.in_mitosis] = 1.5
        body = flat * self.wall
        below = self.cells.under > 0
        body[below] += 0.3 * np.exp(-self.edge_um[below] / 1.5)
        return np.maximum(body, 0)

    @cached_property
    def cytoplasm(self) -> np.ndarray:
        """(H, W) float32 thickness of the cytoplasm: little of it lies above and below a nucleus."""
        solid = blur(self.in_nucleus.astype(np.float32), 0.2 / self.px)
        packed = blur(self.chromosomes.astype(np.float32), 0.25 / self.px)
        return self.thickness * (1 - 0.9 * solid) * (1 - 0.7 * packed)

    @cached_property
    def nucleoplasm(self) -> np.ndarray:
        """(H, W) float32 thickness of interphase nuclei, about 1 in their middle."""
        return (1 - np.exp(-self.depth_um / 0.5)) * self.in_nucleus

    @cached_property
    def nucleoli_table(self) -> np.ndarray:
        """(k, 5) float64: cell, y, x in pixels, half axes in pixels; one to five for each interphase nucleus."""
        rng = self.stream(_NUCLEOLI)
        cells = self.cells
        rows = []
        for cell in range(1, len(cells) + 1):
            number = 1 + rng.binomial(5, 0.38)
            draws = rng.random((5, 4))
            if cells.mitotic[cell]:
                continue
            radius = cells.nucleus_px[cell] * 0.42 / np.sqrt(number)
            for away, turn, size, flat in draws[:number]:
                along = 0.72 * np.sqrt(away) * np.array([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)])
                major, minor = along * cells.nucleus_axes[cell]
                cos, sin = np.cos(cells.angle[cell]), np.sin(cells.angle[cell])
                y, x = cells.y[cell] + major * sin + minor * cos, cells.x[cell] + major * cos - minor * sin
                size_px = radius * (0.6 + 0.55 * size)
                rows.append((cell, y, x, size_px * (0.85 + 0.4 * flat), size_px * (1.1 - 0.35 * flat)))
        return np.array(rows, np.float64).reshape(-1, 5)

    @cached_property
    def nucleoli(self) -> np.ndarray:
        """(H, W) float32 in 0 to 1, nucleoli."""
        canvas = np.zeros(self.shape, np.uint8)
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        rng = self.stream(_NUCLEOLI + 100)
        bumps = 1 + 0.1 * rng.standard_normal((len(self.nucleoli_table), 4))
        for (_, y, x, a, b), (p, q, r, s) in zip(self.nucleoli_table, bumps, strict=True):
            wave = 1 + (p - 1) * np.cos(2 * turn + 6 * q) + (r - 1) * np.cos(3 * turn + 6 * s)
            outline = np.stack([x + a * np.cos(turn) * wave, y + b * np.sin(turn) * wave], -1)
            cv2.fillPoly(canvas, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        soft = blur(canvas.astype(np.float32) * np.float32(1 / 255), 0.12 / self.px)
        return soft * self.in_nucleus * np.clip(self.depth_um / 0.5 - 0.6, 0, 1)

    @cached_property
    def chromatin(self) -> np.ndarray:
        """(H, W) float32 DNA; the mean over a usual nucleus is about 1, its sum follows the DNA content."""
        rng = self.stream(_CHROMATIN)
        cells = self.cells
        grain = noise(rng, self.shape, 0.28 / self.px)
        clump = noise(rng, self.shape, 0.9 / self.px)
        texture = np.maximum(1 + 0.2 * grain + 0.15 * clump, 0.15) * (1 - 0.55 * self.nucleoli)
        texture *= 0.85 + 0.25 * np.exp(-((self.depth_um - 0.5) ** 2) / 0.3)
        inside = cells.nucleus > 0
        body = np.where(self.in_mitosis, 1 - np.exp(-self.depth_um / 0.35), 1 - np.exp(-(self.depth_um + 0.1) / 0.3))
        image = texture * body * inside
        sums = np.bincount(cells.nucleus.ravel(), image.ravel(), len(cells) + 1)
        usual = np.median(np.pi * cells.nucleus_px[1:] ** 2) if len(cells) else 1.0
        # The seen share of a nucleus that the border cuts carries that share of its DNA.
        area = np.bincount(cells.nucleus.ravel(), minlength=len(cells) + 1)
        whole = np.where(cells.mitotic, np.maximum(area, 0.3 * usual), np.pi * np.maximum(cells.nucleus_px, 1) ** 2)
        share = np.minimum(area / whole, 1)
        # Condensed chromosomes stand upright and partly out of focus: they are never more than three times as bright.
        wanted = np.minimum(dna_content(cells.cycle) / 1.35 * usual * share, 2.8 * area)
        return image * np.take((wanted / np.maximum(sums, 1e-6)).astype(np.float32), cells.nucleus)

    @cached_property
    def reticulum(self) -> np.ndarray:
        """(H, W) float32 the net of the endoplasmic reticulum: sheets at the nucleus, tubules further out."""
        rng = self.stream(_ER)
        net = web(rng, self.shape, 0.85 / self.px, 2.2)
        sheet = np.maximum(1 + 0.3 * noise(rng, self.shape, 0.3 / self.px), 0.1)
        near = self.nearness
        pattern = near * (0.35 * sheet + 0.65 * net) + (1 - near) * 0.8 * net
        pattern *= 1 - 0.75 * self.holes
        rim = np.exp(-(((self.depth_um - 0.15) / 0.28) ** 2)) * self.in_nucleus
        inner = self.cytoplasm * (0.25 + 0.95 * near)
        ring = np.where(self.in_mitosis, np.clip(1.6 - 0.8 * self.nearness, 0.3, 1), 1.0)
        return inner * pattern * ring + 0.5 * rim

    @cached_property
    def holes(self) -> np.ndarray:
        """(H, W) float32 in 0 to 1, vacuoles and other organelles that cytoplasm and ER leave out."""
        rng = self.stream(_HOLES)
        sheet = noise(rng, self.shape, 0.42 / self.px)
        return 1 / (1 + np.exp(-7 * (sheet - 1.45)))

    @cached_property
    def centrosomes(self) -> np.ndarray:
        """(n + 1, 2, 2) float64: two centrioles (or spindle poles) of each cell, y and x in pixels."""
        rng = self.stream(_CENTROSOMES)
        cells = self.cells
        n = len(cells) + 1
        reach = cells.nucleus_axes.mean(1) * (0.95 + 0.1 * rng.random(n)) + (0.5 + 1.4 * rng.random(n)) / self.px
        middle = np.stack([cells.y + reach * np.sin(cells.pole), cells.x + reach * np.cos(cells.pole)], 1)
        apart = (0.35 + 0.35 * rng.random(n) + 0.8 * (cells.cycle > 0.7)) / self.px
        turn = rng.random(n) * 2 * np.pi
        offset = 0.5 * apart[:, None] * np.stack([np.sin(turn), np.cos(turn)], 1)
        across = np.stack([np.cos(cells.angle), -np.sin(cells.angle)], 1) * cells.spread[:, None]
        middle = np.where(cells.mitotic[:, None], np.stack([cells.y, cells.x], 1), middle)
        offset = np.where(cells.mitotic[:, None], across, offset)
        return np.stack([middle - offset, middle + offset], 1)

    @cached_property
    def microtubules(self) -> Paths:
        """Microtubules: from the centrosome, free ones in the cytoplasm, and spindles in mitotic cells."""
        rng = self.stream(_MICROTUBULES)
        cells = self.cells
        area = self.area_px * self.px**2
        number = np.where(cells.mitotic, 0, np.minimum(10 + 0.07 * area, 110)).astype(int)
        number[0] = 0
        owner = np.repeat(np.arange(len(cells) + 1), number)
        starts = self.centrosomes[owner, 0] + rng.standard_normal((len(owner), 2)) * 0.8 / self.px
        steps = int(np.clip(1.5 * np.median(cells.cell_px[1:]) * self.px / 0.8 if len(cells) else 1, 12, 48))
        step = 0.8 / self.px
        radial = filaments.grow(
            rng, self.label, starts, rng.random(len(owner)) * 2 * np.pi, owner, steps, step, 0.1, self.edge_um, 0.7
        )
        weight = self.cytoplasm * (self.edge_um > 0.6) * ~self.in_mitosis
        y, x = sample(rng, weight, int(self.seen.size * self.px**2 * 1.2))
        owner = self.label[y.astype(np.intp), x.astype(np.intp)]
        around = np.arctan2(y - cells.y[owner], x - cells.x[owner])
        tangent = around + np.pi / 2 * np.where(rng.random(len(y)) < 0.5, -1, 1) + 0.9 * rng.standard_normal(len(y))
        free = filaments.grow(
            rng, self.label, np.stack([y, x], 1), tangent, owner, steps // 2, step, 0.13, self.edge_um, 0.6
        )
        return filaments.join(radial, free, self.spindles)

    @cached_property
    def spindles(self) -> Paths:
        """Spindle fibres from pole to chromosomes and asters around the poles, in mitotic cells."""
        rng = self.stream(_MICROTUBULES + 100)
        cells = self.cells
        pieces = []
        for cell in range(1, len(cells) + 1):
            draws = rng.standard_normal((60, 3))
            if not cells.mitotic[cell]:
                continue
            poles = self.centrosomes[cell]
            axis = np.array([np.sin(cells.angle[cell]), np.cos(cells.angle[cell])])
            middle = poles.mean(0)
            half = cells.nucleus_axes[cell, 0] * (0.75 if cells.stage[cell] in (METAPHASE, ANAPHASE) else 0.6)
            place = np.clip(draws[:, 0] * 0.5, -1, 1)
            ends = middle + axis * (place * half)[:, None]
            starts = poles[(draws[:, 1] > 0).astype(int)] + 0.2 / self.px * draws[:, 1:]
            side = np.where(draws[:, 1] > 0, -1, 1)
            pieces.append(filaments.arcs(starts, ends, 0.16 * place * side, np.full(60, cell)))
            turn = rng.random(24) * 2 * np.pi
            reach = (1 + 2.2 * rng.random(24)) / self.px
            tips = np.stack([np.sin(turn), np.cos(turn)], 1) * reach[:, None]
            base = poles[np.arange(24) % 2]
            pieces.append(filaments.arcs(base, base + tips, 0.1 * rng.standard_normal(24), np.full(24, cell)))
        if not pieces:
            return Paths(np.zeros((0, 2, 2), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
        return filaments.join(*pieces)
