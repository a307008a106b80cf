"""What `doctor` says of the pictures it has looked at: figures, a verdict, settings, files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffumask.articles import counted

from .doctor_options import DoctorOptions
from .progress import phase, progress
from .result import Result

if TYPE_CHECKING:  # they load torch and OpenCV
    from diffumask.masks.sources import MaskSource
    from diffumask.proof.estimates import Estimate
    from diffumask.proof.reading import Read
    from diffumask.proof.search import Found
    from diffumask.proof.verdict import Verdict

NO_TRUTH = (
    "no truth: text gain, takes other and pointing need labelled pictures, or a CLIPSeg as referee"
)


@dataclass(frozen=True, slots=True)
class Examined:
    """Pictures that a model drew, and pictures with truth, `of` which source these are."""

    model: str
    checkpoint: str
    drawn: "Sequence[Read]"
    networks: "Mapping[str, MaskSource]"
    judged: "Sequence[Read]" = ()
    of: str = ""

    def with_truth(self, judged: "Sequence[Read]", of: str) -> "Examined":
        """Return the same with pictures whose truth is known."""
        return replace(self, judged=judged, of=of)


@dataclass(slots=True)
class _Said:
    """Lines for people and facts for programs."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def report(options: DoctorOptions, examined: Examined) -> "Result[Verdict]":
    """Judge, choose settings where there is truth, and write the files that are asked for."""
    from diffumask.proof.verdict import verdict

    said = _Said(facts={"model": examined.model, "checkpoint": examined.checkpoint})
    with phase("judging"):
        values = _without_truth(examined, said)
        if examined.judged:
            values |= _with_truth(examined, said)
        else:
            said.lines.append(NO_TRUTH)
    found = _search(examined, said) if options.chooses and len(examined.judged) > 1 else None
    given = verdict(values)
    said.lines += [*map(str, given.findings), str(given)]
    graded = {one.name: {**asdict(one.value), "grade": one.grade} for one in given.findings}
    said.facts |= {"verdict": given.grade, "figures": graded, "truth": examined.of or None}
    if options.out is not None and found is not None:
        _write_preset(Path(options.out), examined, found, given)
        said.lines.append(f"the preset is in {options.out}")
    if options.page is not None:
        said.lines.append(_write_page(Path(options.page), examined, found))
    said.facts |= {"preset": options.out, "page": options.page}
    return Result(given, "\n".join(said.lines), said.facts)


def _without_truth(examined: Examined, said: _Said) -> "dict[str, Estimate]":
    """Return what drawn pictures of two objects tell of themselves."""
    from diffumask.masks.class_map import make_class_map
    from diffumask.masks.settings import LEAST_PRESENCE, MaskSettings
    from diffumask.metrics import iou
    from diffumask.proof.controls import CONTROLS
    from diffumask.proof.estimates import estimate
    from diffumask.proof.judging import OURS, masked, row_masks, word_overlap
    from diffumask.proof.verdict import KEPT, OVERLAP, REFUSED

    settings, classes = MaskSettings(), [read.picture.class_name for read in examined.drawn]
    gated = replace(settings, least_presence=LEAST_PRESENCE)  # where absent objects matter
    values: dict[str, list[float]] = {OVERLAP: [], REFUSED: [], KEPT: []}
    alike: dict[str, list[float]] = {name: [] for name in CONTROLS}
    for read in examined.drawn:
        reading = next(iter(read.samples))
        sample = read.samples[reading]
        values[OVERLAP].append(word_overlap(sample, settings))
        wrong = masked(read.wrong[reading], gated).mask
        values[REFUSED].append(float(not wrong.any()) if sample.presences else np.nan)
        class_map = make_class_map(sample, gated).class_map
        kept = [(class_map == one.class_id).any() for one in sample.prompt.targets]
        values[KEPT].append(float(np.mean(kept)))
        made = row_masks(read, reading, settings)
        for name in CONTROLS:
            alike[name].append(iou(made[OURS].mask, made[name].mask))
    agreement = {name: float(np.mean(of_name)) for name, of_name in alike.items()}
    listed = ", ".join(f"{name} {mean:.3f}" for name, mean in agreement.items())
    said.lines += [
        f"{counted(len(classes), 'picture')} drawn; IoU of our masks with controls': {listed}"
    ]
    said.facts |= {"drawn": len(classes), "agreement": agreement}
    return {name: estimate(np.array(of_name), classes) for name, of_name in values.items()}


