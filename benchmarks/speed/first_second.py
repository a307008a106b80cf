"""How soon a command answers that has nothing to compute: a mistake, a folder that is finished.

Each is called in a process of its own, as typed, several times.
"""

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from benchmarks.commands import Spent, diffumask
from benchmarks.report import Report, middle, table, tell

DRAW = "generate --class bird --n 2 --num-inference-steps 1"
ANSWERED = {  # by exit code
    0: (
        "--help",
        f"{DRAW} --out data",
        "models",
        "show data",
        "verify data",
    ),
    2: (
        f"{DRAW} --out data --seed 1",
        f"{DRAW} --out new --model tinny",
        f"{DRAW} --out new --model empty",
        f"{DRAW} --out new --height 129",
        f"{DRAW} --out new --lora missing.safetensors",
        f"{DRAW} --out new --ray 127.0.0.1:1",
        "train empty --model segformer-tiny --out new",
        "train data --model segformer --out new",
        "evaluate --data empty --predictions data/masks",
        "evaluate --data data --checkpoint empty",
        "filter empty",
        "segmentator train --data empty --out new.safetensors",
        "lora train --images empty --out new.safetensors",
        "affinity train --data empty --out new",
        "calibrate --class bird --reference none --out new.json",
        "remask data --out new",
        "export empty --format voc --out new",
    ),
}
COMPUTED = f"{DRAW} --out drawn"


def main(
    n: Annotated[int, "times that each is called"] = 5,
    limit_s: Annotated[float, "CPU seconds that none should take"] = 1.0,
) -> Report:
    with TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "empty").mkdir()
        diffumask(*shlex.split(f"{DRAW} --out data"), cwd=place, quiet=True)
        rows = []
        for exits, calls in ANSWERED.items():
            for words in calls:
                spent = [_answer(words, place, exits) for _ in range(n)]
                rows.append(_row(words, exits, spent))
        drawn = [_answer(f"{COMPUTED}{turn}", place, 0) for turn in range(n)]
    slow = [name for name, _, _, _, cpu in rows if cpu > limit_s]
    facts = [
        f"Medians of {n} calls, with the lowest and the highest, beside what a run takes that"
        " draws two pictures of one step with the built-in model.",
        f"Slower than {limit_s:g} CPU seconds: {', '.join(slow) or 'none'}.",
    ]
    head = ("diffumask ...", "exit code", "CPU s", "wall s")
    cells = [row[:4] for row in [*rows, _row(COMPUTED, 0, drawn)]]
    return Report("The first second", facts, table(head, cells))


def _answer(words: str, place: Path, exits: int) -> Spent:
    spent, _ = diffumask(*shlex.split(words), cwd=place, exits=exits, quiet=True)
    return spent


def _row(words: str, exits: int, spent: list[Spent]) -> tuple[str, int, str, str, float]:
    cpu, wall = [one.cpu_s for one in spent], [one.wall_s for one in spent]
    tell(f"{words}: {middle(cpu)} CPU s")
    return f"`{words}`", exits, middle(cpu), middle(wall), sorted(cpu)[len(cpu) // 2]
