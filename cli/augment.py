"""`diffumask augment`: made-up scenes from the items of a dataset."""

from collections.abc import Mapping
from pathlib import Path

from diffumask.api.image_size import read_size
from diffumask.errors import InputError

from .progress import progress
from .result import Result


def run(
    folder: Path,
    out: Path,
    n: int | None,
    seed: int,
    shares: Mapping[str, float],
    size: str | None,
    with_dropped: bool = False,
) -> Result:
    """Write the augmented dataset, and return a line that says where.

    Every item of the source is read and checked before the new folder is made. Raises InputError
    for a source that is no dataset, is empty or has a bad item, for a new folder in the source,
    and for numbers out of their range.
    """
    from diffumask.augment.compose import AugmentSettings
    from diffumask.augment.folder import augment, identity, sized
    from diffumask.dataset.dataset import Dataset
    from diffumask.dataset.parts import PREVIEW_FILE
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store

    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"expected a new folder outside of {folder}, got {out}; choose another")
    if n is not None and n < 1:
        raise InputError(f"expected n >= 1, got {n}")
    settings = AugmentSettings(**shares, size_hw=read_size(size))
    source = Dataset.open(folder, with_dropped).require_items()
    settings = sized(settings, source)
    source.check()

    n = n or len(source)
    notes = {"augmented_of": str(folder)}
    with open_store(out, identity(source, settings, seed), source.run.classes, notes) as store:
        done = min(n, len(store.records))
        with progress(n, done) as advance:
            for _ in augment(source, store, n, settings, seed):
                advance(1)
        write_preview(store)
        total = len(store.records)
    text = f"{total} items in {out}; look at {out / PREVIEW_FILE}"
    return Result(text, {"folder": out, "items": total}, folder=out)
