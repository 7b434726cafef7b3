import csv
import math
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_feed import DrawnFeed, SmallNetwork, settings
from torch import nn
from wherein.models.training import imbalance, signals
from wherein.models.training.checkpoint import WrongStateError, load_checkpoint, save_checkpoint, training_digest
from wherein.models.training.ema import RunningMean, kept_share
from wherein.models.training.history import HISTORY, write_history
from wherein.models.training.memory import out_of_memory, peak_mb
from wherein.models.training.optimizers import add_penalties, clip, make_optimizer, penalized_parameters
from wherein.models.training.schedules import Schedule
from wherein.models.training.signals import TRY_AGAIN, Interrupted, StopSignals
from wherein.models.training.stream import Watched


def rates(schedule, epochs, batches):
    return [schedule.rate(step // batches, step % batches) for step in range(epochs * batches)]


def test_one_cycle_is_that_of_torch():
    words = settings(schedule="one_cycle", epochs=4, learning_rate=0.3)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    numbers = words["one_cycle"]
    peer = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.3, total_steps=40, pct_start=numbers["rise"], div_factor=1 / numbers["start"],
        final_div_factor=numbers["start"] / numbers["end"], cycle_momentum=False,
    )  # fmt: skip
    want = []
    for _ in range(40):
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        peer.step() if len(want) < 40 else None
    assert rates(Schedule(words, 10), 4, 10) == pytest.approx(want, rel=1e-6)


def test_cosine_warms_up_then_falls_to_its_end():
    words = settings(schedule="cosine", epochs=5, learning_rate=0.1, cosine={"warm_up": 0.2, "end": 0.05})
    found = rates(Schedule(words, 20), 5, 20)
    assert found[:20] == pytest.approx([0.1 * (step + 1) / 21 for step in range(20)])
    assert max(found) == found[20] == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0.005)
    half = [0.1 * (0.05 + 0.95 * (1 + math.cos(math.pi * step / 79)) / 2) for step in range(80)]
    assert found[20:] == pytest.approx(half)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_schedules_of_one_step_are_numbers(name):
    (rate,) = rates(Schedule(settings(schedule=name, epochs=1, learning_rate=0.1), 1), 1, 1)
    assert 0 <= rate <= 0.1


def test_steps_are_those_of_the_winner_of_the_2018_competition():
    found = rates(Schedule(settings(schedule="steps", learning_rate=30e-5), 1), 45, 1)
    want = [30e-5] * 25 + [15e-5] * 5 + [7.5e-5] * 5 + [3e-5] * 5 + [1e-5] * 5
    assert found == pytest.approx(want, rel=1e-4)


def test_the_rate_is_halved_when_no_score_is_better_for_long_enough():
    words = settings(schedule="plateau", learning_rate=1.0, plateau={"epochs": 3, "least": 0.01, "factor": 0.5})
    schedule = Schedule(words, 2)
    scores = [0.5, 0.504, 0.502, 0.5, 0.6, 0.6, 0.6, 0.6, 0.1, 0.1, 0.1, 0.7, 0.1]
    found = []
    for epoch, score in enumerate(scores):
        found.append(schedule.rate(epoch, 1))
        schedule.looked(epoch, score)
    # 0.504 is not 1 % better than 0.5; after a fall there are three epochs of patience again
    assert found == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]


def test_a_plateau_of_losses_counts_the_same_way_and_goes_on_where_it_was():
    words = settings(schedule="plateau", learning_rate=1.0, plateau={"epochs": 2, "least": 0.0, "factor": 0.1})
    whole, begun = Schedule(words, 1), Schedule(words, 1)
    losses = [-1.0, -0.9, -0.95, -0.9, -0.8, -0.8, -0.8]
    for epoch, score in enumerate(losses):
        whole.looked(epoch, score)
        if epoch < 3:
            begun.looked(epoch, score)
    resumed = Schedule(words, 1)
    resumed.load_state_dict(begun.state_dict())
    for epoch in range(3, len(losses)):
        resumed.looked(epoch, losses[epoch])
    assert resumed.rate(9, 0) == whole.rate(9, 0) == pytest.approx(0.01)


def test_the_running_mean_is_the_sum_that_its_formula_says():
    network = SmallNetwork()
    mean = RunningMean(network, 0.6)
    want = None
    for step in range(12):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.full_like(parameter, 0.1 * (step + 1)))
            network.norm.running_mean.fill_(step)
        mean.update(network)
        kept = min(0.6, step / (9 + step))
        now = network.dense.weight.detach().double().clone()
        want = now if want is None else kept * want + (1 - kept) * now
    assert torch.allclose(mean.network.dense.weight.double(), want, atol=1e-6)
    assert float(mean.network.norm.running_mean[0]) == 11
    assert not mean.network.training
    assert kept_share(0, 0.9) == 0
    assert kept_share(10**6, 0.9) == 0.9


