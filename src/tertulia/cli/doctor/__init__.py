"""``tertulia doctor``: what is configured, what works, what is missing, and what to type."""

from tertulia.cli.doctor.command import doctor

__all__ = ["doctor"]
