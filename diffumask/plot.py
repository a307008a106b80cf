"""Figures by matplotlib, of the extra `plot`: written whole, and the same bytes each time."""

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CREATOR_KEYS = {".svg": "Creator", ".png": "Software"}  # of a file's own notes, by its suffix
BLUE, ORANGE, GREY = "#3b6ea8", "#c9793a", "#555555"
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 8,
    "grid.color": "#dddddd",
    "savefig.dpi": 150,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "diffumask",  # names within the file are random without
}


def check_plot(path: Path) -> None:
    """Raise InputError unless the file is an .svg or .png and matplotlib is there to draw it."""
    if path.suffix not in CREATOR_KEYS:
        raise InputError(f"expected a plot named *{' or *'.join(CREATOR_KEYS)}, got {path}")
    if find_spec("matplotlib") is None:
        raise InputError("expected matplotlib for a plot, got none; pip install 'diffumask[plot]'")


def write_plot(
    path: Path, size_in: tuple[float, float], draw: Callable[["Figure"], None], made_by: str
) -> None:
    """Write what `draw` puts on a figure of some inches, in place of an earlier file.

    `made_by` is noted in the file as what made it. Settings of matplotlib are its defaults and
    `STYLE`, whatever the caller's are, and afterwards the caller's again. Raises InputError as
    `check_plot` does, and where the file cannot be written.
    """
    check_plot(path)
    import matplotlib
    from matplotlib.figure import Figure

    from diffumask.files.atomic import write_file

    content = BytesIO()
    metadata: dict[str, str | None] = {CREATOR_KEYS[path.suffix]: made_by}
    if path.suffix == ".svg":
        metadata["Date"] = None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(size_in, layout="constrained")
        draw(figure)
        figure.savefig(content, format=path.suffix[1:], metadata=metadata)
    write_file(path, content.getvalue())
