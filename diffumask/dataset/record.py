"""An item's line of metadata.jsonl as a type: whatever is in it is of its kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffumask.errors import InputError
from diffumask.files.json_kinds import (
    is_number,
    mapping,
    number,
    numbers,
    objects,
    text,
    texts,
    whole,
    wrong,
)
from diffumask.types import BACKGROUND_ID, IGNORE_ID, Prompt, Target

from .checksums import FILES, Stamp
from .names import named_item

VERDICT, KEPT, DROPPED = "verdict", "kept", "dropped"  # of `diffumask filter`
ABSENT, PRESENCES = "absent", "presences"
VAE_DTYPE = "vae_dtype"  # of an image that overflowed in the dtype of the run
CLASS_IDS = range(BACKGROUND_ID + 1, IGNORE_ID)
BYTES = range(2**63)
# Fields that some makers of items leave out, and what reads each.
OPTIONAL = {
    "index": whole,
    "attempt": whole,
    "model": text,
    "num_inference_steps": whole,
    "guidance_scale": number,
    "foreground": number,
    "mask_source": text,
}
NULLABLE = {"reason": text, "quality": number}


@dataclass(frozen=True, slots=True)
class Record:
    """An item as its line tells of it, made by `from_json`; all but `fields` follows from these.

    `fields` is the JSON object of the line, of which none is lost: also what is not known here
    comes back in `to_json`, in the same order. `files` is empty for an item that was made before
    there were any checksums. `presences` are those of the sample, by word. `absent` says why a
    class of the prompt has no mask, empty where each has one, and `attempt` how often the item was
    drawn before. What not every maker of items tells is None where it is missing.
    """

    fields: Mapping[str, Any] = field(repr=False)
    name: str = field(init=False)
    prompt: Prompt = field(init=False)
    seed: int = field(init=False)
    scores: Mapping[str, float] = field(init=False)
    files: Mapping[str, Stamp] = field(init=False)
    thresholds: tuple[float, ...] | None = field(init=False)
    verdict: str | None = field(init=False)
    absent: Mapping[str, str] = field(init=False)
    presences: Mapping[str, float] = field(init=False)
    index: int | None = field(init=False)
    attempt: int | None = field(init=False)
    model: str | None = field(init=False)
    num_inference_steps: int | None = field(init=False)
    guidance_scale: float | None = field(init=False)
    foreground: float | None = field(init=False)
    mask_source: str | None = field(init=False)
    reason: str | None = field(init=False)
    quality: float | None = field(init=False)

    def __post_init__(self) -> None:
        for name, value in _parsed(self.fields).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_json(cls, tree: Any) -> "Record":
        """Read the JSON object of a line.

        Raises InputError for anything that is no record of files in the folder, or that has a
        field of another kind.
        """
        if not isinstance(tree, dict):
            raise InputError("expected a JSON object, got another value")
        return cls(tree)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the line."""
        return dict(self.fields)

    def changed(self, fields: Mapping[str, Any]) -> "Record":
        """Set fields, new ones behind the others. Raises InputError as `from_json`."""
        return Record({**self.fields, **fields})

    @property
    def class_name(self) -> str:
        """The class that the item was made for."""
        return self.prompt.targets[0].class_name

    @property
    def is_dropped(self) -> bool:
        """Whether `diffumask filter` found the item unfit; without a verdict it is not."""
        return self.verdict == DROPPED

    @property
    def is_usable(self) -> bool:
        """Whether every class of the prompt has a mask, as far as the line tells."""
        return not self.absent and self.foreground != 0


def _parsed(tree: Mapping[str, Any]) -> dict[str, Any]:
    name = named_item(tree)
    if name is None:
        raise wrong("an item such as images/Bird_000012.png", tree, "file_name")
    known: dict[str, Any] = {
        "name": name,
        "prompt": _prompt(tree),
        "seed": whole(tree, "seed"),
        "scores": numbers(tree, "scores"),
        "files": _files(tree) if FILES in tree else {},
        "thresholds": _thresholds(tree) if "thresholds" in tree else None,
        VERDICT: tree.get(VERDICT),
        ABSENT: texts(tree, ABSENT) if ABSENT in tree else {},
        PRESENCES: numbers(tree, PRESENCES) if PRESENCES in tree else {},
    }
    if known[VERDICT] not in (None, KEPT, DROPPED):
        raise wrong(f"{KEPT} or {DROPPED}", tree, VERDICT)
    for key, read in OPTIONAL.items():
        known[key] = read(tree, key) if key in tree else None
    for key, read in NULLABLE.items():
        known[key] = None if tree.get(key) is None else read(tree, key)
    return known


def _prompt(tree: Mapping[str, Any]) -> Prompt:
    targets = tuple(
        Target(text(target, "word"), text(target, "class"), whole(target, "class_id", CLASS_IDS))
        for target in objects(tree, "targets")
    )
    if not targets:
        raise wrong("one target or more", tree, "targets")
    first = text(tree, "class"), whole(tree, "class_id", CLASS_IDS)
    if first != (targets[0].class_name, targets[0].class_id):
        raise wrong(f"the class of the first target, {targets[0].class_name!r},", tree, "class")
    try:
        texts = (text(tree, key) for key in ("sub_class", "context"))
        return Prompt(text(tree, "prompt"), targets, *texts)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error


def _files(tree: Mapping[str, Any]) -> Mapping[str, Stamp]:
    found = mapping(tree, FILES)
    for kind in found:
        stamp = mapping(found, kind)
        whole(stamp, "bytes", BYTES)
        text(stamp, "blake2b")
        if len(stamp) > 2:
            raise wrong("bytes and blake2b", found, kind)
    return found


def _thresholds(tree: Mapping[str, Any]) -> tuple[float, ...]:
    value = tree["thresholds"]
    if not isinstance(value, list) or not all(map(is_number, value)):
        raise wrong("a list of numbers", tree, "thresholds")
    return tuple(map(float, value))
