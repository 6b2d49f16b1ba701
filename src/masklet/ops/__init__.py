"""Pure functions on arrays: no modules, no state."""
