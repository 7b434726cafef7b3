import numpy as np
import pytest
import torch
from real_data import real_data
from wherein.reading.normalization import (
    COMPETITION_DEVIATION,
    COMPETITION_MEAN,
    MASKED,
    NORMALIZATIONS,
    mask_out,
    normalize,
)

ROLES = ["nucleus", "microtubules", "er", "protein"]
TYPES = [np.uint8, np.uint16, np.float32]


def crops(dtype, seed=0):
    rng = np.random.default_rng(seed)
    images = (rng.gamma(2, 30, (5, 4, 16, 18)) % 251).astype(dtype)
    images[1, 2] = 7
    images[2] = 0
    return images


def settings(images):
    whole = np.random.default_rng(1).random((2, 5, 4)) * 40 + 1
    whole[1, 0, 0] = 0
    return {"full_scale": np.array([255.0, 255, 4095, 65535, 1]), "moments": (whole[0], whole[1])}


def one_plane(plane, name, role, full_scale, mean, deviation):
    """The papers' words for one channel of one crop, number by number in float64."""
    plane = plane.astype(np.float64)
    low, high = plane.min(), plane.max()
    unit = np.zeros_like(plane) if high == low else (plane - low) / (high - low)
    if name == "raw":
        return plane
    if name == "kobayashi2022":
        return unit
    if name == "lu2019":
        return np.clip((unit - 0.05) / 0.95, 0, 1) if role in ("nucleus", "microtubules") else unit
    if name == "ouyang2019":
        return (plane / full_scale - COMPETITION_MEAN[role]) / COMPETITION_DEVIATION[role]
    if name == "rumetshofer2019":
        return (plane - mean) / (deviation or 1)
    low, high = np.percentile(plane, [1, 99])
    return (plane - low) / ((high - low) or 1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_every_way_is_its_papers_words(name, dtype):
    images = crops(dtype)
    given = settings(images)
    found = normalize(images, name, ROLES, **given)
    assert found.dtype == np.float32
    assert found.shape == images.shape
    for n, c in np.ndindex(images.shape[:2]):
        mean, deviation = (values[n, c] for values in given["moments"])
        wanted = one_plane(images[n, c], name, ROLES[c], given["full_scale"][n], mean, deviation)
        np.testing.assert_allclose(found[n, c], wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_tensors_give_what_arrays_give(name, dtype):
    images = crops(dtype)
    given = settings(images)
    found = normalize(torch.from_numpy(images), name, ROLES, **given)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), normalize(images, name, ROLES, **given), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_percentiles_of_a_data_set(kind):
    images = crops(np.uint16)
    low, high = np.array([1.0, 2, 3, 4]), np.array([11.0, 22, 33, 4])
    found = np.asarray(normalize(kind(images), "stringer2021", ROLES, limits=(low, high)))
    spread = np.array([10.0, 20, 30, 1])
    np.testing.assert_allclose(found, (images - low[:, None, None]) / spread[:, None, None], rtol=1e-5)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("what", MASKED)
def test_masking_blanks_what_it_says(what, dtype, kind):
    images = crops(dtype)
    masks = np.random.default_rng(2).integers(0, 3, (5, 2, 16, 18)).astype(np.uint8)
    before = images.copy()
    found = np.asarray(mask_out(kind(images), kind(masks), what))
    wanted = images.copy()
    for n, y, x in np.ndindex(5, 16, 18):
        if (what == "all" and masks[n, 0, y, x] != 1) or (what == "neighbours" and masks[n, 0, y, x] == 2):
            wanted[n, :, y, x] = 0
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == dtype
    np.testing.assert_array_equal(images, before)


def test_what_is_lacking_is_told():
    images = crops(np.uint8)
    for name, message in (
        ("zscore", "allowed are raw, lu2019"),
        ("ouyang2019", "full scale"),
        ("rumetshofer2019", "mean and"),
    ):
        with pytest.raises(ValueError, match=message):
            normalize(images, name, ROLES)
    with pytest.raises(ValueError, match="ouyang2019 has no mean of reference"):
        normalize(images[:, :1], "ouyang2019", ["reference"], full_scale=np.ones(5))
    with pytest.raises(ValueError, match="masked 'some': allowed are none, neighbours, all"):
        mask_out(images, images[:, :2], "some")


def test_real_crops_of_the_toy_set_have_the_markers_floor():
    crops = np.load(real_data("crops/hpa_toy_3proteins.npz"), allow_pickle=False)
    images = next(crops[name] for name in crops.files if crops[name].ndim == 4).transpose(0, 3, 1, 2)
    # red, green, blue
    found = normalize(images, "lu2019", ["microtubules", "protein", "nucleus"])
    assert found.min() == 0
    assert found.max() == 1
    plain = normalize(images, "kobayashi2022", ROLES)
    assert (found[plain < 0.05].reshape(-1) >= 0).all()
    assert (found[:, [0, 2]][plain[:, [0, 2]] <= 0.05] == 0).all()
    np.testing.assert_array_equal(found[:, 1], plain[:, 1])


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_distance_is_the_last_channel(kind):
    images = crops(np.uint16)
    distance = np.random.default_rng(0).normal(0, 9, (5, 1, 16, 18)).astype(np.float32)
    distance[3] = 0
    found = np.asarray(normalize(kind(images), "kobayashi2022", ROLES, distance=kind(distance)))
    assert found.shape == (5, 5, 16, 18)
    np.testing.assert_array_equal(found[:, :4], normalize(images, "kobayashi2022", ROLES))
    for one, wanted in zip(found[:, 4], distance[:, 0], strict=True):
        np.testing.assert_allclose(one, wanted / (np.abs(wanted).max() or 1), rtol=1e-6)
