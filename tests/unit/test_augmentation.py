import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage
from wherein.models.augmentation import Augmentation, affine, dihedral, drop_channels, intensity, random_crop

ALL = {
    "flips": True,
    "quarter_turns": True,
    "crop_px": 16,
    "rotation_degrees": 20.0,
    "scale": 0.2,
    "shift": 0.1,
    "gain": 0.3,
    "offset": 0.5,
    "drop_channel": 0.3,
}


def batch(n=6, c=3, h=24, w=24, seed=0):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(seed))


def test_dihedral_is_flip_then_turn_of_each_crop():
    images = batch(8)
    out = dihedral(images, torch.arange(8)).numpy()
    for number, (found, image) in enumerate(zip(out, images.numpy(), strict=True)):
        wanted = image[..., ::-1] if number >= 4 else image
        np.testing.assert_array_equal(found, np.rot90(wanted, number % 4, (1, 2)))
    assert len({found.tobytes() for found in dihedral(images[:1].repeat(8, 1, 1, 1), torch.arange(8)).numpy()}) == 8


def test_dihedral_of_oblong_crops():
    images = batch(h=10, w=14)
    even = torch.tensor([0, 2, 4, 6, 2, 0])
    assert dihedral(images, even).shape == images.shape
    with pytest.raises(ValueError, match="10 x 14 pixels take no quarter turns"):
        dihedral(images, torch.ones(6, dtype=torch.long))


@pytest.mark.parametrize(
    ("settings", "reached"),
    [
        ({"flips": True}, {0, 2, 4, 6}),
        ({"quarter_turns": True}, {0, 1, 2, 3}),
        ({"flips": True, "quarter_turns": True}, set(range(8))),
        ({"gain": 0.1}, {0}),
    ],
)
def test_every_flip_and_turn_is_drawn_equally_often(settings, reached):
    element = Augmentation(settings, seed=1).draw(8000, 1).element
    counts = torch.bincount(element, minlength=8)
    assert set(counts.nonzero()[:, 0].tolist()) == reached
    expected = 8000 / len(reached)
    assert (counts[sorted(reached)] - expected).abs().max() < 5 * expected**0.5 + 1e-9 or len(reached) == 1


def test_flips_are_along_y_and_along_x_independently():
    images = batch(4000, 1, 2, 2)[:1].repeat(4000, 1, 1, 1)
    out, _ = Augmentation({"flips": True}, seed=3)(images)
    wanted = {
        np.ascontiguousarray(images[0, 0].numpy()[::a, ::b]).tobytes() for a, b in itertools.product((1, -1), (1, -1))
    }
    found = [image.tobytes() for image in out[:, 0].numpy()]
    assert set(found) == wanted
    assert all(abs(found.count(one) - 1000) < 150 for one in wanted)


def test_crops_are_cut_where_drawn():
    images = batch(50, 2, 13, 17)
    corner = torch.rand(50, 2, generator=torch.Generator().manual_seed(5))
    out = random_crop(images, corner, 6)
    for image, (y, x), found in zip(images, corner.tolist(), out, strict=True):
        top, left = int(y * 8), int(x * 12)
        assert torch.equal(found, image[:, top : top + 6, left : left + 6])
    assert torch.equal(random_crop(images[:, :, :13, :13], corner, 13), images[:, :, :13, :13])
    with pytest.raises(ValueError, match="13 x 17 pixels hold no square of 14"):
        random_crop(images, corner, 14)


@pytest.mark.parametrize(("h", "w"), [(24, 24), (20, 31)])
def test_affine_is_scipys(h, w):
    images = batch(3, 2, h, w)
    angle, size, shift = np.deg2rad([30.0, -75.0, 8.0]), [1.0, 1.3, 0.8], [(0.0, 0.0), (0.1, -0.2), (-0.3, 0.25)]
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    matrix = torch.tensor(
        [[[c, -s, 2 * dx], [s, c, 2 * dy]] for c, s, (dx, dy) in zip(cos, sin, shift, strict=True)], dtype=torch.float32
    )
    out = affine(images, matrix).numpy()
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    for place in range(3):
        turn = np.array([[cos[place], sin[place]], [-sin[place], cos[place]]])
        moved = np.array([shift[place][1] * h, shift[place][0] * w])
        for channel in range(2):
            # one pixel of zeros around it, between which grid_sample goes on, too
            padded = np.pad(images[place, channel].numpy(), 1)
            wanted = ndimage.affine_transform(
                padded, turn, offset=centre + 1 - turn @ centre + moved, order=1, output_shape=(h, w), mode="constant"
            )
            np.testing.assert_allclose(out[place, channel], wanted, atol=2e-4)


