"""The optimizer of weights that multiply: steps of one length in all directions of a matrix."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .distributed import num_processes, process_rank, sum_of_processes

MOMENTUM = 0.95
# A polynomial of degree 5 that drives all singular values near 1 in as many rounds (Jordan 2024).
COEFFICIENTS, ROUNDS = (3.4445, -4.7750, 2.0315), 5
RMS_OF_UPDATES = 0.5  # 0.2 is AdamW's, but left averaged weights no better than the last: too slow
LEAST_SIDE = 16  # of a matrix; what reads and writes few channels is no map between features


class Muon(torch.optim.Optimizer):
    """Step along the averaged gradient of each matrix with all its singular values made 1.

    The kernel of a convolution is the matrix of an output channel by all that it sees. Of
    processes that train together each makes the steps of its share of the matrices, which all
    then take; those of one shape are taken at once, in half the time. Jordan 2024, scaled by the
    longer side as Liu et al. 2025; torch's own takes neither kernels nor several processes.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step; matrices without a gradient stay."""
        for group in self.param_groups:
            moving = [one for one in group["params"] if one.grad is not None]
            for one, update in zip(moving, self._updates(moving), strict=True):
                scale = RMS_OF_UPDATES * max(one.flatten(1).shape) ** 0.5
                one.mul_(1 - group["lr"] * group["weight_decay"])
                one.add_(update, alpha=-group["lr"] * scale)

    def _updates(self, moving: list[nn.Parameter]) -> list[Tensor]:
        """Return the orthogonal update of each, most of them from other processes."""
        sizes = [one.numel() for one in moving]
        every = torch.zeros(sum(sizes), dtype=torch.bfloat16, device=moving[0].device)
        parts = [part.view_as(one) for one, part in zip(moving, every.split(sizes), strict=True)]
        by_shape: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for one, part in zip(moving, parts, strict=True):
            average = self.state[one].setdefault("exp_avg", torch.zeros_like(one))
            assert one.grad is not None
            average.lerp_(one.grad, 1 - MOMENTUM)
            ahead = one.grad.lerp(average, MOMENTUM)  # Nesterov's
            by_shape[ahead.flatten(1).shape].append((ahead.flatten(1), part))
        for turn, alike in enumerate(by_shape.values()):
            own = alike[(process_rank() + turn) % num_processes() :: num_processes()]
            if own:
                updates = orthogonal(torch.stack([ahead for ahead, _ in own]))
                for (_, part), update in zip(own, updates, strict=True):
                    part.copy_(update.view_as(part))
        sum_of_processes(every)
        return parts


def orthogonal(matrices: Float[Tensor, "n row column"]) -> Float[Tensor, "n row column"]:
    """Return matrices of the same singular vectors, whose values are all near 1, in bfloat16."""
    is_wide = matrices.shape[1] <= matrices.shape[2]
    wide = (matrices if is_wide else matrices.mT.contiguous()).bfloat16()
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        squared = torch.bmm(wide, wide.mT)
        mixed = torch.baddbmm(squared, squared, squared, beta=b, alpha=c)
        wide = torch.baddbmm(wide, mixed, wide, beta=a)
    return wide if is_wide else wide.mT.contiguous()


def multiplies(model: nn.Module) -> list[nn.Parameter]:
    """List the weights of products and convolutions that are trained, without the smallest."""
    layers = [one for one in model.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    weights: list[Any] = [one.weight for one in layers if one.weight.requires_grad]
    return [one for one in weights if min(one.flatten(1).shape) >= LEAST_SIDE]
