"""Threads: filaments, bundles and tubes that grow inside their cells and are drawn as lines."""

from dataclasses import dataclass

import cv2
import numpy as np

SUBPIXEL_BITS = 4
"""Lines are drawn at sixteenths of a pixel."""


@dataclass
class Paths:
    """Threads of a field.

    Attributes:
        points: (n, s, 2) float32, y and x in pixels.
        length: (n,) int, number of points that are drawn; a thread ends where it would leave its cell.
        owner: (n,) int, number of its cell.
    """

    points: np.ndarray
    length: np.ndarray
    owner: np.ndarray


def grow(
    rng: np.random.Generator,
    home: np.ndarray,
    starts: np.ndarray,
    heading: np.ndarray,
    owner: np.ndarray,
    steps: int,
    step_px: float,
    curl: float,
    room: np.ndarray | None = None,
    room_px: float = 0.0,
) -> Paths:
    """Let threads grow, all at once, step by step.

    Args:
        rng: random stream.
        home: (H, W) int32, number of the cell whose threads a pixel may hold, 0 for none.
        starts: (n, 2) y and x in pixels.
        heading: (n,) first direction, radians, 0 along x.
        owner: (n,) number of the thread's cell.
        steps: points after the first.
        step_px: length of a step in pixels.
        curl: standard deviation of the turn at each step, radians; turns are correlated along the thread.
        room: (H, W) distance to the cell's edge; threads turn aside where it is below `room_px`.
        room_px: see `room`, in the unit of `room`.

    Returns:
        The threads; one that starts outside its cell has length 0.
    """
    n = len(starts)
    height, width = home.shape
    points = np.empty((n, steps + 1, 2), np.float32)
    points[:, 0] = starts
    y, x, heading = starts[:, 0].copy(), starts[:, 1].copy(), heading.copy()
    turns = rng.standard_normal((steps, n), dtype=np.float32) * np.float32(curl)
    side = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    turn = np.zeros(n)
    alive = np.ones(n, bool)
    length = np.zeros(n, np.int64)
    for step in range(steps + 1):
        row, column = y.astype(np.intp), x.astype(np.intp)
        inside = (y >= 0) & (x >= 0) & (row < height) & (column < width)
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
        # Beyond the border of the field the cell goes on unseen, so that a thread may leave and come back.
        alive &= ~inside | (home[row, column] == owner)
        length[alive] += 1
        points[:, step, 0], points[:, step, 1] = y, x
        if step == steps:
            break
        turn = 0.75 * turn + 0.66 * turns[step]
        heading += turn
        if room is not None:
            heading += np.where(inside & (room[row, column] < room_px), 0.3 * side, 0.0)
        y += step_px * np.sin(heading)
        x += step_px * np.cos(heading)
    return Paths(points, length, owner)


def arcs(start: np.ndarray, end: np.ndarray, bulge: np.ndarray, owner: np.ndarray, steps: int = 14) -> Paths:
    """Curved threads from one point to another.

    Args:
        start: (n, 2) y and x in pixels.
        end: (n, 2).
        bulge: (n,) height of the arc against its chord, signed.
        owner: (n,) number of the thread's cell.
        steps: points after the first.

    Returns:
        The threads, whole.
    """
    t = np.linspace(0, 1, steps + 1)[None, :, None]
    chord = end - start
    normal = np.stack([-chord[:, 1], chord[:, 0]], 1)
    points = start[:, None] + t * chord[:, None] + 4 * t * (1 - t) * (bulge[:, None] * normal)[:, None]
    return Paths(points.astype(np.float32), np.full(len(start), steps + 1), owner)


def join(*several: Paths) -> Paths:
    """Put threads together; shorter ones are filled up with points that are not drawn."""
    most = max((paths.points.shape[1] for paths in several), default=1)
    points = [np.pad(p.points, ((0, 0), (0, most - p.points.shape[1]), (0, 0))) for p in several]
    return Paths(
        np.concatenate(points), np.concatenate([p.length for p in several]), np.concatenate([p.owner for p in several])
    )


def draw(paths: Paths, weight: np.ndarray, shape: tuple[int, int], thickness: int = 1, layers: int = 3) -> np.ndarray:
    """Draw threads so that crossings are brighter.

    Threads are shared out over layers by their weight; within a layer they hide each other, layers are added up.

    Args:
        paths: the threads.
        weight: (n,) brightness of each thread, not negative.
        shape: height and width in pixels.
        thickness: of the lines, in pixels.
        layers: number of layers.

    Returns:
        (H, W) float32.
    """
    total = np.zeros(shape, np.float32)
    drawn = np.flatnonzero((paths.length > 1) & (weight > 0))
    if not len(drawn):
        return total
    fixed = np.rint(paths.points[..., ::-1] * (1 << SUBPIXEL_BITS)).astype(np.int32)
    for group in np.array_split(drawn[np.argsort(weight[drawn], kind="stable")], layers):
        if len(group):
            canvas = np.zeros(shape, np.uint8)
            lines = [fixed[i, : paths.length[i]] for i in group]
            cv2.polylines(canvas, lines, False, 255, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
            total += canvas.astype(np.float32) * np.float32(weight[group].mean() / 255)
    return total
