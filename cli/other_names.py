"""What other tools call our options."""

from collections.abc import Sequence

# By ours; of several that a command has, the first counts.
OTHER_NAMES = {
    "--num-inference-steps": "steps num-steps ddim-steps sampling-steps inference-steps",
    "--steps": "num-steps max-steps iterations iters epochs num-epochs num-inference-steps",
    "--guidance-scale": "cfg cfg-scale scale guidance",
    "--n": "count num number num-images num-samples n-samples samples images limit",
    "--items": "n count num number limit",
    "--out": "output outputs outdir out-dir output-dir output-folder save-dir dest folder",
    "--class": "classes class-name label labels category categories object prompt",
    "--prompts": "prompt prompt-file from-file",
    "--negative-prompt": "negative neg uc",
    "--model": "checkpoint ckpt weights model-id model-name pretrained-model-name-or-path network",
    "--checkpoint": "model ckpt weights",
    "--data": "dataset data-dir input input-dir source folder images",
    "--batch-size": "batch bs batchsize n-batch train-batch-size",
    "--learning-rate": "lr",
    "--size": "resolution imgsz image-size img-size height width",
    "--resolution": "size imgsz image-size height width",
    "--height": "size resolution imgsz image-size h",
    "--width": "w",
    "--device": "gpu cuda",
    "--dtype": "precision half fp16 bf16 torch-dtype",
    "--precision": "dtype half fp16 bf16 mixed-precision",
    "--workers": "num-workers jobs threads processes",
    "--format": "fmt type to as",
    "--layout": "format",
    "--refiner": "refine crf",
    "--keep-maps": "save-heatmaps heatmaps save-maps",
    "--lora-scale": "lora-weight",
    "--vocabulary": "vocab classes-file",
    "--seed": "random-seed manual-seed",
    "--quiet": "silent no-progress",
    "--verbose": "debug log-level",
}


def other_name(unknown: str, known: Sequence[str]) -> str | None:
    """Return the option among those known that other tools call so, None where there is none."""
    name = unknown.lstrip("-").replace("_", "-").lower()
    for ours, others in OTHER_NAMES.items():
        if ours in known and name in others.split():
            return ours
    return None
