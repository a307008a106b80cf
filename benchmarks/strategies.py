"""How others keep attention, written anew from their descriptions, beside ours.

Each is a context manager in which the pipeline is called; it yields a function that returns the
tensors that are kept. None looks at the result: this is about what keeping costs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from architectures import PROMPT, WORDS
from torch import Tensor
from torch.nn import functional

from diffumask.attention.capture import capture
from diffumask.attention.tokens import word_positions

Kept = Callable[[], list[Tensor]]


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
def _processors(pipe: Any, make: Callable[[str, Any], Any | None]) -> Iterator[None]:
    before = pipe.unet.attn_processors
    made = {name: make(name, processor) or processor for name, processor in before.items()}
    pipe.unet.set_attn_processor(made)
    try:
        yield
    finally:
        pipe.unet.set_attn_processor(dict(before))


def _heads(attn: Any, x: Tensor) -> Tensor:
    return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


class _Materialized:
    """Attention with the matrix of probabilities written out, given to `see` by layer."""

    def __init__(self, name: str, see: Callable[[str, Tensor], None]) -> None:
        self.name, self.see = name, see

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (_heads(attn, x) for x in self.project(attn, hidden_states, text))
        probabilities = (q @ k.mT * attn.scale).softmax(-1)
        self.see(self.name, probabilities)
        out = (probabilities @ v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))

    @staticmethod
    def project(attn: Any, hidden: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return attn.to_q(hidden), attn.to_k(text), attn.to_v(text)


@contextmanager
def store_everything(pipe: Any) -> Iterator[Kept]:
    """Sum all self- and cross-attention of all heads, as prompt-to-prompt and DiffuMask do.

    The maps of a step are gathered, then added to the sums: two copies, of which each view of
    the conditional half keeps both halves.
    """
    step: list[Tensor] = []
    sums: list[Tensor] = []
    n_layers = len(pipe.unet.attn_processors)

    def see(name: str, probabilities: Tensor) -> None:
        step.append(probabilities[len(probabilities) // 2 :])
        if len(step) == n_layers:
            if sums:
                for total, of_step in zip(sums, step, strict=True):
                    total += of_step
            else:
                sums.extend(step)
            kept[:] = sums + step
            step.clear()

    kept: list[Tensor] = []
    with _processors(pipe, lambda name, _: _Materialized(name, see)):
        yield lambda: kept


@contextmanager
def token_loop(pipe: Any) -> Iterator[Kept]:
    """Sum the cross-attention of each layer and head, token after token, as DAAM does."""
    sums: dict[tuple[str, int], Tensor] = {}

    def see(name: str, probabilities: Tensor) -> None:
        maps = []
        for token in range(probabilities.shape[-1]):
            of_token = probabilities[..., token]
            maps.append(of_token[len(of_token) // 2 :])
        of_heads = torch.stack(maps, dim=1).transpose(0, 2)  # head token image pixel
        for head, of_head in enumerate(of_heads):
            key = (name, head)
            sums[key] = sums[key] + of_head if key in sums else of_head.float()

    def make(name: str, _: Any) -> Any | None:
        captured = "attn2" in name and not name.startswith("mid_block")
        return _Materialized(name, see) if captured else None

    with _processors(pipe, make):
        yield lambda: list(sums.values())


@contextmanager
def queries_to_cpu(pipe: Any) -> Iterator[Kept]:
    """Copy Q and K of all cross-attention to the CPU at each step, as attention-map-diffusers."""
    kept: dict[str, list[Tensor]] = defaultdict(list)

    class Copying(_Materialized):
        def __call__(
            self,
            attn: Any,
            hidden_states: Tensor,
            encoder_hidden_states: Tensor | None = None,
            attention_mask: Tensor | None = None,
        ) -> Tensor:
            assert encoder_hidden_states is not None
            projected = self.project(attn, hidden_states, encoder_hidden_states)
            q, k, v = (_heads(attn, x) for x in projected)
            kept[self.name] += [q.to("cpu", copy=True), k.to("cpu", copy=True)]
            out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return attn.to_out[1](attn.to_out[0](out))

    def make(name: str, _: Any) -> Any | None:
        return Copying(name, lambda *_: None) if "attn2" in name else None

    with _processors(pipe, make):
        yield lambda: [one for of_layer in kept.values() for one in of_layer]


class _Variant(_Materialized):
    """Another way to our sums: what the attention kernel gives besides its output."""

    def __init__(self, sums: dict[int, Tensor], positions: Tensor) -> None:
        self.sums, self.positions = sums, positions

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is not None
        projected = self.project(attn, hidden_states, encoder_hidden_states)
        q, k, v = (_heads(attn, x) for x in projected)
        out, weights = self.attend(q, k, v, attn.scale)
        maps = weights.mean(1, dtype=torch.float32)
        n_pixels = q.shape[2]
        total = self.sums.get(n_pixels)
        self.sums[n_pixels] = maps if total is None else total.add_(maps)
        out = out.transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return the output, and the weights of the columns for the half with the prompt."""
        raise NotImplementedError


class _OneHot(_Variant):
    """One call for values and unit vectors; the output is that of another kernel."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        n_columns = 8 * -(-len(self.positions) // 8)  # kernels want widths divisible by 8
        unit = v.new_zeros(k.shape[2], n_columns)
        unit[self.positions, torch.arange(len(self.positions), device=v.device)] = 1
        wide = torch.cat([v, unit.expand(*v.shape[:2], -1, -1)], dim=-1)
        both = functional.scaled_dot_product_attention(q, k, wide, scale=scale)
        out, weights = both.split([v.shape[-1], n_columns], dim=-1)
        return out, weights[len(q) // 2 :, ..., : len(self.positions)]


class _KernelLogsumexp(_Variant):
    """The normaliser from the kernel, so that only the wanted columns are multiplied."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        if q.device.type == "cpu":
            flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            out, lse = flash(q, k, v, scale=scale)
        else:
            efficient = torch.ops.aten._scaled_dot_product_efficient_attention
            out, lse, *_ = efficient(q, k, v, None, True, scale=scale)
        half = len(q) // 2
        wanted = k[half:, :, self.positions].float()
        logits = q[half:].float() @ (scale * wanted).mT
        return out, (logits - lse[half:, :, : q.shape[2], None]).exp()


def _variant(kind: type[_Variant]) -> Callable[[Any], Any]:
    @contextmanager
    def run(pipe: Any) -> Iterator[Kept]:
        tokens = {p for word in WORDS for p in word_positions(pipe.tokenizer, PROMPT, word)}
        positions = torch.tensor(sorted(tokens), device=pipe.device)
        sums: dict[int, Tensor] = {}

        def make(name: str, _: Any) -> Any | None:
            return kind(sums, positions) if "attn2" in name else None

        with _processors(pipe, make):
            yield lambda: list(sums.values())

    return run


STRATEGIES = {
    "plain": plain,
    "ours": ours,
    "variant: one call with [V, one-hot]": _variant(_OneHot),
    "variant: logsumexp of the kernel": _variant(_KernelLogsumexp),
    "store everything (P2P, DiffuMask)": store_everything,
    "token loop (DAAM)": token_loop,
    "Q, K to the CPU (AMD 1.0)": queries_to_cpu,
}
