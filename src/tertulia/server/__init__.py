"""The HTTP service: one file per surface, on top of an :class:`~tertulia.app.App`."""