def test_a_running_mean_goes_on_where_it_was():
    network = SmallNetwork()
    mean, other = RunningMean(network, 0.9), RunningMean(SmallNetwork(seed=5), 0.9)
    for step in range(6):
        with torch.no_grad():
            network.last.bias.add_(1.0)
        mean.update(network)
        if step == 2:
            other.load_state_dict(
                {**mean.state_dict(), "network": {k: v.clone() for k, v in mean.network.state_dict().items()}}
            )
        if step > 2:
            other.update(network)
    assert torch.equal(mean.network.last.bias, other.network.last.bias)


def test_class_weights_grow_with_rarity_up_to_their_limit():
    labels = np.zeros((1000, 4), bool)
    labels[:500, 0], labels[:10, 1], labels[:1, 2] = True, True, True
    found = imbalance.class_weights(labels, 10)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx([1, math.sqrt(99), 10, 1])


def test_units_of_rare_classes_come_more_often():
    labels = np.zeros((120, 3), bool)
    labels[:100, 0], labels[95:110, 1], labels[[0, 111], 2] = True, True, True
    factors = imbalance.oversampling_factors(labels, limit=6, power=0.5)
    root = math.sqrt(100 / 15)
    assert factors[1] == 1
    assert factors[95] == factors[105] == pytest.approx(root)  # both classes, one class
    assert factors[0] == factors[111] == 6  # sqrt(50) is over the limit
    assert factors[115] == 1  # no class
    even = imbalance.oversampling_factors(np.eye(3, dtype=bool)[[0] * 8 + [1] * 4 + [2]], limit=100, power=1)
    assert [even[:8].sum(), even[8:12].sum(), even[12]] == pytest.approx([8, 8, 8])
    assert imbalance.oversampling_factors(np.zeros((0, 3), bool), 5).shape == (0,)


def test_repeats_are_as_many_as_the_factors_say_on_average():
    factors = np.array([1.0, 2.5, 3.25])
    counts = np.zeros(3)
    for seed in range(400):
        rows = imbalance.repeats(factors, np.random.default_rng(seed))
        assert (np.diff(rows) >= 0).all()
        found = np.bincount(rows, minlength=3)
        assert (np.abs(found - factors) < 1).all()
        counts += found
    assert counts / 400 == pytest.approx(factors, abs=0.1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers_step_as_torch_does_by_hand(optimizer):
    words = settings(optimizer=optimizer, weight_decay=0.1, l1=0.01, clip_norm=0.5, learning_rate=0.05)
    ours = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    peer = nn.Conv2d(3, 4, 3)
    peer.load_state_dict(ours.state_dict())
    made = make_optimizer(ours, words)
    decay = 0.1 if optimizer == "adamw" else 0.0
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    options = {"momentum": 0.9} if optimizer == "sgd" else {}
    groups = [{"params": [peer.weight], "weight_decay": decay}, {"params": [peer.bias], "weight_decay": 0.0}]
    other = kinds[optimizer](groups, lr=0.05, foreach=False, **options)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for module in (ours, peer):
            module.zero_grad()
            (module(images) ** 2).mean().backward()
        assert ours.weight.grad.stride() == ours.weight.stride()
        add_penalties([ours.weight], words)
        norm = clip(list(ours.parameters()), 0.5)
        made.step()
        with torch.no_grad():
            if optimizer != "adamw":
                peer.weight.grad += 0.1 * peer.weight
            peer.weight.grad += 0.01 * peer.weight.sign()
        want = math.sqrt(sum(float((value.grad.double() ** 2).sum()) for value in peer.parameters()))
        assert float(norm) == pytest.approx(want, rel=1e-5)
        for value in peer.parameters():
            value.grad *= min(1.0, 0.5 / want)
        other.step()
    assert torch.allclose(ours.weight, peer.weight, atol=1e-6)
    assert torch.allclose(ours.bias, peer.bias, atol=1e-6)


def test_biases_and_gains_are_left_alone_by_penalties():
    network = SmallNetwork()
    network.last.weight.requires_grad_(False)
    penalized, free = penalized_parameters(network)
    assert {id(p) for p in penalized} == {id(network.conv.weight), id(network.dense.weight)}
    assert {id(p) for p in free} == {
        id(p)
        for p in (network.conv.bias, network.dense.bias, network.last.bias, network.norm.weight, network.norm.bias)
    }


def test_without_a_limit_gradients_stay():
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([3.0, 4.0, 12.0])
    assert float(clip([parameter], None)) == pytest.approx(13)
    assert parameter.grad.tolist() == [3, 4, 12]
    assert float(clip([parameter], 26.0)) == pytest.approx(13)
    assert parameter.grad.tolist() == [3, 4, 12]
    clip([parameter], 6.5)
    assert parameter.grad.tolist() == pytest.approx([1.5, 2, 6], rel=1e-5)


def test_a_checkpoint_comes_back_and_belongs_to_its_training_alone(tmp_path):
    path = tmp_path / "state" / "checkpoint.pt"
    assert load_checkpoint(path, "a") is None
    save_checkpoint(path, {"weights": torch.arange(4), "rows": [{"epoch": 1, "loss": None}], "best": -1.5}, "a")
    found = load_checkpoint(path, "a")
    assert found["weights"].tolist() == [0, 1, 2, 3]
    assert found["rows"] == [{"epoch": 1, "loss": None}]
    with pytest.raises(WrongStateError, match="other settings"):
        load_checkpoint(path, "b")
    assert os.listdir(path.parent) == ["checkpoint.pt"]


def test_a_checkpoint_that_fails_to_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1}, "a")

    def torn(state, file):
        file.write(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, {"step": 2}, "a")
    assert load_checkpoint(path, "a") == {"step": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_a_damaged_checkpoint_says_what_to_do(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(1000)}, "a")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(WrongStateError, match="remove it to train from the start"):
        load_checkpoint(path, "a")


