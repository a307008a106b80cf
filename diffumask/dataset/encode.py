"""One item as it is written: its record, and the content of its files."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image as PillowImage

from diffumask.draw import voc_palette
from diffumask.types import ClassMap, Example, Image, Prompt

from .checksums import FILES, stamp
from .names import IMAGE, MAPS, MASK, file_paths, item_paths
from .record import Record


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """An item as it is written: its record, and the content of its files by their paths."""

    record: Record
    files: Mapping[str, bytes]


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
            {"word": target.word, "class": target.class_name, "class_id": target.class_id}
            for target in targets
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


def encode_image(image: Image) -> bytes:
    """Encode an image as RGB PNG.

    Run lengths take a fourth to a fifth of the time of Pillow's default, for 4 or 5 % more bytes of
    a photograph (benchmarks/results/encode_speed.md), and are without the search for matches, which
    zlib-ng does otherwise on another kind of CPU.
    """
    import cv2  # it takes a while

    level = (cv2.IMWRITE_PNG_COMPRESSION, 1)
    strategy = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".png", bgr, (*level, *strategy))
    return content.tobytes()


def encode_class_map(class_map: ClassMap) -> bytes:
    """Encode a class map as 8-bit palette PNG in the VOC colours, the ids being the indices."""
    encoded = io.BytesIO()
    picture = PillowImage.fromarray(class_map)
    picture.putpalette(voc_palette().tobytes())
    picture.save(encoded, "PNG")
    return encoded.getvalue()
