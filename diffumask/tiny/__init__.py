"""The recipe of `tiny`, the built-in model; its weights lie in `checkpoint/`."""
