"""A layer as its processor sees it, keeping the queries and keys that it makes."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from diffumask.errors import InputError

from .kernel import Seen


class Projecting:
    """A layer as its processor sees it, keeping the projections that it makes.

    So they need not be made again, which is ten times the rest of the work.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer: Any = layer
        self.q: Any = None
        self.k: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)

    def to_q(self, hidden: Tensor) -> Tensor:
        """Project to queries."""
        self.q = self.layer.to_q(hidden)
        return self.q

    def to_k(self, hidden: Tensor) -> Tensor:
        """Project to keys."""
        self.k = self.layer.to_k(hidden)
        return self.k

    def take(self) -> Seen:
        """Return the projections. Raises `InputError` for a layer that makes none."""
        if self.q is None or self.k is None:
            raise InputError("expected a layer that projects its queries and keys, got none")
        seen = Seen(heads_apart(self.q, self.heads), heads_apart(self.k, self.heads), self.scale)
        self.q = self.k = None  # so that nothing large is kept alive
        return seen


def heads_apart(
    projected: Float[Tensor, "image token channels"], n_heads: int
) -> Float[Tensor, "image head token channel"]:
    """Give each head its channels."""
    return projected.unflatten(-1, (n_heads, -1)).transpose(1, 2)
