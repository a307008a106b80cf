"""The threshold of each class by which masks agree best with a reference."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.errors import InputError

from .calibrate_cases import CalibrateOptions, Measured, measure_kept, measure_new
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.calibration.file import Thresholds
    from diffumask.calibration.fit import ClassThreshold
    from diffumask.calibration.setting import Setting

FIGURES = ("low", "high", "iou", "default_iou", "n", "left_out")


@use_case(CalibrateOptions)
def calibrate(options: CalibrateOptions) -> "Result[Thresholds]":
    """Find the threshold of each class that suits it best.

    By it masks agree best with a reference. generate and remask take the file as threshold; a
    class that the default suits keeps it. With masks:DIR the reference is drawn by hand, for 10
    to 20 images of the data; with transformers:MODEL it is a segmentation network.

    Returns the thresholds. Raises InputError for what the user can mend, before the work where
    that can be known, and for a class without a threshold, once those of others are written.
    """
    from diffumask.calibration.file import write_thresholds
    from diffumask.calibration.plot import write_curves

    out = Path(options.out)
    _refuse_foreign(out)
    measured = measure_new(options) if options.data is None else measure_kept(options)
    thresholds, refused = _fitted(measured, options)
    write_thresholds(out, thresholds)
    if options.plot is not None:
        title = f"IoU of masks against threshold, {measured.model}, reference {options.reference}"
        write_curves(Path(options.plot), title, thresholds.classes)
    for name, reason in refused.items():
        raise InputError(f"{name}: {reason}; the thresholds of other classes are in {out}")
    setting = thresholds.setting
    facts = {
        "file": out,
        **asdict(setting),
        "classes": {
            name: {"threshold": "auto" if one.threshold is None else one.threshold}
            | {figure: getattr(one, figure) for figure in FIGURES}
            for name, one in thresholds.classes.items()
        },
    }
    text = f"{table(thresholds.classes)}\n{_describe(setting)}\nthresholds are in {out}"
    return Result(thresholds, text, facts)


def _fitted(
    measured: Measured, options: CalibrateOptions
) -> "tuple[Thresholds, Mapping[str, str]]":
    """Fit thresholds to what was measured; also return why classes have none."""
    from diffumask.calibration.file import Thresholds
    from diffumask.calibration.fit import fit

    gathered = measured.gathered
    fitted = fit(gathered.curves, gathered.left_out, options.seed)
    thresholds = Thresholds(
        measured.model,
        measured.checkpoint,
        gathered.settings[fitted.setting],
        options.reference,
        fitted.classes,
    )
    return measured.finish(thresholds), fitted.refused


def table(classes: "Mapping[str, ClassThreshold]") -> str:
    """Lay the thresholds out in columns."""
    from diffumask.calibration.file import named

    width = max(len("class"), *map(len, classes))
    lines = [f"{'class':{width}}  threshold  95 % interval  IoU   by default  items  left out"]
    lines += [
        f"{name:{width}}  {named(one.threshold):<9}  {one.low:.2f} to {one.high:.2f}   "
        f"{one.iou:.2f}  {one.default_iou:<10.2f}  {one.n:<5}  {one.left_out}"
        for name, one in classes.items()
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


def _describe(setting: "Setting") -> str:
    grids = "the default grids"
    if setting.weights is not None:
        grids = f"grids of 1/{', 1/'.join(map(str, setting.weights))} of the latents"
    return (
        f"masks: {setting.heat}, power {setting.power}, {setting.merge} of a word's tokens, "
        f"{grids}, refiner {setting.refiner}, uncertain band {setting.uncertain_band:g}"
    )
