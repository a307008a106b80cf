"""Small transformers with random weights whose text encoder is a chat model, in their pipelines.

The encoders are as deep as the published ones where a pipeline takes the states of some layers.
"""

from string import printable
from typing import Any

import torch
from conftest import WORDS
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from random_transformers import sharpened
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    ProcessorMixin,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
)

WIDTH = 16
# What the templates of the published tokenizers write for the messages of the pipelines.
QWEN_CHAT = """{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}"""
MISTRAL_CHAT = """{{- bos_token -}}
{%- for message in messages -%}
{%- set kind = 'SYSTEM_PROMPT' if message.role == 'system' else 'INST' -%}
{{- '[' + kind + ']' + message.content[0].text + '[/' + kind + ']' -}}
{%- endfor -%}"""


def make_chat_tokenizer(chat_template: str, **options: Any) -> Qwen2Tokenizer:
    """A small tokenizer of bytes, of the kind of Qwen's and Mistral's."""
    special = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    special += ["<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"]
    trained = Qwen2Tokenizer().train_new_from_iterator(
        [WORDS, " ".join(printable), "user assistant system"],
        500,
        initial_alphabet=ByteLevel.alphabet(),
        new_special_tokens=special,
    )
    trained.chat_template = chat_template
    for name, value in options.items():
        setattr(trained, name, value)
    return trained


def chat_sizes(tokenizer: Qwen2Tokenizer, n_layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "pad_token_id": tokenizer.pad_token_id,
    }


def flux2_parts(**config: Any) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 3 * WIDTH,
        "timestep_guidance_channels": 8,
        "axes_dims_rope": (2, 2, 2, 2),
    }
    vae = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1
    )
    return {
        "transformer": sharpened(Flux2Transformer2DModel(**(sizes | config))),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": vae,
    }


def make_klein(is_distilled: bool = False, **config: Any) -> Flux2KleinPipeline:
    torch.manual_seed(0)
    tokenizer = make_chat_tokenizer(QWEN_CHAT)
    return Flux2KleinPipeline(
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**chat_sizes(tokenizer, 28))).eval(),
        tokenizer=tokenizer,
        is_distilled=is_distilled,
        **flux2_parts(guidance_embeds=False, **config),
    )


class TextProcessor(ProcessorMixin):
    """Stands for the processor of FLUX.2 dev, whose images need another library."""

    def __init__(self, tokenizer: Any, chat_template: str) -> None:
        super().__init__(tokenizer, chat_template=chat_template)


def make_flux2_dev() -> Flux2Pipeline:
    torch.manual_seed(0)
    tokenizer = make_chat_tokenizer("", bos_token="<s>", padding_side="left")
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 1, "image_size": 16, "model_type": "pixtral"}
    text = chat_sizes(tokenizer, 31) | {"model_type": "mistral"}
    config = Mistral3Config(vision_config=vision, text_config=text)
    processor: Any = TextProcessor(tokenizer, MISTRAL_CHAT)
    return Flux2Pipeline(
        text_encoder=Mistral3ForConditionalGeneration(config).eval(),
        tokenizer=processor,
        **flux2_parts(),
    )
