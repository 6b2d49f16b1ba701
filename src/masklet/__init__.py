"""Finds, cuts out and follows everything you can name, show or click."""
