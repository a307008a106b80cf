"""Which attention shows an object best? IoU by third of the trajectory, resolution and merge.

Images of `tiny` are sampled once for each share of the steps, from the same seeds, so that they
are equal; the oracle says where the prompted class is. A figure is the mean IoU over the images
where the class is present, at the one threshold that is best for the setting, so that settings are
compared and not their scales. `diffumask/attention/defaults.py` follows it.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from benchmarks.judges.oracle import MIN_AREA, load_oracle, predict
from benchmarks.report import Report, table, tell
from benchmarks.sampling import names_of, prompts_of, settings_of
from diffumask.attention.aggregate import MERGES, PRESETS, aggregate
from diffumask.attention.capture import capture
from diffumask.metrics import iou
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.sampling.calling import call_arguments
from diffumask.types import Mask, Prompt

THRESHOLDS = np.arange(0.10, 0.91, 0.05).round(2)
SHARES = {
    "first third": (0.0, 1 / 3),
    "middle third": (1 / 3, 2 / 3),
    "last third": (2 / 3, 1.0),
    "all": (0.0, 1.0),
}
Setting = tuple[str, str, str, str]  # share, resolution, merge, preset
Scores = dict[Setting, list[np.ndarray]]  # for each image, the IoU at each threshold


def ways_of(factors: list[int]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the ways to aggregate: each resolution alone, and all with each merge and preset."""
    equal: dict[str, Any] = {"weights": None, "merge": "mean", "preset": "peaks"}
    alone = {(f"1/{f}", "mean", "peaks"): equal | {"weights": {f: 1.0}} for f in factors}
    merged = {("all", merge, "peaks"): equal | {"merge": merge} for merge in MERGES}
    preset = {("all", "mean", name): equal | {"preset": name} for name in PRESETS}
    return alone | merged | preset


def score(
    pipe: Any, oracle: Any, spec: ModelSpec, prompts: Sequence[Prompt], seeds: Sequence[int]
) -> Scores:
    """Sample a batch for each share of the steps, and compare all settings with the oracle."""
    truths: list[Mask] = []
    scores: Scores = defaultdict(list)
    words = [[target.word for target in prompt.targets] for prompt in prompts]
    texts = [prompt.text for prompt in prompts]
    for share, steps in SHARES.items():
        with capture(pipe, words, steps=steps, resolutions=None, heads=True) as attention:
            images = pipe(**call_arguments(pipe, texts, list(seeds), settings_of(spec))).images
        if not truths:  # the images are the same for all shares
            class_maps = predict(oracle, [np.array(image) for image in images])
            class_ids = [prompt.targets[0].class_id for prompt in prompts]
            truths = [m == class_id for m, class_id in zip(class_maps, class_ids, strict=True)]
        factors = sorted(set(attention.factors.values()))
        for setting, options in ways_of(factors).items():
            heats = aggregate(attention, (spec.height, spec.width), **options)
            for prompt, heat, truth in zip(prompts, heats, truths, strict=True):
                of_word = heat[prompt.targets[0].word]
                ious = [iou(of_word > t, truth) for t in THRESHOLDS]
                kept = np.array(ious) if truth.mean() >= MIN_AREA else np.full(len(ious), np.nan)
                scores[share, *setting].append(kept)
    return scores


def best(per_image: list[np.ndarray]) -> str:
    """Return the mean IoU at the best threshold, and that threshold."""
    curve = np.nanmean(np.stack(per_image), axis=0)
    return f"{curve.max():.3f} at {THRESHOLDS[curve.argmax()]:.2f}"


def main(n: Annotated[int, "images per class"] = 5, seed: int = 0) -> Report:
    """Sample images of every class, class by class, and report."""
    spec, vocabulary = resolve("tiny"), load_vocabulary("tiny")
    pipe: Any = load(spec)
    oracle = load_oracle()
    scores: Scores = defaultdict(list)
    several: list[bool] = []  # of each image, whether its word has several tokens
    for name in names_of(vocabulary):
        prompts, seeds = zip(*prompts_of(vocabulary, [name], range(n), seed), strict=True)
        found = score(pipe, oracle, spec, prompts, seeds)
        for setting, per_image in found.items():
            scores[setting] += per_image
        words = [prompt.targets[0].word for prompt in prompts]
        several += [len(pipe.tokenizer.tokenize(word)) > 1 for word in words]
        tell(f"{name}: {best(found['all', 'all', 'mean', 'peaks'])}")
    facts = [f"{n} images of `tiny` for each class. Mean IoU at the best threshold."]
    lines = [*shares_table(scores), "", "All steps and resolutions:", ""]
    return Report("Which attention shows an object", facts, lines + ways_table(scores, several))


def shares_table(scores: Scores) -> list[str]:
    """Write a row for each resolution, a column for each share of the steps."""
    names = [*sorted({setting[1] for setting in scores if setting[1] != "all"}), "all"]
    rows = [[name, *(best(scores[one, name, "mean", "peaks"]) for one in SHARES)] for name in names]
    return table(("resolution", *SHARES), rows)


def ways_table(scores: Scores, several: list[bool]) -> list[str]:
    """Write a row for each way to merge all resolutions of all steps."""
    rows = []
    for (share, row, merge, preset), images in scores.items():
        if (share, row) == ("all", "all"):
            of_several = [one for one, more in zip(images, several, strict=True) if more]
            cell = best(of_several) if of_several else "none"
            rows.append((f"merge {merge}, preset {preset}", best(images), cell))
    return table(("way", "all images", "words of several tokens"), rows)
