"""Our optimiser where torch spreads a training over processes, and when one dies.

Two processes of torchrun (`scale_worker.py`) do the work, once for all tests. What they
end with is compared with torch.optim.Adam in the same wrapper, and with one process.
"""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scale_worker as worker
import torch

from adamtut import data, nets
from adamtut.optim import HOW, Optimizer, matrices_and_rest
from adamtut.rules import RULES
from adamtut.rules.form import is_elementwise
from adamtut.sweep import product, sweep

torch.set_num_threads(1)

WRAPPERS = "ddp", "zero", "zero, buckets", "fsdp1", "fsdp2"
NUMBERS = 8 * 16 + 16 + 16 * 5 + 5  # parameters of the network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left behind; process 0 was killed, at step 5 of the last part.

    torchrun was allowed one restart.
    """
    folder = tmp_path_factory.mktemp("scale")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--max-restarts=1", worker.__file__, folder]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    env["CUDA_VISIBLE_DEVICES"] = ""
    # torchrun's store outlives a restart, and with it the addresses of the dead, which
    # the living sometimes read (pytorch#135712); with this, each life has a new one
    env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    log, notes = folder / "log", [folder / f"process {i}" for i in (0, 1)]
    with open(log, "w") as out:
        process = subprocess.Popen(
            command, env=os.environ | env, stdout=out, stderr=out
        )
    try:
        for _ in range(2400):
            if all(note.exists() for note in notes) or process.poll() is not None:
                break
            time.sleep(0.1)
        assert all(note.exists() for note in notes), log.read_text()[-4000:]
        os.kill(int(notes[0].read_text()), signal.SIGKILL)
        status = process.wait(240)
    finally:
        process.terminate()  # torchrun ends its processes with itself
    assert status == 0, log.read_text()[-4000:]
    return folder


@pytest.fixture(scope="module")
def found(folder):
    both = [torch.load(folder / f"wrappers {i}.pt") for i in (0, 1)]
    assert both[0].keys() == both[1].keys()
    return both


@pytest.fixture
def how(request):
    """The parameter `how` of a test; "compile" only where there is a compiler."""
    if request.param == "compile":
        request.getfixturevalue("compiler")
    return request.param


every_how = pytest.mark.parametrize("how", HOW, indirect=True)
every_how_and_torch = pytest.mark.parametrize("how", ["torch", *HOW], indirect=True)


def close(x, y, rtol=1e-10):
    return torch.allclose(x, y, rtol=rtol, atol=1e-12)


def alone(make, last=5, schedule=None):
    """The same training in this process."""
    net = worker.network()
    optimizer = make(net.parameters())
    schedule = schedule and schedule(optimizer)
    for t in range(last):
        worker.steps(net, optimizer, t, t + 1)
        if schedule:
            schedule.step()
    return worker.whole(net)


# In torch's wrappers --------------------------------------------------------------


@every_how
@pytest.mark.parametrize("kind", WRAPPERS)
def test_adam_in_a_wrapper(found, kind, how):
    ends = [x[kind, how]["end"] for x in found]
    assert torch.equal(*ends)  # the processes agree to the last bit
    assert close(ends[0], found[0][kind, "torch"]["end"])
    assert close(ends[0], alone(worker.theirs))


@every_how_and_torch
@pytest.mark.parametrize("kind", WRAPPERS)
def test_numbers_of_state_in_a_process(found, kind, how):
    numbers = [x[kind, how]["numbers of state"] for x in found]
    if kind == "ddp":
        assert numbers == [2 * NUMBERS, 2 * NUMBERS]
    else:  # dealt out, or cut: everything once
        assert sum(numbers) == 2 * NUMBERS
        assert numbers == [x[kind, "torch"]["numbers of state"] for x in found]


def test_a_sum_in_the_place_of_the_mean_is_seen(found):
    right = alone(lambda params: torch.optim.SGD(params, lr=0.01))
    assert not close(found[0]["not divided"], right, rtol=1e-3)
    ours = alone(lambda params: Optimizer(params, "sgd", lr=0.02))
    assert close(found[0]["not divided"], ours)


@pytest.mark.parametrize("rule", worker.SOME_RULES)
def test_fully_shard_takes_every_rule(found, rule):
    assert close(found[0]["fsdp2", rule], found[0]["ddp", rule], rtol=1e-8)


@pytest.mark.parametrize("rule", ["lamb", "muon", "prodigy"])
def test_flat_pieces_are_refused_where_a_rule_needs_more(found, rule):
    assert not is_elementwise(RULES[rule])
    for one in found:
        text = one["refused", rule]
        assert f"rule {rule} needs whole parameters" in text and "fully_shard" in text


def test_zero_continues_from_a_consolidated_state(found):
    for end, resumed in (x["zero resumed"] for x in found):
        assert torch.equal(end, resumed)
        assert close(end, alone(worker.theirs, 6))


def test_zero_with_two_rules_and_a_schedule(found):
    end = alone(
        lambda params: Optimizer(matrices_and_rest(params, "muon"), lr=0.01),
        4,
        partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
    )
    assert close(found[0]["zero groups"], end)


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_all_processes_skip_an_overflow_of_one(found, kind):
    for one in found:
        ours, theirs = (one["scaled", kind, how] for how in ("foreach", "torch"))
        assert close(ours["end"], theirs["end"])
        assert ours["scale"] == theirs["scale"] == 2.0**9
    assert not close(found[0]["scaled", kind, "torch"]["end"], alone(worker.theirs))


def test_how_of_a_group_is_that_of_the_optimizer():
    params = [*worker.network().parameters()]
    Optimizer([{"params": params, "how": "foreach"}], how="foreach")
    with pytest.raises(
        ValueError, match="how of a group is 'loop'; allowed: 'foreach'"
    ):
        Optimizer([{"params": params, "how": "loop"}], how="foreach")


# A process dies -------------------------------------------------------------------


def test_a_killed_training_ends_with_the_same_bits(folder, found):
    for i, how in ((i, how) for i in (0, 1) for how in ("torch", "foreach")):
        result = torch.load(folder / f"{how} {i}.pt")
        assert result["life"] == 1
        # what was finished before needs no step; the other began where it was saved
        assert result["first"] == (worker.STEPS if how == "torch" else worker.EVERY)
        assert torch.equal(result["end"], found[i]["undisturbed", how])


@every_how_and_torch
def test_one_process_takes_over_from_two(folder, how):
    saved = worker.saved(folder / ("torch" if how == "torch" else "foreach"))
    assert [int(x.parent.name) for x in saved] == [3, 6, 9]
    net = worker.network(seed=1)
    optimizer = worker.optimizer_of("ddp", net, how)
    with pytest.warns(UserWarning, match="load in a single process"):
        t = worker.load(net, optimizer, saved[1].parent)
    assert t == 6
    worker.steps(net, optimizer, t, worker.STEPS)
    assert close(worker.whole(net), alone(worker.theirs, worker.STEPS))


@pytest.mark.slow
def test_a_sweep_loses_nothing_with_a_worker(tmp_path):
    ray = pytest.importorskip("ray")
    grid, digits = product(lr=[1e-3, 1e-2, 1e-1]), data.digits(normalise=True)
    options = {"steps": 20, "seeds": 2, "at_once": 2, "progress": False}
    grave, driver = tmp_path / "grave", os.getpid()

    def net(seed):  # the first process of Ray that makes it is killed
        if os.getpid() != driver and not grave.exists():
            grave.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return nets.mlp((64, 8, 10), seed)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        own = options | {"engine": "ray", "folder": tmp_path / "sweep"}
        table = sweep(net, digits, "adam", grid, **own)
    finally:
        ray.shutdown()
    with pytest.raises(ProcessLookupError):
        os.kill(int(grave.read_text()), 0)
    calm = sweep(net, digits, "adam", grid, **options)
    assert (
        table[["lr", "seed", "step"]].tolist() == calm[["lr", "seed", "step"]].tolist()
    )
    for name in ("batch_loss", "train_loss", "test_loss", "test_accuracy"):
        np.testing.assert_allclose(table[name], calm[name], rtol=1e-5, err_msg=name)
    # what Ray has finished, no other engine repeats
    again = sweep(net, digits, "adam", grid, folder=tmp_path / "sweep", **options)
    assert again.tolist() == table.tolist()


# Compiled with the training around it, scaled, captured ----------------------------


@every_how
def test_a_compiled_training_step(how, compiler):
    net = worker.network()
    optimizer = Optimizer(net.parameters(), "adam", how, lr=0.01)

    @partial(torch.compile, backend="aot_eager")
    def step(x, y):
        optimizer.zero_grad()
        ((net(x) - y) ** 2).mean().backward()
        optimizer.step()

    torch._dynamo.reset()
    for t in range(12):
        # the first steps may compile, for gradients and state appear; no later t may
        stance = "default" if t < 3 else "fail_on_recompile"
        with torch.compiler.set_stance(stance):
            step(*worker.batch(t))
    assert close(worker.whole(net), alone(worker.theirs, 12))


def scaled(make, device):
    net = worker.network().to(device)
    optimizer = make(net.parameters())
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
    for t in range(5):
        optimizer.zero_grad()
        x, y = (z.to(device) for z in worker.batch(t))
        factor = float("inf") if t == 2 else 1.0
        scaler.scale(factor * ((net(x) - y) ** 2).mean()).backward()
        scaler.step(optimizer)
        scaler.update()
    return worker.whole(net).cpu(), scaler.get_scale()


@every_how
def test_grad_scaler(how):
    ours = scaled(lambda params: Optimizer(params, "adam", how, lr=0.01), "cpu")
    theirs = scaled(worker.theirs, "cpu")
    assert close(ours[0], theirs[0]) and ours[1] == theirs[1] == 2.0**9
    assert not close(ours[0], alone(worker.theirs))  # a step was left out


needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_a_gpu
@pytest.mark.gpu
@every_how
def test_grad_scaler_on_a_gpu(how):
    ours = scaled(lambda params: Optimizer(params, "adam", how, lr=0.01), "cuda")
    theirs = scaled(worker.theirs, "cuda")
    assert close(ours[0], theirs[0]) and ours[1] == theirs[1]


@needs_a_gpu
@pytest.mark.gpu
@every_how
def test_cuda_graph_of_the_gradients(how):
    net = worker.network().cuda()
    optimizer = Optimizer(net.parameters(), "adam", how, lr=0.01)
    x, y = (z.cuda() for z in worker.batch(0))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # capture wants a warm-up
        ((net(x) - y) ** 2).mean().backward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=False)
    with torch.cuda.graph(graph):
        for p in net.parameters():
            p.grad.zero_()
        ((net(x) - y) ** 2).mean().backward()
    for t in range(5):
        for old, new in zip((x, y), worker.batch(t), strict=True):
            old.copy_(new)
        graph.replay()
        optimizer.step()
    assert close(worker.whole(net).cpu(), alone(worker.theirs))


@needs_a_gpu
@pytest.mark.gpu
def test_a_step_is_not_captured():
    net = worker.network().cuda()
    optimizer = Optimizer(net.parameters(), lr=0.01)
    worker.steps(net.cpu(), torch.optim.SGD(net.parameters(), lr=0.0), 0, 1)
    net.cuda()
    with pytest.raises(RuntimeError, match="capture of a CUDA graph"):
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            optimizer.step()
