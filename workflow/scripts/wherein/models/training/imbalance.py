"""Against rare classes being passed over: weights of classes, and how often each unit is taken. Without torch."""

import numpy as np


def class_weights(labels: np.ndarray, limit: float) -> np.ndarray:
    """What a positive of each class weighs, so that rare classes count.

    The square root of negatives over positives: the ratio itself would let a few units of a rare class rule the
    gradient. At least 1, so that no class loses.

    Args:
        labels: (N, K) bool, of the training rows.
        limit: most that a positive weighs.

    Returns:
        (K,) float32; 1 for a class that no unit has, which has no positive to weigh.
    """
    have = labels.sum(axis=0)
    ratio = (len(labels) - have) / np.maximum(have, 1)
    return np.where(have > 0, np.clip(np.sqrt(ratio), 1, limit), 1).astype(np.float32)


def oversampling_factors(labels: np.ndarray, limit: float, power: float = 0.5) -> np.ndarray:
    """How many times each unit is taken in an epoch, on average.

    A class is wanted (most common class / class) ** power times as often as it is; a unit is taken as often as its most
    wanted class asks for. With power 1 and one class a unit, all classes come equally often.

    Args:
        labels: (N, K) bool, of the training rows.
        limit: most times.
        power: 0 for no change, 1 for classes that are equally frequent.

    Returns:
        (N,) float64, 1 or more; 1 for a unit without a class.
    """
    have = labels.sum(axis=0)
    wanted = np.clip((have.max(initial=1) / np.maximum(have, 1)) ** power, 1, limit)
    return np.where(labels, wanted, 1.0).max(axis=1, initial=1.0)


def repeats(factors: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows of an epoch: each as often as its factor says, the part after the point by chance; not shuffled.

    Args:
        factors: (N,) how many times on average.
        generator: of the chance.

    Returns:
        (M,) int64 row numbers, in order.
    """
    whole = np.floor(factors)
    times = (whole + (generator.random(len(factors)) < factors - whole)).astype(np.int64)
    return np.repeat(np.arange(len(factors)), times)
