from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import j1
from wherein.simulate import optics
from wherein.simulate.plan import CELL_LINES
from wherein.simulate.spec import FULL_SCALE, ROLES_OF_MODE, FieldSpec, Imaging

CLEAN = Imaging(
    exposure=(500.0,) * 4,
    background=(0.0,) * 4,
    defocus_um=0.0,
    illumination=0.0,
    centre=(0.5, 0.5),
    bleed_through=0.0,
    gain=1.0,
    read_noise=0.0,
    offset=100.0,
)


def spec(mode="four_roles", reference=None, seed=3, **imaging):
    return FieldSpec(
        field_id="f",
        seed=seed,
        gene_seed=1,
        reagent_seed=2,
        mode=mode,
        reference=reference,
        field_px=128,
        pixel_size_um=0.16,
        cell_line=CELL_LINES["human"][0],
        confluence=0.7,
        imaging=replace(CLEAN, **imaging),
    )


def flat(level=1.0, mode="four_roles", shape=(128, 128)):
    return {role: np.full(shape, level, np.float32) for role in ROLES_OF_MODE[mode]}


def test_channels_are_12_bits_in_order_of_storage():
    density = flat(20.0, shape=(96, 160))
    found = optics.image_channels(dict(reversed(density.items())), spec())
    assert list(found) == ["nucleus", "microtubules", "er", "protein"]
    for image in found.values():
        assert image.dtype == np.uint16
        assert image.shape == (96, 160)
        assert image.max() == FULL_SCALE


def test_the_same_field_gives_the_same_picture_and_another_does_not():
    one, again, other = (optics.image_channels(flat(), spec(seed=seed))["protein"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.9


def test_noise_of_channels_is_independent():
    found = optics.image_channels(flat(), spec())
    correlation = np.corrcoef([image.ravel() for image in found.values()])
    assert abs(correlation[np.triu_indices(4, 1)]).max() < 0.04


@pytest.mark.parametrize("photons", [0, 1, 4, 30, 1000])
def test_photon_noise_is_as_a_poisson_count(photons):
    gain = 2.5 if photons == 1000 else 20.0
    light = np.full((500, 500), photons * gain, np.float32)
    imaging = replace(CLEAN, gain=gain, offset=300.0)
    found = (optics.expose(light, imaging, np.random.default_rng(0)).astype(float) - 300) / gain
    exact = np.random.default_rng(1).poisson(photons, light.shape)
    assert found.mean() == pytest.approx(exact.mean(), abs=0.01 * max(1, photons**0.5))
    # the transform adds half a photon of variance
    assert found.var() == pytest.approx(exact.var() + 0.5, rel=0.03)


def test_read_noise_and_offset_where_there_is_no_light():
    imaging = replace(CLEAN, read_noise=6.0, gain=0.8)
    dark = optics.expose(np.zeros((400, 400), np.float32), imaging, np.random.default_rng(0))
    assert dark.mean() == pytest.approx(100, abs=0.1)
    assert dark.std() == pytest.approx(np.hypot(6.0, 0.8 * 0.5**0.5), rel=0.02)


def test_nothing_falls_below_zero():
    imaging = replace(CLEAN, offset=1.0, read_noise=9.0)
    image = optics.expose(np.full((64, 64), -50, np.float32), imaging, np.random.default_rng(0))
    assert image.min() == 0
    assert image.max() < 100


def test_blur_in_focus_has_the_curvature_of_the_airy_disc():
    wave = 2 * np.pi * optics.NUMERICAL_APERTURE / optics.WAVELENGTH_UM["protein"]
    r = 0.01
    airy = (2 * j1(wave * r) / (wave * r)) ** 2
    gauss = np.exp(-(r**2) / (2 * optics.blur_um("protein", 0.0) ** 2))
    assert gauss == pytest.approx(airy, abs=1e-5)


def test_blur_grows_with_defocus_and_wavelength():
    assert optics.blur_um("er", 0) > optics.blur_um("protein", 0) > optics.blur_um("nucleus", 0)
    assert optics.blur_um("protein", 4) > optics.blur_um("protein", 2) > 5 * optics.blur_um("protein", 0)
    assert optics.blur_um("protein", -2) == optics.blur_um("protein", 2)


def test_a_point_is_blurred_after_composition():
    density = flat(0.0)
    density["protein"][64, 64] = 400
    found = optics.image_channels(density, spec(defocus_um=1.0, gain=0.001))["protein"].astype(float) - 100
    sigma = optics.blur_um("protein", 1.0) / 0.16
    expected = 500 * gaussian_filter(density["protein"], sigma)
    assert found[64, 64] == pytest.approx(expected[64, 64], rel=0.05)
    assert found[64, 64 + round(2 * sigma)] == pytest.approx(expected[64, 64 + round(2 * sigma)], rel=0.1)


def test_shading_is_one_at_its_centre_and_least_in_the_far_corner():
    shade = optics.shading((101, 201), replace(CLEAN, illumination=0.3, centre=(0.4, 0.6)))
    assert shade.shape == (101, 201)
    assert shade.max() == pytest.approx(1, abs=1e-4)
    assert np.unravel_index(shade.argmax(), shade.shape) == (40, 121)
    assert shade.min() == pytest.approx(0.7, abs=1e-5)
    assert shade.argmin() in (100 * 201, 100 * 201 + 200, 0)


def test_uneven_light_dims_the_edges_of_every_channel():
    found = optics.image_channels(flat(), spec(illumination=0.5, gain=0.01))
    for image in found.values():
        assert image[0, 0] - 100 == pytest.approx(0.5 * (float(image[64, 64]) - 100), rel=0.03)


def test_unspecific_signal_is_everywhere_and_uneven():
    found = optics.image_channels(flat(0.0), spec(background=(0.2,) * 4, gain=0.01))["protein"].astype(float) - 100
    assert found.mean() == pytest.approx(0.2 * 500, rel=0.15)
    assert found.min() > 0.25 * 0.2 * 500
    assert found.std() > 5


@pytest.mark.parametrize(
    ("source", "redder", "bluer", "kept"),
    [("protein", "microtubules", "nucleus", optics.PROTEIN_SPILL), ("microtubules", "er", "protein", 1.0)],
)
def test_bleed_through_reaches_the_spectral_neighbours_alone(source, redder, bluer, kept):
    density = flat(0.0)
    density[source] += 4
    found = {
        role: float(image.mean()) - 100
        for role, image in optics.image_channels(density, spec(bleed_through=0.08, gain=0.01)).items()
    }
    assert found.pop(redder) == pytest.approx(kept * 0.08 * 2000, rel=0.02)
    assert found.pop(bluer) == pytest.approx(kept * 0.02 * 2000, rel=0.05)
    assert found.pop(source) == pytest.approx(2000, rel=0.01)
    assert list(found.values()) == pytest.approx([0], abs=1)


def test_brightfield_is_transmitted_light():
    density = flat(0.0, "yeast")
    density["protein"] += 4
    background = (0.3, 0.3)
    found = optics.image_channels(
        density, spec("yeast", "brightfield", bleed_through=0.1, background=background, exposure=(500.0, 500.0))
    )
    assert found["reference"].mean() == pytest.approx(100, abs=1)
    found = optics.image_channels(
        density, spec("yeast", "rfp", bleed_through=0.1, background=background, exposure=(500.0, 500.0))
    )
    assert found["reference"].mean() > 250


def test_densities_are_left_as_they_are():
    density = flat()
    optics.image_channels(density, spec(background=(0.1,) * 4))
    assert all((image == 1).all() for image in density.values())
