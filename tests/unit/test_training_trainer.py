import csv
import multiprocessing
import os
import signal
import socket
import time
from functools import partial

import numpy as np
import pytest
import torch
from fake_feed import ALONE, CLASSES, CPU, DrawnFeed, SmallNetwork, same, settings
from torch import nn
from wherein.metrics.classification import macro_f1
from wherein.models.training import step as step_module
from wherein.models.training.checkpoint import WrongStateError
from wherein.models.training.distributed import processes, share
from wherein.models.training.learner import answers, mean_of_probabilities
from wherein.models.training.losses import binary_cross_entropy
from wherein.models.training.signals import TRY_AGAIN, Interrupted
from wherein.models.training.step import BatchTooLargeError
from wherein.models.training.trainer import TrainingDivergedError, fit
from wherein.models.training.validation import answered

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def one_thread():
    """Processes are forked here: a child must not wait for threads that it did not inherit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(state, network=None, feed=None, validation="drawn", place=ALONE, tell=lambda line: None, **words):
    network = SmallNetwork() if network is None else network
    feed = DrawnFeed() if feed is None else feed
    validation = DrawnFeed(units=10, seed=7, noise=0.1) if validation == "drawn" else validation
    weights = words.pop("positive", None)
    return fit(network, feed, validation, settings(**words), state, place, tell, weights)


def predict(network, feed, device, words):
    """Labels and probabilities of the units of a feed, in its order."""
    parts = list(answered(network.to(device), None, feed, device, words))
    truth = torch.cat([targets for targets, _ in parts]).numpy() > 0
    return truth, torch.sigmoid(torch.cat([logits for _, logits in parts])).numpy()


class Stop(Exception):  # noqa: N818
    """Ends a training at once, as a power cut does."""


def cut_at(feed, epoch, number):
    def end(images):
        raise Stop

    feed.changes[(epoch, number)] = end
    return feed


VARIANTS = {
    "adamw, running mean": {"optimizer": "adamw", "ema": 0.9, "schedule": "cosine"},
    "sgd, plateau, l1": {
        "optimizer": "sgd",
        "schedule": "plateau",
        "plateau": {"epochs": 1, "least": 9},
        "l1": 1e-4,
        "momentum": 0.9,
    },
    "adam, parts, bf16": {"optimizer": "adam", "accumulate": 2, "precision": "bf16", "schedule": "one_cycle"},
    "metric learning": {"loss": {"arcface": 0.5, "cross_entropy": 0.5}},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cut", [(1, 0), (1, 3), (2, 5)])
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(tmp_path, variant, cut):
    words = VARIANTS[variant] | {"learning_rate": 0.05}
    kind = "classes" if variant == "metric learning" else "labels"
    feeds = [DrawnFeed(kind=kind) for _ in range(3)]
    held_out = [DrawnFeed(units=10, seed=7, kind=kind) for _ in range(3)]
    whole = run(tmp_path / "whole", feed=feeds[0], validation=held_out[0], **words)
    with pytest.raises(Stop):
        run(tmp_path / "cut", feed=cut_at(feeds[1], *cut), validation=held_out[1], checkpoint_minutes=0, **words)
    resumed = run(tmp_path / "cut", feed=feeds[2], validation=held_out[2], **words)
    assert feeds[2].given[kind == "classes"] == cut  # metric learning looks at one batch first, for the vector's length
    assert same(whole.network, resumed.network)
    assert not same(whole.network, SmallNetwork())
    timeless = ("epoch", "train_loss", "validation_loss", "macro_f1", "learning_rate")
    assert [[row[key] for key in timeless] for row in whole.rows] == [
        [row[key] for key in timeless] for row in resumed.rows
    ]
    assert (whole.best_epoch, whole.best_score) == (resumed.best_epoch, resumed.best_score)
    last = [load_checkpoint_as_it_is(tmp_path / name) for name in ("whole", "cut")]
    assert tensors(last[0]["optimizer"]) == tensors(last[1]["optimizer"])
    assert tensors(last[0]["learner"]) == tensors(last[1]["learner"])


def test_a_compiled_training_is_the_same_one(tmp_path, monkeypatch):
    """What torch.compile traces, run without making kernels: these take a C++ compiler and a minute."""
    compiled, compile_with = [], torch.compile

    def without_kernels(module):
        compiled.append(module)
        return compile_with(module, backend="eager")

    monkeypatch.setattr(step_module.torch, "compile", without_kernels)
    feeds = [DrawnFeed(units=8) for _ in range(2)]
    plain, traced = (
        run(tmp_path / name, SmallNetwork(), feed, None, epochs=2, compile=name == "traced")
        for name, feed in zip(("plain", "traced"), feeds, strict=True)
    )
    assert len(compiled) == 1
    assert traced.network is compiled[0].network
    for one, other in zip(plain.rows, traced.rows, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)
    state = plain.network.state_dict()
    assert state.keys() == traced.network.state_dict().keys()
    for name, values in traced.network.state_dict().items():
        torch.testing.assert_close(values, state[name], rtol=1e-5, atol=1e-6)


def load_checkpoint_as_it_is(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def tensors(value):
    """A nested value with its tensors as bytes, which compare bit for bit."""
    if isinstance(value, torch.Tensor):
        return value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: tensors(inner) for key, inner in value.items()}
    return [tensors(inner) for inner in value] if isinstance(value, list) else value


def test_dropout_is_drawn_by_the_step_and_not_by_what_came_before(tmp_path):
    torch.manual_seed(5)
    first = run(tmp_path / "a", epochs=1)
    torch.rand(17)
    second = run(tmp_path / "b", epochs=1)
    assert same(first.network, second.network)
    assert not same(first.network, run(tmp_path / "c", epochs=1, seed=1).network)


def train_in_process(folder, words, report=None):
    torch.set_num_threads(1)
    feed = DrawnFeed()
    if words.pop("slow", False):
        feed.changes = {(epoch, number): partial(slowly, folder) for epoch in range(9) for number in range(9)}
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    result = run(folder, feed=feed, **words)
    torch.save(result.network.state_dict(), folder / "done.pt")


def slowly(folder, images):
    with open(folder / "steps", "a") as lines:
        lines.write("step\n")
    time.sleep(0.03)
    return images


def wait_for_steps(folder, number):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (folder / "steps").is_file() and len((folder / "steps").read_text().splitlines()) >= number:
            return
        time.sleep(0.002)
    raise AssertionError("the training took no steps")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_a_training_that_was_killed_or_told_to_stop_goes_on_bit_for_bit(tmp_path, number):
    words = {"ema": 0.9, "learning_rate": 0.05, "schedule": "cosine"}
    whole = run(tmp_path / "whole", **words)
    folder = tmp_path / "killed"
    folder.mkdir()
    # a signal saves by itself; against a kill only what was saved before helps
    own = {"checkpoint_minutes": 0} if number == signal.SIGKILL else {}
    child = FORK.Process(target=train_in_process, args=(folder, {**words, **own, "slow": True}))
    child.start()
    wait_for_steps(folder, 8)
    os.kill(child.pid, number)
    child.join(60)
    assert child.exitcode == (-signal.SIGKILL if number == signal.SIGKILL else TRY_AGAIN)
    assert not (folder / "done.pt").exists()
    at = load_checkpoint_as_it_is(folder)["progress"]
    assert (at["epoch"], at["batch"]) >= (1, 1)  # 6 steps an epoch
    resumed = run(folder, **words)
    assert same(whole.network, resumed.network)


def test_being_told_to_stop_while_validating_saves_what_was_trained(tmp_path):
    class Telling(DrawnFeed):
        def batches(self, epoch, first):
            for number, batch in enumerate(super().batches(epoch, first)):
                if number == 1 and len(asked) == 0:
                    asked.append(os.kill(os.getpid(), signal.SIGTERM))
                yield batch

    asked = []
    with pytest.raises(Interrupted) as caught:
        run(tmp_path, validation=Telling(units=10, seed=7, noise=0.1))
    assert caught.value.code == TRY_AGAIN
    at = load_checkpoint_as_it_is(tmp_path)["progress"]
    assert (at["epoch"], at["batch"], at["rows"]) == (0, 6, [])
    assert same(run(tmp_path).network, run(tmp_path / "whole").network)


def test_a_state_of_other_settings_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(WrongStateError, match="other settings"):
        run(tmp_path, epochs=2)
    # a training that is over gives its result again
    feed = DrawnFeed()
    again = run(tmp_path, feed=feed, epochs=1)
    assert feed.given == []
    assert same(again.network, run(tmp_path / "other", epochs=1).network)


def not_a_number(images):
    return images * float("nan")


@pytest.mark.parametrize("where", ["images", "gradient"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path, where, monkeypatch):
    feed = DrawnFeed()
    if where == "images":
        feed.changes[(1, 2)] = not_a_number
    else:
        real = step_module.add_penalties

        def broken(parameters, words):
            real(parameters, words)
            if feed.given[-1] == (1, 2):
                parameters[0].grad[0, 0, 0, 0] = float("inf")

        monkeypatch.setattr(step_module, "add_penalties", broken)
    with pytest.raises(TrainingDivergedError, match=r"epoch 2, at batch 3 of 6.*learning rate 0\.001.*kept in.*Lower"):
        run(tmp_path, feed=feed, checkpoint_minutes=0)
    kept = load_checkpoint_as_it_is(tmp_path)
    assert (kept["progress"]["epoch"], kept["progress"]["batch"]) == (1, 2)
    assert all(torch.isfinite(value).all() for value in kept["learner"].values())
    if where == "images":
        assert same(run(tmp_path).network, run(tmp_path / "whole").network)


def test_a_state_is_never_saved_unseen(tmp_path, monkeypatch):
    # on a GPU the loss of most steps is not looked at
    monkeypatch.setattr("wherein.models.training.trainer.steps_unseen", lambda device: 50)
    feed = DrawnFeed()
    feed.changes[(1, 2)] = not_a_number
    with pytest.raises(TrainingDivergedError, match="epoch 2, at batch 3 of 6"):
        run(tmp_path / "saved", feed=feed, checkpoint_minutes=0)
    assert load_checkpoint_as_it_is(tmp_path / "saved")["progress"]["batch"] == 2
    with pytest.raises(TrainingDivergedError, match="epoch 2, at batch 6 of 6"):
        run(tmp_path / "unsaved", feed=feed)


def test_a_first_loss_that_is_no_number_says_that_nothing_was_saved(tmp_path):
    feed = DrawnFeed()
    feed.changes[(0, 0)] = not_a_number
    with pytest.raises(TrainingDivergedError, match="no state had been saved yet"):
        run(tmp_path, feed=feed)


def test_a_validation_loss_that_is_no_number_is_no_best(tmp_path):
    broken = DrawnFeed(units=10, seed=7)
    broken.changes[(0, 1)] = not_a_number
    with pytest.raises(TrainingDivergedError, match="the loss on the validation rows"):
        run(tmp_path, validation=broken, select_by="loss")


class Greedy(SmallNetwork):
    """Runs out of memory on more images than it has room for."""

    def __init__(self, room, error=None, **words):
        super().__init__(**words)
        self.room, self.error, self.seen = room, error or torch.OutOfMemoryError("CUDA out of memory"), []

    def forward(self, images):
        if len(images) > self.room:
            raise self.error
        self.seen.append(len(images))
        return super().forward(images)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_that_does_not_fit_is_cut_smaller_and_learnt_from_all_the_same(tmp_path, error):
    # without normalization and dropout, which see the parts, the result is that of the whole batch
    plain = {"normalized": False, "dropout": 0.0}
    words = {"learning_rate": 0.01, "loss": {"bce": 1, "focal": 0.5}}
    whole = run(tmp_path / "whole", SmallNetwork(**plain), DrawnFeed(batch=12), **words)
    network = Greedy(3, error, **plain)
    cut = run(tmp_path / "cut", network, DrawnFeed(batch=12), **words)
    assert cut.accumulate == 4
    assert whole.accumulate == 1
    assert max(network.seen) == 3
    assert [row["train_loss"] for row in cut.rows] == pytest.approx([row["train_loss"] for row in whole.rows], rel=1e-5)
    for name, value in whole.network.state_dict().items():
        assert torch.allclose(value, cut.network.state_dict()[name], atol=1e-5), name


def test_a_smaller_cut_is_remembered(tmp_path):
    with pytest.raises(Stop):
        run(tmp_path, Greedy(2), cut_at(DrawnFeed(), 1, 3), checkpoint_minutes=0)
    network = Greedy(2)
    resumed = run(tmp_path, network)
    assert resumed.accumulate == 2
    assert load_checkpoint_as_it_is(tmp_path)["parts"] == 2


def test_one_image_that_does_not_fit_is_an_error_that_says_so(tmp_path):
    with pytest.raises(BatchTooLargeError, match="4 parts of one image each"):
        run(tmp_path, Greedy(0))

    class LaterGreedy(Greedy):
        def forward(self, images):
            self.room = 0 if not self.training else 99
            return super().forward(images)

    with pytest.raises(BatchTooLargeError, match="one image to validate on"):
        run(tmp_path, LaterGreedy(0))
    with pytest.raises(RuntimeError, match="shapes cannot be"):
        run(tmp_path / "other", Greedy(0, RuntimeError("shapes cannot be multiplied")))


def test_validation_is_halved_where_memory_runs_out():
    feed = DrawnFeed(units=10, batch=8, seed=7)
    whole = predict(SmallNetwork().eval(), feed, CPU, settings())
    halved = predict(Greedy(3).eval(), feed, CPU, settings())
    assert np.array_equal(whole[0], halved[0])
    assert whole[1] == pytest.approx(halved[1], abs=1e-6)


def test_accumulated_parts_give_the_gradients_of_the_whole(tmp_path):
    plain = {"normalized": False, "dropout": 0.0}
    one = run(tmp_path / "one", SmallNetwork(**plain), DrawnFeed(units=20, batch=8), optimizer="sgd", epochs=2)
    parts = run(
        tmp_path / "parts", SmallNetwork(**plain), DrawnFeed(units=20, batch=8), optimizer="sgd", epochs=2, accumulate=3
    )
    for name, value in one.network.state_dict().items():
        assert torch.allclose(value, parts.network.state_dict()[name], atol=1e-6), name


def in_turn(rank, folder, port, words):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    kind, normalized = words.pop("kind", "labels"), words.pop("normalized", False)
    told, room = words.pop("told", False), words.pop("room", (99, 99))
    with processes(CPU) as place:
        assert share() == (place.rank, place.world) == (rank, 2)
        assert place.first == (rank == 0)
        # the first one's weights count
        network = Greedy(room[rank], seed=rank, normalized=normalized, dropout=0.0)
        feed = DrawnFeed(batch=5, share=share(), kind=kind)
        # of the last batch the second process has nothing
        held_out = DrawnFeed(units=9, batch=4, seed=7, noise=0.1, share=share(), kind=kind)
        if told and rank == 1:
            feed.changes[(1, 2)] = lambda images: (os.kill(os.getpid(), signal.SIGTERM), images)[1]
        fitted = run(folder, network, feed, held_out, place, **words)
        torch.save({"weights": fitted.network.state_dict(), "rows": fitted.rows}, folder / f"rank{rank}.pt")


def two_processes(folder, **words):
    """Exit codes of two processes that train together; what each gives lies in rank0.pt and rank1.pt."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [FORK.Process(target=in_turn, args=(rank, folder, port, dict(words))) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    return [child.exitcode for child in children]


