"""Figures are the same each time, whatever matplotlib was told before, and written whole."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image as PillowImage

from diffumask import plot
from diffumask.errors import InputError
from diffumask.plot import check_plot, write_plot


def draw(figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1])
    axes.set_title("a <b> & c")


def written(path: Path) -> bytes:
    write_plot(path, (3.0, 2.0), draw, "the tests")
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.svg", "a.png"])
def test_the_bytes_do_not_hang_on_what_matplotlib_was_told(tmp_path: Path, name: str) -> None:
    plain = written(tmp_path / "new" / name)
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other"}):
        told = dict(matplotlib.rcParams)
        assert written(tmp_path / name) == plain
        assert dict(matplotlib.rcParams) == told
    assert b"the tests" in plain


def test_the_text_of_an_svg_is_text(tmp_path: Path) -> None:
    root = ElementTree.fromstring(written(tmp_path / "a.svg"))
    assert "a <b> & c" in [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_png_is_read_as_a_picture(tmp_path: Path) -> None:
    written(tmp_path / "a.png")
    with PillowImage.open(tmp_path / "a.png") as picture:
        assert picture.size == (450, 300)


def test_what_fails_leaves_the_earlier_figure(tmp_path: Path) -> None:
    before = written(tmp_path / "a.svg")
    with pytest.raises(ZeroDivisionError):
        write_plot(tmp_path / "a.svg", (3.0, 2.0), lambda figure: 1 / 0, "the tests")  # type: ignore[arg-type]
    assert (tmp_path / "a.svg").read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.svg"]


def test_other_names_and_a_missing_library_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"expected a plot named \*.svg or \*.png, got a.jpg"):
        check_plot(Path("a.jpg"))
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'diffumask\[plot\]'"):
        check_plot(Path("a.svg"))
