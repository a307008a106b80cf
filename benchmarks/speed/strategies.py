"""How others keep attention, written anew from their descriptions, beside ours.

Each is a context manager in which the pipeline is called; it yields a function that returns the
tensors that are kept. None looks at the result: this is about what keeping costs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diffumask.attention.capture import capture
from diffumask.attention.defaults import EVERY_MATRIX

from .architectures import WORDS

EVERYTHING = "store everything (P2P, DiffuMask)"
Kept = Callable[[], list[Tensor]]
Attend = Callable[[str, Tensor, Tensor, Tensor], Tensor]  # name of the layer, Q, K, V


@contextmanager
def plain(pipe: Any) -> Iterator[Kept]:
    """Sample, and keep nothing."""
    yield list


@contextmanager
def ours(pipe: Any) -> Iterator[Kept]:
    """Sum the columns of the words, per resolution."""
    with capture(pipe, WORDS) as attention:
        yield lambda: attention.sums


@contextmanager
def ours_with_matrix(pipe: Any) -> Iterator[Kept]:
    """The same with self-attention of some steps, as for propagation."""
    with capture(pipe, WORDS, self_attention=True) as attention:
        yield lambda: attention.sums


@contextmanager
def ours_with_all_matrices(pipe: Any) -> Iterator[Kept]:
    """The same with self-attention of all steps and layers of its grid."""
    with capture(pipe, WORDS, self_attention=True, matrix_strides=EVERY_MATRIX) as attention:
        yield lambda: attention.sums


class _Processor:
    """Attention whose heart is `attend`: the output of a layer's heads of its Q, K and V."""

    def __init__(self, name: str, attend: Attend) -> None:
        self.name, self.attend = name, attend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text)
        q, k, v = (one.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for one in projected)
        out = self.attend(self.name, q, k, v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))


@contextmanager
def _replaced(pipe: Any, wanted: Callable[[str], bool], attend: Attend) -> Iterator[None]:
    before = dict(pipe.unet.attn_processors)
    made = {name: _Processor(name, attend) for name in before if wanted(name)}
    pipe.unet.set_attn_processor(before | made)
    try:
        yield
    finally:
        pipe.unet.set_attn_processor(before)


def _written_out(see: Callable[[str, Tensor], None]) -> Any:
    """Give the matrix of probabilities of each layer to `see`."""

    def attend(name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        probabilities = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        see(name, probabilities)
        return probabilities @ v

    return attend


def _is_cross(name: str) -> bool:
    return "attn2" in name


@contextmanager
def store_everything(pipe: Any) -> Iterator[Kept]:
    """Sum all self- and cross-attention of all heads, as prompt-to-prompt and DiffuMask do.

    The maps of a step are gathered, then added to the sums: two copies, of which each view of
    the conditional half keeps both halves.
    """
    step: list[Tensor] = []
    sums: list[Tensor] = []
    kept: list[Tensor] = []
    n_layers = len(pipe.unet.attn_processors)

    def see(name: str, probabilities: Tensor) -> None:
        step.append(probabilities[len(probabilities) // 2 :])
        if len(step) == n_layers:
            for total, of_step in zip(sums, step, strict=False):
                total += of_step
            sums.extend(step[len(sums) :])
            kept[:] = sums + step
            step.clear()

    with _replaced(pipe, lambda name: True, _written_out(see)):
        yield lambda: kept


@contextmanager
def token_loop(pipe: Any) -> Iterator[Kept]:
    """Sum the cross-attention of each layer and head, token after token, as DAAM does."""
    sums: dict[tuple[str, int], Tensor] = {}

    def see(name: str, probabilities: Tensor) -> None:
        tokens = (probabilities[..., token] for token in range(probabilities.shape[-1]))
        maps = [of_token[len(of_token) // 2 :] for of_token in tokens]
        of_heads = torch.stack(maps, dim=1).transpose(0, 2)  # head token image pixel
        for head, of_head in enumerate(of_heads):
            key = (name, head)
            sums[key] = sums[key] + of_head if key in sums else of_head.float()

    def wanted(name: str) -> bool:
        return _is_cross(name) and not name.startswith("mid_block")

    with _replaced(pipe, wanted, _written_out(see)):
        yield lambda: list(sums.values())


@contextmanager
def queries_to_cpu(pipe: Any) -> Iterator[Kept]:
    """Copy Q and K of all cross-attention to the CPU at each step, as attention-map-diffusers."""
    kept: list[Tensor] = []

    def attend(name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept.extend([q.to("cpu", copy=True), k.to("cpu", copy=True)])
        return functional.scaled_dot_product_attention(q, k, v)

    with _replaced(pipe, _is_cross, attend):
        yield lambda: kept


STRATEGIES = {
    "plain": plain,
    "ours": ours,
    "ours with propagation": ours_with_matrix,
    "the same, of all steps and layers": ours_with_all_matrices,
    EVERYTHING: store_everything,
    "token loop (DAAM)": token_loop,
    "Q, K to the CPU (AMD 1.0)": queries_to_cpu,
}
