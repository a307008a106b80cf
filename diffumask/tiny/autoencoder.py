"""Train the autoencoder of `tiny` on renders, and on photographs where given.

Its steps see 64 px crops: the network is convolutional, without attention, so that a quarter of the
pixels buys four times the steps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from jaxtyping import Float, Float16, UInt8
from torch import Tensor, nn
from torch.nn import functional

from diffumask.labelled.pixels import read_image
from diffumask.models.precision import autocast_bfloat16
from diffumask.training import Schedule, shared, train

CROP_SIZE = 64
KL_WEIGHT = 1e-4  # keeps latents smooth: posterior noise is what the denoiser's errors look like
SHEET_IMAGES = 24
GRADIENT_WEIGHT = 0.5  # L1 on neighbour differences, against the blur that L1 alone allows
PHOTO_SHARE = 0.15
LATENT_NOISE = 0.15  # standard deviation, of latents whose own is 1, when the decoder goes on alone


def new_autoencoder(latent_channels: int = 4) -> AutoencoderKL:
    """Build the untrained autoencoder: factor 4, 2.6 M parameters."""
    widths = (32, 64, 128)
    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "block_out_channels": widths,
        "layers_per_block": 1,
        "latent_channels": latent_channels,
        "mid_block_add_attention": False,
        "norm_num_groups": 8,
        "sample_size": 128,
    }
    return AutoencoderKL(**config)


def train_autoencoder(
    vae: AutoencoderKL,
    images: UInt8[np.ndarray, "n h w 3"],
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    schedule: Schedule,
    folder: Path,
    batch_size: int = 16,
    seed: int = 0,
) -> None:
    """Train encoder and decoder together; see `train` for resuming. Writes sample sheets.

    `batch_size` is that of each process.
    """
    device = next(vae.parameters()).device
    cast(Any, vae).to(memory_format=torch.channels_last)
    reconstruction, rank, num_ranks = shared(Reconstruction(vae), device)

    def loss_at(step: int) -> Float[Tensor, ""]:
        part = step * num_ranks + rank
        rng = np.random.default_rng((seed, part))
        torch.manual_seed(seed * 1_000_003 + part)
        batch = np.stack([_random_crop(images, photos, rng) for _ in range(batch_size)])
        pixels = to_tensor(batch).to(device, memory_format=torch.channels_last)
        return reconstruction(pixels)

    def write_sheet(step: int) -> None:
        batch = to_tensor(images[:SHEET_IMAGES]).to(device)
        with torch.no_grad():
            rebuilt = decode(vae, encode(vae, batch).mode())
        _write_sheet(folder, step, batch, rebuilt)

    train(vae, loss_at, schedule, folder, write_sheet)


def train_decoder(
    vae: AutoencoderKL,
    images: UInt8[np.ndarray, "n h w 3"],
    latents: Float16[np.ndarray, "n c h_latent w_latent"],
    schedule: Schedule,
    folder: Path,
    batch_size: int = 16,
    seed: int = 0,
) -> None:
    """Train the decoder further on the normalised latents of a frozen encoder.

    The latents stay what a denoiser was trained on, so this can follow the denoiser's training.
    """
    device = next(vae.parameters()).device
    decoder = nn.ModuleList([vae.decoder, convolution(vae.post_quant_conv)])
    decoder.requires_grad_(True)
    factor = images.shape[1] // latents.shape[2]

    def loss_at(step: int) -> Float[Tensor, ""]:
        rng = np.random.default_rng((seed, step))
        chosen = np.sort(rng.integers(len(images), size=batch_size))
        size = CROP_SIZE
        top, left = factor * rng.integers((images.shape[1] - size) // factor + 1, size=2)
        pixels = to_tensor(images[chosen, top : top + size, left : left + size]).to(device)
        y, x, side = top // factor, left // factor, size // factor
        clean = latents[chosen, :, y : y + side, x : x + side].astype(np.float32)
        noisy = clean + LATENT_NOISE * rng.standard_normal(clean.shape, np.float32)
        with autocast_bfloat16(device):
            rebuilt = decode(vae, torch.from_numpy(noisy).to(device)).float()
        return _image_loss(rebuilt - pixels)

    def write_sheet(step: int) -> None:
        with torch.no_grad():
            rebuilt = decode(vae, torch.from_numpy(latents[:SHEET_IMAGES]).float().to(device))
        _write_sheet(folder, step, to_tensor(images[:SHEET_IMAGES]).to(device), rebuilt)

    train(decoder, loss_at, schedule, folder, write_sheet)


def encode(vae: AutoencoderKL, images: Float[Tensor, "n 3 h w"]) -> DiagonalGaussianDistribution:
    """Return the distribution of the latents of images in [-1, 1]."""
    return vae.encode(images)[0]


def decode(vae: AutoencoderKL, latents: Float[Tensor, "n c h w"]) -> Tensor:
    """Return the images of latents, about in [-1, 1]."""
    return vae.decode(cast(torch.FloatTensor, latents))[0]


def convolution(layer: nn.Conv2d | None) -> nn.Conv2d:
    """Return a layer that an autoencoder of ours always has, but that others may lack."""
    assert layer is not None
    return layer


def to_tensor(images: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Return images in 0..255 as a tensor in [-1, 1], a copy, as images may be mapped read-only."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Reconstruction(nn.Module):
    """An autoencoder that returns its loss, so that several processes can share a step."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Return L1 on pixels and on their differences plus the weighted KL of the latents."""
        with autocast_bfloat16(images.device):
            posterior = encode(self.vae, images)
            rebuilt = decode(self.vae, posterior.sample()).float()
        kl_per_value = posterior.kl().float().mean() / posterior.mean[0].numel()
        return _image_loss(rebuilt - images) + KL_WEIGHT * kl_per_value


def read_photos(folders: Sequence[Path]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Read every JPEG below the folders as RGB; an empty list for no folder."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.jpg"))
    return [read_image(path) for path in paths]


def _random_crop(
    images: UInt8[np.ndarray, "n h w 3"],
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "_ _ 3"]:
    size = CROP_SIZE
    use_photo = photos and rng.random() < PHOTO_SHARE
    source = photos if use_photo else images
    image = source[int(rng.integers(len(source)))]
    if min(image.shape[:2]) < size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    top = rng.integers(image.shape[0] - size + 1)
    left = rng.integers(image.shape[1] - size + 1)
    crop = image[top : top + size, left : left + size]
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _image_loss(error: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
    gradient = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + GRADIENT_WEIGHT * gradient


def _write_sheet(
    folder: Path, step: int, images: Float[Tensor, "n 3 h w"], rebuilt: Float[Tensor, "n 3 h w"]
) -> None:
    """Write originals above reconstructions; the file name tells their PSNR in dB."""
    rebuilt = rebuilt.clamp(-1, 1)
    psnr_db = -10 * torch.log10(functional.mse_loss(rebuilt, images) / 4)
    rows = torch.cat([images, rebuilt]).unflatten(0, (2, len(images)))
    sheet = ((rows + 1) * 127.5).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    path = folder / f"sheet_{step:06d}_psnr_{psnr_db.item():.1f}.png"
    cv2.imwrite(str(path), sheet.cpu().numpy().astype(np.uint8)[..., ::-1])
