import cv2
import numpy as np
import pytest
import torch
from real_data import real_data
from wherein.labels import vocabulary
from wherein.models import gapnet
from wherein.models.device import choose_device, describe, peak_gpu_mb
from wherein.models.patches import resample, standardize, statistics
from wherein.reading.tiling import tiles

CPU = torch.device("cpu")
COLOURS = {"nucleus": "blue", "protein": "green", "microtubules": "red", "er": "yellow"}
FIELDS = {
    "800_A6_1": "Cytosol",
    "B2AI_1_untreated_A1_R1": "Nucleus",
    "B2AI_1_untreated_A1_R2": "Nucleus",
    "B2AI_1_untreated_A1_R4": "Nucleus",
}


def numpy_forward(arrays, image):
    """GapNet-PL in float64 from its definition, one pixel shift at a time. image: (H, W, 4); gives the 13 logits."""

    def selu(x):
        return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))

    def convolve(maps, kernel, bias, stride):
        height, width = (-(-side // stride) for side in maps.shape[:2])
        total = [max((n - 1) * stride + 3 - side, 0) for n, side in zip((height, width), maps.shape[:2], strict=True)]
        maps = np.pad(
            maps, [(total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2), (0, 0)]
        )
        out = np.zeros((height, width, kernel.shape[3])) + bias
        for dy in range(3):
            for dx in range(3):
                part = maps[dy : dy + (height - 1) * stride + 1 : stride, dx : dx + (width - 1) * stride + 1 : stride]
                out += part @ kernel[dy, dx]
        return out

    def pool(maps):
        height, width = (-(-side // 2) for side in maps.shape[:2])
        padded = np.full((height * 2, width * 2, maps.shape[2]), -np.inf)
        padded[: maps.shape[0], : maps.shape[1]] = maps
        return padded.reshape(height, 2, width, 2, -1).max(axis=(1, 3))

    maps, taps = image.astype(np.float64), []
    for number in range(1, 9):
        stride = 2 if number <= 2 else 1
        weights = [arrays[f"ConvLayer-{number}/{part}_conv"].astype(np.float64) for part in "Wb"]
        maps = selu(convolve(maps, *weights, stride))
        if number in (1, 5):
            maps = pool(maps)
        if number in (1, 5, 8):
            taps.append(maps.mean(axis=(0, 1)))
    vector = np.concatenate(taps)
    for number in (1, 2, 3):
        vector = vector @ arrays[f"FC-{number}/W_dense"].astype(np.float64) + arrays[f"FC-{number}/b_dense"]
        vector = selu(vector) if number < 3 else vector
    return vector


def random_arrays(seed=0):
    rng = np.random.default_rng(seed)
    arrays = {}
    for number, (a, b, _) in enumerate(gapnet.CONVOLUTIONS, start=1):
        arrays[f"ConvLayer-{number}/W_conv"] = rng.normal(0, (9 * a) ** -0.5, (3, 3, a, b)).astype(np.float32)
        arrays[f"ConvLayer-{number}/b_conv"] = rng.normal(0, 0.1, b).astype(np.float32)
    for number, (a, b) in enumerate(gapnet.DENSE, start=1):
        arrays[f"FC-{number}/W_dense"] = rng.normal(0, a**-0.5, (a, b)).astype(np.float32)
        arrays[f"FC-{number}/b_dense"] = rng.normal(0, 0.1, b).astype(np.float32)
    return arrays


def test_626221_parameters():
    assert sum(parameter.numel() for parameter in gapnet.GapNet().parameters()) == 626_221


@pytest.mark.parametrize("shape", [(64, 64), (96, 60), (61, 83)])
def test_the_same_as_in_numpy(tmp_path, shape):
    arrays = random_arrays()
    np.savez(tmp_path / "weights.npz", **arrays)
    network = gapnet.published(tmp_path / "weights.npz")
    image = np.random.default_rng(1).normal(size=(*shape, 4)).astype(np.float32)
    with torch.inference_mode():
        vector, logits = network(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    np.testing.assert_allclose(logits[0], numpy_forward(arrays, image), atol=1e-4)
    _, probabilities = gapnet.run(network, [image.transpose(2, 0, 1)[None].copy()], CPU)
    np.testing.assert_allclose(probabilities[0], 1 / (1 + np.exp(-numpy_forward(arrays, image))), atol=1e-5)
    assert vector.shape == (1, 256)


def test_published_weights_the_same_as_in_numpy():
    path = real_data("weights/gapnet-pl_weights.npz")
    image = np.random.default_rng(2).normal(size=(128, 128, 4)).astype(np.float32)
    with torch.inference_mode():
        _, logits = gapnet.published(path)(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    with np.load(path) as arrays:
        np.testing.assert_allclose(logits[0], numpy_forward(arrays, image), atol=1e-4)


def test_same_padding_puts_the_odd_pixel_at_the_end():
    assert gapnet.same_padding(1024, 2) == (0, 1)
    assert gapnet.same_padding(1023, 2) == (1, 1)
    assert gapnet.same_padding(7, 1) == (1, 1)


def test_weights_of_another_network_are_refused(tmp_path):
    arrays = random_arrays()
    np.savez(tmp_path / "missing.npz", **{name: array for name, array in arrays.items() if name != "FC-2/b_dense"})
    with pytest.raises(ValueError, match="no array FC-2/b_dense"):
        gapnet.published(tmp_path / "missing.npz")
    np.savez(tmp_path / "shape.npz", **(arrays | {"FC-3/W_dense": np.zeros((256, 28), np.float32)}))
    with pytest.raises(ValueError, match=r"found shape \(28, 256\), allowed is \(13, 256\)"):
        gapnet.published(tmp_path / "shape.npz")


def test_untrained_is_seeded_and_keeps_the_variance():
    image = torch.randn(4, 4, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other, another = (gapnet.untrained(seed)(image)[1] for seed in (0, 0, 1))
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, another)
    network, maps = gapnet.untrained(0), image
    with torch.inference_mode():
        for layer in network.convolutions[:4]:
            maps = torch.nn.functional.selu(layer(maps))
            assert 0.7 < float(maps.std()) < 1.3


@pytest.mark.parametrize(("length", "expected"), [(1024, 1), (2048, 2), (1728, 2), (3072, 3), (700, 1), (1025, 2)])
def test_tiles_cover_the_field(length, expected):
    found = tiles(length, 900, 1024)
    assert len(found) == expected
    covered = np.zeros((length, 900), int)
    for rows, columns in found:
        covered[rows, columns] += 1
        assert rows.stop - rows.start == min(length, 1024)
    assert covered.min() == 1
    assert found[-1][0].stop == length


def test_standardize_and_resample():
    image = np.random.default_rng(0).integers(0, 60_000, (4, 50, 40)).astype(np.uint16)
    image[2] = 7
    scaled = standardize(image, *statistics(image))
    np.testing.assert_allclose(scaled[[0, 1, 3]].mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[[0, 1, 3]].std(axis=(1, 2)), 1, atol=1e-5)
    assert (scaled[2] == 0).all()
    small = resample(image.astype(np.float32), 0.08, 0.16)
    assert small.shape == (4, 25, 20)
    np.testing.assert_allclose(small[0], image[0].reshape(25, 2, 20, 2).mean(axis=(1, 3)), rtol=1e-5)
    assert resample(image.astype(np.float32), 0.16, 0.08).shape == (4, 100, 80)
    assert resample(image, 0.08, None) is image
    assert resample(image, 0.0801, 0.08) is image


def test_device():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda")
    assert (describe(CPU), peak_gpu_mb(CPU)) == ("cpu", None)
    with pytest.raises(ValueError, match="allowed are auto, cuda, cpu"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="torch finds no CUDA GPU"):
            choose_device("cuda")


@pytest.mark.parametrize(("name", "location"), FIELDS.items())
def test_known_fields(name, location):
    folder = real_data("smoke_hpa_4ch")
    channel = {role: cv2.imread(str(folder / c / f"{name}_{c}.jpg")).max(axis=2) for role, c in COLOURS.items()}
    network = gapnet.published(real_data("weights/gapnet-pl_weights.npz"))
    first = {}
    for swapped in (False, True):
        inputs = ("microtubules", "protein", "nucleus", "er") if swapped else gapnet.INPUTS
        image = np.stack([channel[role] for role in inputs])
        image = standardize(image, *statistics(image))
        patches = [image[(slice(None), *place)][None] for place in tiles(*image.shape[1:], 1024)]
        _, probabilities = gapnet.run(network, patches, CPU)
        first[swapped] = vocabulary(gapnet.VOCABULARY).classes[probabilities.mean(axis=0).argmax()]
    assert first[False] == location
    assert first[True] != location
