import numpy as np
import pytest
import torch
from wherein.segmentation.networks.targets import BACKGROUND, BODY, BORDER, classes_of, loss


def by_hand(labels, border_px):
    out = np.zeros(labels.shape, int)
    reach = round(border_px)
    for y, x in np.ndindex(labels.shape):
        near = {
            int(labels[j, i])
            for j in range(max(0, y - reach), min(labels.shape[0], y + reach + 1))
            for i in range(max(0, x - reach), min(labels.shape[1], x + reach + 1))
            if (j - y) ** 2 + (i - x) ** 2 <= max(border_px, 0.5) ** 2
        } - {0}
        out[y, x] = BORDER if len(near) > 1 else BODY if labels[y, x] else BACKGROUND
    return out


@pytest.mark.parametrize("border_px", [1.0, 2.0, 2.5])
def test_the_border_is_where_two_objects_are_near(border_px):
    rng = np.random.default_rng(4)
    labels = np.kron(rng.integers(0, 4, (6, 7)), np.ones((4, 4), int)) * 70000
    np.testing.assert_array_equal(classes_of(labels, border_px), by_hand(labels, border_px))


def test_an_edge_towards_the_ground_is_no_border():
    labels = np.zeros((20, 20), int)
    labels[5:15, 5:15] = 9
    np.testing.assert_array_equal(classes_of(labels, 2), np.where(labels, BODY, BACKGROUND))


def test_loss_is_cross_entropy_and_dice():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    chance = torch.softmax(logits, 1).numpy().astype(float)
    entropy, dice = [], []
    for place in range(3):
        true = (target.numpy() == place).astype(float)
        mine = chance[:, place]
        entropy.append(-(true * np.log(mine) + (1 - true) * np.log(1 - mine)).mean())
        dice.append(1 - (2 * (true * mine).sum() + 1) / (true.sum() + mine.sum() + 1))
    assert float(loss(logits, target)) == pytest.approx(np.mean(entropy) + np.mean(dice), abs=1e-5)


def test_a_sure_right_answer_costs_nothing_and_a_wrong_one_much():
    target = torch.randint(0, 3, (1, 16, 16), generator=torch.Generator().manual_seed(1))
    sure = 30 * torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    assert float(loss(sure, target)) < 1e-4
    assert float(loss(sure.roll(1, dims=1), target)) > 5
    assert torch.isfinite(loss(sure.bfloat16() * 100, target))