@pytest.mark.parametrize(
    "words",
    [
        {"optimizer": "sgd", "learning_rate": 0.1, "l1": 1e-4, "clip_norm": 0.2},
        {"accumulate": 2, "loss": {"focal": 1}, "reduction": "sum", "learning_rate": 0.01},
        {"kind": "classes", "loss": {"arcface": 0.5, "cross_entropy": 0.5}, "learning_rate": 0.01},
    ],
)
def test_two_processes_train_as_one_does(tmp_path, words):
    assert two_processes(tmp_path / "two", **words) == [0, 0]
    first, second = (torch.load(tmp_path / "two" / f"rank{rank}.pt") for rank in range(2))
    words = dict(words)
    kind = words.pop("kind", "labels")
    network = SmallNetwork(normalized=False, dropout=0.0)
    feed, held_out = DrawnFeed(batch=5, kind=kind), DrawnFeed(units=9, batch=4, seed=7, noise=0.1, kind=kind)
    alone = run(tmp_path / "one", network, feed, held_out, **words)
    assert tensors(first["weights"]) == tensors(second["weights"])
    start = SmallNetwork(normalized=False).state_dict()
    for name, value in alone.network.state_dict().items():
        assert torch.allclose(first["weights"][name], value, atol=2e-5), name
        assert kind == "classes" or not torch.allclose(start[name], value, atol=1e-3), name
    for key in ("train_loss", "validation_loss", "macro_f1"):
        together, by_one = [row[key] for row in first["rows"]], [row[key] for row in alone.rows]
        assert together == pytest.approx(by_one, rel=1e-4), key


