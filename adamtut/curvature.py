"""Second derivatives: the optimiser that samples them, and Newton's method."""

from collections.abc import Callable, Iterable

import torch
from torch.nn.functional import cross_entropy

from adamtut.data import whole_number
from adamtut.optim import Optimizer


class SophiaG(Optimizer):
    """Rule `sophia` with its Gauss-Newton-Bartlett estimate: Liu et al. 2024, alg. 2.

    A training loop has two lines more than with another optimiser::

        optimizer.step()
        if optimizer.due():
            optimizer.curvature(net(x))

    every   steps between two estimates, the paper's k

    The rest is that of `Optimizer`; parameters of other rules are left out of the
    estimate. As in the authors' training loop, the estimate follows steps
    k, 2k, ...; in the paper, it precedes steps 1, k + 1, ...

    Raises what `Optimizer` raises; ValueError where `every` is not 1, 2, 3, ...
    """

    def __init__(
        self,
        params: Iterable,
        rule: str | Callable = "sophia",
        how: str = "loop",
        *,
        every: int = 10,
        **options,
    ):
        self.every = whole_number("every", every, 1)
        super().__init__(params, rule, how, **options)

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"every": self.every}

    def due(self) -> bool:
        """Whether the last step was one of those after which h is estimated."""
        steps = max((self.state[p]["t"] for _, p in self._curved()), default=0)
        return steps > 0 and steps % self.every == 0

    def curvature(
        self, scores: torch.Tensor, generator: torch.Generator | None = None
    ) -> None:
        """Let h take in the curvature of the model's loss, from labels it samples.

        scores     of classes, for each example of a batch: shape (..., classes), with
                   the graph that leads back to the parameters
        generator  of the labels; torch's own without it

        h becomes beta2 * h + (1 - beta2) * n * g**2, where n is the number of examples
        and g the gradient of their mean cross-entropy with the sampled labels. The
        expected n * g**2 is the diagonal of the Gauss-Newton matrix. The gradients of
        the parameters (p.grad) are left alone.

        Raises ValueError: scores of no class or no example; RuntimeError: before the
        first step.
        """
        if scores.ndim < 2 or 0 in scores.shape:
            raise ValueError(
                f"scores has shape {tuple(scores.shape)}; allowed: (..., classes)"
            )
        curved = self._curved()
        if not curved:
            raise RuntimeError("curvature before the first step; call step first")
        scores = scores.flatten(end_dim=-2)
        chances = scores.detach().softmax(dim=-1)
        labels = torch.multinomial(chances, 1, generator=generator).squeeze(1)
        params = [p for _, p in curved]
        loss = cross_entropy(scores, labels)
        gradients = torch.autograd.grad(loss, params, allow_unused=True)
        self.take_in(gradients, len(scores))

    @torch.no_grad()
    def take_in(self, gradients: Iterable, n: int) -> None:
        """What `curvature` does, with gradients that were taken elsewhere.

        gradients of the mean loss of n examples with sampled targets, one for each
        parameter that has been updated, in the order of the groups; None: left out
        """
        for (group, p), g in zip(self._curved(), gradients, strict=True):
            if g is not None:
                curvature = self._rules[group["rule"]].curvature
                h = self.state[p]["h"]
                h.copy_(curvature(h, g, n, beta2=group["beta2"]))

    def _curved(self) -> list[tuple[dict, torch.Tensor]]:
        """Groups and parameters that have been updated and have a state h."""
        return [
            (group, p)
            for group in self.param_groups
            for p in group["params"]
            if self._rules[group["rule"]].curvature and "h" in self.state.get(p, ())
        ]


def newton(
    f: Callable[[torch.Tensor], torch.Tensor],
    p: torch.Tensor,
    steps: int,
    damping: float = 0.0,
) -> torch.Tensor:
    """All points that Newton's method visits from `p`: p - (H + damping * I)^-1 g.

    f        a function of a vector to a number, twice differentiable by torch.func
    p        the start, shape (n,); the Hessian takes n**2 floats and a step n**3 work
    damping  added to each curvature: towards gradient descent with lr 1 / damping

    Returns shape (steps + 1, n), of the dtype of p. Source: Nocedal and Wright 2006,
    section 3.3. There is no line search: far from a minimum, or where the Hessian has
    a negative eigenvalue, a step may lead up.

    Raises ValueError: a p that is no vector of floats, steps or damping negative, a
    Hessian that is singular.
    """
    if p.ndim != 1 or not p.is_floating_point():
        raise ValueError(
            f"p has shape {tuple(p.shape)} and {p.dtype}; allowed: (n,), of floats"
        )
    steps = whole_number("steps", steps, 0)
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping is {damping!r}; allowed: 0 <= damping < inf")
    path = [p.detach().clone()]
    for t in range(1, steps + 1):
        g, hessian = torch.func.grad(f)(path[-1]), torch.func.hessian(f)(path[-1])
        hessian = hessian + damping * torch.eye(len(p), dtype=p.dtype, device=p.device)
        step, wrong = torch.linalg.solve_ex(hessian, g)
        if wrong:
            raise ValueError(
                f"the Hessian is singular in step {t}, with damping {damping!r}; "
                "allowed: one that can be inverted, such as with more damping"
            )
        path.append(path[-1] - step)
    return torch.stack(path)
