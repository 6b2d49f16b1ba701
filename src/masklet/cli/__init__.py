"""The command line: one file per verb; they parse, call and print."""
