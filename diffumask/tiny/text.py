"""The tokenizer and the text encoder of `tiny`, untrained, and as Stable Diffusion 3 reads one."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

MAX_LENGTH = 77
MERGES = 300  # fewer than the captions' words need: rare words stay several tokens, as in CLIP
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
STREAM_SCALE = 2.0**-7  # a power of two, so that scaling rounds nothing


def train_tokenizer(captions: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Learn byte-pair merges from captions; every byte keeps a token, so no text is unknown.

    A tokenizer that is already in the folder is read instead: weights belong to its ids.
    """
    if (folder / "tokenizer_config.json").exists():
        return CLIPTokenizer.from_pretrained(folder)
    bpe = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 26 + MERGES,
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    merges = [tuple(merge) for merge in json.loads(bpe.to_str())["model"]["merges"]]
    singles = alphabet + [letter + END_OF_WORD for letter in alphabet]
    tokens = list(dict.fromkeys([*singles, *map("".join, merges), BOS, EOS]))
    vocab = {token: index for index, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    # The two files that older readers want beside the tokenizer.json that transformers writes.
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    # Pairs, which the annotation of CLIPTokenizer does not know but its backend wants.
    files: dict[str, Any] = {"vocab": vocab, "merges": merges}
    tokenizer = CLIPTokenizer(**files, model_max_length=MAX_LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the untrained causal text encoder: two layers of width 160."""
    special: dict[str, Any] = {
        f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")
    }
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=160,
            intermediate_size=480,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            projection_dim=160,
            **special,
        )
    )


@torch.no_grad()
def with_projection(text_encoder: CLIPTextModel) -> CLIPTextModelWithProjection:
    """Return a text encoder whose output is where Stable Diffusion 3 looks for it, frozen.

    That is before the last layer and without the final norm, so two layers more follow: one adds
    what the final norm gives, the last one nothing. The sum of all layers before, which would
    drown it, is scaled down by `STREAM_SCALE`; no norm within sees that. The pooled output is
    that of the first end of text, normalised, its projection the identity.
    """
    config = text_encoder.config.to_dict()
    config["num_hidden_layers"] += 2
    config["projection_dim"] = width = config["hidden_size"]
    config["layer_norm_eps"] *= STREAM_SCALE**2
    made: Any = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    made.text_model.load_state_dict(text_encoder.state_dict(), strict=False)
    made.text_projection.weight.copy_(torch.eye(width))
    *layers, norm, last = made.text_model.encoder.layers
    embeddings = made.text_model.embeddings
    writers = [embeddings.token_embedding, embeddings.position_embedding]
    writers += [writer for layer in layers for writer in (layer.self_attn.out_proj, layer.mlp.fc2)]
    for parameter in (one for writer in writers for one in writer.parameters()):
        parameter *= STREAM_SCALE
    for parameter in (*norm.parameters(), *last.parameters()):
        parameter.zero_()
    final = made.text_model.final_layer_norm
    norm.layer_norm2.load_state_dict(final.state_dict())
    # gelu(x) - gelu(-x) is x, of the quick kind too
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    norm.mlp.fc1.weight[: 2 * width] = both
    norm.mlp.fc2.weight[:, : 2 * width] = both.T
    final.weight.fill_(1.0)
    final.bias.zero_()
    return made.eval().requires_grad_(False)
