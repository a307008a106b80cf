"""A bar chart as SVG, so that a benchmark needs no plotting library."""

import math
from collections.abc import Sequence
from html import escape

ROW, BAR, LABEL, WIDTH = 24, 16, 230, 320  # pixels
COLOURS = ("#3b6ea8", "#c9793a")


def bars(title: str, panels: Sequence[tuple[str, Sequence[tuple[str, float, str]], bool]]) -> str:
    """Draw panels (heading, rows of (label, value, text), logarithmic) below each other.

    Values are >= 0; a logarithmic bar starts at the smallest positive one, and 0 has no bar.
    """
    lines = [f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>']
    y = 44
    for index, (heading, rows, logarithmic) in enumerate(panels):
        lines.append(f'<text x="8" y="{y}" fill="#555">{escape(heading)}</text>')
        y += 8
        values = [value for _, value, _ in rows]
        for label, value, text in rows:
            width = WIDTH * _share(value, values, logarithmic)
            colour = COLOURS[index % len(COLOURS)]
            lines += [
                f'<text x="{LABEL - 6}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
                f'<text x="{LABEL + width + 6:.1f}" y="{y + 13}">{escape(text)}</text>',
            ]
            y += ROW
        y += 24
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + WIDTH + 130}" height="{y - 16}"'
        ' font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>\n"])


def _share(value: float, values: Sequence[float], logarithmic: bool) -> float:
    if value <= 0:
        return 0.0
    if not logarithmic:
        return value / max(values)
    low, high = min(v for v in values if v > 0), max(values)
    return 0.05 + 0.95 * math.log(value / low) / math.log(high / low) if high > low else 1.0
