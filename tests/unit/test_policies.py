"""Policies of augmentation: what is drawn, and what each operation does."""

import json
from math import cos, pi, sin

import numpy as np
import pytest
import torch
from scipy import ndimage
from wherein.models.policies import (
    GEOMETRIC,
    NAMES,
    OPERATIONS,
    Policy,
    Step,
    WrongPolicyError,
    blurred,
    change,
    make_policy,
    read_policy,
)


def batch(n=6, c=3, h=24, w=24, seed=0):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def done(images, name, magnitude, direction=0.1, seed=0):
    n, c = images.shape[:2]
    light = torch.rand(n, c, generator=generator(9))
    return change(images, name, torch.full((n,), magnitude), torch.full((n,), direction), light, torch.arange(n) + seed)


@pytest.mark.parametrize("name", NAMES)
def test_without_magnitude_nothing_changes_and_with_it_something_does(name):
    images = batch()
    assert torch.allclose(done(images, name, 0.0), images, atol=1e-5)
    strongest = done(images, name, 1.0)
    assert strongest.shape == images.shape
    assert strongest.dtype == images.dtype
    assert torch.isfinite(strongest).all()
    assert (strongest - images).abs().mean() > 0.01


@pytest.mark.parametrize("direction", [0.0, 0.25, 0.5, 0.75])
def test_a_shift_is_a_share_of_the_side_in_its_direction(direction):
    images = batch(n=1, h=20, w=20)
    moved = done(images, "shift", 1.0, direction)
    # places of the result are those of the image, so many pixels further on
    dx, dy = (round(0.3 * 20 * turn(2 * pi * direction)) for turn in (cos, sin))
    wanted = torch.roll(images, (-dy, -dx), (2, 3))
    inner = (slice(None), slice(None), slice(6, 14), slice(6, 14))
    assert torch.allclose(moved[inner], wanted[inner], atol=1e-4)


@pytest.mark.parametrize(("direction", "degrees"), [(0.1, -30.0), (0.9, 30.0)])
def test_a_turn_is_scipys(direction, degrees):
    images = torch.zeros(1, 1, 41, 41)
    images[..., 18:23, 25:35] = 1
    turned = done(images, "rotate", 1.0, direction)[0, 0].numpy()
    wanted = ndimage.rotate(images[0, 0].numpy(), degrees, reshape=False, order=1)
    assert np.abs(turned - wanted).max() < 1e-3


@pytest.mark.parametrize(("direction", "factor"), [(0.1, 1 / 1.4), (0.9, 1.4)])
def test_sizes_go_either_way(direction, factor):
    images = torch.zeros(1, 1, 80, 80)
    images[..., 30:50, 30:50] = 1
    area = float(done(images, "scale", 1.0, direction).sum())
    assert area == pytest.approx(400 * factor**2, rel=0.05)


