"""The transformer of `tiny-mmdit`, with the joint attention of Stable Diffusion 3.

It is trained by flow matching, its text encoder being that of `tiny`, frozen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffumask.models.precision import autocast_bfloat16
from diffumask.notices import notices_off

from .denoiser import Kind, draw_noise_shares
from .text import with_projection

with notices_off():
    from diffusers import StableDiffusion3Pipeline

WIDTH, LAYERS, HEAD_WIDTH = 192, 7, 64
GRID = 32  # tokens a side that positions are known for, twice those of the images seen
TEXT_LENGTH = 32  # tokens: the longest caption has 31
NOISE_LOGIT_MEAN = 0.0
UNIFORM_SHARE = 0.1
WITHOUT_T5: Mapping[str, Any] = {"text_encoder_3": None, "tokenizer_3": None}
NULL_ROWS = 256  # of zeros, that the pipeline puts where T5 would be unless told otherwise


def new_transformer(
    latent_channels: int, text_width: int, width: int = WIDTH, layers: int = LAYERS
) -> SD3Transformer2DModel:
    """Build the untrained transformer: 9 M parameters, 256 tokens of 2x2 for latents of 32x32.

    Each block and the output begin at zero (Peebles & Xie 2023, adaLN-Zero).
    """
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_layers=layers,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=width // HEAD_WIDTH,
        joint_attention_dim=2 * text_width,
        caption_projection_dim=width,
        pooled_projection_dim=2 * text_width,
        pos_embed_max_size=GRID,
    )
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
            if "norm" in name or name == "proj_out":
                nn.init.zeros_(module.weight)
    return transformer


class FlowMatching(nn.Module):
    """Transformer and frozen text encoder of a pipeline as one network that returns its loss."""

    def __init__(self, pipeline: StableDiffusion3Pipeline) -> None:
        super().__init__()
        self.transformer = pipeline.transformer
        self.text_encoder = pipeline.text_encoder

    def forward(
        self,
        clean: Float[Tensor, "n c h w"],
        noise: Float[Tensor, "n c h w"],
        timesteps: Float[Tensor, " n"],
        ids: Int[Tensor, "n t"],
    ) -> Float[Tensor, ""]:
        """Return the squared error of the velocity, predicted in bfloat16 (Liu et al. 2023).

        Every second image sees the one row of zeros as if it were `NULL_ROWS`.
        """
        noise_shares = timesteps[:, None, None, None] / 1000
        noisy = torch.lerp(clean, noise, noise_shares)
        hidden, pooled = encode_text(self.text_encoder, ids)
        last_logit = torch.zeros(len(clean), 1, 1, device=clean.device)
        last_logit[1::2] = math.log(NULL_ROWS)
        with autocast_bfloat16(clean.device), PlainAttention(last_logit):
            predicted = self.transformer(noisy, hidden, pooled, timesteps).sample.float()
        return functional.mse_loss(predicted, noise - clean)


@torch.no_grad()
def encode_text(
    text_encoder: CLIPTextModelWithProjection, ids: Int[Tensor, "n t"]
) -> tuple[Float[Tensor, "n t+1 d"], Float[Tensor, "n d"]]:
    """Return what the pipeline makes of tokens, with one row of zeros, and their pooled vectors."""
    output: Any = text_encoder(ids, output_hidden_states=True)
    hidden, pooled = output.hidden_states[-2], output.text_embeds
    twice = torch.cat([hidden, hidden], dim=-1), torch.cat([pooled, pooled], dim=-1)
    return functional.pad(twice[0], (0, 0, 0, 1)), twice[1]


class PlainAttention(TorchFunctionMode):
    """Attention by plain products, which train faster on a CPU than the fused kernel does.

    `last_logit`, one for each image, is added to those of the last key. Keys of equal content act
    as one of them whose logit is higher by the log of their number.
    """

    def __init__(self, last_logit: Float[Tensor, "n 1 1"]) -> None:
        super().__init__()
        self.last_logit = last_logit

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Put `attend` in place of the fused kernel, and leave other functions alone."""
        if func is functional.scaled_dot_product_attention:
            return self.attend(*args[:3])
        return func(*args, **(kwargs or {}))

    def attend(
        self,
        queries: Float[Tensor, "n head q d"],
        keys: Float[Tensor, "n head k d"],
        values: Float[Tensor, "n head k d"],
    ) -> Float[Tensor, "n head q d"]:
        """Return the means of the values, in the number type of the queries throughout."""
        with torch.autocast(queries.device.type, enabled=False):
            logits = (queries * queries.shape[-1] ** -0.5) @ keys.mT
            logits[..., -1] += self.last_logit.to(logits.dtype)
            return logits.softmax(-1) @ values


def draw_timesteps(count: int, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Draw timesteps in [0, 1000], logit-normal as Stable Diffusion 3 but for a tenth uniform."""
    return 1000 * draw_noise_shares(count, generator, NOISE_LOGIT_MEAN, UNIFORM_SHARE)


def new_joint_pipeline(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    width: int = WIDTH,
    layers: int = LAYERS,
) -> StableDiffusion3Pipeline:
    """Assemble a pipeline around an untrained transformer; both of its CLIPs are the one given.

    Timesteps are not shifted: the latents are as many as those of Stable Diffusion at 256 px, where
    its authors did not shift either.
    """
    vae.register_to_config(shift_factor=0.0)  # which this pipeline adds
    tokenizer.model_max_length = TEXT_LENGTH
    encoder = with_projection(text_encoder)
    text_width = text_encoder.config.hidden_size
    parts: dict[str, Any] = {
        "transformer": new_transformer(vae.config["latent_channels"], text_width, width, layers),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=1.0),
        "vae": vae,
        "text_encoder": encoder,
        "text_encoder_2": encoder,
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        **WITHOUT_T5,
    }
    return StableDiffusion3Pipeline(**parts)


MMDIT = Kind(FlowMatching, draw_timesteps, {"max_sequence_length": 1})
