"""How much a classifier knows of proteins' classes, against chance, and what it is shown of images without protein."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GroupKFold

FOLDS = 5
PENALTY = 300.0
"""Of the ridge regression on standardized features."""

Scores = Callable[[np.ndarray], np.ndarray]
"""(n,) classes as numbers -> (n, k) scores of each field from a classifier that did not see its gene."""


class Found(NamedTuple):
    """What a classifier knows, in points (hundredths) above chance, and how far luck carries one without knowledge.

    `accuracy` is the share of fields told right by the likeliest class; `recall` is the mean over classes of the share
    told right where each class is made equally likely, so that it is no better to name the largest. `luck` holds the
    standard deviations of both over the deals that chance was measured on.
    """

    accuracy: float
    recall: float
    luck: tuple[float, float]


def beyond_chance(scores: Scores, kinds: np.ndarray, genes: np.ndarray, deals: int) -> Found:
    """Compare a classifier with what it reaches where there is nothing to know.

    Neither one over the number of classes nor the share of the largest is chance: classes differ in size, all fields
    of a gene share its class, and a gene that is held out takes its fields from its class's share. Chance is therefore
    measured: the classes are dealt anew among the genes (each gene keeps its fields, each class its number of genes),
    the same classifier is fitted and cross-validated by gene on them, and the mean over all deals is chance.
    """
    names, kind = np.unique(kinds, return_inverse=True)
    unique, gene = np.unique(genes, return_inverse=True)
    of_gene = np.zeros(len(unique), int)
    of_gene[gene] = kind
    assert (of_gene[gene] == kind).all(), "a gene has one class"
    rng = np.random.default_rng(0)
    truth = told(scores(kind), kind, len(names))
    null = []
    for _ in range(deals):
        dealt = rng.permutation(of_gene)[gene]
        null.append(told(scores(dealt), dealt, len(names)))
    accuracy, recall = 100 * (truth - np.mean(null, axis=0))
    luck = 100 * np.std(null, axis=0, ddof=1)
    return Found(float(accuracy), float(recall), (float(luck[0]), float(luck[1])))


def told(scores: np.ndarray, kind: np.ndarray, classes: int) -> np.ndarray:
    """Accuracy of the likeliest class, and mean recall where classes are made equally likely."""
    share = np.bincount(kind, minlength=classes) / len(kind)
    right = (scores / np.sqrt(share)).argmax(1) == kind
    recall = np.mean([right[kind == number].mean() for number in range(classes)])
    return np.array([((scores + share).argmax(1) == kind).mean(), recall])


def ridge(features: np.ndarray, genes: np.ndarray) -> Scores:
    """Ridge regression onto the classes: what depends on the features alone is solved once, so that deals are cheap."""
    features = np.asarray(features, float)
    hats = []
    for train, test in GroupKFold(FOLDS).split(features, groups=genes):
        middle, spread = features[train].mean(0), features[train].std(0) + 1e-6
        fit, held = (np.clip((features[part] - middle) / spread, -5, 5) for part in (train, test))
        hats.append((train, test, held @ np.linalg.solve(fit.T @ fit + PENALTY * np.eye(fit.shape[1]), fit.T)))

    def scores(kind: np.ndarray) -> np.ndarray:
        one_hot = np.eye(kind.max() + 1)[kind]
        found = np.zeros(one_hot.shape)
        for train, test, hat in hats:
            found[test] = hat @ (one_hot[train] - one_hot[train].mean(0))
        return found

    return scores


def forest(features: np.ndarray, genes: np.ndarray, trees: int = 30) -> Scores:
    """Randomized trees, which find what is told by features together."""
    splits = list(GroupKFold(FOLDS).split(features, groups=genes))

    def scores(kind: np.ndarray) -> np.ndarray:
        found = np.zeros((len(kind), kind.max() + 1))
        for train, test in splits:
            model = ExtraTreesClassifier(trees, min_samples_leaf=4, max_features=0.3, random_state=0)
            share = np.bincount(kind[train], minlength=found.shape[1]) / len(train)
            given = model.fit(features[train], kind[train]).predict_proba(features[test])
            found[np.ix_(test, model.classes_)] = given
            found[test] -= share
        return found

    return scores


@cache
def kernels(channels: int, number: int = 36, size: int = 5) -> np.ndarray:
    """(number, channels * size * size) random convolutions over all channels, each of sum 0 in every channel."""
    bank = np.random.default_rng(5).standard_normal((number, channels, size, size)).astype(np.float32)
    bank -= bank.mean((2, 3), keepdims=True)
    return (bank / np.sqrt((bank**2).sum((1, 2, 3), keepdims=True))).reshape(number, -1)


def regions(image: np.ndarray) -> np.ndarray:
    """(4, H, W) bool from the markers alone: in nuclei, around them, the rest of the cells, everywhere."""
    smooth = [cv2.GaussianBlur(channel, (0, 0), 2) for channel in image]
    eight = np.clip(40 * smooth[0], 0, 255).astype(np.uint8)
    nucleus = (eight > cv2.threshold(eight, 0, 255, cv2.THRESH_OTSU)[0]).astype(np.uint8)
    core = cv2.erode(nucleus, np.ones((5, 5), np.uint8)) > 0
    wide = cv2.dilate(nucleus, np.ones((11, 11), np.uint8)) > 0
    cell = np.mean(smooth[1:], axis=0) > 0.4
    return np.stack([core, wide & ~core, cell & ~wide, np.ones_like(core)])


def texture(image: np.ndarray) -> np.ndarray:
    """What a network could see in the first channels of a field, the nucleus first.

    Each channel's level, and for four regions the means of: brightness; the powers two to four of three bands of
    detail (whose sum over bright and dark tells specks, holes and lines); products of the channels' details, which is
    where light of a third channel in both shows; and random convolutions over all channels, rectified and squared.

    Args:
        image: (C, H, W) intensities, C at least 2.

    Returns:
        (features,) float32.
    """
    light = image.astype(np.float32) - image.min((1, 2), keepdims=True)
    level = light.mean((1, 2), keepdims=True)
    light /= level
    inner = (slice(None), slice(2, -2, 2), slice(2, -2, 2))
    region = regions(light)[inner].reshape(4, -1).astype(np.float32)
    area = region.mean(1)
    region /= np.maximum(region.sum(1, keepdims=True), 20)
    bands = []
    for channel in light:
        steps = [channel, *(cv2.GaussianBlur(channel, (0, 0), sigma) for sigma in (1, 2, 4))]
        bands += [fine - coarse for fine, coarse in pairwise(steps)]
    detail = np.stack(bands)[inner].reshape(len(bands), -1)
    spread = detail.std(1, keepdims=True) + 1e-6
    detail /= spread
    smooth = np.stack([cv2.GaussianBlur(channel, (0, 0), 2) for channel in light])[inner].reshape(len(light), -1)
    by_channel = detail.reshape(len(light), 3, -1)
    together = [by_channel[i] * by_channel[j] for i in range(len(light)) for j in range(i)]
    windows = np.lib.stride_tricks.sliding_window_view(light, (5, 5), axis=(1, 2))[:, ::2, ::2]
    seen = kernels(len(light)) @ windows.transpose(0, 3, 4, 1, 2).reshape(25 * len(light), -1)
    seen /= seen.std(1, keepdims=True) + 1e-6
    square, clipped = detail * detail, np.clip(detail, -6, 6)
    cube = clipped**2 * clipped
    maps = [smooth, smooth**2, square, cube, cube * clipped, *together, np.maximum(seen - 1, 0), seen * seen]
    pooled = np.concatenate(maps) @ region.T
    return np.concatenate(
        [np.log(level.ravel()), area[:3], np.log(spread.ravel()), pooled.ravel(), detail.max(1), seen.max(1)]
    )
