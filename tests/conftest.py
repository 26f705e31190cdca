import pytest
import torch
from browser import browser, new_tab, one_tab, site, visit
from kernels import fork_kernels

__all__ = ["browser", "compiler", "new_tab", "one_tab", "site", "visit"]

fork_kernels()  # of nbval; pytest of notebooks alone does not read this file


@pytest.fixture(scope="session")
def compiler():
    """For tests that need torch.compile; skips them where it does not work at all.

    On a CPU it needs a C++ compiler and Python's headers, which a new machine may lack.
    """
    known = {"cpp.vec_isa_ok": True}  # or each set of instructions is tried (6 s)
    try:
        torch.compile(lambda x: x + 1, fullgraph=True, options=known)(torch.zeros(2))
    except Exception as error:
        pytest.skip(
            f"torch.compile does not work here: {type(error).__name__}: {error}"
        )
