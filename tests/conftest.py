"""Random-weight pipelines of the real architectures, small enough for every test.

They are saved to disk and read back by `diffumask.models.load`, so that each test runs on
what the loading code really gives. The images are noise; the attention is not uniform.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from string import printable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub reads it: no test reaches the network
sys.path.append(
    str(Path(__file__).parent.parent)
)  # for benchmarks; last, as diffumask is installed

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    T5EncoderModel,
)

from diffumask.models import load, resolve

pytest.register_assert_rewrite(
    "commands", "concept_reference", "joint_reference", "refusals", "slow_reference"
)

# One token each for the small tokenizer; other words are spelled almost letter by letter.
WORDS = """a an and at bird cat close detailed focus grass high in light natural of on one photo
photograph picture plant potted resolution sand sharp sheep sitting snapshot snow standing street
the two water white wide with"""
VOCAB_SIZE = 1000
CONTINUATIONS = """a photo of picture bird duck on in near some old stones quiet light cat ."""
TEXT_WIDTH = 32
SHARPNESS = 6.0  # factor on the key weights, so that attention differs from word to word


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """No test cuts the power, and to wait for the disk takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def usual_heap() -> Iterator[None]:
    """Tests come and go in one process, which would keep what any of them held."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffumask.heap.OPTIONS", {})
        yield


def write_clip_tokenizer(folder: Path) -> Path:
    """Write the files of a small CLIP tokenizer as the hub's checkpoints hold them."""
    tokenizer = CLIPTokenizer().train_new_from_iterator(
        [WORDS, " ".join(printable)], VOCAB_SIZE, initial_alphabet=ByteLevel.alphabet()
    )
    folder.mkdir()
    tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    special = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(getattr(tokenizer, f"{name}_token"))
        for name in ("bos", "eos", "pad")
    }
    sizes = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": TEXT_WIDTH,
        "projection_dim": TEXT_WIDTH,
    }
    depth = {"num_hidden_layers": 2, "num_attention_heads": 2}
    return CLIPTextConfig.from_dict({"vocab_size": len(tokenizer)} | special | sizes | depth)


def random_vae(**more: Any) -> AutoencoderKL:
    config: dict[str, Any] = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [4, 4, 8, 8],
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    return AutoencoderKL(**(config | more))


def random_unet(config: dict[str, Any]) -> UNet2DConditionModel:
    shared: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": [16, 32, 32],
        "layers_per_block": 1,
        "norm_num_groups": 8,
    }
    unet = UNet2DConditionModel(**(shared | config))
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if name.endswith("attn2.to_k.weight"):
                weight.mul_(SHARPNESS)
    return unet


def small_unet() -> UNet2DConditionModel:
    """A UNet with as few layers on two grids as there can be, for what takes long for each."""
    torch.manual_seed(0)
    blocks = {
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "block_out_channels": [16, 32],
    }
    return random_unet(blocks | {"attention_head_dim": 2, "cross_attention_dim": TEXT_WIDTH})


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small CLIP tokenizer."""
    return write_clip_tokenizer(tmp_path_factory.mktemp("clip") / "tokenizer")


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> CLIPTokenizer:
    """The small CLIP tokenizer."""
    return CLIPTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="session")
def tiny_random_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """Folder of a random pipeline of the shape of Stable Diffusion 1.5; read only.

    64x64 pixels, VAE factor 8, cross-attention at 8x8, 4x4 and 2x2.
    """
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    config = {
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 2,
        "cross_attention_dim": TEXT_WIDTH,
    }
    parts: dict[str, Any] = {
        "vae": random_vae(),
        "text_encoder": CLIPTextModel(text_config(tokenizer)),
        "tokenizer": tokenizer,
        "unet": random_unet(config),
        "scheduler": DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    folder = tmp_path_factory.mktemp("models") / "tiny_random"
    StableDiffusionPipeline(**parts).save_pretrained(folder, safe_serialization=True)
    shutil.rmtree(folder / "tokenizer")  # hub checkpoints hold vocab.json, not tokenizer.json
    shutil.copytree(tokenizer_folder, folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def tiny_random_xl_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """Folder of a random pipeline of the shape of Stable Diffusion XL; read only."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    config = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 1, 2],
        "attention_head_dim": [2, 2, 4],
        "use_linear_projection": True,
        "cross_attention_dim": 2 * TEXT_WIDTH,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + TEXT_WIDTH,
    }
    parts: dict[str, Any] = {
        "vae": random_vae(),
        "text_encoder": CLIPTextModel(text_config(tokenizer)),
        "text_encoder_2": CLIPTextModelWithProjection(text_config(tokenizer)),
        "tokenizer": tokenizer,
        "tokenizer_2": CLIPTokenizer.from_pretrained(tokenizer_folder, pad_token="!"),
        "unet": random_unet(config),
        "scheduler": EulerDiscreteScheduler(),
    }
    folder = tmp_path_factory.mktemp("models") / "tiny_random_xl"
    StableDiffusionXLPipeline(**parts).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def t5_tokenizer() -> PreTrainedTokenizerFast:
    from random_transformers import make_t5_tokenizer

    return make_t5_tokenizer()


