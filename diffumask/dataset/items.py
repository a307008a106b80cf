"""One item of the native folder: how it is written, listed and read back."""

import gc
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.files.inside import leads_out, read_inside, read_text
from diffumask.files.json_kinds import parse
from diffumask.files.pictures import PNG, opened
from diffumask.types import ClassMap, Example, Image, Prompt

from .checksums import FILES, file_sizes, is_torn, stamp
from .record import (
    IMAGE,
    IMAGES_FOLDER,
    MAPS,
    MAPS_FOLDER,
    MASK,
    MASKS_FOLDER,
    Record,
    file_paths,
    item_paths,
    named_item,
)

METADATA_FILE = "metadata.jsonl"
JOURNAL_FILE = ".journal.jsonl"  # the lines of the batch that is being listed
ADVICE = "see what diffumask verify says"


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """An item as it is written: its record, and the content of its files by their paths."""

    record: Record
    files: Mapping[str, bytes]


def file_stem(class_name: str) -> str:
    """Make a safe file name of whatever class name: "potted plant" -> "PottedPlant".

    Words are capitalised because `datasets` takes files such as "train_000012.png" and
    "test_000012.png" for those of a split. Raises InputError for a class name without a Latin
    letter or digit.
    """
    words = re.findall(r"[A-Za-z0-9]+", class_name)
    if not words:
        raise InputError(f"expected letters a-z or digits in a class name, got {class_name!r}")
    return "".join(word[0].upper() + word[1:] for word in words)


def item_name(class_name: str, index: int) -> str:
    """Name an item after its class and index: ("potted plant", 12) -> "PottedPlant_000012"."""
    return f"{file_stem(class_name)}_{index:06d}"


def make_record(name: str, example: Example, facts: Mapping[str, Any]) -> Record:
    """Describe an item: where its files are, what it shows, and further `facts`."""
    fields = {
        **item_paths(name),
        **prompt_facts(example.prompt),
        "seed": example.seed,
        **facts,
        "scores": dict(example.scores),
    }
    return Record.from_json(fields)


def prompt_facts(prompt: Prompt) -> dict[str, Any]:
    """Describe a prompt as JSON.

    `class` and `class_id` are those of the first target, for which the item was made.
    """
    first, *_ = targets = prompt.targets
    return {
        "prompt": prompt.text,
        "class": first.class_name,
        "class_id": first.class_id,
        "targets": [
            {"word": one.word, "class": one.class_name, "class_id": one.class_id} for one in targets
        ],
        "sub_class": prompt.sub_class,
        "context": prompt.context,
    }


def encode_item(
    name: str, example: Example, facts: Mapping[str, Any], maps: bytes | None = None
) -> EncodedItem:
    """Encode an item with its encoded heat maps, if any; `facts` are further JSON fields."""
    contents = {IMAGE: encode_image(example.image), MASK: encode_class_map(example.class_map)}
    if maps is not None:
        contents[MAPS] = maps
    stamps = {kind: stamp(content) for kind, content in contents.items()}
    paths = file_paths(name)
    return EncodedItem(
        make_record(name, example, facts).changed({FILES: stamps}),
        {paths[kind]: content for kind, content in contents.items()},
    )


def to_line(record: Record) -> str:
    """Write a record as a line of metadata.jsonl."""
    return json.dumps(record.to_json(), ensure_ascii=False) + "\n"


def read_records(folder: Path) -> list[Record]:
    """List the finished items whose files are there and not cut short.

    Of several lines for one item the last counts. A line that names no item, such as a last
    line torn by a power cut, is skipped, so that its item will be made again. Heat maps may have
    been deleted. Raises InputError for a line that names an item but tells something else of it
    than a `Record` does.
    """
    return list(scan_records(folder)[0].values())


def whole_records(folder: Path) -> list[Record]:
    """List the finished items of a folder whose files are all whole, for those that read them.

    Raises InputError that names a file that was cut short since it was written.
    """
    records, torn = scan_records(folder)
    if torn:
        raise InputError(
            f"expected whole files, got {folder / torn[0]} cut short; see what diffumask verify "
            f"{folder} says"
        )
    return list(records.values())


