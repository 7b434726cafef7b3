import numpy as np
import pandas as pd
import pytest
import torch
from stored_fields import ROLES, write_store
from wherein.crops.store import CropWriter
from wherein.models import images
from wherein.models.feeds import Draw, Pixels, TileFeed, TilePlan, TrainingFeed, class_members
from wherein.models.images import UnitSource
from wherein.models.training.imbalance import oversampling_factors

CPU = torch.device("cpu")
SIZES = [(40, 64), (64, 40), (24, 24), (64, 64), (48, 48), (64, 33)]


@pytest.fixture
def stored(tmp_path):
    path, pixels = write_store(tmp_path, SIZES)
    return images.field_units([path], ROLES), pixels


def fields_of(units, plan, name="raw", roles=ROLES, side=32):
    return Pixels(units, UnitSource(units, roles, side, "field"), plan, name, CPU)


def labels(count, classes=3, seed=0):
    return (np.random.default_rng(seed).random((count, classes)) < 0.4).astype(np.float32)


def feed(units, augmentation=None, share=(0, 1), batch=4, seed=5):
    plan = Draw(units, 32, batch, seed, share=share)
    return TrainingFeed(
        fields_of(units, plan, "rumetshofer2019"), labels(len(units)), 3, augmentation or {}, seed, share
    )


def test_windows_are_the_fields_own_pixels(stored):
    units, pixels = stored
    plan = Draw(units, 32, 4, seed=1)
    for _, rows, batch in fields_of(units, plan).batches(0, 0):
        for (unit, top, left), image in zip(rows.tolist(), batch.numpy(), strict=True):
            window = pixels[units.ids[unit]][:, top : top + 32, left : left + 32]
            np.testing.assert_array_equal(image[:, : window.shape[1], : window.shape[2]], window)
            assert not image[:, window.shape[1] :].any()
            assert not image[:, :, window.shape[2] :].any()


def test_intensities_are_scaled_by_the_whole_field_and_padding_stays_0(stored):
    units, pixels = stored
    plan = TilePlan(units, 32, 4)
    for _, rows, batch in fields_of(units, plan, "rumetshofer2019").batches(0, 0):
        for (unit, top, left), image in zip(rows.tolist(), batch.numpy(), strict=True):
            field = pixels[units.ids[unit]].astype(np.float64)
            mean, deviation = field.mean(axis=(1, 2), keepdims=True), field.std(axis=(1, 2), keepdims=True)
            window = ((field - mean) / deviation)[:, top : top + 32, left : left + 32]
            np.testing.assert_allclose(image[:, : window.shape[1], : window.shape[2]], window, atol=1e-4)
            assert not image[:, window.shape[1] :].any()
            assert not image[:, :, window.shape[2] :].any()


def test_roles_come_in_the_order_that_is_asked_for(stored, tmp_path):
    units = images.field_units([units_path(tmp_path)], ("protein", "nucleus"))
    _, pixels = stored
    plan = TilePlan(units, 64, 1)
    for _, rows, batch in fields_of(units, plan, roles=("protein", "nucleus"), side=64).batches(0, 0):
        field = pixels[units.ids[rows[0, 0]]]
        np.testing.assert_array_equal(batch[0, :, : field.shape[1], : field.shape[2]], field[[3, 0]])


def units_path(folder):
    return folder / "s-0001.zarr"


def test_tiles_cover_every_field(stored):
    units, _ = stored
    seen = [np.zeros(size, bool) for size in SIZES]
    plan = TilePlan(units, 32, 5)
    for number in range(len(plan)):
        rows = plan.rows(0, number)
        counts = {int((rows[:, 0] == unit).sum()) for unit in plan.units(number)}
        assert len(counts) == 1, "units of a batch have equally many tiles"
        for unit, top, left in rows.tolist():
            seen[unit][top : top + 32, left : left + 32] = True
    assert all(found.all() for found in seen)
    lengths = [len(plan.rows(0, number)) for number in range(len(plan))]
    assert max(lengths) == lengths[0]


def test_every_unit_once_an_epoch(stored):
    units, _ = stored
    plan = Draw(units, 32, 2, seed=1)
    for epoch in range(3):
        drawn = np.concatenate([plan.rows(epoch, number)[:, 0] for number in range(len(plan))])
        assert sorted(drawn) == list(range(6))
    assert [plan.rows(0, 0).tolist()] != [plan.rows(1, 0).tolist()]


