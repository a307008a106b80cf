"""The native dataset folder, in which every item that is listed is complete.

    images/Bird_000012.png   RGB
    masks/Bird_000012.png    8-bit palette: 0 background, class id, 255 ignore
    metadata.jsonl           one line per finished item, appended after its files
    run.json                 settings, classes and runs, written first
    maps/...                 heat maps, if asked for: see `diffumask.dataset.maps`
    preview.jpg              contact sheet
    .broken/0001/...         files that were set aside, see `diffumask.dataset.verify`

`datasets.load_dataset("imagefolder", data_dir=folder)` reads it.
"""

import errno
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.atomic import writing
from diffumask.files.begun import refuse_changes, refuse_foreign
from diffumask.files.lock import locked, refuse_locked

from .listing import scan_records
from .names import IMAGES_FOLDER, MASKS_FOLDER
from .parts import METADATA_FILE, PARTIAL_FOLDER, PREVIEW_FILE, RUN_FILE, check_parts
from .quarantine import quarantine
from .record import Record
from .run import Run, continued_run, new_run, read_run
from .writer import Store


@contextmanager
def open_store(
    folder: Path,
    settings: Mapping[str, Any],
    classes: Mapping[str, int],
    *notes: Mapping[str, Any],
) -> Iterator[Store]:
    """Open a new folder, or go on with one made with the same settings.

    `settings` are what an item depends on; they can change as long as no item is finished.
    `classes` (name -> id) may grow from run to run, and the `notes` of one or several runs
    (versions, device, ...) are only recorded. Files that were cut short are set aside in .broken,
    and their items are to be made again. Raises InputError for other settings, whose keys it
    names, for a folder of something else, one that another run is writing to, and one that cannot
    be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(folder)
    check_parts(folder)
    with locked(folder):
        records, torn = scan_records(folder)
        store = Store(folder, records)
        run = new_run(settings, classes, notes)
        if (folder / RUN_FILE).exists():
            earlier = read_run(folder)
            run = continued_run(folder, earlier, run) if store.records else run
        with prepared(store, run, torn, in_order=store.is_in_order()):
            length = (folder / METADATA_FILE).stat().st_size
            yield store
            if (folder / METADATA_FILE).stat().st_size != length:
                store.sort_metadata()


@contextmanager
def prepared(
    store: Store, run: Run, torn: Iterable[str] = (), in_order: bool = False
) -> Iterator[None]:
    """Bring a folder that is locked in order: run.json, its lines, nothing torn or partial."""
    try:
        store.begin(run)
        with writing(store.folder):
            quarantine(store.folder, torn)
        if not in_order:
            store.sort_metadata()
        yield
    finally:
        shutil.rmtree(store.folder / PARTIAL_FOLDER, ignore_errors=True)


def settled_records(folder: Path) -> dict[str, Record]:
    """Return the items of a folder that a run left in order, by name, whose preview is made.

    Of a folder with anything left to mend, of another kind, or of none: nothing.
    """
    preview = folder / PREVIEW_FILE
    if not (folder / RUN_FILE).is_file() or not preview.is_file():
        return {}
    since = preview.stat().st_mtime_ns
    parts = (folder / IMAGES_FOLDER, folder / MASKS_FOLDER)  # as they are since the last new item
    if not all(part.is_dir() and part.stat().st_mtime_ns <= since for part in parts):
        return {}
    records, torn = scan_records(folder)
    is_left = torn or (folder / PARTIAL_FOLDER).exists()
    return records if not is_left and Store(folder, records).is_in_order() else {}


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError where a folder with items was begun with other values of these settings.

    For those that are known before a model is loaded; `open_store` compares all of them.
    """
    if not (folder / RUN_FILE).is_file():
        return
    new = new_run(settings, {}, []).settings
    earlier = read_run(folder).settings
    earlier = {name: earlier.get(name) for name in new}
    if earlier != new and scan_records(folder)[0]:  # which takes seconds where there are many
        refuse_changes(folder, earlier, new)


def check_folder(
    folder: Path,
    settings: Mapping[str, Any],
    classes: Mapping[str, int],
    later: Collection[str] = (),
) -> None:
    """Raise InputError where `open_store` would, and change nothing.

    `later` are settings that are not known yet, such as those of a model that is not loaded.
    """
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with writing(folder):
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above} is no folder")
        if not os.access(above, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if folder.exists():
            _refuse_foreign(folder)
    check_parts(folder)
    refuse_locked(folder)
    if not (folder / RUN_FILE).is_file():
        return
    earlier = read_run(folder)
    known = {name: value for name, value in earlier.settings.items() if name not in later}
    try:
        continued_run(folder, replace(earlier, settings=known), new_run(settings, classes, []))
    except InputError:
        if scan_records(folder)[0]:  # which takes seconds where there are many
            raise


def _refuse_foreign(folder: Path) -> None:
    if RUN_FILE in os.listdir(folder):
        return
    left = {PARTIAL_FOLDER}
    for name in (IMAGES_FOLDER, MASKS_FOLDER):  # as earlier versions left them after a kill
        if (folder / name).is_dir() and not os.listdir(folder / name):
            left.add(name)
    refuse_foreign(folder, "diffumask", left)