def test_identity_and_quarter_turn_are_exact():
    images = batch(2)
    unchanged = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(2, 1, 1)
    torch.testing.assert_close(affine(images, unchanged), images, atol=2e-6, rtol=0)
    turned = torch.tensor([[0.0, -1, 0], [1, 0, 0]]).repeat(2, 1, 1)
    torch.testing.assert_close(affine(images, turned), torch.rot90(images, 1, (-2, -1)), atol=5e-6, rtol=0)
    labels = (images * 3).to(torch.uint8)
    assert torch.equal(affine(labels, unchanged), labels)


def test_masks_go_where_pixels_go_and_keep_their_values():
    masks = (batch(20, 2, seed=4) * 3).to(torch.uint8)
    settings = {key: ALL[key] for key in ("flips", "quarter_turns", "crop_px", "shift")}
    # whole pixels only, so that linear and nearest agree
    settings.pop("shift")
    images, moved = Augmentation(settings, seed=2)(masks.float(), masks)
    assert moved.dtype == torch.uint8
    assert torch.equal(images, moved.float())
    _, moved = Augmentation(ALL, seed=2)(masks.float(), masks)
    assert moved.shape == (20, 2, 16, 16)
    assert set(moved.unique().tolist()) <= {0, 1, 2}


def test_intensities_and_dropped_channels():
    images = batch(4, 3)
    gain, offset = torch.rand(4, 3) + 0.5, torch.rand(4, 3) - 0.5
    out = intensity(images, gain, offset).numpy()
    for n, c in itertools.product(range(4), range(3)):
        plane = images[n, c].numpy()
        np.testing.assert_allclose(
            out[n, c], plane * gain[n, c].item() + offset[n, c].item() * plane.std(), rtol=1e-4, atol=1e-5
        )
    kept = torch.tensor([[True, False, True]] * 4)
    assert torch.equal(drop_channels(images, kept)[:, 1], torch.zeros(4, 24, 24))
    assert torch.equal(drop_channels(images, kept)[:, 0], images[:, 0])


def test_draws_stay_within_their_limits():
    changes = Augmentation(ALL, seed=0).draw(20000, 4)
    assert 1 / 1.3 <= changes.gain.min() < 0.78
    assert 1.29 < changes.gain.max() <= 1.3
    assert changes.offset.abs().max() <= 0.5
    assert changes.kept.any(dim=1).all()
    # of four channels, all four fall in 0.81 %, and then one stays
    assert abs((~changes.kept).float().mean().item() - (0.3 - 0.0081 / 4)) < 0.01
    size = changes.matrix[:, :, :2].det() ** -0.5
    assert 1 / 1.2 - 1e-5 <= size.min() < 0.84
    assert 1.19 < size.max() <= 1.2 + 1e-5
    angle = torch.atan2(changes.matrix[:, 1, 0], changes.matrix[:, 0, 0]).rad2deg()
    assert 19.5 < angle.abs().max() <= 20 + 1e-3
    assert changes.matrix[:, :, 2].abs().max() <= 0.2 + 1e-6


def test_same_seed_same_changes_and_goes_on_from_a_state():
    images = batch()
    one, other = Augmentation(ALL, seed=7), Augmentation(ALL, seed=7)
    assert torch.equal(one(images)[0], other(images)[0])
    state = one.state_dict()
    later = one(images)[0]
    assert not torch.equal(later, Augmentation(ALL, seed=7)(images)[0])
    again = Augmentation(ALL, seed=0)
    again.load_state_dict(state)
    assert torch.equal(again(images)[0], later)
    assert not torch.equal(Augmentation(ALL, seed=8)(images)[0], other(images)[0])


def test_nothing_set_changes_nothing():
    images = batch()
    out, masks = Augmentation({})(images)
    assert torch.equal(out, images)
    assert masks is None


@pytest.mark.parametrize("settings", [{"zoom": 1}, {"gain": -0.1}, {"drop_channel": 1.0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match="augmentation"):
        Augmentation(settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_gpu_makes_the_same_changes():
    images, masks = batch(), (batch(6, 2) * 3).to(torch.uint8)
    here = Augmentation(ALL, seed=1)(images, masks)
    there = Augmentation(ALL, seed=1)(images.cuda(), masks.cuda())
    assert there[0].is_cuda
    torch.testing.assert_close(there[0].cpu(), here[0], atol=1e-3, rtol=1e-3)
    # a place halfway between two pixels may round either way
    assert (there[1].cpu() != here[1]).float().mean() < 1e-3
