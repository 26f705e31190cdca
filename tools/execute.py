"""Run the notebooks whose outputs are not those of today's code, and store the outputs.

    python -m tools.execute [--all] [NOTEBOOK ...]

Without arguments the stale ones; with --all every one; with names those. An error
leaves the notebook as it was and names the cell.
"""

import argparse
import sys
import time
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

from tools import tidy

CELL_TIMEOUT = 600  # seconds


class CellError(Exception):
    """A cell that raised: the message names notebook, cell and error."""


def execute(path: Path) -> None:
    """Run a notebook from top to bottom in its folder and store it, tidy."""
    nb = tidy.tidy(tidy.read(path), tidy.repository())
    # taken before the run, so that an edit made meanwhile shows as stale
    digest = tidy.digest(nb)
    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        # no warning about TCP on this machine's own ports
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(path.resolve().parent)}},
        # outputs recorded on a GPU are kept where there is none
        skip_cells_with_tag="gpu" if not _cuda(nb) else "",
    )
    cell = None
    try:
        with client.setup_kernel(), tqdm(nb.cells, path.stem, unit="cell") as bar:
            for index, cell in enumerate(bar):
                client.execute_cell(cell, index)
    except CellExecutionError as error:
        lines = (error.traceback or "").strip().splitlines()
        tail = "\n".join(lines[-12:])
        raise CellError(
            f"{path.name}, cell {cell.id}: {error.ename}: {error.evalue}\n{tail}"
        ) from None
    except CellTimeoutError:
        raise CellError(
            f"{path.name}, cell {cell.id}: took over {CELL_TIMEOUT} s"
        ) from None
    except DeadKernelError:
        where = f"cell {cell.id}" if cell else "before its first cell"
        raise CellError(f"{path.name}, {where}: the kernel died") from None
    nb.metadata["adamtut"] = {"digest": digest}
    tidy.write(path, tidy.tidy(nb, tidy.repository()))


def _cuda(nb) -> bool:
    """Whether cells tagged gpu can run; torch is loaded only where there are any."""
    if not any("gpu" in cell.metadata.get("tags", []) for cell in nb.cells):
        return False
    import torch

    return torch.cuda.is_available()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.execute", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--all", action="store_true", help="the fresh ones too")
    options = parser.parse_args(arguments)
    failed = 0
    try:
        paths = options.notebooks or [
            path
            for path in tidy.notebooks()
            if options.all or tidy.stale(tidy.read(path))
        ]
        if not paths:
            print("every notebook holds the outputs of today's code")
        for path in paths:
            start = time.perf_counter()
            try:
                execute(path)
            except CellError as error:
                print(f"{error}\n{path.name} is unchanged", file=sys.stderr)
                failed += 1
            else:
                print(f"{path.name}: {time.perf_counter() - start:.0f} s")
    except (OSError, ValueError) as error:
        print(f"execute: {error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
