"""`diffumask prompts`: print the prompts of a run, or count what is in them."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.api.text_models import TEXT, TRIES, Expand, check_ranking, make_expand, make_ranking
from diffumask.errors import InputError
from diffumask.prompts.balance import balance, table
from diffumask.prompts.classes import Classes
from diffumask.prompts.source import (
    PromptSource,
    from_captions,
    from_file,
    from_vocabulary,
)
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.types import Prompt

if TYPE_CHECKING:  # it loads OpenCV
    from diffumask.generation.plan import Item

VOCABULARIES = {"tiny": "tiny"}  # by model name; all others get "voc"


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What prompts are made of, as typed."""

    classes: Sequence[str]
    prompts: Path | None = None
    objects: int = 1
    open_all: bool = False
    captions: Path | None = None
    caption_ranking: str = TEXT
    device: str = "auto"

    def __post_init__(self) -> None:
        check_ranking(self.caption_ranking)
        if self.caption_ranking != TEXT and self.captions is None:
            raise InputError("expected --captions beside --caption-ranking, got none; name a file")
        if not self.classes and self.prompts is None:
            raise InputError("expected --class or --prompts, got neither; name a class")
        if self.objects < 1:
            raise InputError(f"expected --objects of 1 or more, got {self.objects}")
        ways = {
            "--prompts": self.prompts is not None,
            "--captions": self.captions is not None,
            "--objects": self.objects > 1,
        }
        typed = [option for option, is_typed in ways.items() if is_typed]
        if len(typed) > 1:
            raise InputError(f"expected one way to prompts, got {' and '.join(typed)}; choose one")


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `diffumask prompts` as typed."""

    options: PromptOptions
    n: int = 20
    model: str = "tiny"
    vocabulary: str | None = None
    seed: int = 0
    balance: bool = False
    format: str = "text"
    expand: str | None = None

    def __post_init__(self) -> None:
        if self.expand is not None and self.balance:
            raise InputError("expected --expand or --balance, got both; choose one")
        if self.n < 1:
            raise InputError(f"expected -n of 1 or more, got {self.n}")
        if self.format not in FORMATS:
            raise InputError(f"expected --format {' or '.join(FORMATS)}, got {self.format!r}")


@dataclass(frozen=True, slots=True)
class Planned:
    """A prompt and the item that `generate` makes of it."""

    item: "Item"
    prompt: Prompt


def resolved_vocabulary(vocabulary: str | None, model: str) -> Vocabulary:
    """Read the vocabulary that was asked for, or that of the model."""
    return load_vocabulary(vocabulary or VOCABULARIES.get(model, "voc"))


def make_source(
    options: PromptOptions, vocabulary: Vocabulary, known: Mapping[str, int] | None = None
) -> PromptSource:
    """Find where prompts come from; `known` are the class ids of a dataset that goes on."""
    classes = Classes(vocabulary, known, options.open_all)
    if options.prompts is not None:
        return from_file(options.prompts, classes, options.classes)
    if options.captions is not None:
        ranking = make_ranking(options.caption_ranking, options.device)
        return from_captions(options.captions, classes, options.classes, ranking)
    return from_vocabulary(classes, options.classes, options.objects)


def run(request: Request) -> Iterator[str]:
    """Yield the lines to print. Raises InputError for what the user can mend."""
    vocabulary = resolved_vocabulary(request.vocabulary, request.model)
    source = make_source(request.options, vocabulary)
    planned = _plan(source, request.n, request.seed)
    if request.expand is not None:
        device = request.options.device
        planned = _expanded(planned, make_expand(request.expand, request.model, vocabulary, device))
    if request.balance:
        yield from _balance(source, planned, request.format)
    else:
        yield from map(FORMATS[request.format], planned)


def _plan(source: PromptSource, n: int, run_seed: int) -> Iterator[Planned]:
    from diffumask.generation.plan import plan

    for item in plan(source.class_names, n, run_seed):
        yield Planned(item, source.prompt_of(item.class_name, item.index, item.seed))


def _expanded(planned: Iterable[Planned], expand: Expand) -> Iterator[Planned]:
    """Expand prompts, and tell at the end how many had to stay as they were."""
    kept = total = 0
    for one in planned:
        longer = expand(one.prompt, one.item.seed)
        total += 1
        kept += longer is None
        yield replace(one, prompt=longer or one.prompt)
    if kept:
        print(
            f"{kept} of {total} prompts stay as they were: none of {TRIES} continuations suited",
            file=sys.stderr,
        )


def _balance(source: PromptSource, planned: Iterable[Planned], format_: str) -> Iterator[str]:
    by_class: dict[str, list[Prompt]] = {}
    for one in planned:
        by_class.setdefault(one.item.class_name, []).append(one.prompt)
    for name, prompts in by_class.items():
        counts = balance(prompts, *source.choices[name])
        if format_ == "jsonl":
            yield json.dumps({"class": name, **counts.as_json()}, ensure_ascii=False)
        else:
            yield table(name, counts)


def _as_text(planned: Planned) -> str:
    return planned.prompt.text


def _as_json(planned: Planned) -> str:
    """Write a prompt as generate's metadata does, which --prompts takes back."""
    from diffumask.dataset.items import prompt_facts

    facts = {"index": planned.item.index, "seed": planned.item.seed}
    return json.dumps(prompt_facts(planned.prompt) | facts, ensure_ascii=False)


FORMATS: dict[str, Callable[[Planned], str]] = {"text": _as_text, "jsonl": _as_json}
