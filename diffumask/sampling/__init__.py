"""Prompts to images with a heat map for each word, and images of others to the same."""
