"""The prompts of a run, or what is in them."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted
from diffumask.errors import InputError

from . import values
from .option import Option
from .progress import log
from .prompt_options import PromptOptions, vocabulary_for
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # it loads OpenCV
    from diffumask.generation.plan import Item
    from diffumask.prompts.source import PromptSource
    from diffumask.types import Prompt

    from .text_models import Expand


@dataclass(frozen=True, kw_only=True)
class PromptsOptions(PromptOptions):
    """The options of `prompts`."""

    n: Annotated[int, Option("Prompts of each class.", least=1)] = 20
    model: Annotated[
        str, Option("As for generate; chooses the vocabulary.", values=values.models)
    ] = "tiny"
    seed: Annotated[int, Option("Seed of the run.", least=0)] = 0
    balance: Annotated[bool, Option("Count sub-classes and contexts instead.")] = False
    format: Annotated[str, Option("text or jsonl.", values=("text", "jsonl"))] = "text"
    expand: Annotated[
        str | None,
        Option("Language model that goes on with the prompts: a folder or hub id.", default="none"),
    ] = None
    device: Annotated[
        str, Option("For expand and clip: auto, cpu, cuda, mps, ...", values=values.DEVICES)
    ] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expand is not None and self.balance:
            raise InputError("expected either expand or balance, got both; choose one")
        if self.format not in FORMATS:
            raise InputError(f"expected a format {' or '.join(FORMATS)}, got {self.format!r}")


@dataclass(frozen=True, slots=True)
class PlannedPrompt:
    """A prompt and the item that `generate` makes of it."""

    item: "Item"
    prompt: "Prompt"


@use_case(PromptsOptions)
def list_prompts(options: PromptsOptions) -> Result[list[str]]:
    """List the prompts that generate would use.

    Returns the lines. Raises InputError for what the user can mend.
    """
    lines = list(_lines(options))
    return Result(lines, "\n".join(lines), {"lines": lines})


def _lines(options: PromptsOptions) -> Iterator[str]:
    from .text_models import make_expand

    vocabulary = vocabulary_for(options.vocabulary, options.model)
    source = options.open_source(vocabulary, options.device)
    options.log_others(len(source.class_names), vocabulary)
    planned = _plan(source, options.n, options.seed)
    if options.expand is not None:
        expand = make_expand(options.expand, options.model, vocabulary, options.device)
        planned = _expanded(planned, expand)
    if options.balance:
        yield from _balance(source, planned, options.format)
    else:
        yield from map(FORMATS[options.format], planned)


def _plan(source: "PromptSource", n: int, run_seed: int) -> Iterator[PlannedPrompt]:
    from diffumask.generation.plan import plan

    for item in plan(source.class_names, n, run_seed):
        yield PlannedPrompt(item, source.prompt_of(item.class_name, item.index, item.seed))


def _expanded(planned: Iterable[PlannedPrompt], expand: "Expand") -> Iterator[PlannedPrompt]:
    """Expand prompts, and log at the end how many had to stay as they were."""
    from .text_models import TRIES

    kept = total = 0
    for short in planned:
        longer = expand(short.prompt, short.item.seed)
        total += 1
        kept += longer is None
        yield replace(short, prompt=longer or short.prompt)
    if kept:
        log.info(
            "%d of %s stay as they were: none of %d continuations suited",
            kept,
            counted(total, "prompt"),
            TRIES,
        )


def _balance(
    source: "PromptSource", planned: Iterable[PlannedPrompt], format_name: str
) -> Iterator[str]:
    from diffumask.prompts.balance import balance, table

    by_class: dict[str, list[Prompt]] = {}
    for each in planned:
        by_class.setdefault(each.item.class_name, []).append(each.prompt)
    for name, of_class in by_class.items():
        counts = balance(of_class, *source.choices[name])
        if format_name == "jsonl":
            yield json.dumps({"class": name, **counts.as_json()}, ensure_ascii=False)
        else:
            yield table(name, counts)


def _as_text(planned: PlannedPrompt) -> str:
    return planned.prompt.text


def _as_json(planned: PlannedPrompt) -> str:
    """Write a prompt as generate's metadata does, which takes it back as a prompt file."""
    from diffumask.dataset.encode import prompt_facts

    facts = {"index": planned.item.index, "seed": planned.item.seed}
    return json.dumps(prompt_facts(planned.prompt) | facts, ensure_ascii=False)


FORMATS: dict[str, Callable[[PlannedPrompt], str]] = {"text": _as_text, "jsonl": _as_json}