def test_a_batch_depends_on_its_number_alone(stored):
    units, _ = stored
    settings = {"flips": True, "quarter_turns": True, "gain": 0.3, "scale": 0.2}
    whole = [batch for epoch in (0, 1) for batch in feed(units, settings, batch=2).batches(epoch, 0)]
    later = list(feed(units, settings, batch=2).batches(1, 1))
    for (one, labels_one), (other, labels_other) in zip(whole[4:], later, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(labels_one, labels_other)
    assert not torch.equal(whole[0][0], whole[3][0])


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_batch_and_see_what_one_would(stored, world):
    units, _ = stored
    settings = {"flips": True, "quarter_turns": True, "gain": 0.3}
    alone = list(feed(units, settings, batch=6).batches(0, 0))
    parts = [list(feed(units, settings, (rank, world), batch=6).batches(0, 0)) for rank in range(world)]
    for number, (pictures, wanted) in enumerate(alone):
        together, answers = torch.zeros_like(pictures), torch.zeros_like(wanted)
        for rank in range(world):
            together[rank::world], answers[rank::world] = parts[rank][number]
        assert torch.allclose(together, pictures, atol=1e-6)
        assert torch.equal(answers, wanted)


def test_a_batch_larger_than_all_units_is_all_of_them(stored):
    units, _ = stored
    assert len(feed(units, batch=100)) == 1
    assert len(next(iter(feed(units, batch=100).batches(0, 0)))[0]) == 6


@pytest.mark.parametrize("room", [0, 30_000, 10**9])
def test_what_is_kept_is_what_is_read(stored, room):
    units, _ = stored
    source = UnitSource(units, ROLES, 32, "field", keep_bytes=room)
    plans = [Draw(units, 32, 2, seed=1) for _ in range(2)]
    kept, fresh = Pixels(units, source, plans[0], "raw", CPU), fields_of(units, plans[1])
    for epoch in (0, 1, 2):
        for (_, _, one), (_, _, other) in zip(kept.batches(epoch, 0), fresh.batches(epoch, 0), strict=True):
            assert torch.equal(one, other)
    held = sum(field.nbytes for field in source.reader._kept.values())
    assert held <= room
    few, most = {0: (0, 0), 30_000: (1, 5), 10**9: (6, 6)}[room]
    assert few <= len(source.reader._kept) <= most


def test_workers_give_the_same(stored):
    units, _ = stored
    plan = Draw(units, 32, 2, seed=1)
    source = UnitSource(units, ROLES, 32, "field")
    with Pixels(units, source, plan, "stringer2021", CPU, workers=2) as ahead:
        for epoch in (0, 1):
            here = Pixels(units, source, Draw(units, 32, 2, seed=1), "stringer2021", CPU)
            for (_, _, one), (_, _, other) in zip(ahead.batches(epoch, 0), here.batches(epoch, 0), strict=True):
                assert torch.equal(one, other)


def test_oversampling_takes_rare_classes_more_often(stored):
    units, _ = stored
    truth = np.array([[1, 0]] * 5 + [[0, 1]], bool)
    factors = oversampling_factors(truth, 10, power=1)
    plan = Draw(units, 32, 2, seed=1, factors=factors)
    assert plan.length == 10
    drawn = np.concatenate([plan.rows(epoch, number)[:, 0] for epoch in range(40) for number in range(len(plan))])
    assert (drawn == 5).mean() == pytest.approx(0.5, abs=0.05)


def test_balanced_classes_take_turns(stored):
    units, _ = stored
    truth = np.array([[1, 0, 0]] * 4 + [[0, 1, 0]] * 2, bool)
    members = class_members(truth)
    assert [own.tolist() for own in members] == [[0, 1, 2, 3], [4, 5]]
    plan = Draw(units, 32, 2, seed=1, members=members)
    for epoch in range(5):
        drawn = np.concatenate([plan.rows(epoch, number)[:, 0] for number in range(len(plan))])
        assert (drawn >= 4).sum() == 3


def test_validation_gives_all_tiles_of_a_unit(stored):
    units, _ = stored
    wanted = labels(6)
    own = TileFeed(fields_of(units, TilePlan(units, 32, 8)), wanted)
    seen = 0
    for tiled, answers in own.batches(0, 0):
        assert tiled.ndim == 5
        assert tiled.shape[2:] == (4, 32, 32)
        assert len(tiled) == len(answers)
        seen += len(answers)
    assert seen == 6


def test_a_missing_field_is_told(tmp_path):
    path, _ = write_store(tmp_path, SIZES)
    with pytest.raises(ValueError, match=r"other@v.*training table"):
        images.field_units([path], ROLES, ["s-0001-f0@v", "other@v"])


def crops(folder, side=24, count=5):
    rng = np.random.default_rng(3)
    pixels = rng.integers(1, 999, (count, 2, side, side)).astype(np.uint16)
    masks = np.zeros((count, 2, side, side), np.uint8)
    masks[:, 0, 4:20, 4:20] = 1
    masks[:, 0, :, 20:] = 2
    names = [f"f{number % 2}@v:{number}" for number in range(count)]
    with CropWriter(folder / "c-0001.zarr", ["nucleus", "protein"], side, np.dtype(np.uint16)) as writer:
        for name, image, mask in zip(names, pixels, masks, strict=True):
            writer.add(name, image, mask)
        writer.finish({"pixel_size_um": 0.5, "window_um": 12.0})
    return folder / "c-0001.zarr", names, pixels


@pytest.mark.parametrize(("side", "blank"), [(16, False), (32, True), (24, True)])
def test_cells_are_the_middle_of_their_crops(tmp_path, side, blank):
    path, names, pixels = crops(tmp_path)
    cells = pd.DataFrame({"unit_id": names[::-1], "full_scale": 4095.0})
    cells[["field_id", "version"]] = [name.split(":")[0].split("@") for name in names[::-1]]
    units = images.cell_units([path], ("protein",), cells, None)
    source = UnitSource(units, ("protein",), side, "cell", None, blank)
    expected = pixels[::-1, 1:].astype(np.float32)
    if blank:
        expected[..., 20:] = 0
    for _, rows, batch in Pixels(units, source, TilePlan(units, side, 9), "raw", CPU, centred=True).batches(0, 0):
        for unit, image in zip(rows[:, 0], batch.numpy(), strict=True):
            whole = np.zeros((1, 40, 40), np.float32)
            whole[:, 8:32, 8:32] = expected[unit]
            edge = (40 - side) // 2
            np.testing.assert_array_equal(image, whole[:, edge : edge + side, edge : edge + side])


def test_a_cells_field_is_known_by_its_crops(tmp_path):
    path, names, pixels = crops(tmp_path)
    cells = pd.DataFrame({"unit_id": names, "full_scale": 4095.0})
    cells[["field_id", "version"]] = [name.split(":")[0].split("@") for name in names]
    units = images.cell_units([path], ("protein", "nucleus"), cells, None)
    np.testing.assert_allclose(units.means[0], pixels[0::2].mean(axis=(0, 2, 3))[::-1])
    np.testing.assert_allclose(units.deviations[1], pixels[1::2].std(axis=(0, 2, 3))[::-1])


def test_a_crop_larger_than_the_network_sees_is_one_image(tmp_path):
    path, names, _ = crops(tmp_path)
    cells = pd.DataFrame({"unit_id": names, "full_scale": 4095.0})
    cells[["field_id", "version"]] = [name.split(":")[0].split("@") for name in names]
    units = images.cell_units([path], ("protein",), cells, None, 8)
    plan = TilePlan(units, 8, 100)
    assert sum(len(plan.rows(0, number)) for number in range(len(plan))) == len(names)


def test_a_plan_knows_where_its_own_share_is_largest():
    """Two processes: of twelve single tiles each has six, of three fields of four tiles one has eight."""
    sizes = np.array([[8, 8]] * 12 + [[16, 16]] * 3)
    units = images.Units([""] * 15, [], *(np.zeros(15, np.int64) for _ in range(2)), sizes, np.ones(15),
                         np.zeros((15, 1)), np.ones((15, 1)), None)  # fmt: skip
    for rank in (0, 1):
        plan = TilePlan(units, 8, 12, (rank, 2))
        own = [len(plan.rows(0, number)) for number in range(len(plan))]
        assert own[plan.widest] == max(own)


def test_nothing_to_see_needs_no_worker():
    units = images.Units([], [], np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.ones(0),
                         np.zeros((0, 1)), np.ones((0, 1)), None)  # fmt: skip
    source = UnitSource(units, ("protein",), 8, "field", None, False)
    with Pixels(units, source, TilePlan(units, 8, 4), "raw", CPU, 2) as pixels:
        assert list(pixels.batches(0, 0)) == []


def test_a_policy_changes_a_batch_by_its_seed_epoch_and_number_alone(stored):
    units, _ = stored
    plain = [images for images, _ in feed(units, batch=3).batches(1, 0)]
    settings = {"policy": {"kind": "random", "operations": 2, "magnitude": 0.6, "file": None}}
    whole = [images for images, _ in feed(units, settings, batch=3).batches(1, 0)]
    assert all(not torch.allclose(one, other) for one, other in zip(plain, whole, strict=True))
    (later, _), *_ = feed(units, settings, batch=3).batches(1, 1)
    assert torch.equal(later, whole[1])
    for rank in range(2):
        shared = [images for images, _ in feed(units, settings, share=(rank, 2), batch=3).batches(1, 0)]
        for part, batch in zip(shared, whole, strict=True):
            assert torch.allclose(part, batch[rank::2], atol=1e-5)
