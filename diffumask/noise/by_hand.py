"""What a person decided on the page of `diffumask show` stands above what networks found."""

from collections.abc import Mapping

from diffumask.gallery.marks import ACCEPTED, REJECTED

from .verdicts import Verdict

REASONS = {ACCEPTED: "accepted by hand", REJECTED: "rejected by hand"}


def overrule(verdicts: Mapping[str, Verdict], marks: Mapping[str, str]) -> dict[str, Verdict]:
    """Return the verdicts, with those of `read_marks` in place of what was found.

    What was accepted is kept whatever its quality, which stays in its record.
    """
    return {**verdicts, **{name: _by_hand(mark, verdicts[name]) for name, mark in marks.items()}}


def _by_hand(mark: str, found: Verdict) -> Verdict:
    is_kept, reason = mark == ACCEPTED, REASONS[mark]
    return Verdict(is_kept, reason, "" if is_kept else reason, found.qualities)
