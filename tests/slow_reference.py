"""Slow, obvious twins of the capture: every probability of every layer and evaluation, kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from diffumask.attention.capture import capture
from diffumask.attention.running_means import Attention
from diffumask.attention.tokens import word_positions
from diffumask.models.precision import computes_in

needs_bfloat16 = pytest.mark.skipif(
    not computes_in(torch.bfloat16, "cpu"), reason="this CPU has no kernels for bfloat16"
)
# Number types with the rounding of a value near 1.
HALVES = [pytest.param("bfloat16", 2**-8, marks=needs_bfloat16), ("float16", 2**-11)]

HEIGHT, WIDTH = 64, 48
BIRD = "a bird on grass"
PLANE = "an aeroplane and a potted plant, high in snow"


def run(pipe: Any, prompts: str | list[str] | None, steps: int = 2, **options: Any) -> np.ndarray:
    size = {} if "image" in options else {"height": HEIGHT, "width": WIDTH}
    return pipe(
        prompt=prompts if isinstance(prompts, str | None) else list(prompts),  # some change it
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **(size | options),
    ).images


class Kept(NamedTuple):
    """What one layer attended to at one evaluation."""

    layer: str
    timestep: float
    size_hw: tuple[int, int]
    probabilities: Tensor  # batch head pixel key


def area_mean(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Average over coarser cells: cut every cell into so many parts that all are whole in one."""
    (h, w), (to_h, to_w) = maps.shape[-2:], size_hw
    parts = maps.repeat_interleave(to_h, dim=-2).repeat_interleave(to_w, dim=-1)
    return parts.unflatten(-1, (to_w, w)).unflatten(-3, (to_h, h)).mean(dim=(-3, -1))


