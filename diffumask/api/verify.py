"""A dataset checked against what was written, and what is broken set aside."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted

from .option import Option, Options, StrPath
from .progress import progress
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:
    from diffumask.dataset.verify import Report

EXIT_PROBLEMS = 1


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Options):
    """The options of `verify`."""

    folder: Annotated[StrPath, Option("Dataset folder.", positional=True, read=True)]
    repair: Annotated[bool, Option("List whole items alone; move the rest to .broken.")] = False
    accept: Annotated[bool, Option("Take files that you changed, if they fit.")] = False


@use_case(VerifyOptions)
def verify(options: VerifyOptions) -> "Result[Report]":
    """Check every line and file of a dataset.

    They may be torn, missing, changed, unlisted or misfitting. The exit code is 0 for a whole
    dataset, 1 for one with problems, 2 for no dataset.

    Returns the problems and the records of the whole items. Raises InputError for a folder that is
    no dataset, and one that cannot be repaired.
    """
    from diffumask.dataset import verify

    folder = Path(options.folder)
    check = verify.repair if options.repair else verify.verify
    with progress("verifying", verify.count_listed(folder)) as advance:
        report = check(folder, options.accept, advance)
    facts = {
        "folder": folder,
        "whole_items": len(report.whole),
        "problems": [
            {"where": problem.where, "message": problem.message} for problem in report.problems
        ],
        "repaired": options.repair,
        "aside": report.quarantine,
    }
    text = "\n".join(_lines(folder, report, options.repair))
    exit_code = 0 if options.repair or not report.problems else EXIT_PROBLEMS
    return Result(report, text, facts, exit_code=exit_code)


def _lines(folder: Path, report: "Report", is_repaired: bool) -> Iterator[str]:
    yield from map(str, report.problems)
    found = f"{counted(len(report.whole), 'whole item')} in {folder}"
    problems = counted(len(report.problems), "problem")
    if not report.problems:
        yield f"{found}, nothing wrong"
    elif not is_repaired:
        yield f"{found}, {problems}; a repair sets aside what is broken"
    else:
        yield (f"{found}, {problems} mended; what is no longer listed lies in {report.quarantine}")
