"""Pictures and prompts in, results in original pixels out."""