def test_told_to_stop_in_one_process_both_save_and_go_on(tmp_path):
    words = {"normalized": True, "ema": 0.9}
    assert two_processes(tmp_path / "whole", **words) == [0, 0]
    assert two_processes(tmp_path / "cut", told=True, **words) == [TRY_AGAIN, TRY_AGAIN]
    at = load_checkpoint_as_it_is(tmp_path / "cut")["progress"]
    assert (at["epoch"], at["batch"]) == (1, 3)
    assert two_processes(tmp_path / "cut", **words) == [0, 0]
    found = [torch.load(tmp_path / name / "rank0.pt") for name in ("whole", "cut")]
    assert tensors(found[0]["weights"]) == tensors(found[1]["weights"])
    assert tensors(found[0]["weights"]) == tensors(torch.load(tmp_path / "cut" / "rank1.pt")["weights"])


def test_out_of_memory_in_one_process_ends_both_and_the_next_start_cuts_smaller(tmp_path):
    codes = two_processes(tmp_path, room=(99, 1))
    assert 0 not in codes
    assert (tmp_path / "parts").read_text() == "2"
    assert two_processes(tmp_path, room=(99, 1)) == [0, 0]


def test_networks_learn_what_the_images_show(tmp_path):
    fitted = run(
        tmp_path, SmallNetwork(dropout=0.0), DrawnFeed(units=48, batch=8, noise=0.1), learning_rate=0.05, epochs=25
    )
    assert fitted.best_score > 0.95
    assert fitted.rows[0]["train_loss"] > 5 * fitted.rows[-1]["train_loss"]
    truth, probabilities = predict(fitted.network, DrawnFeed(units=10, seed=7, noise=0.1), CPU, settings())
    assert macro_f1(truth, probabilities >= 0.5) == pytest.approx(fitted.best_score)
    assert not fitted.network.training
    assert fitted.epochs == 25
    assert fitted.parameters == sum(value.numel() for value in SmallNetwork().parameters())


