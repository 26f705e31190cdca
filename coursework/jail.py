"""A process in which a submission runs: bounded, without network, with nothing to see.

`Jail` starts `runner.py`, asks it, and kills it. What is around it depends on the
machine (`protections`):

- bubblewrap as root: own mounts, network, processes, and another user;
- bubblewrap as anybody else: the same through a user namespace;
- no bubblewrap, as root: another user;
- otherwise: resource limits alone.
"""

import functools
import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MB = 1024**2
RUNNER = (HERE / "runner.py", HERE / "cases.py")
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
WAYS = (
    "bubblewrap, another user",
    "bubblewrap, user namespace",
    "another user",
    "limits",
)
_FIRST_USER = 1_000_000  # no machine gives these to its own users
_slots = itertools.count()


@dataclass(frozen=True)
class Bounds:
    """What a submission may use; times in seconds, sizes in bytes."""

    cpu: int = 120  # of one process
    memory: int = 1024 * MB  # of all its processes together, and of the address space
    processes: int = 16  # threads count
    file: int = 16 * MB  # one file, and all of /tmp
    files: int = 64  # open at once
    reply: int = 32 * MB  # one line of JSON


class JailError(Exception):
    """The process died, broke the protocol, or ran out of a bound; says which."""


class Jail:
    """One process for one submission; a context manager.

    packages   distributions that may be imported, with what they require
    files      paths of what it finds where it works
    way        one of `how`, for tests
    """

    def __init__(self, packages=("numpy",), bounds=None, files=(), way=None):
        self.bounds, self._way = bounds or Bounds(), way or how()
        self._user = _FIRST_USER + os.getpid() % 1_000_000 * 1000 + next(_slots) % 1000
        self._folder = tempfile.TemporaryDirectory(prefix="submission-")
        os.chmod(self._folder.name, 0o755)
        place = Path(self._folder.name)
        if "bubblewrap" not in self._way:  # it has its own /tmp and /grader
            for file in (*files, *RUNNER):
                shutil.copy(file, place)
            if self._way == "another user":
                for path in (place, *place.iterdir()):
                    os.chown(path, self._user, self._user)
        command = self._command(tuple(packages), tuple(files), place)
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            cwd=self._folder.name,
            env=_environment(self._folder.name),
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        os.set_blocking(self._process.stdin.fileno(), False)
        self._pending = b""
        self._number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, request: dict, seconds: float) -> dict:
        """The reply to a request; JailError where there is none in time.

        After a JailError the process is gone.
        """
        self._number += 1
        line = json.dumps({**request, "id": self._number}).encode() + b"\n"
        try:
            reply = json.loads(self._exchange(line, time.monotonic() + seconds))
            if not isinstance(reply, dict) or reply.get("id") != self._number:
                raise JailError("it wrote into the channel of the grader")
            return reply
        except JailError:
            self.close()
            raise
        except (ValueError, RecursionError):  # not JSON, or JSON made to hurt
            self.close()
            raise JailError("it wrote into the channel of the grader") from None

    def close(self) -> None:
        """Kill the process and everything that it started."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()
        if self._way == "another user":
            _kill_user(self._user)
        self._folder.cleanup()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            try:
                pipe.close()
            except OSError:  # unsent requests
                pass

    def _command(self, packages, files, place):
        files_of = _files(packages)
        prepare(packages)
        torch = any(path.name == "torch" for path in files_of)
        limits = {
            # torch reserves addresses that it never uses
            "AS": (16 if torch else 1) * self.bounds.memory,
            "CORE": 0,
            "CPU": self.bounds.cpu,
            "FSIZE": self.bounds.file,
            "NOFILE": self.bounds.files,
            "NPROC": self.bounds.processes,
        }
        if self._way == "limits":  # the user is the grader's, and runs more
            limits["NPROC"] += _own_threads()
        bubble = "bubblewrap" in self._way
        runner = "/grader" if bubble else str(place)
        python = [os.path.realpath(sys.executable), "-I", "-S", "-B"]
        drop = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}"]
        drop += ["--clear-groups", "--inh-caps=-all", "--no-new-privs", "--"]
        return [
            *(_bubble(self._way, files_of, files, self.bounds.file) if bubble else []),
            *(drop if "another user" in self._way else []),
            *(*python, f"{runner}/runner.py", json.dumps(limits)),
            "/packages" if bubble else _site(),
        ]

    def _exchange(self, line, deadline):
        """Send one line and read one, watching time, memory and size."""
        sending, out = memoryview(line), self._process.stdin.fileno()
        weighed = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            selector.register(self._process.stdin, selectors.EVENT_WRITE)
            while b"\n" not in self._pending:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise JailError("it took too long")
                ready = selector.select(min(left, 0.1))
                if time.monotonic() - weighed > 0.1:
                    weighed = time.monotonic()
                    if memory_of(self._process.pid) > self.bounds.memory:
                        most = self.bounds.memory // MB
                        raise JailError(f"it used over {most} MB of memory")
                for key, _ in ready:
                    if key.fileobj is self._process.stdout:
                        self._read()
                        continue
                    try:
                        sending = sending[os.write(out, sending[:65536]) :]
                    except BrokenPipeError:
                        raise JailError(self._died()) from None
                    if not sending:
                        selector.unregister(self._process.stdin)
        reply, _, self._pending = self._pending.partition(b"\n")
        return reply

    def _read(self):
        data = os.read(self._process.stdout.fileno(), MB)
        if not data:
            raise JailError(self._died())
        self._pending += data
        if len(self._pending) > self.bounds.reply:
            raise JailError(f"its answer is over {self.bounds.reply // MB} MB")

    def _died(self):
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "it closed its channel to the grader"
        self._errors.seek(0)
        said = self._errors.read(2000).decode(errors="replace").strip()
        if said.startswith(("bwrap:", "setpriv:")):
            raise RuntimeError(f"The jail does not start on this machine: {said}")
        number = -code if code < 0 else code - 128
        if 0 < number < 65:
            name = signal.Signals(number).name if number in _SIGNALS else number
            if number == signal.SIGXCPU:
                return f"it used over {self.bounds.cpu} s of processor time"
            return f"its process was ended by {name}"
        return f"its process ended itself (exit status {code})"


_SIGNALS = {s.value for s in signal.Signals}


def _environment(folder):
    """All that it sees of the grader's environment: nothing."""
    return {
        "HOME": folder,
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": folder,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PATH": "/usr/bin:/bin",
        "TMPDIR": folder,
    }


