from itertools import combinations

import numpy as np
import pytest
import torch
from fake_feed import settings
from wherein.models.training.distill import soft_loss, split_targets
from wherein.models.training.losses import (
    Criterion,
    binary_cross_entropy,
    focal,
    hard_negative,
    lovasz_hinge,
    symmetric_lovasz,
)
from wherein.models.training.metric import ArcFace, metric_loss


def drawn(seed, units=9, classes=4, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(units, classes, dtype=torch.float64, generator=generator)
    targets = (torch.rand(units, classes, generator=generator) < 0.35).double()
    return logits, targets


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(logits, targets, weight=None, gamma=0.0):
    """Losses of each unit and class, one after another."""
    each = np.zeros(logits.shape)
    for i, k in np.ndindex(*logits.shape):
        p, t = sigmoid(logits[i, k].item()), targets[i, k].item()
        true = p if t else 1 - p
        factor = (1.0 if weight is None else weight[k].item()) if t else 1.0
        each[i, k] = -factor * (1 - true) ** gamma * np.log(true)
    return each


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 5.0, 0.5], dtype=torch.float64)])
def test_cross_entropy_and_focal_loss_are_what_their_formulas_say(reduction, weight):
    logits, targets = drawn(0)
    for gamma in (0.0, 1.0, 2.0):
        each = by_hand(logits, targets, weight, gamma)
        want = each.sum(axis=1).mean() if reduction == "sum" else each.mean()
        assert float(focal(logits, targets, gamma, weight, reduction)) == pytest.approx(want, rel=1e-12)
        if gamma == 0:
            assert float(binary_cross_entropy(logits, targets, weight, reduction)) == pytest.approx(want, rel=1e-12)


def test_focal_loss_stays_a_number_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4, 80.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([[1.0, 1.0, 0.0]]), 2.0, None, "sum")
    loss.backward()
    assert loss.item() == pytest.approx(1e4 + 80, rel=1e-6)
    assert torch.isfinite(logits.grad).all()


def jaccard_loss(wrong, have):
    """1 - intersection over union of what has the class and what is predicted, where `wrong` is predicted wrongly."""
    predicted = have ^ wrong
    union = (have | predicted).sum()
    return 1 - (have & predicted).sum() / union if union else 0.0


def lovasz_by_hand(errors, have):
    """The Lovasz extension by its definition: errors, large ones first, each times what it adds to the set's loss."""
    value, wrong, before = 0.0, np.zeros(len(have), bool), 0.0
    for place in np.argsort(-errors, kind="stable"):
        wrong[place] = True
        now = jaccard_loss(wrong, have)
        value += max(errors[place], 0) * (now - before)
        before = now
    return value


@pytest.mark.parametrize("seed", range(4))
def test_lovasz_hinge_is_the_extension_of_the_jaccard_loss(seed):
    logits, targets = drawn(seed)
    targets[:, 1] = 0  # a class that no unit has
    targets[:, 2] = 1
    signs = 2 * targets - 1
    errors = (1 - logits * signs).numpy()
    want = [lovasz_by_hand(errors[:, k], targets[:, k].numpy() > 0) for k in range(4)]
    assert float(lovasz_hinge(logits, targets)) == pytest.approx(np.mean(want), rel=1e-12)
    other = [lovasz_by_hand((1 - logits * signs).numpy()[:, k], targets[:, k].numpy() == 0) for k in range(4)]
    assert float(symmetric_lovasz(logits, targets)) == pytest.approx((np.mean(want) + np.mean(other)) / 2, rel=1e-12)


