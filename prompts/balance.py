"""How evenly prompts are spread over sub-classes and contexts."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffumask.articles import counted
from diffumask.types import Prompt

NONE = "-"  # stands for a prompt without a sub-class or context


@dataclass(frozen=True, slots=True)
class Balance:
    """How often sub-classes, contexts and their pairs occur, the most frequent first."""

    sub_classes: Mapping[str, int]
    contexts: Mapping[str, int]
    pairs: Mapping[tuple[str, str], int]

    def as_json(self) -> dict[str, Any]:
        """Return the counts and how even they are."""
        return {
            "prompts": sum(self.pairs.values()),
            "sub_classes": self.sub_classes,
            "contexts": self.contexts,
            "evenness_sub_classes": round(evenness(self.sub_classes), 4),
            "evenness_contexts": round(evenness(self.contexts), 4),
            "pairs": [[*pair, count] for pair, count in sorted(self.pairs.items())],
        }


def balance(
    prompts: Sequence[Prompt], sub_classes: Iterable[str] = (), contexts: Iterable[str] = ()
) -> Balance:
    """Count sub-classes and contexts, also those given that do not occur."""
    pairs = Counter((one.sub_class or NONE, one.context or NONE) for one in prompts)
    counted_sub_classes = dict.fromkeys(sub_classes, 0)
    counted_contexts = dict.fromkeys(contexts, 0)
    for (sub_class, context), count in pairs.items():
        counted_sub_classes[sub_class] = counted_sub_classes.get(sub_class, 0) + count
        counted_contexts[context] = counted_contexts.get(context, 0) + count
    return Balance(_sorted(counted_sub_classes), _sorted(counted_contexts), pairs)


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def evenness(counts: Mapping[str, int]) -> float:
    """Return the entropy of counts by the greatest possible: 1 for equal counts, or at most one.

    Pielou 1966.
    """
    total = sum(counts.values())
    if len(counts) < 2 or not total:
        return 1.0
    shares = [count / total for count in counts.values() if count]
    return sum(-share * math.log(share) for share in shares) / math.log(len(counts))


def table(class_name: str, counts: Balance) -> str:
    """Lay the counts out: a row per sub-class, a column per context, and the sums."""
    rows, columns = counts.sub_classes, counts.contexts
    keys = [chr(ord("a") + index % 26) * (1 + index // 26) for index in range(len(columns))]
    width = max(map(len, rows))
    cells = max(3, *(len(str(count)) for count in columns.values()))
    lines = [
        f"{class_name}: {counted(sum(rows.values()), 'prompt')}, {counted(len(rows), 'sub-class')} "
        f"(evenness {evenness(rows):.2f}), {counted(len(columns), 'context')} (evenness "
        f"{evenness(columns):.2f}), "
        f"{len(counts.pairs)} of {len(rows) * len(columns)} pairs",
        " ".join([" " * width, *(f"{key:>{cells}}" for key in keys), "sum"]),
    ]
    for row, total in rows.items():
        numbers = (counts.pairs.get((row, column), 0) for column in columns)
        shown = [f"{number or '.':>{cells}}" for number in numbers]
        lines.append(" ".join([f"{row:{width}}", *shown, f"{total:>3}"]))
    sums = [f"{count:>{cells}}" for count in columns.values()]
    lines.append(" ".join([f"{'sum':{width}}", *sums, f"{sum(rows.values()):>3}"]))
    lines += [f"  {key}: {column}" for key, column in zip(keys, columns, strict=True)]
    return "\n".join(lines)
