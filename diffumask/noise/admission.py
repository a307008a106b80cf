"""The admission report: how many items came in, were eligible, dropped and why, and kept."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffumask.articles import counted

from .items import MaskSummary
from .verdicts import Verdict

ALL = "all"
LITTLE = 0.1  # mean quality of a class from which on its ranking is worth nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """Items and the verdict on each, by name; `measure` is what their quality is."""

    items: Sequence[MaskSummary]
    verdicts: Mapping[str, Verdict]
    measure: str


def admission(outcome: Outcome) -> str:
    """Write the figures as lines of text, and as the table of `by_class`."""
    rows = by_class(outcome)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join([*summary(outcome), "", *table])


def by_class(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the figures of each class as rows of texts, with all classes last, below a head."""
    rows: list[tuple[str, ...]] = [
        ("class", "input", "eligible", "dropped", "kept", f"mean {outcome.measure}", "lowest")
    ]
    class_names = sorted({item.class_name for item in outcome.items})
    for name in [*class_names, ALL]:
        own = (item for item in outcome.items if name in (ALL, item.class_name))
        rows.append((name, *_row([outcome.verdicts[item.name] for item in own])))
    return rows


def summary(outcome: Outcome) -> list[str]:
    """Return the figures of all items as lines of text."""
    figures = counts(outcome)
    dropped = figures["dropped"].most_common()
    items = counted(figures["items"], "item")
    causes = ", ".join(f"{cause} {count}" for cause, count in dropped) or "none"
    return [
        f"{items}, {figures['eligible']} eligible, {figures['kept']} kept",
        f"dropped: {causes}",
    ]


def counts(outcome: Outcome) -> dict[str, Any]:
    """Count items, eligible and kept ones and the causes of the others, as JSON has them."""
    verdicts = outcome.verdicts.values()
    return {
        "items": len(verdicts),
        "eligible": sum(bool(verdict.qualities) for verdict in verdicts),
        "kept": sum(verdict.is_kept for verdict in verdicts),
        "dropped": Counter(verdict.cause for verdict in verdicts if not verdict.is_kept),
    }


def warnings(outcome: Outcome) -> list[str]:
    """Name the classes of which the networks found next to nothing, so that ranks are chance."""
    found: dict[str, list[float]] = defaultdict(list)
    for item in outcome.items:
        quality = outcome.verdicts[item.name].quality
        if quality is not None:
            found[item.class_name].append(quality)
    poor = sorted(name for name, values in found.items() if sum(values) / len(values) < LITTLE)
    if not poor:
        return []
    return [
        f"the networks found next to nothing of {', '.join(poor)} (mean {outcome.measure} below "
        f"{LITTLE}): train for more steps, or take more items"
    ]


def _row(verdicts: Sequence[Verdict]) -> list[str]:
    """Count input, eligible, dropped among these, kept; mean quality and the lowest one kept."""
    eligible = [verdict for verdict in verdicts if verdict.qualities]
    qualities = [verdict.quality for verdict in eligible if verdict.quality is not None]
    kept = [
        verdict.quality for verdict in eligible if verdict.is_kept and verdict.quality is not None
    ]
    counts = [len(verdicts), len(eligible), len(eligible) - len(kept), len(kept)]
    mean = f"{sum(qualities) / len(qualities):.3f}" if qualities else "-"
    return [*map(str, counts), mean, f"{min(kept):.3f}" if kept else "-"]
