"""Attention of several resolutions to one heat map per word. Torch ends here."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from diffumask.errors import InputError
from diffumask.types import FLAT, Heat

from .defaults import MERGE, MIN_GRID_CELLS, WEIGHTS
from .pooling import AreaMean
from .probabilities import autocast_off
from .running_means import Attention, SizeHW

Merge = Callable[[Float32[Tensor, "token h w"]], Float32[Tensor, "h w"]]
Columns = Sequence[tuple[int, list[int]]]  # the image and the columns of each wanted word

MERGES: dict[str, Merge] = {
    "mean": lambda tokens: tokens.mean(dim=0),
    "max": lambda tokens: tokens.amax(dim=0),
    "first": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
}

MIDDLE_BLOCK = "mid_block"  # of a UNet, in the names of its layers


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
    released code of Wu et al. 2023 does, with grids of 16, 32 and 64); "daam" is that of Tang et
    al. 2023, the sum over the heads of all layers but the middle block's, each resized and clipped
    at 0 on its own, and needs a capture with `heads`. The result is clipped at 0 and peaks at 1;
    it is 0 everywhere if the attention is all but the same at every pixel
    (`diffumask.types.FLAT`).

    `weights` of the resolutions, by `Attention.factors`, multiply each; one that is not in them
    counts nothing, and None counts all the same. The defaults are in
    `diffumask.attention.defaults`. Raises `ValueError` for unknown names and weights that leave
    nothing, `InputError` for attention that is not finite, of no pipeline call, or, for "daam",
    without heads.
    """
    if merge not in MERGES:
        raise ValueError(f"expected one of {list(MERGES)} as merge, got {merge!r}")
    if preset not in PRESETS:
        raise ValueError(f"expected one of {list(PRESETS)} as preset, got {preset!r}")
    if not attention.factors:
        raise InputError(
            "expected attention of a pipeline call, got none; call the pipeline inside the capture"
        )
    of_size = _weights_by_size(attention, weights)
    owners = [(i, word) for i, words in enumerate(attention.words) for word in words]
    heats: list[dict[str, Heat]] = [{} for _ in attention.words]
    if not owners:
        return heats

    columns = [(i, list(attention.columns(i, word))) for i, word in owners]
    with autocast_off(next(iter(attention.maps.values())).device):
        summed = PRESETS[preset](attention, columns, size_hw, of_size, MERGES[merge])
        merged = _peak_one(summed.clamp(min=0))
    for (i, word), heat in zip(owners, merged.cpu().numpy(), strict=True):
        heats[i][word] = heat
    return heats


def _by_peaks(
    attention: Attention,
    columns: Columns,
    size_hw: SizeHW,
    weights: Mapping[SizeHW, float],
    merge: Merge,
) -> Float32[Tensor, "word height width"]:
    """Add up the resolutions, each divided by its own peak."""
    maps, total = attention.maps, torch.zeros(())
    for size, weight in weights.items():
        of_words = torch.stack([merge(maps[size][i, tokens]) for i, tokens in columns])
        total = total.to(of_words.device) + weight * _peak_one(_resized(of_words, size_hw))
    return total


def _as_daam(
    attention: Attention,
    columns: Columns,
    size_hw: SizeHW,
    weights: Mapping[SizeHW, float],
    merge: Merge,
) -> Float32[Tensor, "word height width"]:
    """Add up the heads of all layers but the middle block's, each resized and clipped at 0."""
    if not attention.head_maps:
        raise InputError(
            "expected attention of each head for the preset daam, got their mean; use"
            " capture(..., heads=True)"
        )
    heads = [
        (weight, maps)
        for size, weight in weights.items()
        for name, maps in attention.head_maps[size].items()
        if not name.startswith(MIDDLE_BLOCK)
    ]
    if not heads:
        raise InputError("expected layers outside the middle block for the preset daam, got none")
    of_words = []
    for i, tokens in columns:
        total = torch.zeros(len(tokens), *size_hw, device=heads[0][1].device)
        for weight, maps in heads:
            resized = _resized(maps[i, tokens].flatten(0, 1), size_hw).clamp(min=0)
            total += weight * resized.unflatten(0, (len(tokens), -1)).sum(dim=1)
        of_words.append(merge(total))
    return torch.stack(of_words)


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
    maps: Float32[Tensor, "map h w"], size_hw: SizeHW
) -> Float32[Tensor, "map height width"]:
    if not maps.isfinite().all():
        raise InputError("expected finite attention, got nan or infinity; try dtype float32")
    h, w = maps.shape[1:]
    coarse = AreaMean((h, w), size_hw, maps.device)(maps)  # else cells between would not count
    return functional.interpolate(coarse[:, None], size_hw, mode="bicubic")[:, 0]


def _peak_one(maps: Float32[Tensor, "word h w"]) -> Float32[Tensor, "word h w"]:
    peak, low = maps.amax((-2, -1), keepdim=True), maps.amin((-2, -1), keepdim=True)
    return torch.where(peak - low > FLAT * peak, maps / peak, 0.0)


PRESETS: dict[str, Callable[..., Float32[Tensor, "word height width"]]] = {
    "peaks": _by_peaks,
    "daam": _as_daam,
}
