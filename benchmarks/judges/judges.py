"""How good are the two judges of `tiny`? The oracle and the classifier on held-out renders.

With --train one of them is trained before, by its recipe of now, and its weights under benchmarks/
are replaced; what is begun in --work goes on.
"""

from pathlib import Path
from typing import Annotated

from benchmarks.report import Report, fields
from diffumask.errors import InputError

from .classifier import evaluate_classifier, train_classifier
from .oracle import evaluate_oracle, train_oracle

N = 1000
TRAIN = {"oracle": (train_oracle, 9000, 24_000), "classifier": (train_classifier, 4000, 27_000)}


def judges(n: int = N) -> dict[str, float]:
    """Return what the judges reach on `n` renders of a kind."""
    found = {f"oracle mIoU, {kind}": value for kind, value in evaluate_oracle(n).items()}
    return found | {f"classifier, {kind}": value for kind, value in evaluate_classifier(n).items()}


def main(
    train: Annotated[str | None, "train this one first", TRAIN] = None,
    work: Annotated[Path | None, "folder of that training"] = None,
    steps: Annotated[int | None, "of that training, in place of its recipe's"] = None,
    renders: Annotated[int | None, "to train on, in place of its recipe's"] = None,
    n: Annotated[int, "renders of a kind to judge on"] = N,
) -> Report:
    """Train what is asked for, and evaluate both."""
    if train:
        if work is None:
            raise InputError("expected --work beside --train, got none; name a folder")
        learn, usual_steps, usual_renders = TRAIN[train]
        learn(work, steps or usual_steps, renders or usual_renders)
    rows = {name: f"{value:.3f}" for name, value in judges(n).items()}
    return Report("The judges of `tiny`", [f"{n} renders of a kind."], fields(rows, ("", "")))