def test_at_whole_errors_the_lovasz_hinge_is_the_jaccard_loss_itself():
    have = np.array([1, 1, 0, 0, 1], bool)
    for size in range(6):
        for wrong in combinations(range(5), size):
            errors = np.isin(np.arange(5), wrong).astype(float)
            logits = torch.tensor((1 - errors) * (2 * have - 1))[:, None]
            want = jaccard_loss(errors > 0, have)
            assert float(lovasz_hinge(logits, torch.tensor(have[:, None]).double())) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(("positives", "units", "kept"), [(0, 10, 5), (1, 10, 5), (4, 10, 6), (10, 10, 0), (0, 1, 1)])
def test_hard_negative_loss_counts_all_positives_and_the_hardest_negatives(positives, units, kept):
    logits, _ = drawn(units + positives, units, 1)
    targets = torch.zeros_like(logits)
    targets[torch.randperm(units, generator=torch.Generator().manual_seed(1))[:positives]] = 1
    negatives = units - positives
    assert min(negatives, positives + max(2, negatives // 2), int(0.7 * negatives) + 2) == kept
    each = by_hand(logits, targets)[:, 0]
    have = targets[:, 0].numpy() > 0
    chosen = np.concatenate([each[have], np.sort(each[~have])[::-1][:kept]])
    assert float(hard_negative(logits, targets)) == pytest.approx(chosen.mean(), rel=1e-12)


def test_hard_negative_loss_is_the_mean_over_classes():
    logits, targets = drawn(3, units=40)
    parts = [float(hard_negative(logits[:, [k]], targets[:, [k]])) for k in range(4)]
    assert float(hard_negative(logits, targets)) == pytest.approx(np.mean(parts), rel=1e-12)


def test_gradients_of_all_losses_are_those_of_finite_differences():
    logits, targets = drawn(5, scale=1.0)
    logits.requires_grad_()
    for loss in (binary_cross_entropy, focal, symmetric_lovasz, hard_negative):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, targets), logits, eps=1e-7, atol=1e-6)


def test_the_criterion_is_the_weighted_sum_of_the_losses():
    logits, targets = (value.float() for value in drawn(6))
    weights = {"focal": 0.5, "lovasz": 0.25, "hard_negative": 2.0}
    criterion = Criterion(settings(loss=weights, reduction="sum", focal_gamma=1.5))
    want = (
        0.5 * focal(logits, targets, 1.5, None, "sum")
        + 0.25 * symmetric_lovasz(logits, targets)
        + 2 * hard_negative(logits, targets)
    )
    assert float(criterion(logits, targets)) == pytest.approx(float(want), rel=1e-6)


def test_the_criterion_computes_in_32_bits_whatever_the_network_does():
    logits, targets = (value.float() for value in drawn(7))
    criterion = Criterion(settings())
    assert criterion(logits.bfloat16(), targets).dtype == torch.float32


@pytest.mark.parametrize("weights", [{"bce": 0}, {"bce": 1, "arcface": 1}])
def test_losses_that_make_no_sense_together_are_refused(weights):
    with pytest.raises(ValueError, match="allowed are weights of bce"):
        Criterion(settings(loss=weights))


def test_soft_targets_pull_towards_the_teacher():
    logits, targets = (value.float() for value in drawn(8))
    teacher = torch.sigmoid(torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)))
    criterion = Criterion(settings(distillation={"teacher": "x", "weight": 0.3, "temperature": 2.0}))
    both = criterion(logits, torch.stack([targets, teacher], dim=1))
    t = sigmoid(torch.logit(teacher).numpy() / 2)
    p = sigmoid(logits.numpy() / 2)
    soft = 4 * -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    want = 0.7 * float(binary_cross_entropy(logits, targets)) + 0.3 * soft
    assert float(both) == pytest.approx(want, rel=1e-5)


def test_at_temperature_one_the_soft_loss_is_cross_entropy_and_least_at_the_teacher():
    teacher = torch.tensor([[0.2, 0.9, 0.5]])
    at = torch.logit(teacher)
    assert float(soft_loss(at, teacher, 1.0)) == pytest.approx(float(binary_cross_entropy(at, teacher)), rel=1e-6)
    assert float(soft_loss(at, teacher, 1.0)) < float(soft_loss(at + 0.1, teacher, 1.0))


