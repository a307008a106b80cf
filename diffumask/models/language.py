"""What a causal language model writes after a text."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 32  # a sentence, and with a prompt about what CLIP reads
TOP_P = 0.95  # Holtzman et al. 2020


@dataclass(frozen=True, slots=True)
class Writer:
    """A language model that goes on with texts."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @torch.inference_mode()
    def continuation(self, text: str, seed: int) -> str:
        """Sample what stands after a text; a last word that may be cut off is left out.

        The same text and seed give the same continuation. The state of torch's own generators
        stays as it was.
        """
        of_model: Any = self.network
        asked = self.tokenizer(text, return_tensors="pt").to(of_model.device)
        begun = asked["input_ids"].shape[1]
        gpus = [of_model.device] if of_model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(seed)
            written = of_model.generate(
                **asked,
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=True,
                top_p=TOP_P,
                top_k=0,
                pad_token_id=self.tokenizer.eos_token_id,
            )[0]
        # Tokens decoded alone may lose the space before them.
        start, whole = self._decoded(written[:begun]), self._decoded(written)
        added = whole.removeprefix(start) if whole.startswith(start) else ""
        if len(written) < begun + MAX_NEW_TOKENS:
            return added
        return added[: max(added.rfind(" "), added.rfind("\n")) + 1]

    def _decoded(self, tokens: torch.Tensor) -> str:
        decoded = self.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(decoded)  # the annotation allows for several
