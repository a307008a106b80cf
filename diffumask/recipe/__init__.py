"""The choices of a run, opened once: checked, bound to a model, and described."""
