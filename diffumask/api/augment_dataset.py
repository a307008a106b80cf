"""New scenes from the items of a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted

from .image_size import read_size
from .new_folder import refuse_inside
from .option import Option, Options, StrPath
from .progress import progress
from .result import Result, look_at
from .use_case import use_case

if TYPE_CHECKING:  # they load OpenCV
    from diffumask.api.dataset import Dataset
    from diffumask.augment.compose import AugmentSettings


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(Options):
    """The options of `augment_dataset`, which is the command augment."""

    folder: Annotated[
        StrPath,
        Option("Dataset to make scenes from; stays as it is.", positional=True, read=True),
    ]
    out: Annotated[StrPath, Option("Folder of the new dataset.")]
    n: Annotated[int | None, Option("Items to make.", default="as the source has", least=1)] = None
    seed: Annotated[int, Option("Seed of the run.", least=0)] = 0
    splice: Annotated[float, Option("Share of items that are a grid of images.")] = 0.4
    copy_paste: Annotated[float, Option("Share of items into which objects of others are set.")] = (
        0.2
    )
    perspective: Annotated[float, Option("Share of items that are warped.")] = 0.3
    blur: Annotated[float, Option("Share of items that are blurred.")] = 0.3
    occlude: Annotated[float, Option("Share of items with things in front.")] = 0.3
    size: Annotated[str | None, Option("HEIGHTxWIDTH in pixels.", default="the first item's")] = (
        None
    )
    with_dropped: Annotated[bool, Option("Take items that `filter` dropped, too.", name="all")] = (
        False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_inside(self.out, self.folder)

    def settings(self) -> "AugmentSettings":
        """Return the shares and the size. Raises InputError for numbers out of their range."""
        from diffumask.augment.compose import OPERATIONS, AugmentSettings

        shares = {name: getattr(self, name) for name in OPERATIONS}
        return AugmentSettings(**shares, size_hw=read_size(self.size))


@use_case(AugmentOptions)
def augment_dataset(options: AugmentOptions) -> "Result[Dataset]":
    """Make new scenes from the images and masks of a dataset.

    They come into a new folder. The same command goes on where an earlier one stopped, in the
    same folder.

    Returns the new dataset. Every item of the source is read and checked before its folder is
    made. Raises InputError for a source that is no dataset, is empty or has a bad item, for a new
    folder in the source, and for numbers out of their range.
    """
    from diffumask.augment.folder import identity, sized, write_scenes
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store

    from .dataset import Dataset, open_dataset

    out = Path(options.out)
    settings = options.settings()
    source = Dataset.open(options.folder, options.with_dropped).require_items()
    settings = sized(settings, source)
    source.check()

    n = options.n or len(source)
    notes = {"augmented_of": str(options.folder)}
    described = identity(source, settings, options.seed)
    with open_store(out, described, source.classes, notes) as store:
        before = len(store.records)
        with progress("scenes", n, min(n, before), "scene") as advance:
            for _ in write_scenes(source, store, n, settings, options.seed):
                advance(1)
        write_preview(store)
        total = len(store.records)
    text = f"{counted(total, 'item')} in {out}"
    if total > n:
        text += f", the {n} asked for among them"
    facts = {"folder": out, "items": total, "asked": n}
    return Result(open_dataset(out), text + look_at(out), facts, out, is_new=total > before)
