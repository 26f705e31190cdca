"""The playground of the book in a notebook: optimisers that race on a surface.

    from adamtut.widget import Playground
    Playground(surface="ravine", rules=["sgd", "adam"], lr=0.1)

Needs anywidget (`pip install adamtut[widget]`). The arithmetic runs in the browser and
is that of `adamtut.rules`.
"""

try:
    import anywidget
    import traitlets
except ModuleNotFoundError as error:
    raise ImportError(
        f"adamtut.widget needs {error.name}: pip install 'adamtut[widget]'"
    ) from None

import math

from adamtut.playground import bundle
from adamtut.rules import check_hyper

MOST_RUNS, MOST_STEPS = 4, 1000  # as playground/setting.js
_RULES, _SURFACES = bundle.offered_rules(), bundle.offered_surfaces()


class Playground(anywidget.AnyWidget):
    """Up to four rules on a surface, whose start and hyperparameters the reader moves.

    surface  a name: bowl, ravine, turned ravine, saddle, rosenbrock, beale, himmelblau
    rules    one to four, each a name or a dict such as {"rule": "adam", "lr": 0.1,
             "correction": False}, the last without Adam's bias correction
    start    two numbers; None for the one that the book likes
    steps    1 to 1000
    hyper    hyperparameters for every rule that has them and does not give its own

    The traits surface, start, steps and runs (the rules as dicts with everything filled
    in) follow the reader and may be assigned. Raises ValueError or TypeError for what
    is not allowed.
    """

    _esm = bundle.module()
    surface = traitlets.Unicode("ravine").tag(sync=True)
    start = traitlets.List(traitlets.Float()).tag(sync=True)
    steps = traitlets.Int(100).tag(sync=True)
    runs = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        surface: str = "ravine",
        rules: list[str | dict] = ("sgd", "momentum", "adam"),
        *,
        start: list[float] | None = None,
        steps: int = 100,
        **hyper: float,
    ):
        runs = [x if isinstance(x, dict) else {"rule": x} for x in rules]
        named = [_RULES[x["rule"]] for x in runs if x.get("rule") in _RULES]
        for name in hyper:
            if not any(name in rule.defaults for rule in named):
                raise TypeError(
                    f"no rule of {list(rules)} has the hyperparameter {name!r}"
                )
        runs = [
            {k: v for k, v in hyper.items() if k in _rule(x).defaults} | x for x in runs
        ]
        if start is None:
            start = _SURFACES[_surface(surface)].start.tolist()
        super().__init__(surface=surface, start=list(start), steps=steps, runs=runs)

    @traitlets.validate("surface")
    def _check_surface(self, proposal):
        return _surface(proposal["value"])

    @traitlets.validate("start")
    def _check_start(self, proposal):
        start = [float(x) for x in proposal["value"]]
        if len(start) != 2 or not all(map(math.isfinite, start)):
            raise ValueError(f"start is {start!r}; allowed: two finite numbers")
        return start

    @traitlets.validate("steps")
    def _check_steps(self, proposal):
        steps = proposal["value"]
        if not 1 <= steps <= MOST_STEPS:
            raise ValueError(f"steps is {steps!r}; allowed: 1 to {MOST_STEPS}")
        return steps

    @traitlets.validate("runs")
    def _check_runs(self, proposal):
        runs = proposal["value"]
        if not 1 <= len(runs) <= MOST_RUNS:
            raise ValueError(f"rules are {len(runs)}; allowed: 1 to {MOST_RUNS}")
        return [_run(x) for x in runs]


def _surface(name: str) -> str:
    if name not in _SURFACES:
        raise ValueError(f"surface is {name!r}; allowed: {', '.join(_SURFACES)}")
    return name


def _rule(run: dict):
    name = run.get("rule")
    if name not in _RULES:
        raise ValueError(f"rule is {name!r}; allowed: {', '.join(_RULES)}")
    return _RULES[name]


def _run(run: dict) -> dict:
    """The run with everything filled in, in the order of playground/setting.js."""
    rule = _rule(run)
    hyper = {k: v for k, v in run.items() if k not in ("rule", "correction")}
    check_hyper(rule, hyper)
    hyper = {k: float(v) for k, v in (rule.defaults | hyper).items()}
    corrects = bundle.translate.has_correction(rule)
    correction = run.get("correction", True)
    if not isinstance(correction, bool):
        raise TypeError(f"correction is {correction!r}; allowed: True, False")
    if "correction" in run and not corrects:
        raise ValueError(f"rule {rule.__name__} corrects no bias: leave out correction")
    extra = {"correction": correction} if corrects else {}
    return {"rule": rule.__name__, **hyper, **extra}
