"""How good answers are: matching with the truth, counting, scores over the fixed evaluation split, a report."""
