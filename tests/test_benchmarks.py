"""The benchmark of a step counts what it says, and verdicts follow from its rows."""

import contextlib
import json

import pytest
import torch
from torch import nn

from benchmarks import step


def test_sizes_of_the_workloads():
    def count(shapes):
        return sum(torch.Size(shape).numel() for shape in shapes)

    sizes = {name: count(shapes) for name, shapes in step.workloads("cuda").items()}
    assert sizes == {
        "500 x 1,000": 500_000,
        "mlp 784-512-256-10": 535_818,
        "resnet-18": 11_689_512,  # torchvision's documentation
        "one of 2e7": 20_000_000,
        "one of 1e8": 100_000_000,
        "gpt-2 small": 124_439_808,  # as published with its weights
    }


@pytest.mark.parametrize(
    ("operation", "numbers"),
    [
        (lambda a, b: a + b, 3),
        (lambda a, b: a.add_(b), 3),
        (lambda a, b: a.copy_(b), 2),
        (lambda a, b: a.zero_(), 1),
        (lambda a, b: a.mul(2.0), 2),
        (lambda a, b: a.addcmul_(a, b), 4),
        (lambda a, b: torch._foreach_mul_([a, b], 2.0), 4),
        (lambda a, b: a.view(-1), 0),
        (lambda a, b: torch.empty_like(a), 0),
    ],
)
def test_traffic_is_what_operators_read_and_write(operation, numbers):
    a, b = torch.ones(10), torch.ones(10)
    with step._Traffic() as traffic:
        operation(a, b)
    assert traffic.bytes == numbers * 10 * 4


def contestant(how):
    shapes = [(1000,)]
    return next(x for x in step.contestants(shapes, "cpu") if x.name == how)


def test_kernels_and_bytes_of_a_step_of_adam():
    """One tensor: the rule has 14 operators, and its results are copied back."""
    loop = contestant("ours loop")
    loop.step()
    kernels, _ = step.profiled(loop, "cpu")
    assert kernels == 14 + 3
    # ten of one operand, four of two, three copies
    assert step.bytes_moved(loop) == (10 * 8 + 4 * 12 + 3 * 8) * 1000
    fused = contestant("torch fused")
    fused.step()
    assert step.bytes_moved(fused) == step.LEAST * 1000 + 4 * 1000  # may write g


def test_temporary_memory_is_the_most_at_a_time():
    def three():
        a = torch.ones(1000)
        b = a + a
        del a
        return b * b

    _, peak = step.profiled(step.Contestant("three", three), "cpu")
    assert 2 * 4000 <= peak < 2 * 4000 + 500


def test_targets_are_met_or_missed():
    rows = [
        {"workload": name, "contestant": c, "parameters": n, "x fused": x}
        | {"x limit": 1.2, "first": first, "cached": 6.0, "ns": ns, "copy": 0.5}
        for name, n in (("500 x 1,000", 5e5), ("resnet-18", 1.2e7))
        for c, x, first, ns in (
            ("torch foreach", 3.0, 0.1, 10.0),
            ("ours compile", 0.5, 12.0, 2.0),
            ("ours foreach", 4.0, 0.1, 14.0),
        )
    ]
    verdicts = [line.split()[0] for line in step.targets(rows)]
    small, large = (
        ["MISSED", "MISSED", "met", "met"],
        ["met", "met", "MISSED", "met", "met"],
    )
    assert verdicts == small + large


def test_one_command_prints_a_table_and_writes_the_rows(
    compiler, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(step, "workloads", lambda device: {"tiny": [(30,), (5, 2)]})
    file, empty = tmp_path / "rows.json", tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(
        step.tempfile, "TemporaryDirectory", lambda: contextlib.nullcontext(empty)
    )
    monkeypatch.setattr(
        "sys.argv", ["benchmarks", "--rounds", "2", "--json", str(file)]
    )
    threads = torch.get_num_threads()
    try:
        step.main()
    finally:
        torch.set_num_threads(threads)
        torch._inductor.config.cpp.enable_kernel_profile = False
        torch._inductor.config.cpp_cache_precompile_headers = True
    printed = capsys.readouterr().out
    saved = json.loads(file.read_text())
    assert saved["machine"]["torch"] == torch.__version__
    rows = {row["contestant"]: row for row in saved["rows"]}
    assert {"torch fused", "ours compile", "ours foreach", "limit"} <= rows.keys()
    assert all(name in printed for name in rows)
    if not torch.cuda.is_available():
        assert "Not measured on a GPU" in printed
    compiled = rows["ours compile"]
    assert compiled["kernels"] == 1  # for both tensors
    # each tensor begins at 64 bytes, so there are 32 + 16 numbers for 40
    assert compiled["bytes"] == pytest.approx(step.LEAST * 48 / 40)
    assert 0 < compiled["cached"] < compiled["first"]
    # one file with torch's headers was compiled, and no headers in advance
    sources = [x.read_text() for x in empty.rglob("*.cpp")]
    assert sum("torch" in x or "ATen" in x for x in sources) == 1
    assert not list(empty.rglob("*.gch"))
    # numbers such as 1 - beta1**t, and no tensor of 160 bytes
    assert compiled["temporary"] < 4 < rows["ours loop"]["temporary"]


def test_a_network_is_what_its_shapes_say():
    layers = [nn.Linear(784, 512), nn.Linear(512, 256), nn.Linear(256, 10)]
    shapes = [tuple(p.shape) for layer in layers for p in layer.parameters()]
    assert step.workloads("cpu")["mlp 784-512-256-10"] == shapes
