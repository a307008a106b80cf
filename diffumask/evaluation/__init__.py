"""Compare predicted class maps with those of a labelled dataset."""