def test_a_unit_that_the_teacher_does_not_know_learns_from_its_labels_alone():
    logits, _ = drawn(9)
    logits = logits.float().requires_grad_()
    teacher = torch.rand(logits.shape)
    known = soft_loss(logits[1:], teacher[1:], 3.0).item()
    teacher[0] = torch.nan
    loss = soft_loss(logits, teacher, 3.0)
    loss.backward()
    assert loss.item() == pytest.approx(known, rel=1e-6)
    assert (logits.grad[0] == 0).all()
    assert soft_loss(logits, torch.full_like(teacher, torch.nan), 3.0).item() == 0


def test_sure_teachers_give_finite_losses():
    value = soft_loss(torch.tensor([[40.0, -40.0]]), torch.tensor([[0.0, 1.0]]), 2.0)
    assert torch.isfinite(value)
    assert split_targets(torch.zeros(2, 3))[1] is None


def test_soft_targets_without_their_settings_are_refused():
    with pytest.raises(ValueError, match="distillation"):
        Criterion(settings())(torch.zeros(2, 3), torch.zeros(2, 2, 3))


def angles(head, vectors):
    directions = head.directions.detach().double().numpy()
    vectors = vectors.double().numpy()
    norms = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(directions, axis=1)
    return np.arccos(np.clip(vectors @ directions.T / norms, -1, 1))


def test_arcface_adds_its_margin_to_the_angle_of_the_own_class():
    torch.manual_seed(0)
    head = ArcFace(6, 5, scale=30, margin=0.5)
    vectors, classes = torch.randn(8, 6), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    cosines = head(vectors)
    theta = angles(head, vectors)
    assert cosines.detach().numpy() == pytest.approx(30 * np.cos(theta), abs=1e-4)
    own = np.arange(5)[None, :] == classes.numpy()[:, None]
    want = 30 * np.cos(theta + 0.5 * own)
    assert head.with_margin(cosines, classes).detach().numpy() == pytest.approx(want, abs=1e-4)


def test_arcface_goes_on_falling_where_angle_and_margin_pass_half_a_turn():
    head = ArcFace(2, 2, scale=1, margin=0.5)
    theta = torch.linspace(0, torch.pi, 181)
    cosines = torch.stack([torch.cos(theta), torch.zeros(181)], dim=1)
    moved = head.with_margin(cosines, torch.zeros(181, dtype=torch.int64))[:, 0]
    assert (moved.diff() < 1e-6).all()
    inside = theta < torch.pi - 0.5 - 1e-3
    assert moved[inside].numpy() == pytest.approx(torch.cos(theta + 0.5)[inside].numpy(), abs=1e-4)
    head = ArcFace(2, 2, scale=30, margin=0.5)
    vectors = head.directions.detach()[:1].clone().requires_grad_()  # its own direction, where a root is steepest
    metric_loss(head, vectors, torch.tensor([0]), 1.0, 0.0).backward()
    assert torch.isfinite(vectors.grad).all()


def test_the_loss_of_metric_learning_is_half_with_margin_and_half_without():
    torch.manual_seed(1)
    head = ArcFace(6, 5, scale=30, margin=0.5)
    vectors, classes = torch.randn(8, 6), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    theta = angles(head, vectors)
    own = np.arange(5)[None, :] == classes.numpy()[:, None]

    def cross_entropy(logits):
        return np.mean(np.log(np.exp(logits - logits.max(1)[:, None]).sum(1)) - (logits - logits.max(1)[:, None])[own])

    want = 0.5 * cross_entropy(30 * np.cos(theta + 0.5 * own)) + 0.5 * cross_entropy(30 * np.cos(theta))
    assert float(metric_loss(head, vectors, classes, 0.5, 0.5)) == pytest.approx(want, rel=1e-4)
