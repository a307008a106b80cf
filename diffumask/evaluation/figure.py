"""A report as SVG: the confusion matrix, and beside each row the IoU of its class."""

from html import escape

from .report import OTHER, ClassFigures, Report

CELL, LABEL, BAR, GAP = 24, 130, 150, 24  # pixels
HEADING = 70  # width of the one above the matrix
TOP, BOTTOM = 56, 118  # for the title, and for the names below the columns
MIN_SHOWN = 0.005  # a share below rounds to 0 %
WRITTEN = 24  # classes up to which shares are written into the cells
CELL_COLOUR, BAR_COLOUR, FRAME, TEXT = "#3b6ea8", "#c9793a", "#dddddd", "#555555"


def draw_report(title: str, report: Report) -> str:
    """Draw what the pixels of each class (rows) were taken for (columns), in percent of the row.

    Classes that no true pixel has are left out as rows, and those that do not occur as columns.
    """
    names = [*report.classes, OTHER]
    rows = [row for row, one in enumerate(report.classes.values()) if one.pixels]
    columns = [c for c in range(len(names)) if report.confusion[:, c].any() or c in rows]
    right = LABEL + max(CELL * len(columns), HEADING)
    width = right + GAP + BAR + 50
    height = TOP + CELL * len(rows) + BOTTOM
    figures = list(report.classes.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="20" font-size="12" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LABEL}" y="{TOP - 8}" fill="{TEXT}">predicted, %</text>',
        f'<text x="{right + GAP}" y="{TOP - 8}" fill="{TEXT}">IoU</text>',
    ]
    for place, row in enumerate(rows):
        y = TOP + CELL * place
        lines.append(_text(LABEL - 6, y + 16, names[row], "end"))
        lines += _cells(report, row, columns, y)
        lines += _bar(figures[row], right + GAP, y)
    foot = TOP + CELL * len(rows) + 8
    lines += [_column_name(names[column], place, foot) for place, column in enumerate(columns)]
    return "\n".join([*lines, "</svg>\n"])


def _cells(report: Report, row: int, columns: list[int], y: int) -> list[str]:
    counts = report.confusion[row]
    lines = []
    for place, column in enumerate(columns):
        x, share = LABEL + CELL * place, float(counts[column] / counts.sum())
        lines.append(
            f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{CELL_COLOUR}"'
            f' fill-opacity="{share:.3f}" stroke="{FRAME}"/>'
        )
        if share >= MIN_SHOWN and len(columns) <= WRITTEN:
            colour = "white" if share > 0.5 else "black"
            lines.append(
                f'<text x="{x + CELL / 2:g}" y="{y + 16}" text-anchor="middle" font-size="10"'
                f' fill="{colour}">{100 * share:.0f}</text>'
            )
    return lines


def _bar(one: ClassFigures, x: int, y: int) -> list[str]:
    length = BAR * (one.iou or 0.0)
    return [
        f'<rect x="{x}" y="{y + 4}" width="{length:.1f}" height="{CELL - 8}" fill="{BAR_COLOUR}"/>',
        _text(x + length + 6, y + 16, f"{one.iou or 0.0:.3f}"),
    ]


def _column_name(name: str, place: int, y: int) -> str:
    x = LABEL + CELL * place + 16
    return (
        f'<text transform="translate({x} {y}) rotate(-90)" text-anchor="end">{escape(name)}</text>'
    )


def _text(x: int | float, y: int, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
