"""The command ``polyvisor``: virsh's names and argument order over any plugin.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Facts go to standard output,
errors and progress to standard error.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: what follows the program's name; ``None``: the process's own.
    """
    from polyvisor.cli._app import run

    return run(arguments)
