"""Run one stage of the recipe: `python -m diffumask.tiny STAGE --work DIR`."""

import argparse
from pathlib import Path

from diffumask.tiny import stages


def main() -> None:
    """Parse the command line and run a stage; every stage resumes where it stopped."""
    parser = argparse.ArgumentParser(prog="python -m diffumask.tiny", description=main.__doc__)
    parser.add_argument("stage", choices=sorted(stages.STAGES))
    parser.add_argument("--work", type=Path, required=True, help="folder for data and checkpoints")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--renders", type=int, default=48_000, help="training scenes to render")
    parser.add_argument("--steps", type=int, help="training steps of this stage")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of JPEGs (vae)")
    parser.add_argument(
        "--start", type=Path, help="exported checkpoint to train on (denoiser, decoder)"
    )
    parser.add_argument("--out", type=Path, help="checkpoint folder to write (export)")
    stages.STAGES[(arguments := parser.parse_args()).stage](arguments)


if __name__ == "__main__":
    main()
