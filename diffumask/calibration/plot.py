"""The IoU curves of calibrated classes as SVG, a panel each; no plotting library is needed."""

from collections.abc import Mapping, Sequence
from html import escape

from .fit import ClassThreshold

COLUMNS = 5
PANEL_W, PANEL_H = 176, 120  # pixels of the axes
LEFT, TOP, GAP_X, GAP_Y, BOTTOM = 32, 62, 32, 58, 24
CURVE, INTERVAL, GUIDE, TEXT = "#3b6ea8", "#f2d9b8", "#dddddd", "#555555"
BEST = "#c9793a"
TICKS = (0.0, 0.5, 1.0)


def draw_curves(title: str, classes: Mapping[str, ClassThreshold]) -> str:
    """Draw IoU against threshold for each class: the curve, its top and the interval of that.

    Both axes run from 0 to 1.
    """
    n_columns = min(COLUMNS, max(1, len(classes)))
    n_rows = -(-len(classes) // n_columns)
    width = LEFT + max(2, n_columns) * (PANEL_W + GAP_X)  # 2, for the title
    height = TOP + n_rows * (PANEL_H + GAP_Y) - GAP_Y + BOTTOM
    panels = []
    for index, (name, one) in enumerate(classes.items()):
        row, column = divmod(index, n_columns)
        x, y = LEFT + column * (PANEL_W + GAP_X), TOP + row * (PANEL_H + GAP_Y)
        panels += [f'<g transform="translate({x} {y})">', *_panel(name, one), "</g>"]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="11">'
    )
    lines = [
        head,
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="20" font-size="12" font-weight="bold">{escape(title)}</text>',
        *panels,
        "</svg>\n",
    ]
    return "\n".join(lines)


def _panel(name: str, one: ClassThreshold) -> list[str]:
    figures = f"{one.threshold:.2f} ({one.low:.2f} to {one.high:.2f}), IoU {one.iou:.2f}"
    band = max(PANEL_W * (one.high - one.low), 1.5)
    return [
        f'<text y="-20" font-weight="bold">{escape(name)}</text>',
        f'<text y="-6" fill="{TEXT}">{figures}</text>',
        f'<rect x="{PANEL_W * one.low:.1f}" width="{band:.1f}" height="{PANEL_H}"'
        f' fill="{INTERVAL}"/>',
        *_axes(),
        f'<polyline points="{_points(one.thresholds, one.ious)}" fill="none" stroke="{CURVE}"'
        ' stroke-width="1.8"/>',
        f'<circle cx="{PANEL_W * one.threshold:.1f}" cy="{PANEL_H * (1 - one.iou):.1f}" r="3.5"'
        f' fill="{BEST}"/>',
    ]


def _axes() -> list[str]:
    lines = []
    for tick in TICKS:
        x, y = PANEL_W * tick, PANEL_H * (1 - tick)
        lines += [
            f'<path d="M0 {y:.1f}H{PANEL_W}M{x:.1f} 0V{PANEL_H}" stroke="{GUIDE}" fill="none"/>',
            f'<text x="{x:.1f}" y="{PANEL_H + 13}" text-anchor="middle" fill="{TEXT}">'
            f"{tick:g}</text>",
            f'<text x="-4" y="{y + 4:.1f}" text-anchor="end" fill="{TEXT}">{tick:g}</text>',
        ]
    return lines


def _points(thresholds: Sequence[float], ious: Sequence[float]) -> str:
    pairs = zip(thresholds, ious, strict=True)
    return " ".join(f"{PANEL_W * x:.1f},{PANEL_H * (1 - y):.1f}" for x, y in pairs)
