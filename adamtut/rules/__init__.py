"""Every update rule of the book, once.

A rule maps one parameter `p`, its gradient `g`, its state and the step number `t`
(1, 2, 3, ...) to the new parameter and the new state. The signature declares it all:

- names between `g` and `t` are the state, zero before the first step unless the
  decorator says otherwise;
- keyword-only names are hyperparameters with their defaults;
- the body is a straight line in which each line is one equation of the paper.

The same lines run on floats, NumPy arrays (`adamtut.walk`), torch tensors and lists of
tensors (`adamtut.optim`), and print the equations (`adamtut.show`). Most rules are
elementwise; the others say in the decorator what a unit is (`adamtut.rules.form`).
Every docstring names the source, the state in floats per parameter (besides the
parameter and its gradient), and where other implementations differ.
"""

from adamtut.rules import (
    classic,
    cousins,
    large_batch,
    memory,
    second_order,
    sign_and_matrix,
    tuning_free,
)
from adamtut.rules.form import RULES, as_rule, check_hyper, check_range, rule

__all__ = ["RULES", "as_rule", "check_hyper", "check_range", "rule"]

for _family in (
    classic,
    cousins,
    memory,
    large_batch,
    sign_and_matrix,
    tuning_free,
    second_order,
):
    _rules = {k: v for k, v in vars(_family).items() if hasattr(v, "defaults")}
    RULES.update(_rules)
    globals().update(_rules)
