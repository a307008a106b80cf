"""A dataset with masks that people corrected."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted

from .new_folder import refuse_inside
from .option import Option, Options, StrPath
from .progress import progress
from .result import Result, look_at
from .use_case import use_case
from .values import READ_FORMATS

if TYPE_CHECKING:  # it loads OpenCV
    from .dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """The options of `import`."""

    masks: Annotated[
        StrPath,
        Option("Corrected masks: a folder, zip, JSON or XML file.", positional=True, read=True),
    ]
    format: Annotated[str, Option("cvat, label-studio, coco or png.", values=READ_FORMATS)]
    data: Annotated[StrPath, Option("Dataset that the masks are of; stays as it is.", read=True)]
    out: Annotated[StrPath, Option("Folder of the new dataset.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_inside(self.out, self.data)


@use_case(ImportOptions)
def import_masks(options: ImportOptions) -> "Result[Dataset]":
    """Put masks that people corrected into a copy of a dataset.

    Items without a corrected mask keep theirs.

    Returns the new dataset. Every mask is checked, and on the first that is wrong no new folder is
    left. Raises InputError for what the user can mend.
    """
    from diffumask.dataset.dataset import Dataset
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store
    from diffumask.formats.archive import justified_bytes, open_archive
    from diffumask.formats.corrected import CORRECTED, Originals, correct
    from diffumask.formats.folder import new_folder
    from diffumask.formats.registry import reader

    from .dataset import open_dataset

    out, read = Path(options.out), reader(options.format)
    source = Dataset.open(options.data, with_dropped=True).require_items()
    source.check()
    originals = Originals(source)
    settings = {**source.run.settings, "masks_from": options.format}
    notes = {"masks_of": str(options.data), "corrected_masks": str(options.masks)}
    max_bytes = justified_bytes(len(source), source.size_hw)
    with new_folder(out) as folder, open_archive(Path(options.masks), max_bytes) as archive:
        with open_store(folder, settings, originals.class_ids, notes) as store:
            with progress("masks", len(source), each="mask") as advance:
                for _ in correct(originals, read(archive, originals), store):
                    advance(1)
            write_preview(store)
        n_corrected = sum(record.mask_source == CORRECTED for record in store.records.values())
    text = (
        f"{counted(len(source), 'item')} in {out}, {n_corrected} with corrected masks{look_at(out)}"
    )
    facts = {
        "folder": out,
        "items": len(source),
        "corrected": n_corrected,
        "left_out": dict(originals.left_out),
        "kept": originals.kept,
        "emptied": originals.emptied,
    }
    dataset = open_dataset(out, with_dropped=True)
    return Result(dataset, "\n".join([text, *originals.notes()]), facts, folder=out)
