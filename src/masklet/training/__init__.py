"""Making a model: data streams, training-only heads, optimisers, the loop. Knows nothing of predictors."""
