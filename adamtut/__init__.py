"""Adam, step by step: update rules written once, in lines that read like the paper.

Each module is one room, imported by its own name::

    from adamtut.rules import adam          # the rule itself: ten lines
    from adamtut.walk import walk           # the rule on a NumPy gradient function
    from adamtut.optim import Optimizer     # the rule on a torch model

Importing the package imports nothing else: torch is loaded only by what needs it.
"""

__version__ = "0.1.0"
