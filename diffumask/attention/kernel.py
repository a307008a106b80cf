"""The calls of torch's attention kernel that a layer makes, as they are made.

Whatever a layer does to its queries and keys before, norms, rotations, projections in one: these
are what its softmax takes. So no formula of a family of models has to be known here.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode

from diffumask.errors import InputError


class Seen(NamedTuple):
    """Queries and keys of a layer by head, and what its softmax is told of them.

    Of those that see the prompt. Values and outputs are None where they are not looked at,
    `logsumexp`, the logarithm of the softmax's denominator, where the kernel does not give it.
    """

    q: Float[Tensor, "image head query channel"]
    k: Float[Tensor, "image head key channel"]
    scale: float
    mask: Tensor | None = None
    v: Float[Tensor, "image head key channel"] | None = None
    out: Float[Tensor, "image head query channel"] | None = None
    logsumexp: Float[Tensor, "image head query"] | None = None


def of_images(seen: Seen, rows: slice, batch_size: int) -> Seen:
    """Return what was seen of some rows of the batch.

    Raises `InputError` where the layer was not given the batch of the network.
    """
    if len(seen.q) != batch_size or len(seen.k) != batch_size:
        raise InputError(
            f"expected layers to see the batch of {batch_size}, got {len(seen.q)}:"
            " a cache that leaves out guidance cannot be captured; disable it"
        )
    mask = seen.mask
    if mask is not None and mask.dim() > 2 and len(mask) == batch_size:
        mask = mask[rows]
    v, out, logsumexp = (
        None if one is None else one[rows] for one in (seen.v, seen.out, seen.logsumexp)
    )
    return Seen(seen.q[rows], seen.k[rows], seen.scale, mask, v, out, logsumexp)


def with_logsumexp(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **more: Any,
) -> tuple[Tensor, Tensor | None]:
    """Call torch's attention; return its output, bit for bit, and the logsumexp of its logits.

    This the fused kernel of the CPU gives along with the output, if asked by its own name. None
    where torch would take another, and where something stands between a call and its kernel.
    """
    is_plain = attn_mask is None and not dropout_p and not is_causal and set(more) <= {"scale"}
    is_eager = not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    if query.device.type == "cpu" and is_plain and is_eager:
        chosen = torch._fused_sdp_choice(query, key, value, **more)
        if chosen == SDPBackend.FLASH_ATTENTION.value:
            fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            return fused(query, key, value, **more)
    given = query, key, value, attn_mask, dropout_p, is_causal
    return functional.scaled_dot_product_attention(*given, **more), None


class KernelCalls(TorchFunctionMode):
    """Keeps what the attention kernel is given while it is entered, and what it returns.

    Of this thread alone. `kernel` may stand in for torch's own, and for its logsumexp.
    """

    def __init__(self, kernel: Callable[..., tuple[Tensor, Tensor | None]] = with_logsumexp):
        super().__init__()
        self.kernel = kernel
        self.seen: list[Seen] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **given)
        out, logsumexp = self.kernel(*args, **given)
        self.seen.append(_seen(out, logsumexp, *args, **given))
        return out

    @property
    def logsumexp(self) -> Tensor | None:
        """What the one call told beside its output; processors may make none, or several."""
        return self.seen[0].logsumexp if len(self.seen) == 1 else None

    def only(self, name: str) -> Seen:
        """Return the one call that there was. Raises `InputError` for none and for several."""
        if len(self.seen) != 1:
            raise InputError(
                f"expected one call of torch's attention at {name}, got {len(self.seen)}; take the"
                ' attention backend "native", and unload what adds attention, such as an IP-Adapter'
            )
        return self.seen[0]


def _seen(
    out: Tensor,
    logsumexp: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Seen:
    if is_causal or dropout_p:
        raise InputError("expected attention to all tokens, got causal attention or dropout")
    shared = query.shape[1] // key.shape[1]  # heads of queries to one of the keys
    if shared > 1:
        key, value = (one.repeat_interleave(shared, dim=1) for one in (key, value))
    of_logits = scale or query.shape[-1] ** -0.5
    return Seen(query, key, of_logits, attn_mask, value, out, logsumexp)
