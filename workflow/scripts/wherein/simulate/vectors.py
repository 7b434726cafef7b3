"""Vectors of single cells with planted heterogeneity: what the test of heterogeneity is judged by."""

from dataclasses import dataclass

import numpy as np

COVARIATES = ("nucleus_area_um2", "nucleus_sum_nucleus", "area_um2", "border_um", "contrast")
"""Measures of a cell that its vector depends on, whatever the protein: size, cycle, and how well it is outlined."""

LOADING = 0.3
"""Standard deviation of a vector's entries that one covariate brings about, over that of the cell's own scatter."""

TAIL = 8
"""Degrees of freedom of the multivariate t distribution by which cells scatter."""


@dataclass
class PlantedCells:
    """Cells, sample by sample.

    Attributes:
        vectors: (N, D) float64.
        sample: (N,) number of the sample.
        field: (N,) number of the field.
        line: (S,) number of each sample's cell line.
        plate: (S,) number of each sample's plate.
        covariates: (N, 5) as COVARIATES, standardized.
        location: (S,) class of the sample's protein.
        heterogeneous: (S,) bool, has cells that show another class.
        outlined: (S,) bool, has cells that are outlined badly and look as if they showed another class.
        minority: (N,) bool, the cells that do.
        accuracy: share of undisturbed cells that lie nearest the mean of their own class.
    """

    vectors: np.ndarray
    sample: np.ndarray
    field: np.ndarray
    line: np.ndarray
    plate: np.ndarray
    covariates: np.ndarray
    location: np.ndarray
    heterogeneous: np.ndarray
    outlined: np.ndarray
    minority: np.ndarray
    accuracy: float


def plant_cells(
    seed: int,
    heterogeneous: int = 200,
    usual: int = 1000,
    outlined: int = 0,
    cells: int = 25,
    share: tuple[float, float] = (0.2, 0.5),
    classes: int = 12,
    width: int = 64,
    separation: float = 4.5,
    dispersion: float = 0.1,
    batch: float = 1.0,
) -> PlantedCells:
    """Draw samples of which some have a minority of cells that show the pattern of another class.

    A cell's vector is the sum of its class, its protein, its cell line, its plate, its field, five covariates that act
    on all proteins alike, and its own scatter, of heavy tails and of a width that differs from sample to sample; then
    all is turned and scaled so that the directions vary by a spectrum, as features do.

    Args:
        seed: of all that is drawn.
        heterogeneous: samples with a minority.
        usual: samples without one.
        outlined: further samples without one, in which cells are outlined badly (last covariate low) and shifted.
        cells: of each sample, in two fields.
        share: least and largest share of the minority.
        classes: number of patterns.
        width: number of features D.
        separation: distance of two classes over the standard deviation of cells of one class along any direction.
        dispersion: standard deviation, over samples, of the logarithm of the cells' scatter.
        batch: standard deviation of a cell line's shift in each feature, that of cells being 1; plates shift half as
            far, fields 0.3 times.
    """
    rng = np.random.default_rng(seed)
    number = heterogeneous + usual + outlined
    means = rng.normal(size=(classes, width)) * separation / np.sqrt(2 * width)
    location = rng.integers(0, classes, number)
    other = (location + rng.integers(1, classes, number)) % classes
    line, plate = rng.integers(0, 2, number), rng.integers(0, max(1, number // 20), number)
    own = means[location] + rng.normal(size=(number, width)) * 0.035 * separation
    own += batch * rng.normal(size=(2, width))[line] + 0.5 * batch * rng.normal(size=(plate.max() + 1, width))[plate]
    kind = np.repeat([0, 1, 2], [heterogeneous, usual, outlined])
    sample = np.repeat(np.arange(number), cells)
    rank = np.argsort(rng.random((number, cells)), axis=1).ravel()
    few = rank < np.round(rng.uniform(*share, number) * cells)[sample]
    covariates = rng.normal(size=(len(sample), len(COVARIATES)))
    bad = few & (kind[sample] == 2)
    covariates[bad, -1] -= 3
    scatter = rng.normal(size=(len(sample), width)) * np.sqrt((TAIL - 2) / rng.chisquare(TAIL, len(sample)))[:, None]
    field = sample * 2 + np.tile(np.arange(cells) % 2, number)
    vectors = own[sample] + scatter * np.exp(rng.normal(0, dispersion, number))[sample][:, None]
    moved = few & (kind[sample] != 1)
    vectors[moved] += (means[other] - means[location])[sample[moved]]
    vectors += 0.3 * batch * rng.normal(size=(2 * number, width))[field]
    vectors += LOADING * covariates @ rng.normal(size=(len(COVARIATES), width))
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    vectors = (vectors / np.sqrt(np.arange(1, width + 1))) @ turn
    told = location[sample]
    # squared distances to the class means without the term that all share
    apart = (means**2).sum(axis=1) - 2 * (means[told] + scatter) @ means.T
    accuracy = float((apart.argmin(axis=1) == told).mean())
    return PlantedCells(
        vectors, sample, field, line, plate, covariates, location, kind == 0, kind == 2, moved & ~bad, accuracy
    )
