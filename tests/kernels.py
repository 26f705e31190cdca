"""Kernels that begin with what nearly every chapter imports.

To import torch and matplotlib takes six seconds of a processor, in each of forty
notebooks. Here the first kernel of a worker imports them for all: each is a fork of one
process that has imported them and done nothing else. Names are the notebook's own: it
has to import what it uses. Only on Linux (elsewhere a fork may break what it copies).
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache

import nbval.kernel
from jupyter_client.provisioning import local_provisioner

IMPORTED = ["ipykernel.kernelapp", "matplotlib.pyplot", "torch", "torch._dynamo"]
MODULE = ["-m", "ipykernel_launcher"]
started_anew = local_provisioner.launch_kernel
start_once = nbval.kernel.start_new_kernel


class Kernel:
    """As much of a subprocess.Popen as jupyter_client asks for."""

    stdin = stdout = stderr = None

    def __init__(self, arguments, env, cwd):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        begun, begin = context.Pipe(duplex=False)
        given = arguments, env, cwd, search_path(), begin
        self._process = context.Process(target=run, args=given)
        self._process.start()
        begun.recv()  # it leads a group of its own now, which is what will be stopped
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number):
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


@cache
def search_path() -> list[str]:
    """Where a kernel of its own would look for modules: not in the tests."""
    command = [sys.executable, "-P", "-c", "import sys; print(*sys.path, sep='\\n')"]
    return subprocess.check_output(command, text=True).splitlines()


def run(arguments, env, cwd, path, begin):
    """What `python -m ipykernel_launcher` does, in a fork."""
    os.setsid()
    begin.send(True)
    os.environ.clear()
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)
    sys.path[:] = path
    sys.argv = ["ipykernel_launcher.py", *arguments]

    import matplotlib
    from ipykernel.kernelapp import launch_new_instance

    # a kernel tells matplotlib by MPLBACKEND, which was read when it was imported
    matplotlib.rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    # it ends with its parent; JPY_PARENT_PID was read when ipykernel was imported
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    launch_new_instance(argv=[*arguments, parent])


def launch(command, env=None, cwd=None, **options):
    """jupyter_client's launch_kernel, for which a kernel of ours is a fork."""
    if command[:3] != [sys.executable, *MODULE] or env is None or cwd is None:
        return started_anew(command, env=env, cwd=cwd, **options)
    return Kernel(command[3:], env, cwd)


def start(*arguments, **options):
    """A kernel, at the second attempt if it died in the first: seen once, the cause is
    not known. Perhaps a port was free when it was chosen, and taken a moment later."""
    try:
        return start_once(*arguments, **options)
    except RuntimeError:
        return start_once(*arguments, **options)


def fork_kernels() -> None:
    """From now on, kernels of this process are forks."""
    nbval.kernel.start_new_kernel = start
    if sys.platform == "linux":
        local_provisioner.launch_kernel = launch