def _with_truth(examined: Examined, said: _Said) -> "dict[str, Estimate]":
    """Judge by truth: ours, the controls and other networks."""
    from diffumask.masks.settings import MaskSettings
    from diffumask.proof.judging import OURS, judge
    from diffumask.proof.verdict import GAIN, POINTING, TAKES_OTHER

    # a referee would be judged by itself
    others = {name: one for name, one in examined.networks.items() if name not in examined.of}
    reading = next(iter(examined.judged[0].samples))
    judgement = judge(examined.judged, reading, MaskSettings(), others)
    best, gain = judgement.gain
    width = max(map(len, judgement.rows))
    said.lines.append(f"IoU on {len(examined.judged)} {examined.of}, by the default settings:")
    said.lines += [
        f"  {name:{width}}  {judgement.estimate(name, 'iou')}" for name in judgement.rows
    ]
    said.lines.append(f"  {OURS} less the best control, {best}: {gain.signed}")
    rows = {name: asdict(judgement.estimate(name, "iou")) for name in judgement.rows}
    said.facts |= {"iou": rows, "best_control": best}
    return {
        GAIN: gain,
        TAKES_OTHER: judgement.estimate(OURS, "takes_other"),
        POINTING: judgement.estimate(OURS, "pointing"),
    }


def _search(examined: Examined, said: _Said) -> "Found":
    """Choose settings by half of the pictures with truth."""
    from diffumask.proof.search import n_tried, search

    tried = n_tried(list(examined.judged[0].samples))
    with progress("trying settings", tried, each="setting") as advance:
        found = search(examined.judged, advance)
    width = max(len(one.what) for one in found.trials)
    said.lines.append(
        "IoU on the half that chooses (dev) and the other (test), by what is changed:"
    )
    said.lines += [f"  {one.what:{width}}  dev {one.dev}  test {one.test}" for one in found.trials]
    said.lines.append(f"best: {found.best}; over the default on test {found.gain.signed}")
    said.facts["tried"] = [asdict(one) for one in found.trials]
    said.facts["gain_over_default"] = asdict(found.gain)
    return found


def _write_preset(path: Path, examined: Examined, found: "Found", given: "Verdict") -> None:
    from diffumask.recipe.preset_file import PresetFile, PresetSettings, write_preset

    best = found.best
    weights = None if best.reading.weights is None else dict(best.reading.weights)
    settings = PresetSettings(
        weights=weights,
        power=best.reading.power,
        otsu_less=best.otsu_less,
        refiner=best.refiner,
        least_presence=best.least_presence,
    )
    figures = {one.name.replace(" ", "_"): one.value.mean for one in given.findings}
    figures["test_gain_over_default"] = found.gain.mean
    chosen = (
        f"IoU on every other of {len(examined.judged)} {examined.of}, {len(found.trials)} settings "
        f"tried; the default ones are {given.grade}"
    )
    write_preset(
        path, PresetFile(examined.model, examined.checkpoint, None, chosen, settings, figures)
    )


def _write_page(path: Path, examined: Examined, found: "Found | None") -> str:
    from diffumask.masks.settings import MaskSettings
    from diffumask.proof.page import write_page

    reads = examined.judged or examined.drawn
    reading, settings = next(iter(reads[0].samples)), MaskSettings()
    if found is not None:
        reading, settings = found.best.reading, found.best.masks
    names = write_page(path, reads, reading, settings)
    return f"the page is in {path}, from the left: {', '.join(names)}"
