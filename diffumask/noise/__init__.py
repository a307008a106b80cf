"""Noise learning: find items whose mask a network that never saw them does not confirm."""
