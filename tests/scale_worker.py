"""One of two processes that torchrun starts for test_scale.py.

    torchrun ... tests/scale_worker.py FOLDER

It trains the same network in each of torch's wrappers and writes what came of it into
FOLDER; then it trains once more, saves every third step, and waits in its first life to
be killed. In the second it goes on from what is saved.
"""

import copy
import os
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from adamtut.optim import Optimizer, matrices_and_rest
from adamtut.rules import RULES
from adamtut.rules.form import is_elementwise

STEPS, EVERY, WAITS = 9, 3, 5  # of `fault`: it waits after step 5, 3 are saved
# All that needs more than its own elements or starts in its own way, and one that is
# like the rest.
SOME_RULES = [
    name
    for name, rule in RULES.items()
    if not is_elementwise(rule) or rule.starts or name == "ademamix"
]


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 5))  # 5: uneven
    return net.double()


def batch(t, rank=0, world=1):
    """Inputs and targets of step t, the share of one process."""
    draw = torch.Generator().manual_seed(t)
    x = torch.randn(8, 8, dtype=torch.float64, generator=draw)
    return x[rank::world], x[rank::world, :5].sin()


def gradients(model, t, factor=1.0):
    """Gradients of step t; in a process group, of the share of this process."""
    here = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ()
    x, y = batch(t, *here)
    (factor * ((model(x) - y) ** 2).mean()).backward()


def steps(model, optimizer, first, last):
    for t in range(first, last):
        optimizer.zero_grad()
        gradients(model, t)
        optimizer.step()


def whole(model):
    """Copies of all parameters, in one vector."""
    if isinstance(model, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(model):
            return torch.cat([p.detach().clone().flatten() for p in model.parameters()])
    params = [p.detach() for p in model.parameters()]
    params = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in params]
    return torch.cat([p.flatten() for p in params]).clone()


def theirs(params, **other):
    return torch.optim.Adam(params, lr=0.01, **other)


def wrapped(kind):
    net = network()
    if kind == "fsdp1":
        cpu = torch.device("cpu")
        return FullyShardedDataParallel(net, use_orig_params=True, device_id=cpu)
    if kind == "fsdp2":
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        fully_shard(net[0], mesh=mesh)
        return fully_shard(net, mesh=mesh)
    return DistributedDataParallel(net, gradient_as_bucket_view=kind == "zero, buckets")


def optimizer_of(kind, model, how, rule="adam", **hyper):
    """Of torch where `how` is "torch", else ours."""
    hyper = {"lr": 0.01} | hyper
    params, ours = model.parameters(), {"rule": rule, "how": how}
    if kind.startswith("zero"):
        name, own = (torch.optim.Adam, {}) if how == "torch" else (Optimizer, ours)
        own["parameters_as_bucket_view"] = kind == "zero, buckets"
        return ZeroRedundancyOptimizer(params, optimizer_class=name, **own, **hyper)
    return theirs(params) if how == "torch" else Optimizer(params, **ours, **hyper)


def in_wrapper(kind, how):
    model = wrapped(kind)
    optimizer = optimizer_of(kind, model, how)
    steps(model, optimizer, 0, 5)
    inner = getattr(optimizer, "optim", optimizer)
    tensors = [
        x for s in inner.state.values() for x in s.values() if torch.is_tensor(x)
    ]
    tensors = [x.to_local() if hasattr(x, "to_local") else x for x in tensors]
    numbers = sum(x.numel() for x in tensors if x.ndim)  # torch's step has none
    return {"end": whole(model), "numbers of state": numbers}


def of_rule(kind, rule, how):
    """Three steps at the rule's own learning rate."""
    model = wrapped(kind)
    optimizer = Optimizer(model.parameters(), rule, how)
    steps(model, optimizer, 0, 3)
    return whole(model)


def refusal(rule):
    try:
        optimizer_of("fsdp1", wrapped("fsdp1"), "loop", rule)
    except ValueError as error:
        return str(error)


