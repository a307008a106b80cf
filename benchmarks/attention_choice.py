"""Which attention shows an object best? IoU by third of the trajectory, resolution and merge.

    python benchmarks/attention_choice.py [--n 5] [--out benchmarks/results/attention_choice.md]

Images of `tiny` are sampled once for each share of the steps, from the same seeds, so that they
are equal; the oracle (benchmarks/oracle.py) says where the prompted class is. A figure is the
mean IoU over the images where the class is present, at the one threshold that is best for the
setting, so that settings are compared and not their scales. `diffumask/defaults.py` follows it.
"""

import argparse
import os
import platform
import shlex
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from oracle import MIN_AREA, load_oracle, predict

from diffumask.attention.aggregate import MERGES, PRESETS, aggregate
from diffumask.attention.capture import capture
from diffumask.metrics import iou
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.seeds import item_seed
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


def settings_of(factors: list[int]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the ways to aggregate: each resolution alone, and all with each merge and preset."""
    equal: dict[str, Any] = {"weights": None, "merge": "mean", "preset": "peaks"}
    alone = {(f"1/{f}", "mean", "peaks"): equal | {"weights": {f: 1.0}} for f in factors}
    merged = {("all", merge, "peaks"): equal | {"merge": merge} for merge in MERGES}
    preset = {("all", "mean", name): equal | {"preset": name} for name in PRESETS}
    return alone | merged | preset


def score(
    pipe: Any, oracle: Any, spec: ModelSpec, prompts: list[Prompt], seeds: list[int]
) -> Scores:
    """Sample a batch for each share of the steps, and compare all settings with the oracle."""
    truths: list[Mask] = []
    scores: Scores = defaultdict(list)
    words = [[target.word for target in prompt.targets] for prompt in prompts]
    for share, steps in SHARES.items():
        with capture(pipe, words, steps=steps, resolutions=None, heads=True) as attention:
            images = pipe(
                [prompt.text for prompt in prompts],
                height=spec.height,
                width=spec.width,
                num_inference_steps=spec.num_inference_steps,
                guidance_scale=spec.guidance_scale,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            ).images
        if not truths:  # the images are the same for all shares
            class_maps = predict(oracle, [np.array(image) for image in images])
            class_ids = [prompt.targets[0].class_id for prompt in prompts]
            truths = [m == class_id for m, class_id in zip(class_maps, class_ids, strict=True)]
        factors = sorted(set(attention.factors.values()))
        for setting, options in settings_of(factors).items():
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


def report(scores: Scores, several: list[bool], command: str, n: int) -> str:
    """Write the tables as Markdown; `several` tells of each image if its word has more tokens."""
    rows = [*sorted({setting[1] for setting in scores if setting[1] != "all"}), "all"]
    lines = [
        "# Which attention shows an object",
        "",
        f"Command: `{command}`.",
        f"{n} images of `tiny` for each class; {os.cpu_count()} cores, torch {torch.__version__},",
        f"Python {platform.python_version()}. Mean IoU at the best threshold.",
        "",
        f"| resolution | {' | '.join(SHARES)} |",
        "|---" * (1 + len(SHARES)) + "|",
    ]
    for row in rows:
        cells = [best(scores[share, row, "mean", "peaks"]) for share in SHARES]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += [
        "",
        "All steps and resolutions:",
        "",
        "| way | all images | words of several tokens |",
    ]
    lines.append("|---|---|---|")
    for share, row, merge, preset in scores:
        if (share, row) == ("all", "all"):
            images = scores[share, row, merge, preset]
            of_several = [one for one, more in zip(images, several, strict=True) if more]
            cell = best(of_several) if of_several else "none"
            lines.append(f"| merge {merge}, preset {preset} | {best(images)} | {cell} |")
    return "\n".join(lines) + "\n"


def measure(spec: ModelSpec, vocabulary: Vocabulary, n: int, run_seed: int) -> str:
    """Sample `n` images of every class, class by class, and report."""
    pipe: Any = load(spec)
    oracle = load_oracle()
    scores: Scores = defaultdict(list)
    several: list[bool] = []
    for entry in vocabulary.classes:
        seeds = [item_seed(run_seed, entry.name, index) for index in range(n)]
        prompts = [build(vocabulary, entry.name, seed) for seed in seeds]
        found = score(pipe, oracle, spec, prompts, seeds)
        for setting, per_image in found.items():
            scores[setting] += per_image
        words = [prompt.targets[0].word for prompt in prompts]
        several += [len(pipe.tokenizer.tokenize(word)) > 1 for word in words]
        ious = best(found["all", "all", "mean", "peaks"])
        print(f"{entry.name}: {ious}", file=sys.stderr, flush=True)
    return report(scores, several, f"python {shlex.join(sys.argv)}", n)


def main() -> None:
    """Measure and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=5, help="images per class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    text = measure(resolve("tiny"), load_vocabulary("tiny"), args.n, args.seed)
    print(text)
    if args.out:
        args.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
