"""A pipeline's attention to words, captured while it samples, and what becomes of it: heat maps."""
