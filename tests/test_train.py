"""The loop: equal to one written by hand, repeatable, and hard to break."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from adamtut import nets, train
from adamtut.data import digits
from adamtut.optim import Optimizer
from adamtut.train import evaluate

ROOT = Path(__file__).parents[1]
RUN = dict(batch_size=200, seed=5, progress=False, device="cpu")
STEPS = 8  # of an epoch: 1,500 digits, 200 a batch


@pytest.fixture(scope="module")
def data():
    return digits()


def make_net(seed=0, hidden=32):
    """With dropout, so that torch's own generator matters, and batch norm's buffers."""
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(hidden, 10),
    )
    return nets.initialise(net, seed)


def adam(net, lr=0.01):
    return torch.optim.Adam(net.parameters(), lr=lr)


def ours(net):
    return Optimizer(net.parameters(), "adam", lr=0.01)


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def lbfgs(net):
    return torch.optim.LBFGS(
        net.parameters(), max_iter=5, line_search_fn="strong_wolfe"
    )


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)


def bits(net):
    """A copy of weights and buffers."""
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Fails:
    """A loss that does ``what`` instead, at call number ``at`` (0, 1, ...)."""

    def __init__(self, at, what):
        self.at, self.what, self.calls = at, what, 0

    def __call__(self, scores, labels):
        self.calls += 1
        result = cross_entropy(scores, labels)
        return self.what(result) if self.calls == self.at + 1 else result


def interrupt(_):
    raise KeyboardInterrupt


# The loop itself


@pytest.mark.parametrize("make", [adam, sgd, ours])
def test_the_loop_is_the_loop_written_by_hand(make, data):
    def plain_net():
        return nets.mlp((64, 32, 10), seed=1)

    net = plain_net()
    history = train.train(net, data, make(net), 2, **RUN)

    by_hand = plain_net()
    optimizer = make(by_hand)
    losses, epoch_losses = [], []
    for epoch in range(2):
        order = np.random.default_rng([5, epoch]).permutation(1500)
        epoch_loss = 0
        for start in range(0, 1500, 200):
            i = torch.from_numpy(order[start : start + 200])
            optimizer.zero_grad()
            loss = cross_entropy(by_hand(data.x_train[i]), data.y_train[i])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            epoch_loss += loss.item() * len(i)
        epoch_losses.append(epoch_loss / 1500)
    assert same(bits(net), bits(by_hand))
    assert history.step_loss == losses and len(losses) == 2 * STEPS
    assert history.train_loss == pytest.approx(epoch_losses, rel=1e-12)
    scores = by_hand(data.x_test)
    accuracy = (scores.argmax(1) == data.y_test).double().mean().item()
    assert history.test_accuracy[1] == pytest.approx(accuracy, rel=1e-12)
    loss = cross_entropy(scores, data.y_test).item()
    assert history.test_loss[1] == pytest.approx(loss, rel=1e-5)
    assert len(history.test_loss) == len(history.test_accuracy) == 2


@pytest.mark.parametrize("make", [lbfgs, ours])
def test_any_torch_optimizer_trains(make, data):
    net = nets.mlp((64, 32, 10))
    history = train.train(net, data, make(net), 4, **RUN)
    assert history.test_accuracy[-1] > 0.9
    assert len(history.step_loss) == 4 * STEPS


def test_a_run_repeats_itself_and_leaves_the_generator_alone(data):
    def run(seed, net):
        history = train.train(net, data, adam(net), 2, **RUN | {"seed": seed})
        return bits(net), history

    net, twin = make_net(), make_net()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, history = run(0, net)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, history_again = run(0, twin)
    assert same(first, again) and history == history_again
    assert not same(first, run(1, make_net())[0])


def test_dropout_differs_from_epoch_to_epoch(data):
    # Without learning, only the draws of dropout and the order of batches are left;
    # in one batch that holds all, the order changes the loss by rounding alone.
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    history = train.train(net, data, optimizer, 2, **RUN | {"batch_size": 1500})
    assert abs(history.step_loss[0] - history.step_loss[1]) > 1e-4


@pytest.mark.parametrize("per, count", [("epoch", 3), ("step", 3 * STEPS)])
def test_the_scheduler_is_stepped_once_per_epoch_or_step(per, count, data):
    net = make_net()
    optimizer = adam(net, lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    train.train(net, data, optimizer, 3, scheduler=scheduler, scheduler_per=per, **RUN)
    lr = optimizer.param_groups[0]["lr"]
    assert lr == pytest.approx(1e-2 * 0.9**count, rel=1e-9)


def test_reduce_on_plateau_sees_the_training_loss(data):
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    history = train.train(net, data, optimizer, 3, scheduler=plateau, **RUN)
    assert plateau.best == min(history.train_loss)


def test_no_epochs_change_nothing(data):
    net = make_net()
    before = bits(net)
    assert train.train(net, data, adam(net), 0, **RUN) == train.History()
    assert same(bits(net), before)


def test_evaluate_is_exact_and_keeps_the_mode(data):
    net = make_net()
    for mode in (True, False):
        net.train(mode)
        loss, accuracy = evaluate(net, data.x_test, data.y_test, batch_size=100)
        assert net.training is mode
    net.eval()
    scores = net(data.x_test).detach().double()
    picked = scores.log_softmax(1)[range(297), data.y_test]
    assert loss == pytest.approx(-picked.mean().item(), rel=1e-6)
    assert accuracy == (scores.argmax(1) == data.y_test).sum().item() / 297


def test_the_bar_is_for_terminals(data, capfd):
    for progress in (None, False):
        net = make_net()
        train.train(net, data, adam(net), 1, **RUN | {"progress": progress})
        assert capfd.readouterr() == ("", "")
    train.train(net, data, adam(net), 1, **RUN | {"progress": True})
    out, err = capfd.readouterr()
    assert out == "" and "8/8" in err and "test accuracy" in err


# Checkpoints


def unstopped(data, make=adam, per="epoch"):
    net = make_net()
    optimizer = make(net)
    options = RUN | {"scheduler": cosine(optimizer), "scheduler_per": per}
    history = train.train(net, data, optimizer, 4, **options)
    return bits(net), history


def resumed(data, checkpoint, make=adam, per="epoch", epochs=4, seed=99, **options):
    net = make_net(seed=seed)  # other weights: those of the checkpoint count
    optimizer = make(net)
    options = {"scheduler": cosine(optimizer), "scheduler_per": per} | RUN | options
    history = train.train(
        net, data, optimizer, epochs, checkpoint=checkpoint, **options
    )
    return bits(net), history


@pytest.mark.parametrize("make", [adam, sgd, ours])
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_stopped_and_resumed_is_never_stopped(make, per, data, tmp_path):
    file = tmp_path / "run.pt"
    weights, history = unstopped(data, make, per)
    resumed(data, file, make, per, epochs=1, seed=0)
    torch.manual_seed(123)
    resumed(data, file, make, per, epochs=3)
    end, end_history = resumed(data, file, make, per)
    assert same(weights, end) and history == end_history
    content = file.read_bytes()
    again, again_history = resumed(data, file, make, per)  # nothing is left to do
    assert same(again, end) and again_history == history
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("every, kept", [(1, 3), (2, 2), (5, 0)])
def test_ctrl_c_leaves_a_valid_checkpoint(every, kept, data, tmp_path):
    file = tmp_path / "run.pt"
    # Each epoch asks for the loss in 8 steps and once in the test: this is epoch 4.
    loss = Fails(3 * (STEPS + 1) + 2, interrupt)
    options = {"every": every, "loss": loss}
    with pytest.raises(KeyboardInterrupt):
        resumed(data, file, seed=0, **options)
    assert torch.load(file, weights_only=True)["epoch"] == kept
    end, history = resumed(data, file, **options)
    weights, expected = unstopped(data)
    assert same(weights, end) and history == expected


def test_the_same_objects_continue_after_ctrl_c(data, tmp_path):
    net = make_net()
    optimizer = adam(net)
    options = RUN | {"scheduler": cosine(optimizer), "checkpoint": tmp_path / "run.pt"}
    options["loss"] = Fails(2 * (STEPS + 1) + 3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train.train(net, data, optimizer, 4, **options)
    history = train.train(net, data, optimizer, 4, **options)
    weights, expected = unstopped(data)
    assert same(weights, bits(net)) and history == expected


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
import test_train as t
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[4] == "in a step":
    # The 4th step of the 3rd epoch.
    t.cross_entropy_of_run = t.Fails(2 * (t.STEPS + 1) + 3, kill)
else:
    # While the checkpoint of the 3rd epoch is on its way to the disk.
    saves, sync = [], os.fsync
    def fsync(file):
        saves.append(file)
        kill() if len(saves) == 4 else sync(file)
    os.fsync = fsync
    t.cross_entropy_of_run = t.Fails(-1, None)
t.resumed(t.digits(), sys.argv[3], seed=0, loss=t.cross_entropy_of_run)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
@pytest.mark.parametrize("when", ["in a step", "in a write"])
def test_killed_and_resumed_is_never_stopped(when, data, tmp_path):
    file = tmp_path / "run.pt"
    command = [sys.executable, "-c", KILLED, ROOT, ROOT / "tests", file, when]
    # The same number of threads: another one may change the last bit of a product.
    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert torch.load(file, weights_only=True)["epoch"] == 2
    end, history = resumed(data, file, loss=Fails(-1, None))
    weights, expected = unstopped(data)
    assert same(weights, end) and history == expected


@pytest.mark.skipif(os.name != "posix", reason="needs limits on file size")
def test_a_full_disk_leaves_the_old_checkpoint(data, tmp_path):
    import resource

    file = tmp_path / "run.pt"
    resumed(data, file, epochs=1, seed=0)
    content = file.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A real write that stops in the middle, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, limit[1]))
    try:
        with pytest.raises(OSError, match=r"checkpoint .*run\.pt cannot be written"):
            resumed(data, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]
    end, _ = resumed(data, file)
    assert same(end, unstopped(data)[0])


def test_an_error_at_a_later_write_leaves_the_old_checkpoint(
    data, tmp_path, monkeypatch
):
    file = tmp_path / "run.pt"
    resumed(data, file, epochs=2, seed=0)
    replace, calls = os.replace, []

    def fails_the_second_time(*names):
        calls.append(names)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        replace(*names)

    monkeypatch.setattr(os, "replace", fails_the_second_time)
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\)"):
        resumed(data, file)
    assert torch.load(file, weights_only=True)["epoch"] == 2
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("place", ["missing/run.pt", "file/run.pt", "closed/run.pt"])
def test_an_unwritable_checkpoint_is_refused_before_the_first_step(
    place, data, tmp_path
):
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir(mode=0o500)
    if place.startswith("closed") and os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("root may write everywhere")
    net = make_net()
    before = bits(net)
    with pytest.raises(
        OSError, match="checkpoint .*run.pt cannot be written"
    ) as caught:
        train.train(net, data, adam(net), 1, checkpoint=tmp_path / place, **RUN)
    assert "\n" not in str(caught.value)
    assert same(bits(net), before)


def cut(content):
    return content[: len(content) // 2]


def one_bit_off(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


def text(content):
    return b"not a checkpoint"


def nothing(content):
    return b""


@pytest.mark.parametrize("spoil", [cut, one_bit_off, text, nothing])
def test_a_damaged_checkpoint_is_named_and_kept(spoil, data, tmp_path):
    file = tmp_path / "run.pt"
    resumed(data, file, epochs=1)
    file.write_bytes(spoil(file.read_bytes()))
    content = file.read_bytes()
    net = make_net()
    before = bits(net)
    with pytest.raises(
        ValueError, match=r"checkpoint .*run\.pt cannot be read"
    ) as error:
        train.train(net, data, adam(net), 2, checkpoint=file, **RUN)
    assert "\n" not in str(error.value)
    assert file.read_bytes() == content and same(bits(net), before)


def test_files_of_others_and_folders_are_no_checkpoints(data, tmp_path):
    net = make_net()
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    torch.save(net, tmp_path / "pickle.pt")  # would run code when loaded
    for name in ("weights.pt", "pickle.pt", "."):
        with pytest.raises(ValueError, match="cannot be read"):
            train.train(net, data, adam(net), 1, checkpoint=tmp_path / name, **RUN)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"seed": 6}, "seed=5, this run has 6"),
        ({"batch_size": 100}, "batch_size=200, this run has 100"),
        ({"loss": nn.CrossEntropyLoss()}, "loss='cross_entropy'"),
        ({"scheduler_per": "step"}, "scheduler_per='epoch', this run has 'step'"),
        ({"scheduler": None}, "scheduler='CosineAnnealingLR', this run has None"),
        ({"data": digits(normalise=True)}, "checksum of x_train"),
        ({"data": digits()._replace(name="other")}, "data='digits'"),
        ({"hidden": 16}, "net.1.weight.0=32, this run has 16"),
        ({"lr": 0.02}, "optimizer.0.lr=0.01, this run has 0.02"),
        ({"make": sgd}, "optimizer='Adam', this run has 'SGD'"),
        ({"T_max": 8}, "scheduler.T_max=4, this run has 8"),
        ({"epochs": 1}, "epochs=1 is less than the 2 epochs"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, words, data, tmp_path):
    def run(epochs=2, make=adam, lr=0.01, T_max=4, hidden=32, data=data, **options):
        net = make_net(hidden=hidden)
        optimizer = make(net, lr) if make is adam else make(net)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max)
        before = bits(net)
        options = RUN | {"scheduler": scheduler, "checkpoint": file} | options
        try:
            return train.train(net, data, optimizer, epochs, **options)
        except ValueError:
            assert same(bits(net), before) and not optimizer.state
            raise

    file = tmp_path / "run.pt"
    run()
    content = file.read_bytes()
    with pytest.raises(ValueError) as caught:
        run(**{"epochs": 3} | change)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert file.read_bytes() == content


def test_a_checkpoint_of_another_rule_is_refused(data, tmp_path):
    for rule, fails in (("adam", False), ("adamw", True)):
        net = make_net()
        optimizer = Optimizer(net.parameters(), rule, lr=0.01)
        try:
            train.train(net, data, optimizer, 1, checkpoint=tmp_path / "run.pt", **RUN)
        except ValueError as error:
            assert fails and "'adam'" in str(error) and "'adamw'" in str(error)
        else:
            assert not fails


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3]),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: 0.9**k),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: np.float64(0.9) ** k),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.02, total_steps=4),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
        lambda o: torch.optim.lr_scheduler.CyclicLR(
            o, 1e-3, 1e-2, cycle_momentum=False
        ),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=2),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, 2),
            ],
            [2],
        ),
    ],
)
def test_every_kind_of_scheduler_resumes(make, data, tmp_path):
    def run(epochs, **options):
        net = make_net()
        optimizer = adam(net)
        options = RUN | {"scheduler": make(optimizer)} | options
        history = train.train(net, data, optimizer, epochs, **options)
        return bits(net), history

    weights, history = run(4)
    run(2, checkpoint=tmp_path / "run.pt")
    end, end_history = run(4, checkpoint=tmp_path / "run.pt")
    assert same(weights, end) and history == end_history


def test_numbers_of_numpy_are_saved_as_those_of_python(data, tmp_path):
    for epochs in (1, 2):
        net = make_net()
        optimizer = adam(net, lr=np.logspace(-3, -2, 3)[1])
        train.train(net, data, optimizer, epochs, checkpoint=tmp_path / "run.pt", **RUN)


def test_a_state_that_could_not_be_read_again_is_refused(data, tmp_path):
    net = make_net()
    optimizer = adam(net)
    optimizer.param_groups[0]["path"] = tmp_path  # any object of a class
    with pytest.raises(ValueError, match="is not written: the optimizer"):
        train.train(net, data, optimizer, 1, checkpoint=tmp_path / "run.pt", **RUN)
    assert list(tmp_path.iterdir()) == []


# Numbers that are not finite


def test_nan_in_the_data_stops_before_the_step(data, tmp_path):
    order = np.random.default_rng([5, 1]).permutation(1500)
    x = data.x_train.clone()
    x[order[3 * 200 + 7], 0, 4, 4] = torch.nan  # in step 4 of epoch 2
    bad = data._replace(x_train=x, y_train=data.y_train)

    def plain_net():
        return nets.mlp((64, 32, 10))

    # The same NaN comes in epoch 1 too: there its image is made whole.
    class Heals(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.calls = plain_net(), 0

        def forward(self, x):
            self.calls += self.training
            return self.net(x.nan_to_num() if self.calls <= STEPS else x)

    net, file = Heals(), tmp_path / "run.pt"
    with pytest.raises(FloatingPointError) as caught:
        train.train(net, bad, adam(net), 3, checkpoint=file, **RUN)
    assert str(caught.value).startswith(
        "epoch 2 of 3, step 4 of 8: the loss (nan) and the gradient of net.linear1"
    )
    assert torch.load(file, weights_only=True)["epoch"] == 1
    # By hand, the 8 steps of epoch 1 and the first 3 of epoch 2.
    by_hand = plain_net()
    optimizer = adam(by_hand)
    for epoch, steps in ((0, STEPS), (1, 3)):
        order = np.random.default_rng([5, epoch]).permutation(1500)
        for k in range(steps):
            i = order[200 * k : 200 * (k + 1)]
            optimizer.zero_grad()
            cross_entropy(by_hand(x[i].nan_to_num()), data.y_train[i]).backward()
            optimizer.step()
    assert same(bits(net.net), bits(by_hand))


@pytest.mark.parametrize("make", [adam, sgd, ours])
def test_a_bad_gradient_of_a_finite_loss_is_named(make, data):
    net = nets.mlp((64, 32, 10))
    before = bits(net)

    def loss(scores, labels):  # sqrt has no finite slope at 0
        return cross_entropy(scores, labels) + 0 * net.linear2.bias.sum().sqrt()

    with pytest.raises(FloatingPointError) as caught:
        train.train(net, data, make(net), 1, loss=loss, **RUN)
    message = str(caught.value)
    assert "step 1 of 8: the gradient of linear2.bias must be finite" in message
    assert same(bits(net), before)


def test_divergence_is_reported(data):
    net = nets.mlp((64, 32, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e12)
    with pytest.raises(
        FloatingPointError, match=r"epoch \d of 9, step \d of 8: the loss"
    ):
        train.train(net, data, optimizer, 9, **RUN)
    assert all(p.isfinite().all() for p in net.parameters())


def test_large_finite_gradients_are_no_error(data):
    # Their squares overflow float32, so their norm is infinite.
    net = nets.mlp((64, 32, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-31)
    history = train.train(
        net, data, optimizer, 1, loss=lambda s, y: 1e30 * cross_entropy(s, y), **RUN
    )
    assert history.train_loss[0] < history.step_loss[0]


# Bad arguments


@pytest.mark.parametrize(
    "change, words",
    [
        ({"epochs": -1}, "epochs=-1 is not a whole number at least 0"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"batch_size": 0}, "batch_size=0 is not a whole number from 1 to 1500"),
        ({"batch_size": 1501}, "batch_size=1501 is not a whole number from 1 to 1500"),
        ({"seed": -1}, "seed=-1"),
        ({"every": 0}, "every=0"),
        ({"device": "abacus"}, "device='abacus'"),
        ({"scheduler_per": "batch"}, "scheduler_per='batch' is not 'epoch' or 'step'"),
        ({"scheduler": cosine(adam(make_net()))}, "scheduler belongs to another"),
        ({"optimizer": adam(make_net())}, "optimizer holds 6 parameters that are not"),
        (
            {"x_train": torch.zeros(0, 1, 8, 8)},
            "x_train has 0 examples and y_train 1500",
        ),
        ({"x_test": torch.zeros(5, 1, 8, 8)}, "x_test has 5 examples and y_test 297"),
        ({"y_test": torch.zeros(0).long()}, "x_test has 297 examples and y_test 0"),
        ({"y_train": torch.zeros(1500)}, "y_train has dtype torch.float32"),
        ({"y_train": torch.zeros(1500).int()}, "y_train has dtype torch.int32"),
        ({"y_train": torch.zeros(1500, 10).long()}, "shape (1500, 10)"),
        (
            {"y_train": torch.full((1500,), 10)},
            "labels from 10 to 10, allowed are 0 to 9",
        ),
        ({"y_test": torch.full((297,), -1)}, "y_test has labels from -1 to -1"),
    ],
)
def test_bad_arguments_are_named(change, words, data, tmp_path):
    net = make_net()
    before = bits(net)
    file = tmp_path / "run.pt"
    options = RUN | {"optimizer": adam(net), "epochs": 1, "checkpoint": file} | change
    parts = {k: options.pop(k) for k in change if k[:2] in ("x_", "y_")}
    with pytest.raises(ValueError) as caught:
        train.train(net, data._replace(**parts), **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert same(bits(net), before) and not file.exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", [adam, ours])
def test_on_a_gpu_a_resumed_run_has_the_same_bits(make, data, tmp_path):
    def run(epochs, **options):
        net = make_net()
        options = RUN | {"device": None} | options
        history = train.train(net, data, make(net), epochs, **options)
        return bits(net), history

    state = torch.cuda.get_rng_state()
    weights, history = run(3)
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert all(value.is_cuda for value in weights.values())
    run(1, checkpoint=tmp_path / "run.pt")
    end, end_history = run(3, checkpoint=tmp_path / "run.pt")
    assert same(weights, end) and history == end_history
    _, on_cpu = run(1, device="cpu")
    assert history.test_accuracy[0] == pytest.approx(on_cpu.test_accuracy[0], abs=0.1)
