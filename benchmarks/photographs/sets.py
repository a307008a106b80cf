"""Folders of photographs with images/, masks/ and labels.csv, whose column `split` divides them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PhotographSet:
    """A folder of photographs, the split that is held out, and its classes; () stands for all."""

    folder: str
    held_out: str
    vocabulary: str | None = None
    classes: tuple[str, ...] = ()
    ignored: frozenset[int] = frozenset()
    shown_only: bool = False  # leave out images that show none of the classes


SETS = {
    one.folder: one
    for one in (
        PhotographSet("oxford_pets_subset", "test"),
        PhotographSet("voc2012_animals", "val", "voc", ("cat", "cow", "dog", "horse", "sheep")),
        PhotographSet("camvid", "val", ignored=frozenset({11})),
    )
}

HORSES = PhotographSet("voc2012_animals", "val", "voc", ("horse",), shown_only=True)
