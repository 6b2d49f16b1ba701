"""Labelled pictures from disk, one file for each format, and what is wrong with them."""
