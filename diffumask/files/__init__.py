"""Files written whole, read inside their folder alone, and parsed by their kind."""
