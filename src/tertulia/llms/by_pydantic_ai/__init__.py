"""Models of all other providers, asked through pydantic-ai, which is imported when one is asked."""
