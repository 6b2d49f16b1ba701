"""Results as pictures for people."""
