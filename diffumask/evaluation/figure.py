"""A report as a figure: the confusion matrix, and beside each row the IoU of its class."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from diffumask.plot import BLUE, ORANGE, write_plot

from .file import MADE_BY, refuse_foreign
from .report import OTHER, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_IN, BAR_IN, NAMES_IN = 0.26, 1.6, 1.8  # inches
MIN_SHOWN = 0.005  # a share below rounds to 0 %
WRITTEN = 24  # classes up to which shares are written into the cells
FRAME = "#dddddd"


def write_figure(path: Path, title: str, report: Report) -> None:
    """Draw what the pixels of each class (rows) were taken for (columns), in percent of the row.

    Classes that no true pixel has are left out as rows, and those that do not occur as columns.
    Takes the place of an earlier figure; raises InputError for a file of something else, and as
    `diffumask.plot.write_plot` does.
    """
    refuse_foreign(path)
    rows = [row for row, one in enumerate(report.classes.values()) if one.pixels]
    columns = [c for c in range(len(report.classes) + 1) if report.confusion[:, c].any()]
    columns = sorted({*columns, *rows})
    width = CELL_IN * len(columns), BAR_IN
    size_in = sum(width) + NAMES_IN, CELL_IN * len(rows) + NAMES_IN
    write_plot(path, size_in, partial(_draw, title, report, rows, columns, width), MADE_BY)


def _draw(
    title: str,
    report: Report,
    rows: list[int],
    columns: list[int],
    width: tuple[float, float],
    figure: "Figure",
) -> None:
    figure.suptitle(title, weight="bold")
    if not rows:
        return
    names = [*report.classes, OTHER]
    figures = list(report.classes.values())
    counts = report.confusion[rows]
    cells, bars = figure.subplots(1, 2, sharey=True, width_ratios=width)
    _cells(cells, (counts / counts.sum(1, keepdims=True))[:, columns])
    cells.set_title("predicted, %")
    cells.set_xticks(np.arange(len(columns)) + 0.5, [names[c] for c in columns], rotation=90)
    cells.set_yticks(np.arange(len(rows)) + 0.5, [names[row] for row in rows])
    cells.tick_params(length=0)
    drawn = bars.barh(
        np.arange(len(rows)) + 0.5, [figures[row].iou or 0.0 for row in rows], 0.6, color=ORANGE
    )
    bars.bar_label(drawn, fmt="%.3f", padding=3)
    bars.set(title="IoU", xlim=(0, 1.2), xticks=(0, 0.5, 1))
    bars.tick_params(axis="y", length=0)
    bars.grid(False, axis="y")
    cells.invert_yaxis()


def _cells(axes: "Axes", shares: Float64[np.ndarray, "row column"]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("share", ["white", BLUE])
    axes.grid(False)
    axes.pcolormesh(shares, cmap=colours, vmin=0, vmax=1, edgecolors=FRAME, linewidth=0.5)
    for (row, column), share in np.ndenumerate(shares):
        if share >= MIN_SHOWN and shares.shape[1] <= WRITTEN:
            colour = "white" if share > 0.5 else "black"
            place = {"ha": "center", "va": "center", "fontsize": 7}
            axes.text(column + 0.5, row + 0.5, f"{100 * share:.0f}", color=colour, **place)