@pytest.fixture(scope="session")
def t5(t5_tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    from random_transformers import make_t5

    return make_t5(t5_tokenizer)


@pytest.fixture
def flux(
    tokenizer: CLIPTokenizer, t5: T5EncoderModel, t5_tokenizer: PreTrainedTokenizerFast
) -> FluxPipeline:
    from random_transformers import make_flux

    return make_flux(tokenizer, t5, t5_tokenizer)


@pytest.fixture(scope="session")
def sd3_folder(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: CLIPTokenizer,
    t5: T5EncoderModel,
    t5_tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """Folder of a random pipeline of the shape of Stable Diffusion 3; read only."""
    from random_transformers import sd3

    folder = tmp_path_factory.mktemp("models") / "random_sd3"
    sd3(tokenizer, (t5, t5_tokenizer)).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def flux_folder(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: CLIPTokenizer,
    t5: T5EncoderModel,
    t5_tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """Folder of a random pipeline of the shape of FLUX.1; read only."""
    from random_transformers import make_flux

    folder = tmp_path_factory.mktemp("models") / "random_flux"
    make_flux(tokenizer, t5, t5_tokenizer).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def segmenter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random SegFormer with three labels, of which it names every one; read only."""
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1],
        hidden_sizes=[8, 8],
        num_attention_heads=[1, 1],
        sr_ratios=[1, 1],
        patch_sizes=[3, 3],
        strides=[2, 2],
        mlp_ratios=[1, 1],
        num_encoder_blocks=2,
        decoder_hidden_size=8,
        id2label={0: "wall", 1: "fowl, Bird", 2: "potted-plant"},
    )
    folder = tmp_path_factory.mktemp("models") / "segmenter"
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: CLIPTokenizer) -> Path:
    """Folder of a random CLIP, of both halves; read only."""
    torch.manual_seed(0)
    width = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**width, **special, "vocab_size": len(tokenizer), "num_hidden_layers": 1}
    vision = {**width, "num_hidden_layers": 1, "image_size": 16, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    for weights in model.parameters():  # far larger than at the start of a training
        torch.nn.init.normal_(weights, std=0.3)
    folder = tmp_path_factory.mktemp("models") / "clip"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random GPT-2 that writes words, "cat" among them; read only."""
    torch.manual_seed(0)
    words = {
        word: number for number, word in enumerate(["<end>", "<unknown>", *CONTINUATIONS.split()])
    }
    backend = Tokenizer(WordLevel(words, unk_token="<unknown>"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", unk_token="<unknown>"
    )
    config = GPT2Config(
        vocab_size=len(words),
        n_positions=96,
        n_embd=8,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pipe(tiny_random_folder: Path) -> StableDiffusionPipeline:
    """The random Stable Diffusion pipeline, loaded; leave it as it was."""
    loaded = load(resolve(str(tiny_random_folder)), device="cpu", dtype="float32")
    assert isinstance(loaded, StableDiffusionPipeline)
    return loaded


@pytest.fixture(scope="session")
def xl_pipe(tiny_random_xl_folder: Path) -> StableDiffusionXLPipeline:
    """The random Stable Diffusion XL pipeline, loaded; leave it as it was."""
    loaded = load(resolve(str(tiny_random_xl_folder)), device="cpu", dtype="float32")
    assert isinstance(loaded, StableDiffusionXLPipeline)
    return loaded
