"""`python -m diffumask.cli`."""

from .app import main

main()
