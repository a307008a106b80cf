"""Words, classes and templates of prompts."""