def scan_records(
    folder: Path, listed: Mapping[str, Record] | None = None
) -> tuple[dict[str, Record], list[str]]:
    """Return what `read_records` does, by item name, and the paths of files that are cut short.

    `listed` is what `listed_records` gave, if that was called already.
    """
    records, torn = {}, []
    with _collector_paused():
        found = found_files(folder)
        for name, record in (listed_records(folder) if listed is None else listed).items():
            paths = file_paths(name)
            cut = _torn_files(folder, paths, record, found)
            torn += cut
            if not cut and paths[IMAGE] in found and paths[MASK] in found:
                records[name] = record
    return records, torn


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare new objects, of which none is garbage, from being looked through again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def listed_records(folder: Path) -> dict[str, Record]:
    """Read the lines of metadata.jsonl that are of items, by item name, whatever their files.

    Raises as `read_records`.
    """
    trees: dict[str, Any] = {}
    for file_name in (JOURNAL_FILE, METADATA_FILE):  # what is in both may have been annotated since
        for line in read_text(folder, file_name).split("\n"):
            tree = _parsed(line)
            name = named_item(tree)
            if name is not None:
                trees[name] = tree
    return {name: _record(folder, name, tree) for name, tree in trees.items()}


def _record(folder: Path, name: str, tree: Any) -> Record:
    try:
        return Record.from_json(tree)
    except InputError as error:
        raise InputError(
            f"{error} in the line of {name} in {folder / METADATA_FILE}; see what diffumask "
            f"verify {folder} says"
        ) from error


def found_files(folder: Path) -> dict[str, int]:
    """Return the bytes of each file in the folders of items, by its path in the dataset."""
    return {
        f"{part}/{name}": size
        for part in (IMAGES_FOLDER, MASKS_FOLDER, MAPS_FOLDER)
        for name, size in file_sizes(folder / part).items()
    }


def present_files(folder: Path, record: Record) -> list[str]:
    """Return the paths of the files of an item, with that of its heat maps if they were kept."""
    kept = has_maps(folder, record)
    return [path for kind, path in file_paths(record.name).items() if kind != MAPS or kept]


def has_maps(folder: Path, record: Record) -> bool:
    """Tell whether the heat maps of an item were kept in the folder."""
    path = folder / file_paths(record.name)[MAPS]
    is_out = path.parent.is_symlink() or (path.is_symlink() and leads_out(folder, path))
    return path.is_file() and not is_out


def _torn_files(
    folder: Path, paths: Mapping[str, str], record: Record, found: Mapping[str, int]
) -> list[str]:
    """Return the paths of those `found` files of an item that were cut short."""
    return [
        path
        for kind, path in paths.items()
        if path in found and is_torn(folder, path, found[path], record.files.get(kind))
    ]


def read_example(folder: Path, record: Record) -> Example:
    """Read the item of a record back.

    Raises InputError for a file that is damaged, an image that is not RGB and a mask that is not
    one label a pixel of it.
    """
    image, path = read_image(folder, record), file_paths(record.name)[MASK]
    class_map = _pixels(folder, path, "P", "L")
    if class_map.shape != image.shape[:2]:
        raise InputError(
            f"expected the size of the image, {image.shape[:2]}, in {folder / path}, got "
            f"{class_map.shape}; {ADVICE}"
        )
    return Example(record.prompt, record.seed, image, class_map, record.scores)


def read_image(folder: Path, record: Record) -> Image:
    """Read the image of an item. Raises InputError for a damaged file, and one that is not RGB."""
    return _pixels(folder, file_paths(record.name)[IMAGE], "RGB")


def encode_image(image: Image) -> bytes:
    """Encode an image as RGB PNG."""
    encoded = io.BytesIO()
    PillowImage.fromarray(image).save(encoded, "PNG")
    return encoded.getvalue()


def encode_class_map(class_map: ClassMap) -> bytes:
    """Encode a class map as 8-bit palette PNG in the VOC colours, the ids being the indices."""
    encoded = io.BytesIO()
    picture = PillowImage.fromarray(class_map)
    picture.putpalette(voc_palette().tobytes())
    picture.save(encoded, "PNG")
    return encoded.getvalue()


def parse_line(line: str) -> Record | None:
    """Read a line of metadata.jsonl; None for one that names no files in the folder.

    Raises InputError for an item of which it tells something else than a `Record` does.
    """
    tree = _parsed(line)
    return None if named_item(tree) is None else Record.from_json(tree)


def names_item(line: str) -> bool:
    """Tell whether a line of metadata.jsonl names files in the folder, whatever else it tells."""
    return named_item(_parsed(line)) is not None


def _parsed(line: str) -> Any:
    try:
        return parse(line)
    except ValueError:
        return None


def _pixels(folder: Path, name: str, *modes: str) -> UInt8[np.ndarray, "h w *channels"]:
    path = folder / name
    try:
        content = read_inside(folder, name)
    except OSError as error:
        raise InputError(
            f"expected a whole PNG file, got {path}: {error.strerror}; {ADVICE}"
        ) from error
    with opened(content, PNG, ADVICE, name=str(path)) as picture:
        if picture.mode not in modes:
            raise InputError(
                f"expected a PNG of {' or '.join(modes)}, got {path} of {picture.mode}; {ADVICE}"
            )
        return np.array(picture)
