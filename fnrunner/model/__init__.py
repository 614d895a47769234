"""Values without behaviour of their own: what a function is, what an invocation is, how it ended, and the limits.

Nothing here does I/O, reads a clock or knows a library. Everything is frozen; changes go through ``replace``.
"""
