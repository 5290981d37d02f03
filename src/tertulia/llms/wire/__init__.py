"""The OpenAI chat wire as pure functions: bytes out, events in; nothing here waits."""