def test_learning_reagents_apart_is_scored_by_the_share_that_is_right(tmp_path):
    feeds = [
        DrawnFeed(units=units, batch=8, noise=0.05, kind="classes", seed=seed) for units, seed in ((48, 0), (10, 7))
    ]
    for feed in feeds:  # one class a unit
        feed.images[:, 0] = 0
        for number, (y, x) in enumerate(((0, 0), (0, 4), (4, 0))):
            feed.images[:, 0, y : y + 4, x : x + 4] += (feed.labels.argmax(1) == number)[:, None, None]
    fitted = run(
        tmp_path,
        SmallNetwork(dropout=0.0),
        *feeds,
        loss={"arcface": 0.5, "cross_entropy": 0.5},
        learning_rate=0.05,
        epochs=15,
    )
    assert fitted.best_score == 1
    assert fitted.rows[0]["macro_f1"] <= 1


def test_the_best_epoch_is_kept_and_not_the_last(tmp_path):
    # from the ninth epoch on images show nothing, and what was learnt is lost
    feed = DrawnFeed(units=48, batch=8, noise=0.1)
    feed.changes = {(epoch, number): torch.zeros_like for epoch in range(8, 16) for number in range(6)}
    words = {"learning_rate": 0.05, "epochs": 16, "select_by": "loss"}
    fitted = run(tmp_path, SmallNetwork(dropout=0.0), feed, **words)
    losses = [row["validation_loss"] for row in fitted.rows]
    assert fitted.best_epoch == 1 + int(np.argmin(losses)) < 12
    assert fitted.best_score == min(losses) < losses[-1]
    assert not fitted.stopped_early
    truth, probabilities = predict(fitted.network, DrawnFeed(units=10, seed=7, noise=0.1), CPU, settings())
    again = binary_cross_entropy(torch.logit(torch.tensor(probabilities)), torch.tensor(truth).float())
    assert float(again) == pytest.approx(min(losses), rel=1e-4)
    stopped = run(tmp_path / "early", SmallNetwork(dropout=0.0), feed, early_stopping_epochs=3, **words)
    assert stopped.stopped_early
    assert stopped.best_epoch == fitted.best_epoch
    assert stopped.epochs == stopped.best_epoch + 3 < 16
    # what is over is over, after a restart too
    again = run(tmp_path / "early", SmallNetwork(dropout=0.0), feed, early_stopping_epochs=3, **words)
    assert again.epochs == stopped.epochs
    assert same(again.network, stopped.network)


