"""Storms: real servers under real callers, killed, stalled and cut off, and a look at what was lost."""
