"""The command `adamtut`; `python -m adamtut` is the same."""

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

DESCRIPTION = """\
Look at a model and its optimizer before (or while) you train, and print what is
suspicious, with links into the book; print nothing where all is well.

FUNCTION takes no arguments and returns (model, optimizer), or a dict with any of these:
  model      what is trained
  optimizer  of torch or of adamtut, or a list of them
  loss       a function of the model that returns one number: one step is done on a copy
  scheduler  of the learning rate
  step       a function of model and optimizer (and scheduler, where there is one) that
             does one whole training step: it is done twice, on copies
  steps      how many steps the optimizer has made so far
(model, optimizer, loss) and (model, optimizer, loss, scheduler) will do too.
Code below `if __name__ == "__main__"` does not run.
"""
NAMES = ["model", "optimizer", "loss", "scheduler", "step", "steps"]
STATUS = (
    "exit status: 0 nothing found, 1 findings, 2 the function could not be examined"
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="adamtut", description="The tools of Adam, Step by Step."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="look for what makes training silently worse",
        description=DESCRIPTION,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument("target", metavar="FILE.py:FUNCTION")
    options = parser.parse_args(arguments)
    return examine_target(options.target)


def examine_target(target: str) -> int:
    """Print what the doctor finds in `FILE.py:FUNCTION`; the exit status."""
    from adamtut.doctor import examine, report  # torch takes seconds to load

    try:
        function = load(target)
    except Refused as error:
        return refuse(str(error))
    except (Exception, SystemExit):
        return refuse(f"{target}: its file raised", trace=True)
    try:
        result = function()
    except (Exception, SystemExit):
        return refuse(f"{target} raised", trace=True)
    if isinstance(result, tuple | list) and 2 <= len(result) <= 4:
        result = dict(zip(NAMES, result, strict=False))
    if not isinstance(result, dict):
        return refuse(
            f"{target} returned a {type(result).__name__}; allowed: (model, optimizer),"
            " (model, optimizer, loss), (model, optimizer, loss, scheduler) or a dict "
            f"of {', '.join(NAMES)}"
        )
    if odd := [key for key in result if key not in NAMES]:
        return refuse(
            f"{target} returned a dict with {odd[0]!r}; allowed: {', '.join(NAMES)}"
        )
    if lacking := [key for key in NAMES[:2] if key not in result]:
        return refuse(f"{target} returned a dict without {lacking[0]!r}")
    try:
        findings = examine(**result)
    except (TypeError, ValueError) as error:
        # with a note: not the doctor's word, but raised by what the function returned
        return refuse(f"{target}: {error}", trace=hasattr(error, "__notes__"))
    except Exception:
        return refuse(f"{target} cannot be examined", trace=True)
    if findings:
        print(report(findings))
    return 1 if findings else 0


class Refused(Exception):
    """A target that is no function of a file."""


def refuse(message: str, trace: bool = False) -> int:
    """Say on stderr why there is nothing to examine; the exit status."""
    print(f"adamtut doctor: {message}", file=sys.stderr)
    if trace:
        traceback.print_exc()
    return 2


def load(target: str) -> Callable:
    """The function named `FILE.py:FUNCTION`, its file run as a module.

    Raises Refused where there is none; what the file raises, it raises.
    """
    name, _, function = target.rpartition(":")
    path = Path(name)
    if path.suffix != ".py" or not function.isidentifier():
        raise Refused(f"target is {target!r}; allowed: FILE.py:FUNCTION")
    if not path.is_file():
        raise Refused(f"there is no file {name}; allowed: FILE.py:FUNCTION")
    # as `python FILE.py` would: the folder's other modules can be imported
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location("adamtut_doctor_target", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look there
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise Refused(f"{name} has no function {function!r}; allowed: FILE.py:FUNCTION")
    return found


if __name__ == "__main__":
    sys.exit(main())
