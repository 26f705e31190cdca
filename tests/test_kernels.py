"""A kernel that is a fork is like one that is started anew, and ends like one."""

import os
import signal
import sys
import time

import kernels
import nbval.kernel
import pytest
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import local_provisioner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")

FACTS = r"""
import matplotlib, multiprocessing, os, signal, sys, torch
assert int(os.environ.pop("JPY_PARENT_PID")) == os.getppid()
facts = {
    "path": sys.path, "folder": os.getcwd(), "env": dict(os.environ),
    "interpreter": sys.executable, "flags": tuple(sys.flags),
    "start": multiprocessing.get_start_method(True), "limit": sys.getrecursionlimit(),
    "backend": matplotlib.get_backend(), "rc": dict(matplotlib.rcParams),
    "threads": torch.get_num_threads(), "warnings": sys.warnoptions,
    "group": os.getpgid(0) == os.getpid(), "interrupt": signal.getsignal(2),
    "names": sorted(k for k in globals() if not k.startswith("_")),
}
print(*facts.items(), sep="\n")
"""


@pytest.fixture
def kernel(tmp_path):
    """Start a kernel as nbval does; returns (manager, what runs code in it)."""
    running = []

    def start():
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(tmp_path), stderr=None)
        client = manager.client()
        client.start_channels()
        running.append((manager, client))
        client.wait_for_ready(60)

        def run(code):
            printed = []

            def hook(message):
                if message["msg_type"] == "stream":
                    printed.append(message["content"]["text"])

            reply = client.execute_interactive(code, output_hook=hook, timeout=60)
            content = reply["content"]
            return content.get("evalue", content["status"]), "".join(printed)

        return manager, run

    yield start
    for manager, client in running:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def is_fork(manager):
    return isinstance(manager.provisioner.process, kernels.Kernel)


def test_a_fork_is_like_a_new_one(kernel, monkeypatch):
    manager, run = kernel()
    assert is_fork(manager)
    status, fork = run(FACTS)
    assert status == "ok"
    monkeypatch.setattr(local_provisioner, "launch_kernel", kernels.started_anew)
    manager, run = kernel()
    assert not is_fork(manager)
    assert run(FACTS) == ("ok", fork)


def test_forks_know_nothing_of_each_other(kernel):
    _, one = kernel()
    _, two = kernel()
    assert (
        one("import torch, os; torch.here = x = 1; os.environ['HERE'] = '1'")[0] == "ok"
    )
    assert two(
        "import torch, os; print(hasattr(torch, 'here'), 'HERE' in os.environ)"
    ) == (
        "ok",
        "False False\n",
    )
    assert two("x")[0] == "name 'x' is not defined"


def test_a_fork_is_interrupted_and_restarted(kernel):
    manager, run = kernel()
    status, _ = run("import os, signal; os.kill(os.getpid(), signal.SIGINT); 1 / 0")
    assert status == ""  # of KeyboardInterrupt
    assert run("print(1)") == ("ok", "1\n")
    before = manager.provisioner.pid
    manager.restart_kernel(now=True)
    assert manager.is_alive() and manager.provisioner.pid != before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_fork_is_noticed(kernel, number):
    manager, _ = kernel()
    assert manager.is_alive()
    os.kill(manager.provisioner.pid, number)
    end = time.monotonic() + 20
    while manager.is_alive() and time.monotonic() < end:
        time.sleep(0.05)
    assert not manager.is_alive()


def test_a_kernel_that_died_is_started_once_more(monkeypatch):
    tried = []

    def dies(*arguments, deaths):
        tried.append(arguments)
        if len(tried) <= deaths:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return "kernel"

    monkeypatch.setattr(kernels, "start_once", dies)
    assert kernels.start("name", deaths=1) == "kernel"
    assert tried == [("name",), ("name",)]
    tried.clear()
    with pytest.raises(RuntimeError):
        kernels.start("name", deaths=2)


def test_nbval_starts_kernels_here():
    assert nbval.kernel.start_new_kernel is kernels.start
