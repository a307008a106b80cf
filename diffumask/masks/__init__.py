"""Heat maps to class maps: threshold, compete, refine, doubt, score; and other sources of masks."""
