"""What diffumask claims, measured: `python -m benchmarks` lists it, README.md has the same list."""
