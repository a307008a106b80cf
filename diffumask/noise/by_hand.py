"""What a person decided on the page of `diffumask show` stands above what networks found."""

from collections.abc import Mapping
from types import MappingProxyType

from diffumask.gallery.marks import ACCEPTED, REJECTED

from .verdicts import Verdict

NO_QUALITIES: Mapping[str, float] = MappingProxyType({})
REASONS = {ACCEPTED: "accepted by hand", REJECTED: "rejected by hand"}


def overrule(verdicts: Mapping[str, Verdict], marks: Mapping[str, str]) -> dict[str, Verdict]:
    """Return the verdicts, with those of `read_marks` in place of what was found.

    What was accepted is kept whatever its quality, which stays in its record.
    """
    marked = {name: by_hand(mark, verdicts[name].qualities) for name, mark in marks.items()}
    return {**verdicts, **marked}


def by_hand(mark: str, qualities: Mapping[str, float] = NO_QUALITIES) -> Verdict:
    """Return the verdict of a mark, with the quality of each class where it is known."""
    is_kept, reason = mark == ACCEPTED, REASONS[mark]
    return Verdict(is_kept, reason, "" if is_kept else reason, qualities)
