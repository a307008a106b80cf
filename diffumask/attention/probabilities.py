"""Softmax attention to wanted keys, in fp32 whatever the caller computes in."""

import math
from contextlib import AbstractContextManager, nullcontext
from functools import reduce

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
    logsumexp: Float[Tensor, "image head pixel"] | None = None,
) -> Float32[Tensor, "image head pixel column"]:
    """Return the softmax attention to the keys at some positions.

    With the logsumexp of all logits exp(scale q.k_s - logsumexp) of the wanted keys s alone, image
    by image, as queries of several would be copied.
    """
    if logsumexp is None:
        among_keys = _attention(q, k, scale)
        return among_keys.gather(-1, positions[:, None, None].expand(*among_keys.shape[:3], -1))
    with autocast_off(q.device):
        wanted = k.gather(2, positions[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3]))
        logits = [_logits(*one, scale) for one in zip(q, wanted, strict=True)]
        return torch.stack(logits).sub_(logsumexp[..., None]).exp_()


def pixel_attention(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head pixel channel"],
    scale: float,
) -> Float32[Tensor, "image pixel pixel"]:
    """Return the softmax attention of all pixels to all, averaged over heads.

    All heads of as many images as fit into `chunk_bytes`, or as many heads of one, at a time.
    """
    _, n_heads, n_pixels, _ = q.shape
    n_at_once = max(1, chunk_bytes(q.device) // (4 * n_pixels * n_pixels))
    images, heads = max(1, n_at_once // n_heads), min(n_at_once, n_heads)
    sums = []
    for of_images in zip(q.split(images), k.split(images), strict=True):
        q_chunks, k_chunks = (one.split(heads, dim=1) for one in of_images)
        chunks = zip(q_chunks, k_chunks, strict=True)
        of_heads = (_attention(q_chunk, k_chunk, scale).sum(dim=1) for q_chunk, k_chunk in chunks)
        sums.append(reduce(Tensor.add_, of_heads))
    return torch.cat(sums).div_(n_heads)


def chunk_bytes(device: torch.device) -> int:
    """Return how much attention of all pixels to all may stand at a time.

    What is larger the CPU's allocator gives back and maps anew, page by page; elsewhere each chunk
    costs launches of kernels.
    """
    return 2**24 if device.type == "cpu" else 2**27


def _attention(
    q: Float[Tensor, "image head query channel"],
    k: Float[Tensor, "image head key channel"],
    scale: float,
) -> Float32[Tensor, "image head query key"]:
    """Return the softmax attention of all queries to all keys, which alone is held."""
    with autocast_off(q.device):
        logits = _logits(q.flatten(0, 1), k.flatten(0, 1), scale)
        return torch.softmax(logits, dim=-1, out=logits).unflatten(0, q.shape[:2])


def _logits(
    q: Float[Tensor, "head query channel"], k: Float[Tensor, "head key channel"], scale: float
) -> Float32[Tensor, "head query key"]:
    """Return scale q.k; halves are multiplied as they are where their products stay exact."""
    if widens(q):
        if math.frexp(scale)[0] == 0.5:  # a power of two, by which halves are scaled exactly
            return torch.bmm(scale * q, k.mT, out_dtype=torch.float32)
        return torch.bmm(q, k.mT, out_dtype=torch.float32).mul_(scale)
    return torch.bmm(q.float(), (scale * k.float()).mT)


def widens(q: Tensor) -> bool:
    """Tell whether products of a tensor's halves can be had in single precision."""
    halves = q.dtype in (torch.float16, torch.bfloat16)
    has_kernel = q.is_cuda and torch.version.cuda is not None
    return halves and has_kernel and "dtype" in torch.ops.aten.bmm.overloads()


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