def test_of_equal_scores_the_one_with_the_lower_loss_is_kept(tmp_path):
    feed = DrawnFeed(units=48, batch=8, noise=0.1)
    fitted = run(tmp_path, SmallNetwork(dropout=0.0), feed, learning_rate=0.05, epochs=30)
    perfect = [row for row in fitted.rows if row["macro_f1"] == 1]
    assert len(perfect) > 3
    assert fitted.best_epoch == min(perfect, key=lambda row: row["validation_loss"])["epoch"] > perfect[0]["epoch"]


def test_without_validation_rows_the_last_weights_are_kept(tmp_path):
    fitted = run(tmp_path, validation=None)
    kept = load_checkpoint_as_it_is(tmp_path)["learner"]
    assert all(torch.equal(value, kept[f"network.{name}"]) for name, value in fitted.network.state_dict().items())
    assert (fitted.best_epoch, fitted.best_score) == (3, None)
    assert fitted.rows[-1]["macro_f1"] is None
    for words in ({"schedule": "plateau"}, {"early_stopping_epochs": 2}):
        with pytest.raises(ValueError, match="name a validation fold"):
            run(tmp_path / "other", validation=None, **words)


def test_validation_may_be_seldom_but_ends_every_training(tmp_path):
    fitted = run(tmp_path, epochs=5, validation_epochs=2)
    assert [row["macro_f1"] is not None for row in fitted.rows] == [False, True, False, True, True]


