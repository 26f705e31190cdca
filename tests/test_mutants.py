"""The replay check rejects wrong rules, and only those."""

import pytest
from mutants import MUTANTS, function, mutate, plain
from oracles import ROWS

from adamtut.rules import RULES

# the first row of a rule is its defaults against its first oracle
ROW = {row.rule: row for row in reversed(ROWS)}
LINES = [
    (rule, line)
    for rule in RULES
    for line in plain(rule).splitlines()
    if " = " in line or "return" in line
]


def survives(row, wrong, **setting) -> bool:
    """Whether `wrong` in the place of the row's rule survives its check."""
    try:
        row.check(wrong, **setting)
    except AssertionError:
        return False
    return True


def passes(rule: str, wrong, **setting) -> bool:
    """Whether `wrong` survives the check of the rule's defaults."""
    return survives(ROW[rule], wrong, **setting)


@pytest.mark.parametrize("rule", RULES)
def test_accepted(rule):
    same = function(plain(rule))
    assert same is not RULES[rule]
    for lr in ROW[rule].lrs:
        ROW[rule].check(same, lr=lr)


@pytest.mark.parametrize("rule, what", MUTANTS, ids="{}".format)
def test_rejected(rule, what):
    wrong = mutate(rule, MUTANTS[rule, what])
    for lr in ROW[rule].lrs:
        if passes(rule, wrong, lr=lr):  # what the defaults do not use, another row does
            others = [r for r in ROWS if r.rule == rule and r is not ROW[rule]]
            assert any(not survives(row, wrong, lr=lr) for row in others)


@pytest.mark.parametrize("rule, line", LINES, ids="{}".format)
def test_rejected_without_line(rule, line):
    source = plain(rule)
    assert source.count(line) == 1
    shorter = function(source.replace(line, ""))
    # a line whose name is used later cannot run at all, the others compute nonsense
    with pytest.raises((AssertionError, NameError, TypeError)):
        ROW[rule].check(shorter)


def test_one_step_is_not_enough():
    """A test of the first step alone lets these through; twenty more steps do not."""
    adam = {
        what: mutate(rule, edits)
        for (rule, what), edits in MUTANTS.items()
        if rule == "adam"
    }
    assert {what for what, f in adam.items() if passes("adam", f, steps=1)} == {
        "betas swapped",
        "corrected m stored",
        "corrected v stored",
        "g for m",
        "lr decays",
        "m not stored",
        "no memory of m",
        "no memory of v",
        "sign descent",
        "t frozen at 1",
        "v not stored",
    }
    assert not any(passes("adam", f, steps=20) for f in adam.values())


def test_default_lr_is_not_enough():
    """With lr = 1 nobody sees where lr stands, hence the replay at 1e-3 and 10."""
    wrong = mutate("adadelta", MUTANTS["adadelta", "lr inside the step"])
    assert passes("adadelta", wrong)
    assert not passes("adadelta", wrong, lr=10.0)
