"""The IoU curves of calibrated classes, a panel each."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.plot import BLUE, GREY, ORANGE, write_plot

from .file import named
from .fit import ClassThreshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MADE_BY = "diffumask calibrate"
COLUMNS = 5
PANEL_IN = (2.1, 1.9)  # inches
TICKS = (0.0, 0.5, 1.0)
INTERVAL = "#f2d9b8"
LEAST_BAND = 0.01  # so that an interval of one threshold is seen


def write_curves(path: Path, title: str, classes: Mapping[str, ClassThreshold]) -> None:
    """Draw IoU against threshold for each class: the curve, its top and the interval of that.

    A line is at the IoU of default masks. Both axes run from 0 to 1. Raises InputError as
    `diffumask.plot.write_plot` does.
    """
    n_columns = min(COLUMNS, max(2, len(classes)))  # 2, for the title
    n_rows = max(1, -(-len(classes) // n_columns))
    size_in = PANEL_IN[0] * n_columns, PANEL_IN[1] * n_rows + 0.4
    write_plot(path, size_in, partial(_draw, title, classes, (n_rows, n_columns)), MADE_BY)


def _draw(
    title: str, classes: Mapping[str, ClassThreshold], grid: tuple[int, int], figure: "Figure"
) -> None:
    figure.suptitle(title, weight="bold")
    for place, (name, one) in enumerate(classes.items(), start=1):
        axes = figure.add_subplot(*grid, place, xticks=TICKS, yticks=TICKS, xlim=(0, 1))
        axes.set_ylim(0, 1)
        axes.set_title(name, loc="left", weight="bold", pad=16)
        figures = f"{named(one.threshold)} ({one.low:.2f} to {one.high:.2f}), IoU {one.iou:.2f}"
        axes.text(0, 1.05, figures, color=GREY, fontsize=7, transform=axes.transAxes)
        axes.axvspan(one.low, max(one.high, one.low + LEAST_BAND), color=INTERVAL)
        axes.plot(one.thresholds, one.ious, color=BLUE)
        axes.axhline(one.default_iou, color=GREY, linewidth=0.8)
        if one.threshold is not None:
            axes.plot(one.threshold, one.iou, "o", color=ORANGE, clip_on=False)
