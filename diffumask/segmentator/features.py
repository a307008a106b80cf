"""What the decoder of an autoencoder computes on its way to the image, read through hooks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from diffumask.errors import InputError
from diffumask.types import Image

# Called with the number of a place and its hidden state as soon as that is there; what it returns
# is kept in place of it, so that a head never holds all channels of the widest layers.
Reduce = Callable[[int, Tensor], Tensor | None]

Autoencoder = AutoencoderKL | AutoencoderTiny


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Channels of the hidden states, and by how much smaller than the image they are.

    The places are conv_in, the mid block and each up block of an AutoencoderKL, in this order, and
    conv_in and each stage of an AutoencoderTiny.
    """

    channels: tuple[int, ...]
    factors: tuple[int, ...]


@dataclass(slots=True)
class Reading:
    """What was read so far: for each place what every pass through the decoder left."""

    passes: list[list[Tensor | None]] = field(default_factory=list)

    def states(self) -> list[Tensor | None]:
        """Return one tensor for each place, the batches of all passes (of sliced decoding) joined.

        Raises ValueError before anything was decoded.
        """
        if not any(self.passes):
            raise ValueError("expected a decode while the hidden states are read, got none")
        return [
            None if kept[0] is None else torch.cat([one for one in kept if one is not None])
            for kept in self.passes
        ]


def decoder_shape(vae: nn.Module) -> DecoderShape:
    """Return the shape of the hidden states, from the configuration alone.

    Raises InputError for an autoencoder of another kind.
    """
    check_kind(vae)
    config: Any = vae.config
    if isinstance(vae, AutoencoderTiny):
        widths = tuple(config["decoder_block_out_channels"])
        last = len(widths) - 1
        return DecoderShape(
            (widths[0], *widths), (2**last, *(2 ** (last - stage) for stage in range(last + 1)))
        )
    widths = tuple(config["block_out_channels"])[::-1]
    last = len(widths) - 1
    up_factors = (2 ** max(last - 1 - block, 0) for block in range(len(widths)))
    return DecoderShape((widths[0], widths[0], *widths), (2**last, 2**last, *up_factors))


def check_kind(vae: nn.Module) -> None:
    """Raise InputError for an autoencoder whose decoder is not known here."""
    if not isinstance(vae, AutoencoderKL | AutoencoderTiny):
        raise InputError(
            f"expected an AutoencoderKL or AutoencoderTiny, got {type(vae).__name__}; use another"
            " model"
        )
    config: Any = vae.config
    factor = config.get("upsampling_scaling_factor", 2)
    if factor != 2:
        raise InputError(f"expected a decoder that doubles sizes, got one of {factor} times")


def places_of(vae: Autoencoder) -> list[nn.Module]:
    """Return the modules whose outputs are the hidden states, in order; see `DecoderShape`."""
    decoder: Any = vae.decoder
    if isinstance(vae, AutoencoderKL):
        return [decoder.conv_in, decoder.mid_block, *decoder.up_blocks]
    layers = decoder.layers
    return [layers[1], *(layers[last] for last in _stage_ends(vae))]


def after_middle(vae: Autoencoder) -> nn.Sequential:
    """Return the decoder from its second place on, the layer before its last one included."""
    decoder: Any = vae.decoder
    if isinstance(vae, AutoencoderKL):
        return nn.Sequential(*decoder.up_blocks, decoder.conv_norm_out, nn.SiLU())
    return nn.Sequential(*decoder.layers[_stage_ends(vae)[0] + 1 : -1])


def _stage_ends(vae: AutoencoderTiny) -> list[int]:
    """Return where in the layers of the decoder the last block of each stage is.

    The layers are a convolution, its activation, and for each stage its blocks, an enlargement,
    which the last one lacks, and a convolution.
    """
    config: Any = vae.config
    ends, after = [], 2
    for num_blocks in config["num_decoder_blocks"]:
        ends.append(after + num_blocks - 1)
        after += num_blocks + 2
    return ends


def factor_of(vae: Autoencoder) -> int:
    """Return by how much smaller than images their latents are."""
    return decoder_shape(vae).factors[0]


@contextmanager
def hidden_states(
    vae: Autoencoder, reduce: Reduce = lambda place, state: state
) -> Iterator[Reading]:
    """Read the hidden states of whatever the autoencoder decodes in the block; yields a `Reading`.

    The decoder is as before on exit, also after an exception. Raises InputError for an autoencoder
    of another kind, and for one that decodes in tiles, whose hidden states do not fit together.
    """
    check_kind(vae)
    if vae.use_tiling:
        raise InputError(
            "expected an autoencoder that decodes whole images, got tiling; turn it off"
        )
    places = places_of(vae)
    reading = Reading([[] for _ in places])
    handles = []
    try:
        for number, module in enumerate(places):
            handles.append(module.register_forward_hook(_keeper(reading, number, reduce)))
        yield reading
    finally:
        for handle in handles:
            handle.remove()


def _keeper(reading: Reading, number: int, reduce: Reduce) -> Callable[..., None]:
    def keep(module: nn.Module, arguments: Any, output: Tensor) -> None:
        reading.passes[number].append(reduce(number, output))

    return keep


@torch.no_grad()
def decoded_states(
    vae: Autoencoder,
    latents: Float[Tensor, "b c h_latent w_latent"],
    reduce: Reduce = lambda place, state: state,
) -> list[Tensor | None]:
    """Decode latents, as `encode_images` returns them, and return the hidden states."""
    with hidden_states(vae, reduce) as reading:
        vae.decode(cast(torch.FloatTensor, latents.to(vae.dtype)))
    return reading.states()


@torch.no_grad()
def encode_images(
    vae: Autoencoder, images: UInt8[np.ndarray, "b h w 3"]
) -> Float[Tensor, "b c h_latent w_latent"]:
    """Return the latents, unscaled, of images whose sides the factor divides.

    Those of an AutoencoderKL are the modes of what it encodes.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(vae.device)
    scaled = pixels.permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1
    encoded: Any = vae.encode(cast(torch.FloatTensor, scaled), return_dict=False)[0]
    return encoded if isinstance(encoded, Tensor) else encoded.mode()


def padded(image: Image, factor: int) -> UInt8[np.ndarray, "padded_h padded_w 3"]:
    """Repeat the last row and column until the factor divides both sides."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")


def check_size(size_hw: Sequence[int], factor: int, name: str = "an image") -> None:
    """Raise InputError for an image with a side below the factor of the autoencoder."""
    height, width = size_hw
    if min(height, width) < factor:
        raise InputError(
            f"expected {name} of at least {factor}x{factor} pixels (height x width), got "
            f"{height}x{width}; leave it out"
        )
