"""Whether a training may get better still, by what its validations said."""

from collections.abc import Mapping

WAITS = 3  # validations in a row, over at least so many steps, that are no better
WAITED_STEPS = 100


def no_better(scores: Mapping[int, float]) -> bool:
    """Whether the highest score, by step, is so long ago that no higher one is to be expected."""
    if not scores:
        return False
    best = max(sorted(scores), key=scores.__getitem__)  # the first of several
    after = [step for step in scores if step > best]
    return len(after) >= WAITS and max(after) - best >= WAITED_STEPS
