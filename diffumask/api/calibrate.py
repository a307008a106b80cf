"""The threshold of each class that a reference agrees with best."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.errors import InputError

from .calibrate_cases import CalibrateOptions, measure_kept, measure_new
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.calibration.cases import Combination
    from diffumask.calibration.file import Thresholds
    from diffumask.calibration.fit import ClassThreshold

FIGURES = ("threshold", "low", "high", "iou", "n", "left_out")


@use_case(CalibrateOptions)
def calibrate(options: CalibrateOptions) -> "Result[Thresholds]":
    """Find the threshold of each class that a reference agrees with best.

    generate and remask take the file as threshold. With masks:DIR the reference is drawn by hand,
    for 10 to 20 images of the data; with transformers:MODEL it is a segmentation network.

    Returns the thresholds. Raises InputError for what the user can mend, before the work where
    that can be known, and for a class without a threshold, once those of others are written.
    """
    from diffumask.calibration.file import Thresholds, write_thresholds
    from diffumask.calibration.fit import fit
    from diffumask.calibration.plot import write_curves

    out = Path(options.out)
    _refuse_foreign(out)
    measured = measure_new(options) if options.data is None else measure_kept(options)
    gathered = measured.gathered
    fitted = fit(gathered.curves, gathered.left_out, options.seed)
    way, reference = gathered.combinations[fitted.setting], options.reference
    thresholds = Thresholds(
        measured.model,
        measured.checkpoint,
        way.merge,
        way.weights,
        way.heat,
        reference,
        fitted.classes,
    )
    write_thresholds(out, thresholds)
    if options.plot is not None:
        title = f"IoU against threshold, {measured.model}, reference {reference}"
        write_curves(Path(options.plot), title, fitted.classes)
    for name, reason in fitted.refused.items():
        raise InputError(f"{name}: {reason}; the thresholds of other classes are in {out}")
    facts = {
        "file": out,
        "heat": way.heat,
        "merge": way.merge,
        "classes": {
            name: {figure: getattr(fit_of_class, figure) for figure in FIGURES}
            for name, fit_of_class in fitted.classes.items()
        },
    }
    text = f"{table(fitted.classes)}\n{_describe(way)}\nthresholds are in {out}"
    return Result(thresholds, text, facts)


def table(classes: "Mapping[str, ClassThreshold]") -> str:
    """Lay the thresholds out in columns."""
    width = max(len("class"), *map(len, classes))
    lines = [f"{'class':{width}}  threshold  95 % interval  IoU   items  left out"]
    lines += [
        f"{name:{width}}  {fit.threshold:<9.2f}  {fit.low:.2f} to {fit.high:.2f}   {fit.iou:.2f}"
        f"  {fit.n:<5}  {fit.left_out}"
        for name, fit in classes.items()
    ]
    return "\n".join(lines)


def _refuse_foreign(out: Path) -> None:
    """Raise InputError if the file exists and is none of ours."""
    from diffumask.calibration.file import read_thresholds

    if out.exists():
        try:
            read_thresholds(out)
        except InputError as error:
            raise InputError(f"{error}; choose another file") from error


def _describe(combination: "Combination") -> str:
    grids = "the default grids"
    if combination.weights is not None:
        grids = f"grids of 1/{', 1/'.join(map(str, combination.weights))} of the latents"
    return f"heat maps: {combination.heat}, {combination.merge} of a word's tokens, {grids}"
