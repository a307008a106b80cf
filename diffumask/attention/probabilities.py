"""Softmax attention to wanted keys, in fp32 whatever the caller computes in."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional


def autocast_off(device: torch.device) -> AbstractContextManager[object]:
    """Compute in the precision that is written, also where the caller is under autocast."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def word_attention(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head key channel"],
    positions: Int64[Tensor, "image column"],
    scale: float,
) -> Float32[Tensor, "image head pixel column"]:
    """Return the softmax attention to the keys at some positions.

    The same as exp(scale q.k_s - logsumexp_j(scale q.k_j)) of the wanted columns s alone, but the
    fused softmax of all columns takes two thirds of the time.
    """
    with autocast_off(q.device):
        among_keys = (q.float() @ (scale * k.float()).mT).softmax(dim=-1)
    return among_keys.gather(-1, positions[:, None, None].expand(-1, *among_keys.shape[1:3], -1))


def pixel_attention(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head pixel channel"],
    scale: float,
) -> Float32[Tensor, "image pixel pixel"]:
    """Return the softmax attention of all pixels to all, averaged over heads.

    Head after head, so that no more than one N x N attention stands beside the mean.
    """
    mean = torch.zeros((), device=q.device)
    with autocast_off(q.device):
        for q_head, k_head in zip(q.unbind(1), k.unbind(1), strict=True):
            logits = q_head.float() @ (scale * k_head.float()).mT
            mean = mean + logits.softmax(dim=-1) / q.shape[1]
    return mean


def attend(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head key channel"],
    values: Float[Tensor, "image key column"],
    scale: float,
    mask: Tensor | None = None,
) -> Float32[Tensor, "image head pixel column"]:
    """Return softmax attention times values, without the N x N attention; the mask is the kernel's.

    The values are padded to the channels of the queries: with another width the fused kernels
    of some devices (flash, and the CPU's) give way to one that writes the attention out.
    """
    n_columns, width = values.shape[-1], q.shape[-1]
    n_chunks = max(1, math.ceil(n_columns / width))
    padded = functional.pad(values.to(q.dtype), (0, n_chunks * width - n_columns))
    with autocast_off(q.device):
        fetched = [
            functional.scaled_dot_product_attention(
                q, k, chunk[:, None].expand(-1, q.shape[1], -1, -1), mask, scale=scale
            )
            for chunk in padded.split(width, dim=-1)
        ]
    return torch.cat(fetched, dim=-1)[..., :n_columns].float()
