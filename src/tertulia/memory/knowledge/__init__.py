"""Knowledge: documents read, cut into passages, and found again by their words."""
