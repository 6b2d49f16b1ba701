"""What training minimises: matching and losses. Numbers in, numbers out; sees `types` and `ops` only."""
