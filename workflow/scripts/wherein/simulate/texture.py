"""Noise sheets and stamps: the textures that organelles are drawn with."""

import cv2
import numpy as np


def blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur of a (H, W) float32 image; below a tenth of a pixel the image itself."""
    if sigma_px < 0.1:
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)


def noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> np.ndarray:
    """Smooth Gaussian noise.

    Coarse noise is drawn on a coarse grid and enlarged, which costs a fraction of a blur over the whole field.

    Args:
        rng: random stream.
        shape: height and width in pixels.
        scale_px: standard deviation of the blur that white noise would be given, in pixels.

    Returns:
        (H, W) float32 of mean 0 and standard deviation 1.
    """
    step = max(scale_px / 1.5, 1.0)
    coarse = [int(np.ceil(length / step)) + 8 for length in shape]
    sheet = blur(rng.standard_normal(coarse, dtype=np.float32), scale_px / step)
    if step > 1:
        sheet = cv2.resize(sheet, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    top, left = int(3 * step), int(3 * step)
    sheet = sheet[top : top + shape[0], left : left + shape[1]]
    mean, deviation = cv2.meanStdDev(sheet)
    return (sheet - np.float32(mean[0, 0])) * np.float32(1 / max(deviation[0, 0], 1e-6))


def web(rng: np.random.Generator, shape: tuple[int, int], mesh_px: float, sharpness: float = 6.0) -> np.ndarray:
    """A net of lines: where band-passed noise passes zero.

    Args:
        rng: random stream.
        shape: height and width in pixels.
        mesh_px: about the width of a mesh, in pixels.
        sharpness: how thin the lines are against the meshes.

    Returns:
        (H, W) float32 in 0 to 1, 1 on the lines.
    """
    sheet = noise(rng, shape, mesh_px * 0.35)
    sheet -= blur(sheet, mesh_px * 0.8)
    return 1 / (1 + sharpness * sheet * sheet)


def dots(shape: tuple[int, int], y: np.ndarray, x: np.ndarray, weight: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """Gaussian dots.

    Args:
        shape: height and width in pixels.
        y: (n,) centres, in pixels; those outside the field are left out.
        x: (n,) centres.
        weight: (n,) integrated signal of each dot.
        sigma_px: (n,) standard deviation of each dot; rounded to eight sizes, each blurred once.

    Returns:
        (H, W) float32.
    """
    total = np.zeros(shape, np.float32)
    rows, columns = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    rows, columns, weight, sigma_px = rows[inside], columns[inside], weight[inside], sigma_px[inside]
    if not len(rows):
        return total
    low, high = max(float(sigma_px.min()), 0.3), max(float(sigma_px.max()), 0.3)
    groups = 1 if high < 1.15 * low else min(4, int(np.ceil(np.log(high / low) / np.log(1.5))) + 1)
    sizes = np.geomspace(low, high, groups)
    nearest = np.abs(np.log(np.maximum(sigma_px, 0.3))[:, None] - np.log(sizes)).argmin(1)
    for group, size in enumerate(sizes):
        chosen = nearest == group
        if chosen.any():
            layer = np.zeros(shape, np.float32)
            np.add.at(layer, (rows[chosen], columns[chosen]), weight[chosen].astype(np.float32))
            total += blur(layer, float(size))
    return total


def sample(rng: np.random.Generator, weight: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points with a probability that follows a map.

    Args:
        rng: random stream.
        weight: (H, W) non-negative; values above 1 count as 1.
        n: number of points tried on each pixel's worth of field; a point at weight w is kept with probability w.

    Returns:
        y and x of the kept points, (k,) float64 in pixels, k <= n.
    """
    y = rng.random(n) * weight.shape[0]
    x = rng.random(n) * weight.shape[1]
    kept = rng.random(n) < weight[y.astype(np.intp), x.astype(np.intp)]
    return y[kept], x[kept]
