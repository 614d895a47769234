"""``python tests/few_failed.py CACHE``: exits with 0 when so few tests failed that each is worth another try, alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

FEW = 8


def main(cache: Path) -> int:
    kept = cache / "v" / "cache" / "lastfailed"
    failed = sorted(json.loads(kept.read_text())) if kept.exists() else []
    if not 0 < len(failed) <= FEW:
        return 1
    print("These failed beside others and are tried once more, alone:", *failed, sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
