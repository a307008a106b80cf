"""Small transformers with random weights, in the pipelines that they come in."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from conftest import WORDS, random_vae, text_config
from diffusers import (
    AutoencoderDC,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

T5_WIDTH = 64
SHARPENED = ("to_q", "add_k_proj", "to_v", "add_v_proj", "context_embedder")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def make_t5_tokenizer() -> PreTrainedTokenizerFast:
    """A small tokenizer of the kind of T5's: pieces, no start token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([WORDS, "abcdefghijklmnopqrstuvwxyz ,."], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )


def make_t5(t5_tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(t5_tokenizer), d_model=T5_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    return T5EncoderModel(config).eval()


def sharpened(transformer: Any) -> Any:
    """Make the attention differ from word to word."""
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if any(part in name for part in SHARPENED):
                weight.mul_(4)
    return transformer.eval()


def sd3(tokenizer: CLIPTokenizer, t5_parts: tuple, **config: Any) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    text = text_config(tokenizer)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=T5_WIDTH,
        **config,
    )
    return StableDiffusion3Pipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=random_vae(shift_factor=0.0),
        text_encoder=CLIPTextModelWithProjection(text).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text).eval(),
        text_encoder_3=t5_parts[0],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=t5_parts[1],
    )


def make_flux(
    tokenizer: CLIPTokenizer, t5: T5EncoderModel, t5_tokenizer: PreTrainedTokenizerFast
) -> FluxPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 2, 2),
    )
    return FluxPipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=random_vae(shift_factor=0.0),
        text_encoder=CLIPTextModel(text_config(tokenizer)).eval(),
        text_encoder_2=t5,
        tokenizer=tokenizer,
        tokenizer_2=t5_tokenizer,
    )


def make_pixart(t5: T5EncoderModel, t5_tokenizer: PreTrainedTokenizerFast) -> PixArtSigmaPipeline:
    torch.manual_seed(0)
    transformer = PixArtTransformer2DModel(
        sample_size=32,  # of a model for 256x256, the smallest whose pictures have bins
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        cross_attention_dim=16,
        caption_channels=T5_WIDTH,
    )
    parts: dict[str, Any] = {"scheduler": DPMSolverMultistepScheduler(), "tokenizer": t5_tokenizer}
    return PixArtSigmaPipeline(
        transformer=sharpened(transformer), vae=random_vae(), text_encoder=t5, **parts
    )


def make_chroma(t5: T5EncoderModel, t5_tokenizer: PreTrainedTokenizerFast) -> ChromaPipeline:
    torch.manual_seed(0)
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        axes_dims_rope=(4, 2, 2),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return ChromaPipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=random_vae(shift_factor=0.0),
        text_encoder=t5,
        tokenizer=t5_tokenizer,
    )


def make_gemma_tokenizer(texts: Sequence[str]) -> GemmaTokenizer:
    """A small tokenizer of the kind of Gemma's: words with the space before, no end token."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", SPACE)
    trained.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    trained.train_from_iterator([" " + WORDS.replace("\n", " "), "\n", *texts], trainer)
    model = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(one) for one in model["merges"]]
    return GemmaTokenizer(vocab=model["vocab"], merges=merges, add_bos_token=True)


def make_sana(tokenizer: GemmaTokenizer, **config: Any) -> SanaPipeline:
    torch.manual_seed(0)
    gemma = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=16,  # of a model for 512x512, the smallest whose pictures have bins
        **config,
    )
    channels: dict[str, Any] = {
        "encoder_block_out_channels": (4,) * 6,
        "decoder_block_out_channels": (4,) * 6,
    }
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        **channels,
    )
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(gemma).eval(),
        vae=vae.eval(),
        transformer=sharpened(transformer),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )
