"""Every benchmark is listed, has a command line, and its report says what was run."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import entries, main, overview
from benchmarks.charts import write_bars, write_lines
from benchmarks.options import parser_of
from benchmarks.report import Picture, Report, command, middle, table, write

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"


def texts(path: Path) -> list[str | None]:
    root = ElementTree.parse(path).getroot()
    return [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]


def test_what_has_a_main_is_in_the_list_and_the_other_way_round() -> None:
    runnable = {
        (path.parent.name, path.stem)
        for path in FOLDER.glob("*/*.py")
        if "\ndef main(" in path.read_text("utf-8")
    }
    assert {(one.topic, one.name) for one in entries().values()} == runnable


@pytest.mark.parametrize("name", sorted(entries()))
def test_each_has_a_command_line_and_says_what_it_asks(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = entries()[name].load()
    with pytest.raises(SystemExit) as stopped:
        parser_of(name, module).parse_args(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m benchmarks {name}" in shown
    assert "--out" in shown
    assert module.__doc__


def test_without_a_name_all_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, code in (([], 0), (["nope"], 2)):
        monkeypatch.setattr("sys.argv", ["benchmarks", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == code
        assert capsys.readouterr().out.strip() == overview().strip()
    assert all(f"{name}: " in overview() for name in entries())
    assert "(benchmarks/results/flops.md)" in overview()


@pytest.mark.parametrize("path", sorted((FOLDER / "results").glob("*.md")), ids=lambda p: p.stem)
def test_a_result_names_a_command_that_is_there(path: Path) -> None:
    found = re.search(
        r"`(?:OMP_NUM_THREADS=\d+ )?python -m benchmarks (\w+)", path.read_text("utf-8")
    )
    assert found
    assert found[1] in entries()


def test_commands_in_the_docs_are_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), FOLDER / "README.md"]
    named = {
        name
        for page in pages
        for name in re.findall(r"python -m benchmarks (\w+)", page.read_text("utf-8"))
    }
    assert named - {"NAME"} <= set(entries())
    assert not [p for p in pages if re.search(r"python benchmarks/\w+\.py", p.read_text("utf-8"))]


def options(*words: str) -> dict[str, object]:
    module = ModuleType("quick", "Is it quick?")

    def run(
        work: Path,
        n: Annotated[int, "items"] = 3,
        sizes: Annotated[Sequence[str], "of them", {"small": 1, "large": 2}] = ("small",),
        data: Path | None = None,
        is_dry: bool = False,
    ) -> None: ...

    module.main = run  # type: ignore[attr-defined]
    return vars(parser_of("quick", module).parse_args(words))


def test_parameters_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    usual = {"n": 3, "sizes": ("small",), "data": None, "is_dry": False, "report_out": None}
    assert options("--work", "w") == {"work": Path("w"), **usual}
    words = ("--n", "5", "--sizes", "large", "small", "--data", "d", "--is-dry", "--out", "o.md")
    assert options("--work", "w", *words) == {
        "work": Path("w"),
        "n": 5,
        "sizes": ["large", "small"],
        "data": Path("d"),
        "is_dry": True,
        "report_out": Path("o.md"),
    }
    for wrong in ((), ("--work", "w", "--sizes", "huge"), ("--work", "w", "--n", "x")):
        with pytest.raises(SystemExit):
            options(*wrong)
    assert "invalid choice: 'huge'" in capsys.readouterr().err


def test_a_report_has_its_command_its_tables_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lines = table(("a", "b"), [(1, "x")])
    picture = Picture(".svg", "Bars", lambda path: path.touch())
    typed = command("quick", ["--n", "2", "--work", str(tmp_path)])
    write(Report("Title", ["Two items."], lines, [picture]), typed, "quick", tmp_path / "r.md")
    page = (tmp_path / "r.md").read_text("utf-8").splitlines()
    assert page[:3] == [
        "# Title",
        "",
        "Command: `OMP_NUM_THREADS=1 python -m benchmarks quick --n 2 --work WORK`.",
    ]
    assert page[4:] == [
        "Two items.",
        "",
        "![Bars](r.svg)",
        "",
        "| a | b |",
        "|---|---|",
        "| 1 | x |",
    ]
    assert (tmp_path / "r.svg").exists()
    assert capsys.readouterr().out.splitlines()[:-1] == page
    assert middle([3.0, 1.0, 2.0], 1) == "2.0 (1.0 to 3.0)"


@pytest.mark.parametrize("logarithmic", [False, True])
def test_lines_are_named_and_a_single_point_is_a_level(tmp_path: Path, logarithmic: bool) -> None:
    lines = {"level": [(0.0, 0.3)], "a < b": [(10.0, 0.1), (30.0, 0.2), (100.0, float("nan"))]}
    write_lines(tmp_path / "a.svg", "title", ("labels", "IoU"), lines, logarithmic)
    shown = set(texts(tmp_path / "a.svg"))
    assert {"title", "labels", "IoU", "level", "a < b"} <= shown
    assert not logarithmic or {"10", "30", "100"} <= shown


def test_bars_tell_their_values(tmp_path: Path) -> None:
    panels = {
        "time": ({"plain": (1.0, "1.00"), "ours": (1.1, "1.10")}, False),
        "kept": ({"plain": (0.0, "none"), "ours": (2e6, "2 MB")}, True),
    }
    write_bars(tmp_path / "a.svg", "costs", panels)
    assert {"costs", "time", "kept", "plain", "ours", "1.10", "none", "2 MB"} <= set(
        texts(tmp_path / "a.svg")
    )
