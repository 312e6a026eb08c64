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
    if arguments is not None:
        from polyvisor.cli._app import run

        return run(arguments)
    # Most commands are over before there is garbage: looking for it while modules are
    # imported, and once more in all of them at the end, would take a sixth of their time.
    import gc

    gc.set_threshold(100_000, 10, 10)
    from polyvisor.cli._app import run

    try:
        return run(None)
    finally:
        gc.freeze()
