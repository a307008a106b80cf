"""One item of the native folder: its name, its files and its line in metadata.jsonl."""

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

from diffumask.checksums import FILES, file_sizes, is_torn, stamp, stamp_of
from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.inside import leads_out, read_inside
from diffumask.types import ClassMap, Example, Image, Prompt, Target

METADATA_FILE = "metadata.jsonl"
JOURNAL_FILE = ".journal.jsonl"  # the lines of the batch that is being listed
IMAGES_FOLDER, MASKS_FOLDER, MAPS_FOLDER = "images", "masks", "maps"
IMAGE, MASK, MAPS = "image", "mask", "maps"
ITEM_NAME = re.compile(r"[A-Z0-9][A-Za-z0-9]*_[0-9]{6,}")
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, PillowImage.DecompressionBombError)
VERDICT, KEPT, DROPPED = "verdict", "kept", "dropped"  # of `diffumask filter`

Record = dict[str, Any]


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
    """Describe an item as JSON: where its files are, what it shows, and further `facts`."""
    return {
        **item_paths(name),
        **prompt_facts(example.prompt),
        "seed": example.seed,
        **facts,
        "scores": dict(example.scores),
    }


def prompt_facts(prompt: Prompt) -> Record:
    """Describe a prompt as JSON, which `record_prompt` reads.

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
        {**make_record(name, example, facts), FILES: stamps},
        {paths[kind]: content for kind, content in contents.items()},
    )


def record_name(record: Mapping[str, Any]) -> str:
    """Return the item name of a record."""
    return _stem(record["file_name"])


def is_dropped(record: Mapping[str, Any]) -> bool:
    """Tell whether `diffumask filter` found an item unfit; without a verdict it is not."""
    return record.get(VERDICT) == DROPPED


def item_paths(name: str) -> dict[str, str]:
    """Return the two files of an item, relative to the folder, by their keys in the record."""
    paths = file_paths(name)
    return {"file_name": paths[IMAGE], "mask_file_name": paths[MASK]}


def file_paths(name: str) -> dict[str, str]:
    """Return where the files of an item are, or would be, relative to the folder, by their kind."""
    if not ITEM_NAME.fullmatch(name):
        raise ValueError(f"expected a name made by item_name, got {name!r}")
    return {
        IMAGE: f"{IMAGES_FOLDER}/{name}.png",
        MASK: f"{MASKS_FOLDER}/{name}.png",
        MAPS: f"{MAPS_FOLDER}/{name}.safetensors",
    }


def to_line(record: Mapping[str, Any]) -> str:
    """Write a record as a line of metadata.jsonl."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def read_records(folder: Path) -> list[Record]:
    """List the finished items whose files are there and not cut short.

    Of several lines for one item the last counts. A line that is no record, such as a last
    line torn by a power cut, is skipped, so that its item will be made again. Heat maps may have
    been deleted.
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


def scan_records(folder: Path) -> tuple[dict[str, Record], list[str]]:
    """Return what `read_records` does, by item name, and the paths of files that are cut short."""
    records, torn = {}, []
    with _collector_paused():
        found = found_files(folder)
        for name, record in listed_records(folder).items():
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
    """Read the lines of metadata.jsonl that are records, by item name, whatever their files."""
    lines: list[str] = []
    for name in (JOURNAL_FILE, METADATA_FILE):  # what is in both may have been annotated since
        lines += read_text(folder, name).split("\n")
    parsed = [record for record in map(parse_line, lines) if record is not None]
    return {record_name(record): record for record in parsed}


def read_text(folder: Path, name: str) -> str:
    """Read a file of lines in a dataset, nothing where it is not there.

    Raises InputError for a link that leads out, and for what is no file.
    """
    try:
        return read_inside(folder, name).decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise InputError(
            f"expected {name} as a file in {folder}, got {error.strerror}; put it in its place"
        ) from error


def found_files(folder: Path) -> dict[str, int]:
    """Return the bytes of each file in the folders of items, by its path in the dataset."""
    return {
        f"{part}/{name}": size
        for part in (IMAGES_FOLDER, MASKS_FOLDER, MAPS_FOLDER)
        for name, size in file_sizes(folder / part).items()
    }


def present_files(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the paths of the files of an item, with that of its heat maps if they were kept."""
    paths = file_paths(record_name(record))
    kept = has_maps(folder, record)
    return [path for kind, path in paths.items() if kind != MAPS or kept]


def has_maps(folder: Path, record: Mapping[str, Any]) -> bool:
    """Tell whether the heat maps of an item were kept in the folder."""
    path = folder / file_paths(record_name(record))[MAPS]
    return path.is_file() and not leads_out(folder, path)


def _torn_files(
    folder: Path, paths: Mapping[str, str], record: Mapping[str, Any], found: Mapping[str, int]
) -> list[str]:
    """Return the paths of those `found` files of an item that were cut short."""
    if FILES not in record:
        return []
    return [
        path
        for kind, path in paths.items()
        if path in found and is_torn(folder, path, found[path], stamp_of(record, kind))
    ]


def read_example(folder: Path, record: Mapping[str, Any]) -> Example:
    """Read the item of a record back."""
    paths = file_paths(record_name(record))
    return Example(
        record_prompt(record),
        record["seed"],
        _pixels(folder / paths[IMAGE]),
        _pixels(folder / paths[MASK]),
        record["scores"],
    )


def record_prompt(record: Mapping[str, Any]) -> Prompt:
    """Return the prompt of an item."""
    targets = (Target(one["word"], one["class"], one["class_id"]) for one in record["targets"])
    return Prompt(record["prompt"], tuple(targets), record["sub_class"], record["context"])


def read_image(folder: Path, record: Mapping[str, Any]) -> Image:
    """Read the image of an item."""
    return _pixels(folder / file_paths(record_name(record))[IMAGE])


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
    """Read a line of metadata.jsonl; None for one that is no record of files in the folder."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if "\\u" in line and not is_unicode(record):
        return None
    file_name = record.get("file_name") if isinstance(record, dict) else None
    name = _stem(file_name) if isinstance(file_name, str) else ""
    if not ITEM_NAME.fullmatch(name):
        return None
    paths = item_paths(name)
    return record if all(record.get(key, path) == path for key, path in paths.items()) else None


def is_unicode(tree: Any) -> bool:
    """Tell whether all text of what JSON held can be written: it may have halves of characters."""
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _stem(file_name: str) -> str:
    return file_name.rpartition("/")[2].rpartition(".")[0]


def _pixels(path: Path) -> UInt8[np.ndarray, "h w *channels"]:
    try:
        with PillowImage.open(path) as picture:
            return np.array(picture)
    except BROKEN_IMAGE as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"expected a whole image file, got {path}: {what}; see what diffumask verify says"
        ) from error