class SlowReference:
    """Keeps the full softmax of the layers of a UNet whose names end in some way.

    `pooled` names the grids whose queries and keys are averaged first, and to which grid.
    """

    def __init__(
        self,
        pipe: Any,
        ending: str = "attn2",
        dtype: torch.dtype | None = None,
        pooled: Mapping[tuple[int, int], tuple[int, int]] | None = None,
    ) -> None:
        self.unet, self.ending, self.dtype = pipe.unet, ending, dtype
        self.pooled = pooled or {}
        self.kept: list[Kept] = []
        self.timestep = 0.0
        self.size_hw = (0, 0)

    @contextmanager
    def watching(self) -> Iterator[None]:
        hooks = [self.unet.register_forward_pre_hook(self.see_timestep, with_kwargs=True)]
        for name, module in self.unet.named_modules():
            if isinstance(module, Transformer2DModel):
                hooks.append(module.register_forward_pre_hook(self.see_size))
            if name.endswith(self.ending):
                see = self.see_layer(name)
                hooks.append(module.register_forward_pre_hook(see, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def see_timestep(self, unet: Any, args: tuple, kwargs: dict) -> None:
        self.timestep = float(args[1])

    def see_size(self, transformer: Any, args: tuple) -> None:
        h, w = args[0].shape[-2:]
        self.size_hw = (h, w)

    def see_layer(self, name: str) -> Callable[..., None]:
        @torch.no_grad()
        def see(layer: Any, args: tuple, kwargs: dict) -> None:
            hidden, text = args[0], kwargs.get("encoder_hidden_states")
            dtype = self.dtype or hidden.dtype
            q, k = (
                projected.to(dtype).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
                for projected in (layer.to_q(hidden), layer.to_k(hidden if text is None else text))
            )
            size_hw = self.pooled.get(self.size_hw, self.size_hw)
            if size_hw != self.size_hw:
                q, k = (
                    area_mean(one.mT.unflatten(-1, self.size_hw), size_hw).flatten(-2).mT
                    for one in (q, k)
                )
            as_network = self.dtype is None and torch.is_autocast_enabled(q.device.type)
            with torch.autocast(q.device.type, enabled=as_network):
                probabilities = (q @ k.mT * layer.scale).softmax(-1)
            self.kept.append(Kept(name, self.timestep, size_hw, probabilities))

        return see

    def sizes(self) -> set[tuple[int, int]]:
        return {kept.size_hw for kept in self.kept}

    def layers(self) -> set[str]:
        return {kept.layer for kept in self.kept}

    def map(
        self,
        size_hw: tuple[int, int],
        entry: int,
        position: int,
        counts: Callable[[Kept], bool] = lambda kept: True,
    ) -> Tensor:
        """Return the mean attention of one entry of the UNet's batch to one position."""
        maps = [
            kept.probabilities[entry, :, :, position].float().mean(0)
            for kept in self.kept
            if kept.size_hw == size_hw and counts(kept)
        ]
        return torch.stack(maps).mean(0).unflatten(0, size_hw)


def daam(
    slow: SlowReference, positions: Sequence[int], size_hw: tuple[int, int], entry: int = -1
) -> Tensor:
    """Return the heat of a word as Tang et al. 2023 define it, with a peak of 1.

    Each head of each layer of the blocks that go down and up is summed over the steps, resized
    bicubically and clipped at 0; the heat is their mean, and that of the tokens of the word.
    """
    sums: dict[tuple[str, int], Tensor] = {}
    for kept in slow.kept:
        if kept.layer.startswith(("down_blocks.", "up_blocks.")):
            for head, probabilities in enumerate(kept.probabilities[entry].float()):
                maps = probabilities[:, list(positions)].mT.unflatten(-1, kept.size_hw)
                sums[kept.layer, head] = sums.get((kept.layer, head), 0) + maps
    resized = [
        functional.interpolate(one[:, None], size_hw, mode="bicubic").clamp(min=0)[:, 0]
        for one in sums.values()
    ]
    heat = torch.stack(resized).mean(0).mean(0)
    return heat / heat.max()


def largest_error(
    pipe: Any,
    attention: Attention,
    slow: SlowReference,
    texts: Sequence[str],
    counts: Callable[[Kept], bool] = lambda kept: True,
    differ: float = 1e-4,
) -> float:
    """Compare all maps; `texts` are those of the last entries of the UNet's batch.

    The maps of tokens beside each other must differ by more than `differ` somewhere, else taking
    the wrong token would not show.
    """
    assert attention.maps
    assert attention.words
    errors, differences = [0.0], [0.0]
    for size_hw, maps in attention.maps.items():
        assert maps.dtype == torch.float32
        for image, text in enumerate(texts):
            for word in attention.words[image]:
                columns = attention.columns(image, word)
                positions = word_positions(pipe.tokenizer, text, word)
                for column, position in zip(columns, positions, strict=True):
                    expected = slow.map(size_hw, image - len(texts), position, counts)
                    neighbour = slow.map(size_hw, image - len(texts), position - 1, counts)
                    differences.append(float((expected - neighbour).abs().max()))
                    errors.append(float((maps[image, column] - expected).abs().max()))
    assert max(differences) > differ or differ == 0
    return max(errors)


def check(
    pipe: Any, prompts: str | list[str], words: Sequence, steps: int = 2, **options: Any
) -> None:
    """Run with and without capture: same image, and the maps of the slow reference."""
    plain = run(pipe, prompts, steps, **options)
    slow = SlowReference(pipe)
    with slow.watching(), capture(pipe, words) as attention:
        captured = run(pipe, prompts, steps, **options)

    assert np.array_equal(plain, captured)
    assert set(attention.maps) == slow.sizes() != set()
    texts = [prompts] if isinstance(prompts, str) else prompts
    n_images = options.get("num_images_per_prompt", 1)
    of_images = [text for text in texts for _ in range(n_images)]
    assert largest_error(pipe, attention, slow, of_images) < 1e-5


def every_other(module: Any) -> None:
    """Take a module's output of the call before at each second call, as caches do."""
    forward, kept = module.forward, []

    def cached(self: Any, *args: Any, **kwargs: Any) -> Any:
        kept.append(kept[-1] if len(kept) % 2 else forward(*args, **kwargs))
        return kept[-1]

    module.forward = MethodType(cached, module)


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, Tensor):
                self.numel = max(self.numel, one.numel())
        return out
