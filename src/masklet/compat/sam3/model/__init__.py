"""Stands for the original's package `sam3.model`."""
