"""The native dataset folder: written, listed, read back, checked, merged and copied."""
