"""For authors of plugs: contract suites, a real fake of a model server, and ways to make things fail."""
