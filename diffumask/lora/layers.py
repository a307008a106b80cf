"""The layers that a LoRA is added to, and its file in the format of diffusers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from torch import Tensor, nn

from diffumask.files.atomic import writing

from .file import require_peft

ADAPTER = "diffumask"
FILE_NAME = "lora.safetensors"
UNET = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
PROJECTIONS = {
    UNET: ("to_q", "to_k", "to_v", "to_out.0"),
    **dict.fromkeys(TEXT_ENCODERS, ("q_proj", "k_proj", "v_proj", "out_proj")),
}
PUBLISHED_PREFIX = "text_model."  # of text encoders in LoRA files, whatever transformers has now


@contextmanager
def lora_added(
    pipe: DiffusionPipeline, rank: int, text_encoder: bool, seed: int
) -> Iterator[list[nn.Parameter]]:
    """Add an untrained LoRA to the attention projections, and yield its parameters.

    Nothing else of the pipeline requires gradients meanwhile. The pipeline draws as without it
    until the parameters change; on exit it has none.
    """
    require_peft()
    from peft import LoraConfig

    parts = _parts(pipe)
    wanted = [name for name in parts if name == UNET or text_encoder]
    known = [one for part in (*parts.values(), _vae(pipe)) for one in part.parameters()]
    required = [one.requires_grad for one in known]
    loaded: Any = pipe
    try:
        for one in known:
            one.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name in wanted:
                config = LoraConfig(
                    r=rank,
                    lora_alpha=rank,  # so that readers that know no alpha scale as we do
                    init_lora_weights="gaussian",
                    target_modules=list(PROJECTIONS[name]),
                )
                parts[name].add_adapter(config, adapter_name=ADAPTER)
        yield [one for name in wanted for one in parts[name].parameters() if one.requires_grad]
    finally:
        loaded.unload_lora_weights()
        for one, was_required in zip(known, required, strict=True):
            one.requires_grad_(was_required)


def adapted_weights(pipe: DiffusionPipeline) -> dict[str, Mapping[str, Tensor]]:
    """Return the LoRA matrices by part of the pipeline; parts without LoRA are left out."""
    from peft import get_peft_model_state_dict

    return {
        name: get_peft_model_state_dict(part, adapter_name=ADAPTER)
        for name, part in _parts(pipe).items()
        if ADAPTER in getattr(part, "peft_config", {})
    }


def lora_content(pipe: DiffusionPipeline) -> bytes:
    """Return the LoRA of a pipeline as the file that diffusers writes."""
    layers = {
        f"{name}_lora_layers": {
            _published(name, key): value.detach().cpu().contiguous()
            for key, value in convert_state_dict_to_diffusers(dict(weights)).items()
        }
        for name, weights in adapted_weights(pipe).items()
    }
    saving: Any = pipe
    with TemporaryDirectory() as folder, writing(Path(folder)):
        saving.save_lora_weights(folder, weight_name=FILE_NAME, safe_serialization=True, **layers)
        return Path(folder, FILE_NAME).read_bytes()


def _published(part: str, key: str) -> str:
    lacks = part in TEXT_ENCODERS and not key.startswith(PUBLISHED_PREFIX)
    return f"{PUBLISHED_PREFIX}{key}" if lacks else key


def _parts(pipe: DiffusionPipeline) -> dict[str, Any]:
    """The UNet and the text encoders, those that the pipeline has."""
    parts = {name: getattr(pipe, name, None) for name in PROJECTIONS}
    return {name: part for name, part in parts.items() if part is not None}


def _vae(pipe: Any) -> nn.Module:
    return pipe.vae
