"""Image datasets with pixel masks, made by a text-to-image model from its own cross-attention."""

__version__ = "0.1.0"
