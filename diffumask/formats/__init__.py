"""Datasets in the formats that others read, and masks that people corrected, read back."""
