"""A line chart as SVG, so that a benchmark needs no plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 240  # pixels of the axes
LEFT, TOP, RIGHT, BOTTOM = 48, 40, 170, 44
COLOURS = ("#3b6ea8", "#c9793a", "#4d8a57", "#8a5a9e")
GUIDE, TEXT = "#dddddd", "#555555"
LEAST_GAP = 14  # pixels between the names of two lines
Y_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
MOST_TICKS = 6

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """Points from left to right; a single point is a level that holds everywhere."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Axes:
    """What the axes say; a logarithmic x axis has ticks at the points alone."""

    x_label: str
    y_label: str
    logarithmic: bool = False


def lines_chart(title: str, axes: Axes, lines: Sequence[Line]) -> str:
    """Draw lines, y from 0 on; points that are not finite are left out."""
    xs = sorted({x for line in lines if len(line.points) > 1 for x, _ in line.points})
    low, high = (_scale(x, axes) for x in (xs[0] if axes.logarithmic else 0.0, xs[-1]))
    step = _step(max(y for line in lines for _, y in line.points if math.isfinite(y)))
    top = step[0] * step[1]

    def place(point: Point) -> Point:
        share = (_scale(point[0], axes) - low) / max(high - low, 1e-9)
        return WIDTH * share, HEIGHT * (1 - point[1] / top)

    parts = _y_axis(*step)
    for x in xs if axes.logarithmic else _x_ticks(xs[-1]):
        at = place((x, 0))[0]
        parts += [
            f'<path d="M{at:.1f} {HEIGHT}v4" stroke="{TEXT}"/>',
            _text(at, HEIGHT + 17, f"{x:g}", "middle"),
        ]
    ends: list[tuple[float, int]] = []
    for index, line in enumerate(lines):
        finite = [point for point in line.points if math.isfinite(point[1])]
        points = [place(p if len(line.points) > 1 else (xs[0], p[1])) for p in finite]
        parts += _drawn(points, COLOURS[index % len(COLOURS)])
        ends.append((points[-1][1], index))
    below = -LEAST_GAP
    for y, index in sorted(ends):
        below = max(below + LEAST_GAP, y)
        name = escape(lines[index].name)
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<text x="{WIDTH + 8}" y="{below + 4:.1f}" fill="{colour}">{name}</text>')
    parts += [
        _text(WIDTH / 2, HEIGHT + 36, axes.x_label, "middle"),
        _text(-LEFT + 8, -8, axes.y_label, "start"),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}"'
        f' height="{TOP + HEIGHT + BOTTOM}" font-family="sans-serif" font-size="11">'
    )
    return "\n".join(
        [
            head,
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="8" y="18" font-size="12" font-weight="bold">{escape(title)}</text>',
            f'<g transform="translate({LEFT} {TOP})">',
            *parts,
            "</g>",
            "</svg>\n",
        ]
    )


def _drawn(points: Sequence[Point], colour: str) -> list[str]:
    if len(points) == 1:
        y = points[0][1]
        return [f'<path d="M0 {y:.1f}H{WIDTH}" stroke="{colour}" stroke-dasharray="5 4"/>']
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
    return [
        line,
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points),
    ]


def _y_axis(step: float, count: int) -> list[str]:
    parts = []
    for number in range(count + 1):
        y = HEIGHT * (1 - number / count)
        parts += [
            f'<path d="M0 {y:.1f}H{WIDTH}" stroke="{GUIDE}"/>',
            _text(-6, y + 4, f"{number * step:.2g}", "end"),
        ]
    return parts


def _step(highest: float) -> tuple[float, int]:
    """Return the distance of the ticks and how many reach the highest value."""
    fitting = [step for step in Y_STEPS if highest <= MOST_TICKS * step]
    step = fitting[0] if fitting else Y_STEPS[-1]
    return step, max(1, math.ceil(highest / step))


def _x_ticks(highest: float) -> list[float]:
    raw = highest / MOST_TICKS
    unit = 10 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
    return [number * step for number in range(int(highest / step) + 1)]


def _scale(x: float, axes: Axes) -> float:
    return math.log(x) if axes.logarithmic else x


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{TEXT}">{escape(text)}</text>'
    )
