"""What pipelines put around a prompt before a text encoder of the kind of a chat sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffumask.errors import InputError

from .running_means import Positions
from .tokens import check_seen, spans_of, tokens_at

MARK = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Template:
    """The text before and after a prompt, and what makes tokens of it.

    `adds_special` says how the pipeline calls the tokenizer. Raises `InputError` for one that does
    not tell characters.
    """

    tokenizer: Any
    before: str
    after: str
    adds_special: bool = True

    def __post_init__(self) -> None:
        if not self.tokenizer.is_fast:
            name = type(self.tokenizer).__name__
            raise InputError(f"expected a fast tokenizer, got {name}; load the fast one")

    def ids(self, text: str) -> Sequence[int]:
        """Return the ids of a prompt with what stands around it."""
        return self._tokens(text)["input_ids"]

    def positions(self, text: str, word: str, limit: int) -> Positions:
        """Return where a word of the prompt stands among these tokens, which are cut at a limit.

        Raises `InputError` as `word_positions` does.
        """
        n = len(self.before)
        spans = [(n + start, n + stop) for start, stop in spans_of(text, word)]
        offsets = self._tokens(text, return_offsets_mapping=True)["offset_mapping"]
        found = tokens_at(offsets, spans)
        check_seen(word, found, limit, tokens_at(offsets, [(n, n + len(text))])[0])
        return found

    def n_around(self) -> tuple[int, int]:
        """Return how many tokens stand before a prompt and after it."""
        n = len(self.before)
        offsets = self._tokens("a", return_offsets_mapping=True)["offset_mapping"]
        (place,) = tokens_at(offsets, [(n, n + 1)])
        return place, len(offsets) - 1 - place

    def _tokens(self, text: str, **options: Any) -> Any:
        options |= {"add_special_tokens": self.adds_special, "verbose": False}
        return self.tokenizer(self.before + text + self.after, **options)


class InChat:
    """A network whose text stands in a chat."""

    template: Template

    def given_ids(self, tokenizer: Any, text: str, arguments: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of the chat."""
        return self.template.ids(text)


def template_of(tokenizer: Any, write: Callable[[str], str], adds_special: bool = True) -> Template:
    """Return what a function writes around each prompt."""
    before, _, after = write(MARK).partition(MARK)
    return Template(tokenizer, before, after, adds_special)


def chat_template(tokenizer: Any, **options: Any) -> Template:
    """Return what the chat template of a tokenizer writes around the words of a user."""

    def write(text: str) -> str:
        messages = [{"role": "user", "content": text}]
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **options
        )

    return template_of(tokenizer, write)