def test_what_a_state_belongs_to():
    network = SmallNetwork()
    first = training_digest(settings(), network, 10)
    assert first == training_digest(settings(checkpoint_minutes=0), SmallNetwork(seed=4), 10)
    others = [
        training_digest(settings(learning_rate=0.5), network, 10),
        training_digest(settings(), SmallNetwork(channels=3), 10),
        training_digest(settings(), network, 11),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_only_leaves_word(number, monkeypatch):
    heard = []
    before = signal.signal(number, lambda *_: heard.append("outside"))
    try:
        with StopSignals() as stop:
            assert not stop.asked
            os.kill(os.getpid(), number)
            assert stop.asked
            assert not heard
            os.kill(os.getpid(), number)  # from the scheduler and from who started this process: one word
            assert not heard
            monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
            os.kill(os.getpid(), number)  # whoever asks again means it
            assert heard == ["outside"]
        with StopSignals() as stop:
            pass
        os.kill(os.getpid(), number)
        assert heard == ["outside"] * 2
        assert not stop.asked
    finally:
        signal.signal(number, before)
    assert Interrupted().code == TRY_AGAIN == 75


def test_history_is_a_table_with_empty_cells_where_nobody_looked(tmp_path):
    row = dict.fromkeys(HISTORY, 0.123456789) | {"epoch": 1, "macro_f1": None}
    write_history(tmp_path / "history.csv", [row, row | {"epoch": 2, "macro_f1": float("nan")}])
    with (tmp_path / "history.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert tuple(rows[0]) == HISTORY
    assert rows[0]["epoch"] == "1"
    assert rows[0]["train_loss"] == "0.123457"
    assert [found["macro_f1"] for found in rows] == ["", "nan"]


def test_running_out_of_memory_is_told_from_other_errors():
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)


def test_the_peak_of_a_processor_is_that_of_the_process():
    status = Path("/proc/self/status").read_text()
    now = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
    ballast = np.ones(2**25)  # 256 MiB
    assert now + 250 <= peak_mb(torch.device("cpu")) < now + 2000
    assert ballast[0] == 1


class Queue:
    """Stands for a GPU's stream: keeps what is asked of it, in order."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


class Mark:
    """Stands for a GPU's event: its time is how much had been asked of the GPU when it was recorded."""

    def __init__(self, log):
        self.log, self.at = log, None

    def record(self, queue):
        self.at = len(self.log)
        self.log.append(f"mark {queue.name}")

    def synchronize(self):
        self.log.append(f"host waits for the mark at {self.at}")

    def elapsed_time(self, later):
        return 1000.0 * (later.at - self.at)


@pytest.fixture
def fake_gpu(monkeypatch):
    log = []
    here, beside = Queue("network", log), Queue("feed", log)
    current = [here]

    @contextmanager
    def switched(queue):
        current.append(queue)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: beside)
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Mark(log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[-1])
    monkeypatch.setattr(torch.cuda, "stream", switched)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("host waits for all"))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, queue: log.append(f"held for {queue.name}"))
    return log, current


def test_on_a_gpu_batches_are_made_beside_the_network_and_do_not_pile_up(fake_gpu):
    log, current = fake_gpu

    class Feed(DrawnFeed):
        def batches(self, epoch, first):
            for batch in super().batches(epoch, first):
                log.append(f"made by {current[-1].name}")
                yield batch

    watched = Watched(Feed(units=12), torch.device("cuda"))
    for number, _ in enumerate(watched.batches(0, 0)):
        log.append(f"step {number}")
    each = ["mark network", "host waits", "made by feed", "network waits for feed", "held for network",
            "held for network", "mark network"]  # fmt: skip
    marks = [place for place, line in enumerate(log) if line == "mark network"]
    first = ["feed waits for network", *(line for line in each if line != "host waits"), "step 0"]
    assert log[: len(first)] == first
    # before a batch is made the host waits for the step before the last: one step stays queued
    second = [line.replace("host waits", f"host waits for the mark at {marks[0]}") for line in each]
    assert log[len(first) : len(first) + 8] == [*second, "step 1"]
    assert watched.waited() == sum(marks[2 * n + 1] - marks[2 * n] for n in range(3))
    assert log[-1] == "host waits for all"
    assert watched.waited() == 0
