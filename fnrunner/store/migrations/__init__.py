"""Alembic's scripts. Each revision in ``versions`` is written by hand and is never changed once released."""
