"""`python -m diffumask`: the command line."""

from diffumask.cli.app import main

main()