@functools.cache
def how() -> str:
    """What holds a submission here.

    The first of WAYS that works.
    """
    if os.name != "posix":
        raise RuntimeError("Grading needs Linux or macOS; on Windows, use WSL.")
    for way in WAYS[:-1]:
        root = "another user" in way
        if root == (os.geteuid() == 0) and _starts(way):
            return way
    return WAYS[-1]


def _starts(way):
    try:
        with Jail(way=way) as jail:
            return jail.ask({"cell": "import numpy"}, 20)["error"] is None
    except (OSError, JailError, RuntimeError):
        return False


def protections(folders: tuple[Path, ...] = ()) -> dict[str, bool]:
    """Each protection and whether this machine gives it.

    folders   where submissions and grades lie
    """
    bubble, user = "bubblewrap" in how(), how() != "limits"
    closed = user and _closed(HERE)
    return {
        "no network": bubble,
        "no sight of tests and solutions": bubble or closed,
        "no sight of other submissions and grades": bubble
        or (user and all(map(_closed, folders))),
        "no package but those that the assignment allows": bubble,
        "a limit on all files together": bubble,
        "another user than the grader's": user and how() != WAYS[1],
        "an end to every process that it started": bubble or user,
        "limits on time, memory, processes, size and number of files": True,
    }


def _closed(folder):
    """Whether other users cannot reach what lies in a folder."""
    folder = Path(folder).resolve()
    return any(not path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def _bubble(way, packages, files, room):
    """bubblewrap and what it shows: the system, Python, these packages, these files."""
    words = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    words += ["--unshare-uts", "--unshare-cgroup-try", "--new-session"]
    words += ["--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    words += ["--size", str(room), "--perms", "1777", "--tmpfs", "/dev/shm"]
    words += ["--size", str(room), "--perms", "1777", "--tmpfs", "/tmp"]
    base = os.path.realpath(sys.base_prefix)
    # bubblewrap would make these readable for root alone
    for folder in ("/etc", "/grader", "/packages", *reversed(Path(base).parents[:-1])):
        words += ["--perms", "0755", "--dir", str(folder)]
    for folder in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"):
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        elif os.path.exists(folder):
            words += ["--ro-bind", folder, folder]
    if not base.startswith("/usr/") and base != "/usr":
        words += ["--ro-bind", base, base]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for prefix in {base, "/usr", "/usr/local"}:
        for name in (f"{version}/site-packages", "python3/dist-packages"):
            folder = f"{prefix}/lib/{name}"
            if os.path.isdir(folder):  # what the machine has installed is not for them
                words += ["--tmpfs", folder]
    for path in RUNNER:
        words += ["--ro-bind", str(path), f"/grader/{path.name}"]
    for path in packages:
        words += ["--ro-bind", str(path), f"/packages/{path.name}"]
    for path in _fonts() if any(p.name == "matplotlib" for p in packages) else ():
        words += ["--ro-bind", str(path), f"/tmp/{path.name}"]
    for path in files:
        words += ["--ro-bind", str(path), f"/tmp/{Path(path).name}"]
    for name in ("HOME", "MPLCONFIGDIR", "TMPDIR"):
        words += ["--setenv", name, "/tmp"]
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    if way == "bubblewrap, user namespace":
        return [*words, "--unshare-user", "--disable-userns", "--"]
    return [*words, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--"]


@functools.cache
def _files(packages):
    """What these distributions and those they require put into site-packages."""
    found, waiting, seen = {}, list(packages), set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in packages:
                raise ValueError(
                    f"The assignment may use {name!r}, which is not installed here"
                ) from None
            continue  # an optional one of another system
        root = Path(distribution.locate_file(""))
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not os.path.isabs(top):
                found[top] = root / top
        own = importlib.util.find_spec(name.replace("-", "_"))
        if own and own.submodule_search_locations:  # also where pip linked to a folder
            folder = Path(own.submodule_search_locations[0])
            found[folder.name] = folder
        for line in distribution.requires or ():
            if "extra ==" not in line:
                waiting.append(re.match(r"[\w.-]+", line)[0])
    return tuple(path for path in found.values() if path.exists())


def _fonts():
    """matplotlib's list of fonts: looking for them takes longer than a submission."""
    import matplotlib

    return tuple(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))


@functools.cache
def prepare(packages: tuple[str, ...]) -> None:
    """Import packages once where bytecode and lists of fonts can be stored.

    The jail cannot write: without them each submission would compile NumPy again.
    Raises ValueError where one is not installed.
    """
    _files(packages)
    names = []
    for package in packages:
        files = importlib.metadata.distribution(package).files or ()
        tops = {file.parts[0] for file in files if file.name == "__init__.py"}
        names += sorted(name for name in tops if _lacks_bytecode(name))
    if "matplotlib" in names or ("matplotlib" in packages and not _fonts()):
        names.append("matplotlib.pyplot")
    if not names:
        return
    environment = {k: v for k, v in os.environ.items() if k != _NO_BYTECODE}
    lines = [f"try: import {name}\nexcept ImportError: pass" for name in names]
    command = [sys.executable, "-c", "\n".join(lines)]
    subprocess.run(command, env=environment, capture_output=True)


def _lacks_bytecode(name):
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = spec.submodule_search_locations or () if spec else ()
    return not all(Path(folder, "__pycache__").is_dir() for folder in folders)


def _site():
    import numpy

    return str(Path(numpy.__file__).resolve().parent.parent)


def memory_of(pid: int) -> int:
    """Bytes that a process and all below it hold, without what files back."""
    page, parents, sizes = os.sysconf("SC_PAGE_SIZE"), {}, {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                fields = file.read().rpartition(")")[2].split()
            with open(f"/proc/{name}/statm", encoding="utf-8") as file:
                _, resident, shared, *_ = map(int, file.read().split())
        except (OSError, ValueError):  # ended meanwhile
            continue
        parents[int(name)] = int(fields[1])
        sizes[int(name)] = max(resident - shared, 0) * page
    total = 0
    for child in sizes:
        at = child
        while at in parents and at != pid:
            at = parents[at]
        total += sizes[child] if at == pid else 0
    return total


def _own_threads():
    """How many threads this user runs already: the limit counts them."""
    count, own = 0, os.geteuid()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == own:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count


def _kill_user(user):
    """End what a user runs, again until nothing is left."""
    for _ in range(100):
        alive = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    alive.append(int(name))
            except OSError:
                continue
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
