"""The program inside the environment; see the package. Reads its command line, then serves until it is ended."""

from __future__ import annotations

import importlib
import os
import sys


def main() -> None:
    # isolated Python knows nothing of this directory; last, so that it hides no module of the library
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # where this program was begun before it is known for which function
    early = globals().get("early")
    importlib.import_module("runtime_api.phases").serve(sys.argv[1:], early=early)


if __name__ == "__main__":
    main()
