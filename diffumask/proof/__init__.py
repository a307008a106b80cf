"""What masks are worth: their figures, what reaches them without any text, and how sure that is."""
