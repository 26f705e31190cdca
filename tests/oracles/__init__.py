"""Who says that a rule is right: one row per rule and setting, a file per family.

Each oracle is a constructor whose signature repeats the defaults that the paper (or,
where the docstring of the rule says so, a library) gives, so that ours are compared
with them.
"""

from oracles import (
    classic,
    cousins,
    large_batch,
    memory,
    second_order,
    sign_and_matrix,
    tuning_free,
)
from oracles.row import LRS

__all__ = ["LRS", "ROWS"]

ROWS = [
    row
    for family in (
        classic,
        cousins,
        memory,
        large_batch,
        sign_and_matrix,
        tuning_free,
        second_order,
    )
    for row in family.ROWS
]
