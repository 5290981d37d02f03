"""Memory: what a model is shown of the past."""
