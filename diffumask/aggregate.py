"""Attention of several resolutions to one heat map per word. Torch ends here."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from diffumask.attention import Attention, SizeHW
from diffumask.defaults import MERGE, MIN_GRID_CELLS, WEIGHTS
from diffumask.errors import InputError
from diffumask.types import FLAT, Heat

MERGES: dict[str, Callable[[Float32[Tensor, "token h w"]], Float32[Tensor, "h w"]]] = {
    "mean": lambda tokens: tokens.mean(dim=0),
    "max": lambda tokens: tokens.amax(dim=0),
    "first": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
}


def aggregate(
    attention: Attention,
    size_hw: SizeHW,
    weights: Mapping[int, float] | None = WEIGHTS,
    merge: str = MERGE,
    preset: str = "peaks",
) -> list[dict[str, Heat]]:
    """Combine what was captured into one heat map per image and word, at `size_hw`.

    `merge` names how the tokens of a word, those of all its occurrences in the order of the text,
    become one map per resolution. `preset` names how the resolutions, resized bicubically, become
    one heat map: "peaks" divides each by its own peak first, so that all count the same (as the
    released code of Wu et al. 2023 does, with grids of 16, 32 and 64); "daam" is the sum over
    heads, layers and steps of Tang et al. 2023. It is clipped at 0 and peaks at 1; it is 0
    everywhere if the attention is all but the same at every pixel (`diffumask.types.FLAT`).

    `weights` of the resolutions, by `Attention.factors`, multiply each; one that is not in them
    counts nothing, and None counts all the same. The defaults are in `diffumask.defaults`. Raises
    `ValueError` for unknown names and weights that leave nothing, `InputError` for attention that
    is not finite.
    """
    if merge not in MERGES:
        raise ValueError(f"expected one of {list(MERGES)} as merge, got {merge!r}")
    if preset not in PRESETS:
        raise ValueError(f"expected one of {list(PRESETS)} as preset, got {preset!r}")
    maps, of_size = attention.maps, _weights_by_size(attention, weights)
    owners = [(i, word) for i, words in enumerate(attention.words) for word in words]
    heats: list[dict[str, Heat]] = [{} for _ in attention.words]
    if not owners:
        return heats

    def of_words(size: SizeHW) -> Float32[Tensor, "word h w"]:
        tokens = (maps[size][i, list(attention.columns(i, word))] for i, word in owners)
        return torch.stack([MERGES[merge](of_word) for of_word in tokens])

    summed = sum(
        weight * PRESETS[preset](_resized(of_words(size), size_hw), attention.n_heads[size])
        for size, weight in of_size.items()
    )
    merged = _peak_one(torch.as_tensor(summed).clamp(min=0))
    for (i, word), heat in zip(owners, merged.cpu().numpy(), strict=True):
        heats[i][word] = heat
    return heats


def localizing_weights(attention: Attention) -> dict[int, float]:
    """Weigh the grids of at least `MIN_GRID_CELLS` cells on the shorter side alike, others not.

    Where all are smaller the finest counts. At 512 px Stable Diffusion 1 keeps its grids of 64,
    32 and 16 and drops that of 8, as the released code of Wu et al. 2023 does; why on `tiny`:
    benchmarks/results/attention_choice.md. Takes attention that was captured.
    """
    factors = attention.factors
    fine = [factor for size, factor in factors.items() if min(size) >= MIN_GRID_CELLS]
    return dict.fromkeys(fine or [min(factors.values())], 1.0)


def _weights_by_size(
    attention: Attention, weights: Mapping[int, float] | None
) -> dict[SizeHW, float]:
    factors = attention.factors
    if weights is None:
        weights = dict.fromkeys(factors.values(), 1.0)
    kept = {size: weights[factor] for size, factor in factors.items() if weights.get(factor)}
    if not kept or min(kept.values()) < 0:
        known = sorted(factors.values())
        raise ValueError(f"expected weights >= 0 of the resolutions {known}, got {weights}")
    return kept


def _resized(
    maps: Float32[Tensor, "word h w"], size_hw: SizeHW
) -> Float32[Tensor, "word height width"]:
    if not maps.isfinite().all():
        raise InputError("expected finite attention, got nan or infinity; try dtype float32")
    return functional.interpolate(maps[:, None], size_hw, mode="bicubic")[:, 0]


def _peak_one(maps: Float32[Tensor, "word h w"]) -> Float32[Tensor, "word h w"]:
    peak, low = maps.amax((-2, -1), keepdim=True), maps.amin((-2, -1), keepdim=True)
    return torch.where(peak - low > FLAT * peak, maps / peak, 0.0)


PRESETS: dict[str, Callable[[Float32[Tensor, "word h w"], int], Float32[Tensor, "word h w"]]] = {
    "peaks": lambda maps, n_heads: _peak_one(maps),
    "daam": lambda maps, n_heads: maps * n_heads,
}
