"""The line chart of the benchmarks."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def chart(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return pytest.importorskip("line_chart")


def drawn(chart: Any, lines: list[Any], logarithmic: bool) -> ElementTree.Element:
    axes = chart.Axes("x & y", "height", logarithmic)
    return ElementTree.fromstring(chart.lines_chart("a < b", axes, lines))


def places(root: ElementTree.Element) -> list[tuple[float, float]]:
    return [
        (float(one.get("cx", "")), float(one.get("cy", ""))) for one in root.iter(f"{SVG}circle")
    ]


def test_points_lie_where_their_values_are(chart: Any) -> None:
    root = drawn(chart, [chart.Line("rising", [(0, 0.0), (5, 0.2), (10, 0.4)])], False)
    w, h = chart.WIDTH, chart.HEIGHT
    assert places(root) == [(0, h), (w / 2, h / 2), (w, 0)]


def test_equal_factors_are_equally_far_on_a_logarithmic_axis(chart: Any) -> None:
    root = drawn(chart, [chart.Line("one", [(10, 0.1), (100, 0.2), (1000, 0.3)])], True)
    assert [x for x, _ in places(root)] == [0, chart.WIDTH / 2, chart.WIDTH]
    assert {"10", "100", "1000"} <= {one.text for one in root.iter(f"{SVG}text")}


def test_a_level_goes_from_side_to_side_and_names_do_not_overlap(chart: Any) -> None:
    lines = [chart.Line("flat", [(0, 0.3)]), chart.Line("curve", [(1, 0.1), (2, 0.3)])]
    root = drawn(chart, lines, True)
    assert any("stroke-dasharray" in one.attrib for one in root.iter(f"{SVG}path"))
    named = {one.text: float(one.get("y", "")) for one in root.iter(f"{SVG}text")}
    assert abs(named["flat"] - named["curve"]) >= chart.LEAST_GAP


def test_a_value_that_is_not_finite_has_no_point(chart: Any) -> None:
    root = drawn(chart, [chart.Line("gap", [(0, 0.1), (1, float("nan")), (2, 0.2)])], False)
    assert len(places(root)) == 2
