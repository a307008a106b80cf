"""The classes of a vocabulary."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted

from . import values
from .columns import columns
from .option import Option, Options
from .prompt_options import VocabularyName, vocabulary_for
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # it loads numpy
    from diffumask.prompts.vocabulary import Vocabulary, VocabularyClass

HEAD = ("id", "class", "also called", "sub-classes")


@dataclass(frozen=True, kw_only=True)
class ClassesOptions(Options):
    """The options of `classes`."""

    vocabulary: VocabularyName = None
    model: Annotated[
        str, Option("As for generate; chooses the vocabulary.", values=values.models)
    ] = "tiny"


@dataclass(frozen=True, slots=True)
class ListedClass:
    """A class of a vocabulary: `class_id` is its value in masks, `other_names` find it too."""

    class_id: int
    name: str
    other_names: tuple[str, ...]
    sub_classes: tuple[str, ...]


@use_case(ClassesOptions)
def list_classes(options: ClassesOptions) -> Result[list[ListedClass]]:
    """List the classes that a vocabulary knows.

    Each has its id in masks and its sub-classes.

    Returns them in the order of ids. Raises InputError for what is no vocabulary.
    """
    vocabulary = vocabulary_for(options.vocabulary, options.model)
    ordered = sorted(vocabulary.classes, key=lambda entry: entry.class_id)
    listed = [_listed(entry) for entry in ordered]
    text = "\n".join([_head(vocabulary), "", *columns(HEAD, map(_cells, listed))])
    facts = {
        "vocabulary": vocabulary.name,
        "open": vocabulary.open,
        "classes": [asdict(one) for one in listed],
    }
    return Result(listed, text, facts)


def _listed(entry: "VocabularyClass") -> ListedClass:
    others = (name for name in entry.known_as if name != entry.name)
    return ListedClass(entry.class_id, entry.name, tuple(dict.fromkeys(others)), entry.sub_classes)


def _head(vocabulary: "Vocabulary") -> str:
    others = "are taken as typed" if vocabulary.open else "are refused"
    count = counted(len(vocabulary.classes), "class")
    return f"vocabulary {vocabulary.name}: {count}; other words {others}"


def _cells(one: ListedClass) -> tuple[str, ...]:
    return str(one.class_id), one.name, ", ".join(one.other_names), ", ".join(one.sub_classes)
