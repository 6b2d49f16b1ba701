"""Reading, writing and converting checkpoints; the only place that knows foreign parameter names."""
