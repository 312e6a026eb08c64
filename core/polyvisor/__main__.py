"""``python -m polyvisor`` is the command ``polyvisor``."""

from __future__ import annotations

import sys

from polyvisor.cli import main

if __name__ == "__main__":
    sys.exit(main())
