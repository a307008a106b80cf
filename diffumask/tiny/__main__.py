"""Run one stage of the recipe: `python -m diffumask.tiny STAGE --work DIR`."""

import argparse
from pathlib import Path

from diffumask.errors import InputError

from . import stages
from .mmdit import LAYERS, WIDTH


def main() -> None:
    """Parse the command line and run a stage; every stage resumes where it stopped.

    `tiny` is made by renders, vae, latents, denoiser, decoder (not needed) and export; then
    `tiny-mmdit`, a transformer with joint attention, by mmdit and export-mmdit.

    On a CPU, `torchrun --nproc-per-node CORES -m diffumask.tiny vae|denoiser|mmdit ...` is twice as
    fast as one process with as many threads.
    """
    parser = argparse.ArgumentParser(prog="python -m diffumask.tiny", description=main.__doc__)
    parser.add_argument("stage", choices=sorted(stages.STAGES))
    parser.add_argument("--work", type=Path, required=True, help="folder for data and checkpoints")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--renders", type=int, default=64_000, help="training scenes to render")
    parser.add_argument("--latent-channels", type=int, default=4, help="of the autoencoder (vae)")
    parser.add_argument("--steps", type=int, help="training steps of this stage")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of JPEGs (vae)")
    parser.add_argument("--minutes", type=float, help="as many steps as fit (one process)")
    parser.add_argument("--batch-size", type=int, help="images a step and process")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--width", type=int, default=WIDTH, help="of the transformer (mmdit)")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the transformer (mmdit)")
    parser.add_argument(
        "--start",
        type=Path,
        help="exported checkpoint of tiny to train on (denoiser, decoder), or to take text and"
        " latents of (mmdit)",
    )
    parser.add_argument(
        "--out", type=Path, help="checkpoint folder to write (export, export-mmdit)"
    )
    arguments = parser.parse_args()
    try:
        stages.STAGES[arguments.stage](arguments)
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