def test_the_running_mean_is_what_is_validated_and_kept(tmp_path):
    fitted = run(tmp_path, ema=0.9, epochs=1)
    state = load_checkpoint_as_it_is(tmp_path)
    kept = fitted.network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in state["mean"]["network"].items())
    assert not torch.equal(kept["dense.weight"], state["learner"]["network.dense.weight"])


def test_rows_that_are_not_there_are_errors_that_say_so(tmp_path):
    class Nothing(DrawnFeed):
        def __len__(self):
            return 0

    with pytest.raises(ValueError, match="no rows to train on"):
        run(tmp_path, feed=Nothing())
    with pytest.raises(ValueError, match="no rows to validate on"):
        run(tmp_path, validation=Nothing())
    unlabelled = DrawnFeed(units=10)
    unlabelled.labels[:] = 0
    with pytest.raises(ValueError, match="has a label"):
        run(tmp_path, validation=unlabelled)
    empty = DrawnFeed()
    empty.changes[(0, 2)] = lambda images: images[:0]
    with pytest.raises(ValueError, match="batch 2 of epoch 0 has no image for process 0 of 1"):
        run(tmp_path, feed=empty)


def test_history_tells_times_and_where_they_went(tmp_path):
    feed = DrawnFeed()
    feed.changes = {(1, number): lambda images: (time.sleep(0.05), images)[1] for number in range(6)}
    lines = []
    fitted = run(tmp_path, feed=feed, tell=lines.append)
    with (tmp_path / "history.csv").open() as written:
        rows = list(csv.DictReader(written))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    slow = fitted.rows[1]
    assert slow["seconds"] >= 0.3
    assert 0.3 / slow["seconds"] <= slow["data_wait_share"] <= 1
    assert slow["images_per_second"] == pytest.approx(24 / slow["seconds"])
    assert fitted.data_wait_share <= 1
    assert fitted.peak_mb > 50
    assert len(lines) == 3
    assert lines[1].startswith("epoch 2 of 3: loss ")
    assert "held out" in lines[1]


def test_a_long_epoch_tells_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("wherein.models.training.trainer.TELL_SECONDS", 0.0)
    lines = []
    fitted = run(tmp_path, epochs=1, tell=lines.append)
    assert lines[2].startswith("epoch 1 of 1, batch 3 of 6: loss ")
    # the mean over the steps so far, which after the last is that of the epoch
    assert float(lines[5].split("loss ")[1].split(",")[0]) == pytest.approx(fitted.rows[0]["train_loss"], abs=1e-4)
    assert lines[-1].startswith("epoch 1 of 1: loss ")


