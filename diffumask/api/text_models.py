"""Text models beside prompts: one that ranks captions, and one that expands prompts."""

from collections.abc import Callable, Iterator
from functools import lru_cache

from diffumask.prompts.expand import expand
from diffumask.prompts.ranking import BY_TEXT, Ranking, photo_of
from diffumask.prompts.vocabulary import Vocabulary
from diffumask.seeds import item_seed
from diffumask.types import Prompt

from .ranking_name import CLIP, TEXT

MAX_TOKENS = 77  # that CLIP reads, the two at the ends among them
TRIES = 5  # continuations of a prompt, of which the first that suits is taken

Expand = Callable[[Prompt, int], Prompt | None]


@lru_cache(maxsize=1)  # generate finds its prompts twice, once to name its folder
def make_ranking(name: str, device: str) -> Ranking:
    """Make the ranking of a name, and load its model."""
    if name == TEXT:
        return BY_TEXT
    from diffumask.models import load_text_encoder
    from diffumask.models.clip_text import TextEncoder

    encoder = TextEncoder(*load_text_encoder(name.removeprefix(CLIP), device))
    identity = {"caption_ranking": "clip", "caption_ranking_fingerprint": encoder.fingerprint}
    return Ranking(encoder.likeness, photo_of, identity)


def make_expand(language_model: str, model: str, vocabulary: Vocabulary, device: str) -> Expand:
    """Load a language model; prompts are expanded as far as the tokenizer of `model` reads them.

    The result takes a prompt and the seed of its item.
    """
    from diffumask.models import load_language_model, load_tokenizer
    from diffumask.models.language import Writer

    tokenizer = load_tokenizer(model)
    writer = Writer(*load_language_model(language_model, device))

    def fits(text: str) -> bool:
        return len(tokenizer(text, verbose=False)["input_ids"]) <= MAX_TOKENS

    def written(text: str, seed: int) -> Iterator[str]:
        for attempt in range(TRIES):
            yield writer.continuation(text, item_seed(seed, "expand", attempt))

    return lambda prompt, seed: expand(prompt, written(prompt.text, seed), vocabulary, fits)
