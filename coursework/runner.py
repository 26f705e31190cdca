"""The process in which a submission runs: cells in, answers out, plain JSON.

    python -I -S runner.py LIMITS FOLDER...

Nothing here is trusted by the side that reads the answers. LIMITS is JSON, names of
`resource` limits to numbers; FOLDERs hold the packages that may be imported.
Requests come on standard input, one JSON a line, and each gets one line back:

    {"id": 1, "cell": SOURCE}  ->  {"id": 1, "error": null or a text, "line": of it}
    {"id": 2, "case": CASE}    ->  {"id": 2, "answers": [...], "error": null}
"""

import json
import os
import sys
import types


def main():
    """Take requests until the input ends."""
    limits, *folders = sys.argv[1:]
    requests, replies = _channel()
    _limit(json.loads(limits))
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [here, *folders]
    import cases

    sys.path.remove(here)
    # bound here, so that a notebook that patches them by accident still answers
    loads, dumps = json.loads, json.dumps
    run_case, unpack_case = cases.run_case, cases.unpack_case
    module = types.ModuleType("__main__")  # where dataclasses and others look
    sys.modules["__main__"], namespace = module, module.__dict__
    namespace.update(check=lambda *_: None, get_ipython=_Shell)
    own = os.getpid()
    for line in requests:
        request = loads(line)
        reply = {"id": request["id"], "error": None, "line": None}
        try:
            if "cell" in request:
                exec(compile(python(request["cell"]), "cell", "exec"), namespace)
            else:
                reply["answers"] = run_case(unpack_case(request["case"]), namespace)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too
            reply["error"], reply["line"] = _described(error), _line(error)
        if os.getpid() != own:  # a process that the notebook left behind
            os._exit(0)
        replies.write(dumps(reply) + "\n")
        replies.flush()


def python(source: str) -> str:
    """The source of a cell without IPython's magics and shell lines."""
    lines = source.splitlines()
    first = next((x for x in lines if x.strip()), "")
    if first.startswith("%%"):
        if first.split()[0] not in ("%%time", "%%timeit", "%%capture", "%%prun"):
            return ""
        lines.remove(first)
        source = "\n".join(lines)
    try:
        compile(source, "cell", "exec")
    except (SyntaxError, ValueError):
        return "\n".join(_plain(line) for line in lines)
    return source


def _plain(line):
    text = line.strip()
    if text.startswith(("%", "!", "?")) or text.endswith("?"):
        return line[: len(line) - len(line.lstrip())] + "pass"
    return line


class _Shell:
    """Stands for IPython's shell in `get_ipython().anything(...)`; does nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def _channel():
    """The two ends of the pipe; the standard streams lead nowhere afterwards."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    return requests, replies


def _limit(limits):
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _described(error):
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:  # an error whose __str__ raises
        return type(error).__name__


def _line(error):
    """The line of its cell that raised it."""
    if isinstance(error, SyntaxError):
        return error.lineno
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "cell":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


if __name__ == "__main__":
    main()
