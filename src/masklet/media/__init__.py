"""Pictures in and out of memory; knows no network."""