def zero_resumed():
    """Consolidated on process 0 after step 3, loaded by a new optimizer; and not."""
    model = wrapped("zero")
    optimizer = optimizer_of("zero", model, "foreach")
    steps(model, optimizer, 0, 3)
    optimizer.consolidate_state_dict(to=0)
    box = [copy.deepcopy(optimizer.state_dict()) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    twin = wrapped("zero")
    twin.load_state_dict(model.state_dict())
    resumed = optimizer_of("zero", twin, "foreach", lr=7.0)
    resumed.load_state_dict(box[0])
    for one in (model, optimizer), (twin, resumed):
        steps(*one, 3, 6)
    return whole(model), whole(twin)


def zero_groups():
    model = wrapped("zero")
    groups = matrices_and_rest(model.parameters(), "muon")
    optimizer = ZeroRedundancyOptimizer(groups, optimizer_class=Optimizer, lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for t in range(4):
        steps(model, optimizer, t, t + 1)
        schedule.step()
    return whole(model)


def scaled(kind, how):
    """With a GradScaler, and in step 2 an overflow on process 1 only."""
    model = wrapped(kind)
    optimizer = optimizer_of(kind, model, how)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for t in range(5):
        optimizer.zero_grad()
        factor = float("inf") if t == 2 and dist.get_rank() == 1 else 1.0
        gradients(model, t, factor * scaler.scale(torch.ones(())))
        scaler.step(optimizer)
        scaler.update()
    return {"end": whole(model), "scale": scaler.get_scale()}


def not_divided():
    """A mutant of DDP: the sum of the gradients in the place of their mean."""

    def add_up(_, bucket):
        done = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
        return done.then(lambda f: f.value()[0])

    model = wrapped("ddp")
    model.register_comm_hook(None, add_up)
    steps(model, optimizer := Optimizer(model.parameters(), "sgd", lr=0.01), 0, 5)
    assert optimizer.state
    return whole(model)


def wrappers(folder):
    found = {}
    for kind in ("ddp", "zero", "zero, buckets", "fsdp1", "fsdp2"):
        for how in ("torch", "loop", "foreach", "compile"):
            try:
                found[kind, how] = in_wrapper(kind, how)
            except torch._dynamo.exc.TorchDynamoException as error:
                found[kind, how] = repr(error)  # perhaps there is no compiler
    for rule in SOME_RULES:
        found["ddp", rule] = of_rule("ddp", rule, "loop")
        how = "foreach" if is_elementwise(RULES[rule]) else "loop"
        found["fsdp2", rule] = of_rule("fsdp2", rule, how)
    for rule in ("lamb", "muon", "prodigy"):
        found["refused", rule] = refusal(rule)
    found["zero resumed"] = zero_resumed()
    found["zero groups"] = zero_groups()
    for kind in ("ddp", "fsdp2"):
        for how in ("torch", "foreach"):
            found["scaled", kind, how] = scaled(kind, how)
    found["not divided"] = not_divided()
    for how in ("torch", "foreach"):
        model = wrapped("fsdp2")
        steps(model, optimizer_of("fsdp2", model, how), 0, STEPS)
        found["undisturbed", how] = whole(model)
    torch.save(found, folder / f"wrappers {dist.get_rank()}.pt")
    dist.barrier()  # a life that finds the file of one finds that of the other


def parts(model, optimizer, t=0):
    net, state = get_state_dict(model, optimizer)
    return {"model": net, "optimizer": state, "t": t}


def load(model, optimizer, folder):
    """Take over what `parts` saved in `folder`; return its t."""
    now = parts(model, optimizer)
    dcp.load(now, checkpoint_id=folder, no_dist=not dist.is_initialized())
    own = {"model_state_dict": now["model"], "optim_state_dict": now["optimizer"]}
    set_state_dict(model, optimizer, **own)
    return now["t"]


def saved(folder):
    """Finished checkpoints, the oldest first: `.metadata` is written last."""
    return sorted(folder.glob("*/.metadata"), key=lambda x: int(x.parent.name))


def fault(folder):
    for how in ("torch", "foreach"):
        own, life = folder / how, int(os.environ["TORCHELASTIC_RESTART_COUNT"])
        model = wrapped("fsdp2")
        optimizer = optimizer_of("fsdp2", model, how)
        done = saved(own)
        first = load(model, optimizer, done[-1].parent) if done else 0
        for t in range(first, STEPS):
            if how == "foreach" and life == 0 and t == WAITS:
                wait_for_the_end(folder)
            steps(model, optimizer, t, t + 1)
            if (t + 1) % EVERY == 0:
                now = parts(model, optimizer, t + 1)
                dcp.save(now, checkpoint_id=own / str(t + 1))
        result = {"end": whole(model), "life": life, "first": first}
        torch.save(result, folder / f"{how} {dist.get_rank()}.pt")


def wait_for_the_end(folder):
    note = folder / f"process {dist.get_rank()}"
    note.with_suffix(".part").write_text(str(os.getpid()))
    note.with_suffix(".part").replace(note)
    time.sleep(60)
    raise RuntimeError("nobody has killed this process")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    folder = Path(sys.argv[1])
    if not (folder / f"wrappers {dist.get_rank()}.pt").exists():
        wrappers(folder)
    fault(folder)
    dist.destroy_process_group()
