"""What prompts are made of: classes with a vocabulary, captions, or a file of the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted
from diffumask.errors import InputError

from . import values
from .option import WHAT, Option, Options, StrPath
from .progress import log
from .ranking_name import CLIP, TEXT, check_ranking

if TYPE_CHECKING:  # it loads numpy
    from diffumask.prompts.source import PromptSource
    from diffumask.prompts.vocabulary import Vocabulary


def vocabulary_for(vocabulary: str | None, model: str) -> "Vocabulary":
    """Read the vocabulary that was asked for, or that of the model."""
    from diffumask.prompts.vocabulary import load_vocabulary

    return load_vocabulary(vocabulary or values.VOCABULARIES.get(model, "voc"))


VocabularyName = Annotated[
    str | None,
    Option(
        "tiny, voc, cityscapes, ade20k or a TOML file.",
        default="tiny for tiny, else voc",
        values=values.vocabularies,
    ),
]


@dataclass(frozen=True, kw_only=True)
class PromptOptions(Options):
    """The options of prompts; there is one way to them."""

    PANEL = WHAT

    classes: Annotated[
        Sequence[str],
        Option(
            "Class of the images, any words; repeat.",
            name="class",
            default="none",
            values=values.classes,
        ),
    ] = ()
    vocabulary: VocabularyName = None
    prompts: Annotated[
        StrPath | None, Option("Prompts of your own (.txt, .csv, .jsonl).", default="built")
    ] = None
    captions: Annotated[
        StrPath | None, Option("Captions to choose prompts from (.txt).", default="built")
    ] = None
    caption_ranking: Annotated[
        str,
        Option(
            "What tells captions that are alike: text, or clip:FOLDER of a CLIP.",
            values=(TEXT, CLIP),
        ),
    ] = TEXT
    objects: Annotated[
        int, Option("Labelled objects in a prompt, of as many of the classes.", least=1)
    ] = 1
    open_all: Annotated[
        bool, Option("Take an unknown class as typed, however like a known one.", name="open")
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranking(self.caption_ranking)
        if self.caption_ranking != TEXT and self.captions is None:
            raise InputError(
                "expected captions beside a caption ranking by CLIP, got none; name a file"
            )
        if not self.classes and self.prompts is None:
            raise InputError("expected a class or a file of prompts, got neither; name a class")
        ways = {
            "prompts": self.prompts is not None,
            "captions": self.captions is not None,
            "objects": self.objects > 1,
        }
        given = [way for way, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise InputError(f"expected one way to prompts, got {' and '.join(given)}; choose one")

    def log_others(self, n_asked: int, vocabulary: "Vocabulary") -> None:
        """Say that classes are labelled which nobody asked for, where there are too few asked."""
        if n_asked < self.objects:
            log.info(
                "%s a prompt, of %s: the others are classes of the vocabulary %s",
                counted(self.objects, "object"),
                counted(n_asked, "class") + " asked for",
                vocabulary.name,
            )

    def open_source(
        self, vocabulary: "Vocabulary", device: str, known: Mapping[str, int] | None = None
    ) -> "PromptSource":
        """Find where prompts come from; `known` are the class ids of a dataset that goes on."""
        from diffumask.prompts.classes import Classes
        from diffumask.prompts.source import from_captions, from_file, from_vocabulary

        from .text_models import make_ranking

        classes = Classes(vocabulary, known, self.open_all)
        if self.prompts is not None:
            return from_file(Path(self.prompts), classes, self.classes)
        if self.captions is not None:
            ranking = make_ranking(self.caption_ranking, device)
            return from_captions(Path(self.captions), classes, self.classes, ranking)
        return from_vocabulary(classes, self.classes, self.objects)
