"""What a worker says to a spawner or a keeper, by number; standard library only, Python 3.9 and later.

Each message is ``(kind, number, argument)`` with descriptors, see :mod:`~fnrunner.sandbox.spawner`.
"""

MAKE, START, KEEP, DROP, LEARN, EARLY = range(6)
MOST_BYTES, MOST_DESCRIPTORS = 16384, 16

FAILED = 125
"""How a process ends that did not become what it should; it has said why."""
