"""Small transformers with random weights whose text encoder is a chat model, in their pipelines.

The encoders are as deep as the published ones where a pipeline takes the states of some layers.
"""

from string import printable
from typing import Any

import torch
from conftest import WORDS, random_vae
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from random_transformers import sharpened
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
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
    transformer = sharpened(Flux2Transformer2DModel(**(sizes | config)))
    with torch.no_grad():
        for block in transformer.transformer_blocks:  # or one concept takes all shares
            for values in (block.attn.to_v, block.attn.add_v_proj):
                values.weight.mul_(0.2)
    return {
        "transformer": transformer,
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


def make_z_image() -> ZImagePipeline:
    torch.manual_seed(0)
    tokenizer: Any = make_chat_tokenizer(QWEN_CHAT)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=3,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 2, 2],
        axes_lens=[128, 32, 32],
    )
    return ZImagePipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=random_vae(shift_factor=0.0),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**chat_sizes(tokenizer, 2))).eval(),
        tokenizer=tokenizer,
    )


def make_qwen_vl(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = chat_sizes(tokenizer, 2) | {"rope_parameters": rope}
    vision = {"depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1}
    vision |= {"out_hidden_size": WIDTH}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def make_qwen_image() -> QwenImagePipeline:
    torch.manual_seed(0)
    tokenizer = make_chat_tokenizer(QWEN_CHAT)
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 2, 2),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    )
    pipe = QwenImagePipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=make_qwen_vl(tokenizer),
        tokenizer=tokenizer,
    )
    before = pipe.prompt_template_encode.partition("{}")[0]
    pipe.prompt_template_encode_start_idx = len(tokenizer(before)["input_ids"])  # 34 of Qwen's
    return pipe


def make_ovis_image() -> OvisImagePipeline:
    torch.manual_seed(0)
    tokenizer = make_chat_tokenizer(QWEN_CHAT)
    transformer = OvisImageTransformer2DModel(
        in_channels=16,
        out_channels=16,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 2, 2),
    )
    pipe = OvisImagePipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=random_vae(shift_factor=0.0),
        text_encoder=Qwen3Model(Qwen3Config(**chat_sizes(tokenizer, 2))).eval(),
        tokenizer=tokenizer,
    )
    before = "<|im_start|>user\n" + pipe.system_prompt.strip()
    pipe.user_prompt_begin_id = len(tokenizer(before)["input_ids"])  # 28 of the published one
    return pipe
