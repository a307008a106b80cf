"""Latents of the renders, computed once and normalised through the autoencoder's own weights."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from diffumask.models.precision import autocast_bfloat16

from .autoencoder import convolution, encode, to_tensor

BATCH_SIZE = 64


@torch.no_grad()
def encode_images(
    vae: AutoencoderKL, images: UInt8[np.ndarray, "n h w 3"], path: Path
) -> Float16[np.ndarray, "n channels h_latent w_latent"]:
    """Encode images to the modes of their latents; read from `path` where it exists."""
    if not path.exists():
        device = next(vae.parameters()).device
        batches = []
        for start in range(0, len(images), BATCH_SIZE):
            pixels = to_tensor(images[start : start + BATCH_SIZE]).to(device)
            with autocast_bfloat16(device):
                mode = encode(vae, pixels).mode()
            batches.append(mode.half().cpu().numpy())
        partial = path.with_suffix(".tmp.npy")
        np.save(partial, np.concatenate(batches))
        partial.replace(path)
    return np.load(path)


@torch.no_grad()
def normalise_latents(
    vae: AutoencoderKL, mean: Float[Tensor, " c"], std: Float[Tensor, " c"]
) -> None:
    """Rewrite the two 1x1 convolutions so that latents have mean 0 and deviation 1 per channel.

    The images a latent decodes to stay the same; the pipeline's scaling factor becomes 1.
    """
    quant, post_quant = convolution(vae.quant_conv), convolution(vae.post_quant_conv)
    assert quant.bias is not None
    assert post_quant.bias is not None
    channels = len(mean)  # the second half of the first convolution makes log variances
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2 * std.log()
    post_quant.bias += post_quant.weight[:, :, 0, 0] @ mean
    post_quant.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)
