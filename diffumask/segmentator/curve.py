"""The curve of a training: mIoU on held-out images, and the loss, by step."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.plot import BLUE, ORANGE, write_plot
from diffumask.training.log import LOG_FILE, read_values

from .validation import earlier_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MADE_BY = "diffumask segmentator train"
SIZE_IN = (5.0, 3.0)


def write_curve(path: Path, title: str, training: Path) -> None:
    """Draw what the folder of a training tells of its steps.

    Raises InputError as `diffumask.plot.write_plot` does.
    """
    write_plot(path, SIZE_IN, partial(_draw, title, training), MADE_BY)


def _draw(title: str, training: Path, figure: "Figure") -> None:
    figure.suptitle(title, weight="bold")
    losses = read_values(training, LOG_FILE, "loss")
    scores = earlier_scores(training)
    loss_axes = figure.add_subplot(xlabel="step", yscale="log")
    _line(loss_axes, losses, "loss", ORANGE)
    if scores:
        axes = loss_axes.twinx()
        axes.grid(False)
        _line(axes, scores, "mIoU on held-out images", BLUE)


def _line(axes: "Axes", values: dict[int, float], name: str, colour: str) -> None:
    axes.plot(list(values), list(values.values()), ".-", color=colour)
    axes.set_ylabel(name, color=colour)
