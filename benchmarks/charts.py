"""Charts of the reports."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diffumask.plot import BLUE, ORANGE, write_plot

MADE_BY = "python -m benchmarks"
COLOURS = (BLUE, ORANGE, "#4d8a57", "#8a5a9e")
Point = tuple[float, float]
Bars = Mapping[str, tuple[float, str]]


def write_lines(
    path: Path,
    title: str,
    labels: tuple[str, str],
    lines: Mapping[str, Sequence[Point]],
    logarithmic: bool = False,
) -> None:
    """Draw lines by their names, y from 0 on; a single point is a level that holds everywhere."""
    write_plot(path, (6.0, 3.4), partial(_lines, title, labels, lines, logarithmic), MADE_BY)


def _lines(
    title: str,
    labels: tuple[str, str],
    lines: Mapping[str, Sequence[Point]],
    logarithmic: bool,
    figure: Any,
) -> None:
    axes = figure.subplots()
    axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        if len(points) == 1:
            axes.axhline(points[0][1], color=colour, linestyle="--", label=name)
        else:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=3, label=name)
    if logarithmic:
        ticks = sorted({x for points in lines.values() if len(points) > 1 for x, _ in points})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right center", frameon=False)


def write_bars(path: Path, title: str, panels: Mapping[str, tuple[Bars, bool]]) -> None:
    """Draw panels below each other: by its heading the value and text of each bar, and its scale.

    The scale is logarithmic above the smallest value if that is true.
    """
    n_bars = sum(len(bars) for bars, _ in panels.values())
    size_in = 6.5, 0.28 * n_bars + 0.6 * len(panels) + 0.4
    write_plot(path, size_in, partial(_bars, title, panels), MADE_BY)


def _bars(title: str, panels: Mapping[str, tuple[Bars, bool]], figure: Any) -> None:
    figure.suptitle(title, weight="bold")
    heights = [len(bars) for bars, _ in panels.values()]
    grid = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for colour, axes, (heading, (bars, logarithmic)) in zip(
        COLOURS, grid, panels.items(), strict=False
    ):
        values, texts = zip(*bars.values(), strict=True)
        drawn = axes.barh(list(bars), values, 0.7, color=colour)
        axes.bar_label(drawn, texts, padding=3)
        axes.set_title(heading, loc="left")
        if logarithmic and any(values):
            axes.set_xscale("symlog", linthresh=min(value for value in values if value))
        axes.margins(x=0.2)
        axes.grid(False, axis="y")
        axes.invert_yaxis()
