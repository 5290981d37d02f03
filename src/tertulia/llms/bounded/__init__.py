"""Grammars that hold an answer to a JSON Schema, and to a length that is known beforehand."""
