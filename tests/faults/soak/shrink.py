"""Leave faults out of a plan until only those are left without which it does not fail.

>>> minimal([1, 2, 3, 4, 5, 6], lambda left: {2, 5} <= set(left), most_tries=50)
[2, 5]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Fails = Callable[[Sequence[int]], bool]


def minimal(numbers: Sequence[int], fails: Fails, *, most_tries: int) -> list[int]:
    """The smallest part of ``numbers`` that was seen to fail within so many tries. Source: Zeller's ddmin.

    A run that passes proves little where the interleaving decides, so what is left may still be more than is needed.
    """
    left, parts, tries = list(numbers), 2, 0
    while len(left) > 1 and tries < most_tries:
        size = -(-len(left) // parts)
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        for chunk in chunks:
            if tries >= most_tries:
                return left
            tries += 1
            rest = [number for number in left if number not in chunk]
            if rest and fails(rest):
                left, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(left):
                break
            parts = min(len(left), 2 * parts)
    return left
