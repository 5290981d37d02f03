"""Views: what of a conversation a model is shown."""