def test_rare_classes_weigh_more_where_asked_for(tmp_path):
    plain = run(tmp_path / "plain", epochs=1, optimizer="sgd")
    same_weights = run(tmp_path / "same", epochs=1, optimizer="sgd", positive=np.ones(CLASSES))
    heavy = run(tmp_path / "heavy", epochs=1, optimizer="sgd", positive=np.array([1.0, 1.0, 9.0]))
    assert same(plain.network, same_weights.network)
    assert (heavy.network.last.bias - plain.network.last.bias)[2] > 1e-3


def test_soft_targets_move_the_network_to_the_teacher(tmp_path):
    feed = DrawnFeed(units=48, batch=8, noise=0.1, kind="soft")
    words = {"distillation": {"teacher": "x", "weight": 1.0, "temperature": 2.0}, "learning_rate": 0.05, "epochs": 40}
    fitted = run(tmp_path, SmallNetwork(dropout=0.0), feed, None, **words)
    truth, probabilities = predict(fitted.network, DrawnFeed(units=48, noise=0.1), CPU, settings())
    assert probabilities[truth].mean() == pytest.approx(0.9, abs=0.05)
    assert probabilities[~truth].mean() == pytest.approx(0.1, abs=0.05)


def test_further_logits_are_trained_too(tmp_path):
    class TwoHeads(SmallNetwork):
        def __init__(self):
            super().__init__(dropout=0.0)
            self.other = nn.Linear(5, CLASSES)
            self.auxiliary = ()

        def forward(self, images):
            vector, logits = super().forward(images)
            self.auxiliary = (self.other(vector),) if self.training else ()
            return vector, logits

    torch.manual_seed(0)
    network = TwoHeads()
    before = network.other.weight.detach().clone()
    with_it = run(tmp_path / "with", network, epochs=1)
    assert not torch.equal(before, with_it.network.other.weight)
    assert network.auxiliary == ()
    torch.manual_seed(0)
    without = run(tmp_path / "without", TwoHeads(), epochs=1, auxiliary=0)
    assert torch.equal(before, without.network.other.weight)


def test_tiles_of_a_unit_are_averaged_as_probabilities():
    logits = torch.randn(4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    want = torch.logit(torch.sigmoid(logits).mean(dim=1))
    assert torch.allclose(mean_of_probabilities(logits), want, atol=1e-10)
    sure = torch.tensor([[[90.0, -90.0], [90.0, -90.0]]])
    assert mean_of_probabilities(sure)[0].tolist() == pytest.approx([90.0, -90.0])
    network = SmallNetwork().eval()
    images = torch.randn(4, 3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        one_by_one = torch.stack([torch.sigmoid(network(images[:, t])[1]) for t in range(3)]).mean(0)
        assert torch.allclose(torch.sigmoid(answers(network, None, images)), one_by_one, atol=1e-6)


def test_validation_leaves_no_mode_behind(tmp_path):
    network = SmallNetwork().train()
    predict(network, DrawnFeed(units=6), CPU, settings(precision="bf16"))
    assert network.training
    predict(network.eval(), DrawnFeed(units=6), CPU, settings())
    assert not network.training
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_bfloat16_trains_to_about_the_same(tmp_path):
    words = {"learning_rate": 0.02, "epochs": 10}
    feed = partial(DrawnFeed, units=48, batch=8, noise=0.1)
    full = run(tmp_path / "full", SmallNetwork(dropout=0.0), feed(), **words)
    half = run(tmp_path / "half", SmallNetwork(dropout=0.0), feed(), precision="bf16", **words)
    assert half.precision == "bf16"
    assert full.precision == "fp32"
    assert all(value.dtype == torch.float32 for value in half.network.parameters())
    assert half.rows[-1]["train_loss"] == pytest.approx(full.rows[-1]["train_loss"], rel=0.1)
    assert not same(half.network, full.network)


def test_layout_in_memory_changes_nothing_but_rounding(tmp_path):
    last, first = (run(tmp_path / str(flag), channels_last=flag, optimizer="sgd") for flag in (True, False))
    for name, value in last.network.state_dict().items():
        assert torch.allclose(value, first.network.state_dict()[name], atol=1e-5), name
        assert value.is_contiguous()
