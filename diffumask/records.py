"""One item of the native folder: its name, its two files and its line in metadata.jsonl."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.types import ClassMap, Example, Image, Prompt, Target

METADATA_FILE = "metadata.jsonl"
ITEM_NAME = re.compile(r"[A-Z0-9][A-Za-z0-9]*_[0-9]{6,}")

Record = dict[str, Any]


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
    """Describe an item as JSON: where its files are, what it shows, and further `facts`.

    `class` and `class_id` are those of the first target, for which the item was made.
    """
    first, *_ = targets = example.prompt.targets
    return {
        **item_paths(name),
        "prompt": example.prompt.text,
        "class": first.class_name,
        "class_id": first.class_id,
        "targets": [
            {"word": one.word, "class": one.class_name, "class_id": one.class_id} for one in targets
        ],
        "sub_class": example.prompt.sub_class,
        "context": example.prompt.context,
        "seed": example.seed,
        **facts,
        "scores": dict(example.scores),
    }


def record_name(record: Mapping[str, Any]) -> str:
    """Return the item name of a record."""
    return Path(record["file_name"]).stem


def item_paths(name: str) -> dict[str, str]:
    """Return the two files of an item, relative to the folder, by their keys in the record."""
    if not ITEM_NAME.fullmatch(name):
        raise ValueError(f"expected a name made by item_name, got {name!r}")
    return {"file_name": f"images/{name}.png", "mask_file_name": f"masks/{name}.png"}


def to_line(record: Mapping[str, Any]) -> str:
    """Write a record as a line of metadata.jsonl."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def read_records(folder: Path) -> list[Record]:
    """List the finished items whose two files exist.

    Of several lines for one item the last counts. A line that is no record, such as a last
    line torn by a power cut, is skipped, so that its item will be made again.
    """
    path = folder / METADATA_FILE
    lines = path.read_text("utf-8", errors="replace").split("\n") if path.exists() else []
    parsed = [record for record in map(_parse, lines) if record is not None]
    records = {record_name(record): record for record in parsed}
    return [record for name, record in records.items() if _has_files(folder, name)]


def read_example(folder: Path, record: Mapping[str, Any]) -> Example:
    """Read the item of a record back."""
    paths = item_paths(record_name(record))
    return Example(
        record_prompt(record),
        record["seed"],
        _pixels(folder / paths["file_name"]),
        _pixels(folder / paths["mask_file_name"]),
        record["scores"],
    )


def record_prompt(record: Mapping[str, Any]) -> Prompt:
    """Return the prompt of an item."""
    targets = (Target(one["word"], one["class"], one["class_id"]) for one in record["targets"])
    return Prompt(record["prompt"], tuple(targets), record["sub_class"], record["context"])


def read_image(folder: Path, record: Mapping[str, Any]) -> Image:
    """Read the image of an item."""
    return _pixels(folder / record["file_name"])


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


def _parse(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    file_name = record.get("file_name") if isinstance(record, dict) else None
    known = isinstance(file_name, str) and ITEM_NAME.fullmatch(Path(file_name).stem)
    return record if known else None


def _has_files(folder: Path, name: str) -> bool:
    return all((folder / path).is_file() for path in item_paths(name).values())


def _pixels(path: Path) -> UInt8[np.ndarray, "h w *channels"]:
    with PillowImage.open(path) as picture:
        return np.array(picture)
