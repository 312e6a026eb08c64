"""What all commands share: the connection, the options, and how things are printed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from polyvisor.cli._declare import argument, command, echo, option

if TYPE_CHECKING:
    import click

    from polyvisor.connection import Connection
    from polyvisor.domain import Domain
    from polyvisor.jobs import ProgressCallback

__all__ = ["Session", "command", "domain_argument", "quiesce_option", "running", "session"]

_F = TypeVar("_F", bound=Callable[..., Any])


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.target: str | None = None
        self.readonly = False
        self.json = False
        self.quiet = False
        self.debug = False
        self.exit_code = 0
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection, opened when first needed."""
        if self._connection is None:
            from polyvisor.connection import open as open_connection

            self._connection = open_connection(self.target, readonly=self.readonly)
        return self._connection

    def close(self) -> None:
        """Close the connection, if it was opened."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def domain(self, text: str) -> Domain:
        """Return the domain that a person means."""
        return self.connection.domains.find(text)

    # Printing

    def facts(self, data: Any, plain: Callable[[], None]) -> None:
        """Print facts as JSON if that was asked for, else as ``plain`` does."""
        if self.json:
            import json

            echo(json.dumps(data, indent=2, default=str, ensure_ascii=False))
        else:
            plain()

    def done(self, text: str, **data: Any) -> None:
        """Say what was done, unless ``--quiet``."""
        if self.json:
            import json

            echo(json.dumps({"done": text, **data}, default=str, ensure_ascii=False))
        elif not self.quiet:
            echo(text)

    def note(self, text: str) -> None:
        """Tell a person who looks on what is being waited for."""
        if not self.quiet and not self.json:
            echo(text, err=True)

    def pairs(self, rows: Sequence[tuple[str, Any]]) -> None:
        """Print names and values, the values in one column, as virsh does."""
        width = max(16, *(len(name) + 2 for name, _ in rows))
        for name, value in rows:
            echo(f"{name + ':':<{width}}{value}".rstrip())

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table: boxes on a terminal where rich is installed, else as virsh does."""
        cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
        if sys.stdout.isatty() and _rich_table(headers, cells):
            return
        widths = [
            max(len(line[column]) for line in [list(headers), *cells])
            for column in range(len(headers))
        ]
        lines = [
            "   ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            for line in [list(headers), *cells]
        ]
        lines.insert(1, "-" * (sum(widths) + 3 * len(widths)))
        for number, line in enumerate(lines):
            echo((line if number == 1 else f" {line}").rstrip())

    @contextmanager
    def progress(self, title: str, *, verbose: bool = False) -> Iterator[ProgressCallback | None]:
        """Give a callable that shows progress on a terminal, or ``None`` where nobody looks.

        Args:
            title: what is being done.
            verbose: print lines where there is no terminal.
        """
        if self.quiet or self.json or not (sys.stderr.isatty() or verbose):
            yield None
            return
        bar = _rich_bar(title) if sys.stderr.isatty() else None
        if bar is None:
            yield lambda report: _print_progress(title, report)
            return
        with bar as show:
            yield show


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    table = Table(*headers, header_style="bold", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*[cell.replace("[", "\\[") for cell in row])
    Console().print(table)
    return True


def _rich_bar(title: str) -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        return None

    @contextmanager
    def bar() -> Iterator[ProgressCallback]:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as shown:
            task = shown.add_task(title, total=None)

            def show(report: Any) -> None:
                total = report.processed + report.remaining if report.remaining else report.total
                shown.update(
                    task,
                    description=f"{title}: {report.phase}",
                    total=total or None,
                    completed=report.processed,
                )

            yield show

    return bar()


def _print_progress(title: str, report: Any) -> None:
    whole = report.processed + report.remaining
    share = f" {100 * report.processed // whole} %" if whole else ""
    echo(f"{title}: {report.phase}{share}", err=True)


# --- the session that is running -----------------------------------------------------------

_running = threading.local()


def session() -> Session:
    """Return the session of the command that is running."""
    found: Session = _running.session
    return found


@contextmanager
def running(found: Session) -> Iterator[None]:
    """Make a session the one that is running, for the time of a ``with`` block."""
    before = getattr(_running, "session", None)
    _running.session = found
    try:
        yield
    finally:
        _running.session = before


# --- what many commands take ----------------------------------------------------------------


def _complete_domains(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    from polyvisor.connection import open as open_connection
    from polyvisor.errors import PolyvisorError

    try:
        with open_connection(ctx.meta.get("polyvisor.target"), readonly=True) as connection:
            names = [line.name for line in connection.domains.summaries()]
    except PolyvisorError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def domain_argument(function: _F) -> _F:
    """Add the argument DOMAIN, completed with the names of domains."""
    return argument("domain", shell_complete=_complete_domains)(function)


def quiesce_option(function: _F) -> _F:
    """Add the option for a moment in which file systems in the guest stand still."""
    told = "Let the agent in it freeze file systems meanwhile."
    return option("--quiesce", is_flag=True, help=told)(function)
