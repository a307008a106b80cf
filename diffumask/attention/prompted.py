"""What a pipeline is asked for: its prompts as they are encoded, and the words in them."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from diffumask.errors import InputError

from .concepts import mean_embeddings
from .encoding import check_ids, seen_ids
from .network import Network
from .running_means import Positions

Words = Sequence[str] | Sequence[Sequence[str]]
Embeddings = Tensor | Sequence[Tensor]  # a row for each image


class Prompted:
    """The prompts of one pipeline call, once `encode_prompt` has been called."""

    def __init__(
        self,
        pipe: Any,
        network: Network,
        words: Words,
        also: Words,
        on_prompts: Callable[[Sequence[Mapping[str, Positions]]], None],
    ) -> None:
        self.pipe = pipe
        self.network = network
        self.words = words
        self.also = also
        self.on_prompts = on_prompts
        self.n_passes = 0
        self.has_second_pass = self._takes_second_text = False
        self.background: tuple[str, ...] | None = None  # of concepts; None without these
        self.concepts = torch.empty(0)
        self.concept_rows: list[list[int]] = []
        self._embeddings: Embeddings = []
        self._wanted: Sequence[Mapping[str, Positions]] = []
        self._knows_n_images = True

    def seeing(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `encode_prompt` so that it also tells the positions of the words."""
        signature = inspect.signature(encode_prompt)
        if "prompt" not in signature.parameters:
            kind = type(self.pipe).__name__
            raise InputError(f"expected a pipeline that encodes one prompt an image, got {kind}")

        @functools.wraps(encode_prompt)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.n_passes:
                return self._second(encode_prompt, args, kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            texts = self._texts(given)
            wanted = self._wanted_positions(texts, given)
            with seen_ids(self.pipe) as ids:
                encoded = encode_prompt(*args, **kwargs)
            check_ids(self.pipe, self.network, texts, ids, given)
            self._embeddings = _embeddings(encoded, len(wanted))
            if self.background is not None:
                wanted = self._encode_concepts(encode_prompt, given, wanted)
            self.on_prompts(wanted)
            self._wanted = wanted
            self._knows_n_images = "num_images_per_prompt" in signature.parameters
            self._expect_guidance(given.get("do_classifier_free_guidance"))
            return encoded

        return wrapper

    def _expect_guidance(self, guided: bool | None) -> None:
        """Note whether there is guidance; None where its text, if any, is encoded by itself."""
        if self.network.second_pass:
            self.has_second_pass, self._takes_second_text = bool(guided), guided is None
        self.n_passes = 2 if guided and not self.network.second_pass else 1

    def _second(self, encode_prompt: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Let a network whose guidance is an evaluation of its own encode what that is given."""
        if self.has_second_pass or not self._takes_second_text:
            raise InputError(
                "expected one pipeline call per capture, got a second prompt; open another capture"
            )
        self.has_second_pass = True
        return encode_prompt(*args, **kwargs)

    def repeat(self, batch_size: int) -> None:
        """Learn how many images each prompt has of a batch, where `encode_prompt` is not told."""
        n_images = batch_size // (len(self._wanted) * self.n_passes)
        if self._knows_n_images or n_images < 2:
            return
        self._embeddings = [one for one in self._embeddings for _ in range(n_images)]
        self.concept_rows = [row for row in self.concept_rows for _ in range(n_images)]
        self.on_prompts([one for one in self._wanted for _ in range(n_images)])

    def check_shape(self, text: Embeddings) -> None:
        """Raise `InputError` for text that is not as long as it was encoded."""
        told = self._embeddings
        if not isinstance(text, Tensor) or not isinstance(told, Tensor):
            return  # lengths differ, and `differs` looks at them
        if text.shape[1:] != told.shape[1:]:
            raise InputError(
                f"expected the text as it was encoded, {tuple(told.shape[1:])}, got"
                f" {tuple(text.shape[1:])}: other text cannot be captured"
            )

    def differs(self, text: Embeddings) -> Bool[Tensor, ""]:
        """Tell whether the network is given another text than was encoded, on its device."""
        if not isinstance(text, Tensor):
            found = [self._one_differs(*pair) for pair in zip(self._embeddings, text, strict=True)]
            return torch.stack(found).any()
        assert isinstance(self._embeddings, Tensor)
        self._embeddings = self._embeddings.to(text.device)
        return self._one_differs(self._embeddings, text)

    @staticmethod
    def _one_differs(told: Tensor, text: Tensor) -> Bool[Tensor, ""]:
        if told.shape != text.shape:
            return torch.ones((), dtype=torch.bool, device=text.device)
        return ~torch.isclose(text, told.to(text), rtol=0, atol=0, equal_nan=True).all()

    def _encode_concepts(
        self,
        encode_prompt: Callable[..., Any],
        given: Mapping[str, Any],
        wanted: Sequence[Mapping[str, Positions]],
    ) -> list[dict[str, Positions]]:
        """Encode each word and the background as texts; return a column for each word."""
        assert self.background is not None
        rows = []
        for words in wanted:
            known = {word.lower() for word in words}
            rows.append([*words, *(one for one in self.background if one not in known)])
        distinct = list(dict.fromkeys(concept for row in rows for concept in row))
        plain = {"prompt": distinct, "num_images_per_prompt": 1, "negative_prompt": None}
        plain |= {"do_classifier_free_guidance": False, "prompt_2": None, "prompt_3": None}
        asked = dict(given) | {name: one for name, one in plain.items() if name in given}
        encoded = _embeddings(encode_prompt(**asked), len(distinct))
        places = [self.network.positions(one, one, given) for one in distinct]
        self.concepts = mean_embeddings(encoded, places)
        self.concept_rows = [[distinct.index(concept) for concept in row] for row in rows]
        return [{word: (i,) for i, word in enumerate(words)} for words in wanted]

    def _texts(self, arguments: Mapping[str, Any]) -> list[str]:
        prompt = arguments["prompt"]
        others = [arguments.get(name) for name in ("prompt_2", "prompt_3")]
        if prompt is None or any(other not in (None, prompt) for other in others):
            raise InputError("expected the text as `prompt` alone, got embeddings or a `prompt_2`")
        return [prompt] if isinstance(prompt, str) else list(prompt)

    def _wanted_positions(
        self, texts: list[str], arguments: Mapping[str, Any]
    ) -> list[dict[str, Positions]]:
        wanted = _words_per_prompt(self.words, len(texts))
        also = _words_per_prompt(self.also, len(texts)) if self.also else [()] * len(texts)
        of_prompt = [
            {word: self.network.positions(text, word, arguments) for word in words}
            | self._seen_positions(text, more, arguments)
            for text, words, more in zip(texts, wanted, also, strict=True)
        ]
        n_images = arguments.get("num_images_per_prompt", 1)
        return [positions for positions in of_prompt for _ in range(n_images)]

    def _seen_positions(
        self, text: str, words: Sequence[str], arguments: Mapping[str, Any]
    ) -> dict[str, Positions]:
        """Return where words stand, without those that the text encoder does not see whole."""
        found = {}
        for word in words:
            with suppress(InputError):
                found[word] = self.network.positions(text, word, arguments)
        return found


def _embeddings(encoded: Any, n_images: int) -> Embeddings:
    """Return the embeddings of the prompt, which stand first in what `encode_prompt` gives."""
    embeddings = encoded[0] if isinstance(encoded, tuple | list) else encoded
    is_known = isinstance(embeddings, Tensor) or (
        isinstance(embeddings, list) and all(isinstance(one, Tensor) for one in embeddings)
    )
    if not is_known or len(embeddings) != n_images:
        raise InputError(
            f"expected embeddings of {n_images} prompts of encode_prompt, got others; capture"
            " another pipeline"
        )
    if isinstance(embeddings, Tensor):
        return embeddings.detach()
    return [one.detach() for one in embeddings]


def _words_per_prompt(words: Words, n_prompts: int) -> list[Sequence[str]]:
    shared = [word for word in words if isinstance(word, str)]
    if len(shared) == len(words) > 0:
        return [shared] * n_prompts
    if shared or len(words) != n_prompts:
        raise InputError(
            f"expected one list of words, or one for each of {n_prompts} prompts, got {words!r}"
        )
    return [of_prompt for of_prompt in words if not isinstance(of_prompt, str)]
