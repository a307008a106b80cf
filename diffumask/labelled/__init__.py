"""Read images with class maps from the folders that datasets come in."""
