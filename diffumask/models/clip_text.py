"""Texts as CLIP embeds them (Radford et al. 2021): their cosine tells how alike they are."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import CLIPModel, CLIPTokenizer

BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """The half of a CLIP that reads texts."""

    network: CLIPModel
    tokenizer: CLIPTokenizer

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that change with any weight and with the vocabulary."""
        total = hashlib.blake2b(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode())
        for name, weight in sorted(self.network.state_dict().items()):
            total.update(name.encode() + weight.float().cpu().numpy().tobytes())
        return total.hexdigest()[:16]

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "texts width"]:
        """Return a vector of length 1 for each text, of which CLIP reads the first 77 tokens."""
        batches = (texts[at : at + BATCH_SIZE] for at in range(0, len(texts), BATCH_SIZE))
        return np.concatenate([self._embed(batch) for batch in batches])

    def likeness(
        self, captions: Sequence[str]
    ) -> Callable[[str], Float32[np.ndarray, " captions"]]:
        """Return what tells the cosines of captions to a text; the captions are embedded now."""
        vectors = self.embed(captions)

        @cache
        def cosines(text: str) -> Float32[np.ndarray, " captions"]:
            return vectors @ self.embed([text])[0]

        return cosines

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "texts width"]:
        of_text: Any = self.network.text_model
        longest = of_text.config.max_position_embeddings
        read = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        pooled = of_text(**read.to(self.network.device)).pooler_output
        vectors = self.network.text_projection(pooled)
        return torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()
