"""How a source of masks is named, in options and in run.json."""

from dataclasses import dataclass

from diffumask.errors import InputError

ATTENTION, SEGMENTATOR, BOTH = "attention", "segmentator", "both"
# Then a colon and a folder, see `diffumask.masks.prompted`: those that are asked for the name of a
# class, and those that are asked for the box of what attention shows.
NAMED = ("clipseg", "sam3")
PROMPTED = ("clipseg", "sam", "sam2", "sam3")
FUSED = "attention+"  # before them


@dataclass(frozen=True, slots=True)
class SourceName:
    """What sees the objects, with its model where it has one, and whether attention joins in."""

    kind: str
    model: str = ""
    fused: bool = False

    @property
    def is_prompted(self) -> bool:
        """Whether it is a network that is asked for objects."""
        return self.kind in PROMPTED

    @property
    def takes_heat(self) -> bool:
        """Whether masks depend on heat maps and their threshold."""
        return self.kind == ATTENTION or self.fused


OF_ONE_WORD = {
    ATTENTION: SourceName(ATTENTION),
    SEGMENTATOR: SourceName(SEGMENTATOR),
    BOTH: SourceName(SEGMENTATOR, fused=True),
}


def parse_source(name: str) -> SourceName:
    """Read a name: "attention", "segmentator", "both", "sam:FOLDER", "attention+sam:FOLDER".

    Raises InputError for another.
    """
    if name in OF_ONE_WORD:
        return OF_ONE_WORD[name]
    kind, _, model = name.removeprefix(FUSED).partition(":")
    if kind not in PROMPTED or not model:
        kinds = ", ".join([*OF_ONE_WORD, *(f"{one}:FOLDER" for one in PROMPTED)])
        raise InputError(f"expected a source of masks {kinds}, got {name!r}")
    return SourceName(kind, model, fused=name.startswith(FUSED))
