"""Attention of several resolutions to one heat map per word. Torch ends here."""

from collections.abc import Callable, Collection

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from diffumask.attention import Attention, SizeHW
from diffumask.errors import InputError
from diffumask.types import Heat

MERGES: dict[str, Callable[[Float32[Tensor, "token h w"]], Float32[Tensor, "h w"]]] = {
    "mean": lambda tokens: tokens.mean(dim=0),
    "max": lambda tokens: tokens.amax(dim=0),
    "first": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
}

# Contrast relative to the peak below which a map is rounding noise and tells no place.
FLAT = 1e-5


def aggregate(
    attention: Attention,
    size_hw: SizeHW,
    resolutions: Collection[SizeHW] | None = None,
    merge: str = "mean",
) -> list[dict[str, Heat]]:
    """Merge what was captured into one heat map per image and word, at `size_hw`.

    Each resolution is divided by its own peak before they are averaged, so that all count the
    same (as the released code of Wu et al. 2023 does, with grids of 16, 32 and 64). The result
    peaks at 1; it is 0 everywhere if the attention is the same at every pixel.

    `resolutions` limits the grids, given as (height, width); `merge` names how the tokens of a
    word, those of all its occurrences in the order of the text, become one map. Raises
    `ValueError` for unknown ones, `InputError` for attention that is not finite.
    """
    if merge not in MERGES:
        raise ValueError(f"expected one of {list(MERGES)} as merge, got {merge!r}")
    maps = attention.maps
    sizes = list(maps if resolutions is None else resolutions)
    if not sizes or not set(sizes) <= set(maps):
        raise ValueError(f"expected resolutions among {list(maps)}, got {sizes}")

    owners = [(i, word) for i, words in enumerate(attention.words) for word in words]
    heats: list[dict[str, Heat]] = [{} for _ in attention.words]
    if not owners:
        return heats

    def of_words(size: SizeHW) -> Float32[Tensor, "word h w"]:
        tokens = (maps[size][i, list(attention.columns(i, word))] for i, word in owners)
        return torch.stack([MERGES[merge](of_word) for of_word in tokens])

    per_size = [_resized(of_words(size), size_hw) for size in sizes]
    merged = _peak_one(torch.stack(per_size).mean(dim=0).clamp(min=0))
    for (i, word), heat in zip(owners, merged.cpu().numpy(), strict=True):
        heats[i][word] = heat
    return heats


def _resized(
    maps: Float32[Tensor, "word h w"], size_hw: SizeHW
) -> Float32[Tensor, "word height width"]:
    if not maps.isfinite().all():
        raise InputError("expected finite attention, got nan or infinity; try dtype float32")
    return _peak_one(functional.interpolate(maps[:, None], size_hw, mode="bicubic")[:, 0])


def _peak_one(maps: Float32[Tensor, "word h w"]) -> Float32[Tensor, "word h w"]:
    peak, low = maps.amax((-2, -1), keepdim=True), maps.amin((-2, -1), keepdim=True)
    return torch.where(peak - low > FLAT * peak, maps / peak, 0.0)
