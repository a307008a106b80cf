"""`diffumask verify`: check a dataset, and set aside what is broken."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .progress import progress
from .result import Result

if TYPE_CHECKING:
    from diffumask.dataset.verify import Report

EXIT_PROBLEMS = 1


def run(folder: Path, repair: bool, accept: bool) -> Result:
    """Return a line for each problem; the exit code tells whether the dataset is whole now.

    Raises InputError for a folder that is no dataset, and one that cannot be repaired.
    """
    from diffumask.dataset import verify

    check = verify.repair if repair else verify.verify
    with progress(verify.count_listed(folder), 0) as advance:
        report = check(folder, accept, advance)
    facts = {
        "folder": folder,
        "whole_items": len(report.whole),
        "problems": [{"where": one.where, "message": one.message} for one in report.problems],
        "repaired": repair,
        "aside": report.aside,
    }
    exit_code = 0 if repair or not report.problems else EXIT_PROBLEMS
    return Result("\n".join(_lines(folder, report, repair)), facts, exit_code=exit_code)


def _lines(folder: Path, report: "Report", repaired: bool) -> Iterator[str]:
    yield from map(str, report.problems)
    found = f"{len(report.whole)} whole items in {folder}"
    if not report.problems:
        yield f"{found}, nothing wrong"
    elif not repaired:
        yield f"{found}, {len(report.problems)} problems; --repair sets aside what is broken"
    else:
        yield (
            f"{found}, {len(report.problems)} problems mended; what is no longer listed lies in "
            f"{report.aside}"
        )
