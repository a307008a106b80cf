"""What a dataset folder consists of besides its items, and that none of it is a link."""

import stat
from pathlib import Path

from diffumask.errors import InputError
from diffumask.files.lock import LOCK_FILE

from .names import IMAGES_FOLDER, MAPS_FOLDER, MASKS_FOLDER
from .quarantine import BROKEN_FOLDER

RUN_FILE = "run.json"
METADATA_FILE = "metadata.jsonl"
JOURNAL_FILE = ".journal.jsonl"  # the lines of the batch that is being listed
PREVIEW_FILE = "preview.jpg"
PARTIAL_FOLDER = ".partial"
FILTER_FOLDER = "filter"
FOLDERS = (
    *(IMAGES_FOLDER, MASKS_FOLDER, MAPS_FOLDER),
    *(PARTIAL_FOLDER, BROKEN_FOLDER, FILTER_FOLDER),
)
FILES = (RUN_FILE, METADATA_FILE, JOURNAL_FILE, PREVIEW_FILE, LOCK_FILE)


def check_parts(folder: Path) -> None:
    """Raise InputError for a part of a dataset that is a link, or not of the kind it has to be.

    The folder itself may be reached through links.
    """
    for names, is_kind, kind in ((FOLDERS, stat.S_ISDIR, "folder"), (FILES, stat.S_ISREG, "file")):
        for name in names:
            try:
                mode = (folder / name).lstat().st_mode
            except OSError:  # not there, or seen by whoever opens it
                continue
            if not is_kind(mode):
                got = "a link" if stat.S_ISLNK(mode) else "something else"
                raise InputError(
                    f"expected {folder / name} to be a {kind}, got {got}; put the {kind} itself "
                    "there, or link the dataset as a whole"
                )