def test_shears_go_along_either_axis():
    images = torch.zeros(1, 1, 41, 41)
    images[..., 5, 20] = 1
    found = {tuple(map(int, done(images, "shear", 1.0, d)[0, 0].flatten().argmax().unsqueeze(0))) for d in (0.1, 0.6)}
    assert len(found) == 2  # along x, one way and the other
    images = torch.zeros(1, 1, 41, 41)
    images[..., 20, 5] = 1
    upright = [int(done(images, "shear", 1.0, d)[0, 0].flatten().argmax()) // 41 for d in (0.3, 0.9)]
    assert upright[0] != 20 != upright[1]


def test_blurring_is_scipys_and_each_image_has_its_own():
    images = batch(n=3, h=30, w=26)
    sigma = torch.tensor([0.0, 0.7, 1.5])
    found = blurred(images, sigma).numpy()
    radius = 5  # of the widest
    for image, own, wide in zip(found, images.numpy(), sigma.tolist(), strict=True):
        if wide == 0:
            np.testing.assert_allclose(image, own, atol=1e-6)
            continue
        wanted = [ndimage.gaussian_filter(channel, wide, mode="nearest", radius=radius) for channel in own]
        np.testing.assert_allclose(image, wanted, atol=1e-5)


def test_images_smaller_than_a_blur_are_blurred():
    assert blurred(batch(n=1, h=4, w=4), torch.tensor([1.5])).shape == (1, 3, 4, 4)


def test_noise_is_the_images_own_and_measured_in_its_spread():
    images = batch(n=4, h=64, w=64) * torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    noisy = done(images, "noise", 0.5)
    share = (noisy - images).std(dim=(2, 3)) / images.std(dim=(2, 3))
    assert torch.allclose(share, torch.full_like(share, 0.15), rtol=0.1)
    alone = done(images[2:3], "noise", 0.5, seed=2)
    assert torch.equal(alone[0], noisy[2])


def test_intensities_keep_their_limits():
    images = batch(n=50)
    gain = done(images, "gain", 1.0) / images
    assert 0.5 <= gain.min() < 0.6
    assert 1.8 < gain.max() <= 2.0001
    offset = (done(images, "offset", 1.0) - images) / images.std(dim=(2, 3), correction=0, keepdim=True)
    assert -0.5001 <= offset.min() < -0.4
    assert 0.4 < offset.max() <= 0.5001


def test_a_random_policy_draws_every_operation_equally_often():
    drawn = Policy(2, 0.4).draw(4000, 3, generator())
    counts = torch.bincount(drawn.operation.flatten(), minlength=len(NAMES))
    assert drawn.operation.shape == (4000, 2)
    assert (counts - 1000).abs().max() < 150
    assert (drawn.magnitude == 0.4).all()
    assert torch.equal(drawn.operation, Policy(2, 0.4).draw(4000, 3, generator()).operation)


def test_a_searched_policy_draws_its_subpolicies_with_their_probabilities():
    first, second = [Step("blur", 0.3, 0.5), Step("gain", 1.0, 0.2)], [Step("rotate", 0.8, 0.9)]
    drawn = Policy(2, subpolicies=[first, second]).draw(4000, 3, generator())
    blur, gain, rotate = (NAMES.index(name) for name in ("blur", "gain", "rotate"))
    ones = drawn.operation[:, 1] == gain
    assert 1850 < int(ones.sum()) < 2150
    share = (drawn.operation[ones, 0] == blur).float().mean()
    assert 0.25 < float(share) < 0.35
    others = drawn.operation[~ones]
    assert 0.75 < float((others[:, 0] == rotate).float().mean()) < 0.85
    assert (others[:, 1] == -1).all()
    assert torch.allclose(drawn.magnitude[drawn.operation == rotate], torch.tensor(0.9))


def test_what_a_process_gets_of_a_batch_is_what_one_alone_would():
    images, policy = batch(n=8), Policy(3, 0.7)
    chosen = policy.draw(8, 3, generator(4))
    whole, _ = policy.apply(images, chosen)
    for rank in range(2):
        own = slice(rank, None, 2)
        part, _ = policy.apply(images[own], chosen.of(own))
        assert torch.allclose(part, whole[own], atol=1e-6)


def test_masks_follow_pixels_and_images_that_were_given_stay():
    images, masks = batch(n=40, h=32, w=32), torch.zeros(40, 1, 32, 32, dtype=torch.uint8)
    masks[..., 10:20, 12:25] = 2
    kept = images.clone(), masks.clone()
    for name in OPERATIONS:
        policy = Policy(1, subpolicies=[[Step(name, 1.0, 1.0)]])
        changed, followed = policy.apply(images, policy.draw(40, 3, generator()), masks)
        assert torch.equal(images, kept[0])
        assert torch.equal(masks, kept[1])
        assert set(followed.unique().tolist()) <= {0, 2}
        assert torch.equal(followed, masks) == (name not in GEOMETRIC)
        assert not torch.allclose(changed, images)


def test_policies_come_from_files(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"subpolicies": [[["blur", 0.5, 0.1]], [["gain", 1, 1], ["noise", 0.2, 0.3]]]}))
    policy = make_policy({"kind": "searched", "file": str(path), "operations": 2, "magnitude": 0.3})
    assert policy.steps == 2
    assert policy.subpolicies[1][1] == Step("noise", 0.2, 0.3)
    assert make_policy(None) is None
    assert make_policy({"kind": "random", "operations": 3, "magnitude": 0.2}).steps == 3


def test_an_empty_policy_changes_nothing(tmp_path):
    (tmp_path / "policy.json").write_text('{"subpolicies": []}')
    policy, images = read_policy(tmp_path / "policy.json"), batch()
    assert torch.equal(policy.apply(images, policy.draw(6, 3, generator()))[0], images)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"subpolicies": [["blur"]]}', '{"subpolicies": [[["paint", 1, 1]]]}', '{"subpolicies": 3}',
             '{"subpolicies": [[["blur", 1, 2]]]}', '{"subpolicies": [[["blur", -1, 0.5]]]}'],
)  # fmt: skip
def test_a_file_that_is_no_policy_is_named(tmp_path, text):
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(WrongPolicyError, match=r"policy\.json holds no policy"):
        read_policy(tmp_path / "policy.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WrongPolicyError, match=r"gone\.json holds no policy"):
        read_policy(tmp_path / "gone.json")
