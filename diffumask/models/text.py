"""Text encoders, language models and tokenizers of transformers."""

from pathlib import Path

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from diffumask.errors import InputError

from .devices import find_device
from .registry import HUB_ID, MODELS
from .whole import load_tokenizer_of, load_whole

N_BYTES = 256  # each of which the vocabulary of a CLIPTokenizer holds


def load_text_encoder(model: str, device: str = "auto") -> tuple[CLIPModel, CLIPTokenizer]:
    """Load the half of a CLIP that reads texts, in float32, with its tokenizer.

    From safetensors in a folder or on the hub; raises `InputError` for anything else.
    """
    network = load_whole(model, CLIPModel, ("clip",), "CLIP").float()
    del network.vision_model
    tokenizer = load_tokenizer_of(CLIPTokenizer, model, "a CLIP")
    if len(tokenizer) != network.config.text_config.vocab_size:  # transformers makes one up
        raise InputError(f"expected the tokenizer of a CLIP in {model!r}, got none")
    return network.to(find_device(device)), tokenizer


def load_language_model(
    model: str, device: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model of transformers with its tokenizer, and no code of its own.

    From safetensors in a folder or on the hub; raises `InputError` for anything else.
    """
    network = load_whole(model, AutoModelForCausalLM, (), "language model")
    tokenizer = load_tokenizer_of(AutoTokenizer, model, "a language model", trust_remote_code=False)
    if not 1 < len(tokenizer) <= network.get_input_embeddings().num_embeddings:
        raise InputError(f"expected the tokenizer of a language model in {model!r}, got none")
    return network.to(find_device(device)), tokenizer


def load_tokenizer(model: str) -> CLIPTokenizer:
    """Load the tokenizer of an image model alone; takes the names that `resolve` takes.

    Raises `InputError` for anything else.
    """
    source = str(MODELS[model].source if model in MODELS else model)
    if not (Path(source) / "tokenizer").is_dir() and not HUB_ID.fullmatch(source):
        raise InputError(f"expected an image model with a folder tokenizer, got {model!r}")
    tokenizer = load_tokenizer_of(CLIPTokenizer, source, "an image model", subfolder="tokenizer")
    if len(tokenizer) < N_BYTES:  # transformers makes one up
        raise InputError(f"expected the tokenizer of an image model in {model!r}, got none")
    return tokenizer
