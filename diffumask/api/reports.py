"""Reports of how predictions agree with labelled images, and where they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.errors import InputError
from diffumask.plot import check_plot

from .option import OUTPUT, Option, Options, StrPath
from .result import Result

if TYPE_CHECKING:  # it loads OpenCV
    from diffumask.evaluation.report import Report

BINARY = "masks in black and white (0 and 255) hold no ids; map 255 to a class id"


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """The files that a comparison writes."""

    PANEL = OUTPUT

    out: Annotated[StrPath | None, Option("Report (.json).", default="none")] = None
    plot: Annotated[StrPath | None, Option("Confusion matrix (.svg, .png).", default="none")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_suffix("a report", self.out, ".json")
        if self.plot is not None:
            check_plot(Path(self.plot))

    def report_files(self) -> list[Path]:
        """List the files that will be written."""
        return [Path(path) for path in (self.out, self.plot) if path is not None]

    def refuse_foreign_files(self) -> None:
        """Raise InputError where there is a file already that is no report of ours."""
        from diffumask.evaluation.file import refuse_foreign

        for path in self.report_files():
            refuse_foreign(path)

    def write_report(
        self, report: "Report", facts: Mapping[str, Any], title: str, notes: Sequence[str] = ()
    ) -> "Result[Report]":
        """Write the report and the figure that are asked for; the text is the figures as a table.

        `notes` are further lines, to which is added what looks like masks in black and white.
        """
        from diffumask.evaluation.figure import write_figure
        from diffumask.evaluation.file import figures, write_report
        from diffumask.evaluation.report import looks_binary, table

        binary = looks_binary(report)
        notes = [*notes, *(f"no class is in the {which}: {BINARY}" for which in binary)]
        facts = {**facts, "notes": notes, "looks_binary": binary}
        lines = [table(report), *notes]
        if self.out is not None:
            write_report(Path(self.out), report, facts)
            lines.append(f"the report is in {self.out}")
        if self.plot is not None:
            write_figure(Path(self.plot), title, report)
            lines.append(f"the figure is in {self.plot}")
        written = {"report": self.out, "figure": self.plot}
        return Result(report, "\n".join(lines), {**facts, **figures(report), **written})


def check_suffix(what: str, path: StrPath | None, suffix: str) -> None:
    """Raise InputError for a file whose name ends otherwise."""
    if path is not None and Path(path).suffix != suffix:
        raise InputError(f"expected {what} named *{suffix}, got {path}")
