import numpy as np
import pytest
import torch
from indexed_run import indexed_run
from wherein.models.augmentation import Augmentation
from wherein.models.feed import to_device
from wherein.reading.batches import BatchReader
from wherein.reading.crops import CropSource
from wherein.reading.groups import groups_of
from wherein.reading.normalization import mask_out, normalize
from wherein.reading.samplers import PairSampler, UniformSampler

CHANGES = {"flips": True, "quarter_turns": True, "gain": 0.2}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return indexed_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("device", DEVICES)
def test_from_the_store_to_the_network(run, device):
    """Memory of the workers is reused while tensors made from it are still in use."""
    index = run.index
    sampler = UniformSampler(index.select(), 16)
    names, tensors = [], []
    with BatchReader(CropSource(index, sampler.selection, distance=True), sampler, workers=2, reuse=True) as reader:
        for batch in reader:
            images, masks, distance = to_device(batch, torch.device(device))
            np.testing.assert_array_equal(distance.cpu().numpy(), batch.distance)
            assert images.device.type == device
            names += index.cell_ids(batch.rows)
            tensors.append(normalize(mask_out(images, masks, "neighbours"), "lu2019", reader.layout.roles))
    for name, tensor in zip(names, torch.cat(tensors).cpu().numpy(), strict=True):
        image, mask = run.pixels[name]
        wanted = normalize(mask_out(image[None], mask[None], "neighbours"), "lu2019", reader.layout.roles)[0]
        np.testing.assert_allclose(tensor, wanted, atol=1e-5)
    changed, _ = Augmentation(CHANGES)(tensors[0])
    assert changed.shape == tensors[0].shape
    assert changed.device == tensors[0].device


def test_pairs_become_a_row_of_crops(run):
    index = run.index
    every = index.select()
    sampler = PairSampler(every, groups_of(index, every, "sample"), 5)
    with BatchReader(CropSource(index, every, masks=False), sampler) as reader:
        batch = next(iter(reader))
    images, masks, distance = to_device(batch, torch.device("cpu"))
    assert masks is distance is None
    np.testing.assert_array_equal(images.reshape(5, 2, 4, 32, 32).numpy(), batch.images)
    images.zero_()
    assert batch.images.any(), "tensors are copies"
