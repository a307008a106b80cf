"""Decoding of latents to images that are finite: NaN would become a black image without a word."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from diffumask.errors import InputError
from diffumask.notices import notices_off


@contextmanager
def in_single_precision(module: Any) -> Iterator[None]:
    """Have a module compute in float32; each weight has its own dtype again on exit.

    One that is in float32 already is left alone, so that contexts in one another cast once.
    """
    dtypes = {name: one.dtype for name, one in _weights(module) if one.is_floating_point()}
    try:
        for _, weight in _weights(module):  # module.to() of diffusers prints a notice at each call
            if weight.is_floating_point() and weight.dtype != torch.float32:
                weight.data = weight.data.float()
        yield
    finally:
        # By name: offloading puts other tensors into their place whenever a layer is called.
        for name, weight in _weights(module):
            if dtypes.get(name, weight.dtype) != weight.dtype:
                weight.data = weight.data.to(dtypes[name])


def _weights(module: Any) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


@contextmanager
def finite_decoding(vae: Any) -> Iterator[set[int]]:
    """Decode again in float32 what an autoencoder in half precision makes nan or infinity of.

    That of Stable Diffusion XL overflows in float16. Yields the numbers of the images that this
    was done for, in the batch that is decoded. The autoencoder is as before on exit, also where
    the pipeline had changed its dtype. Raises `InputError` from the call for latents that are not
    finite, and for images that are not in float32 either.
    """
    own, dtype, decode = vars(vae).get("decode"), vae.dtype, vae.decode
    again: set[int] = set()

    def finite(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not latents.isfinite().all():
            raise InputError(
                "expected finite latents after the last step, got nan or infinity; try dtype"
                " float32"
            )
        made = decode(latents, *args, **kwargs)
        broken = _broken(made[0])
        if broken.any():
            again.update(broken.nonzero().flatten().tolist())
            made[0][broken] = _in_float32(vae, decode, latents, args, kwargs)[broken].to(made[0])
        return made

    vae.decode = finite
    with notices_off():
        try:
            yield again
        finally:
            vars(vae).pop("decode")
            if own is not None:
                vae.decode = own
            if vae.dtype != dtype:
                vae.to(dtype)


def _in_float32(vae: Any, decode: Any, latents: Tensor, args: Any, kwargs: Any) -> Tensor:
    """Decode the whole batch, so that whoever reads the decoder sees it whole as well."""
    before = vae.dtype
    if before != torch.float32:
        with in_single_precision(vae):
            images = decode(latents.float(), *args, **kwargs)[0]
        if not _broken(images).any():
            return images
    where = "float32" if before == torch.float32 else f"{str(before)[6:]} (overflow) and in float32"
    raise InputError(
        f"expected finite images, got nan or infinity from the VAE in {where}; use another VAE"
    )


def _broken(images: Tensor) -> Tensor:
    return ~images.flatten(1).isfinite().all(dim=1)
