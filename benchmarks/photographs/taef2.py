"""TAEF2 (madebyollin/taesd, MIT), a small autoencoder of the latent space of FLUX.2.

It was trained on photographs, gives them back at about 28 dB, and is no part of the package. Its
blocks of the coarsest stage add what pooled features say, which diffusers' AutoencoderTiny lacks.
"""

from pathlib import Path

from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

CHANNELS, LATENT_CHANNELS, POOLED_CHANNELS, POOLED_GROUPS = 64, 32, 256, 4
ENCODER_BLOCKS, DECODER_BLOCKS = (1, 3, 3, 3), (3, 3, 3, 1)
POOLED_IN_ENCODER, POOLED_IN_DECODER = (11, 12, 13), (2, 3, 4)
BEFORE_DECODER = 1  # layers that its file counts and diffusers' decoder does not: the clamp


class PooledBlock(AutoencoderTinyBlock):
    """A block that first adds to its input what a bottleneck of normalised channels makes of it."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, CHANNELS, "relu")
        self.pool = nn.Sequential(
            nn.Conv2d(CHANNELS, POOLED_CHANNELS, 1, bias=False),
            nn.GroupNorm(POOLED_GROUPS, POOLED_CHANNELS),
            nn.ReLU(inplace=True),
            nn.Conv2d(POOLED_CHANNELS, CHANNELS, 1, bias=False),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return super().forward(x + self.pool(x))


def load_taef2(folder: Path) -> AutoencoderTiny:
    """Load the autoencoder of a folder with encoder.safetensors and decoder.safetensors, frozen."""
    vae = AutoencoderTiny(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(CHANNELS,) * len(ENCODER_BLOCKS),
        decoder_block_out_channels=(CHANNELS,) * len(DECODER_BLOCKS),
        num_encoder_blocks=ENCODER_BLOCKS,
        num_decoder_blocks=DECODER_BLOCKS,
    )
    for part, pooled, before in (
        (vae.encoder, POOLED_IN_ENCODER, 0),
        (vae.decoder, POOLED_IN_DECODER, BEFORE_DECODER),
    ):
        for place in pooled:
            part.layers[place] = PooledBlock()
        name = "encoder" if part is vae.encoder else "decoder"
        weights = load_file(folder / f"{name}.safetensors")
        part.layers.load_state_dict({_moved(key, before): value for key, value in weights.items()})
    return vae.requires_grad_(False).eval()


def _moved(key: str, before: int) -> str:
    number, _, rest = key.partition(".")
    return f"{int(number) - before}.{rest}"
