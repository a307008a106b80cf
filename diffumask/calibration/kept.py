"""Cases to calibrate on from a dataset that kept its heat maps."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from diffumask.dataset.listing import whole_records
from diffumask.dataset.maps import read_sample
from diffumask.dataset.run import Run

from .cases import Case
from .setting import AFFINITY, ATTENTION, Setting, near

SELF_ATTENTION = "self-attention"  # in run.json, where affinities were kept


def kept_cases(
    folder: Path, settings: Sequence[Setting], class_names: Sequence[str], n: int
) -> Iterator[Case]:
    """Read the first `n` items of each class from a dataset folder that kept its heat maps.

    The settings are those of `kept_settings`. Raises InputError for an item without maps.
    """
    counts: Counter[str] = Counter()
    for record in whole_records(folder):
        of_class = {one.class_name: one for one in reversed(record.prompt.targets)}
        wanted = [name for name in class_names if name in of_class and counts[name] < n]
        if not wanted:
            continue
        one = read_sample(folder, record)
        for name in wanted:
            counts[name] += 1
            yield Case(record.name, of_class[name], [(setting, one) for setting in settings])


def kept_settings(run: Run) -> list[Setting]:
    """Return the settings that a dataset's heat maps can be read in, the default first.

    Raises InputError for a run that does not tell how they were made.
    """
    heat = AFFINITY if run.setting("affinity") == SELF_ATTENTION else ATTENTION
    return list(near(Setting(**run.heat_made(), heat=heat)))
