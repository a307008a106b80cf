"""Kernels, bytes and arithmetic of operations, counted as they are called, under names."""

from collections import defaultdict
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

NETWORK = "the network"


@dataclass(slots=True)
class Work:
    """What some operations do."""

    kernels: float = 0
    bytes: float = 0
    flops: float = 0
    seconds: float = 0.0

    def add(self, given: object, made: object, flops: int) -> None:
        """Count one kernel."""
        self.kernels += 1
        self.bytes += _bytes_of(given) + _bytes_of(made)
        self.flops += flops

    def plus(self, other: "Work", share: float = 1.0) -> "Work":
        """Return the sum with a share of other work."""
        both = zip(astuple(self), astuple(other), strict=True)
        return Work(*(own + share * more for own, more in both))

    def over(self, n: int) -> "Work":
        """Return one of n equal parts."""
        return Work().plus(self, 1 / n)


def _bytes_of(tree: object) -> int:
    tensors = [one for one in tree_leaves(tree) if isinstance(one, Tensor)]
    return sum(min(one.nbytes, one.untyped_storage().nbytes()) for one in tensors)


class Counter(TorchDispatchMode):
    """Counts the work of all operations under the name that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Work] = defaultdict(Work)
        self.name = NETWORK

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kinds = [one.alias_info for one in func._schema.returns]
        is_view = any(kind is not None and not kind.is_write for kind in kinds)
        if not is_view and "empty" not in func.__name__:
            count = flop_registry.get(func.overloadpacket)
            shapes = args[:2] if func is torch.ops.aten.bmm.dtype else args
            flops = count(*shapes, **(kwargs or {}), out_val=out) if count else 0
            given = [args, {name: one for name, one in (kwargs or {}).items() if name != "out"}]
            if func is torch.ops.aten.gather.default:  # reads as much as it gives
                given = [out, args[2:]]
            self.found[self.name].add(given, out, flops)
        return out


class FusedAttention(TorchFunctionMode):
    """Counts torch's attention as one kernel, which on the meta device it is not."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = args[:3]
        out = torch.empty_like(q)
        flops = sdpa_flop_count(q.shape, k.shape, v.shape)
        self.counter.found[self.counter.name].add([q, k, v], out, flops)
        return out
