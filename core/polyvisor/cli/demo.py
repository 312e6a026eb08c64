"""The command that shows the whole job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.cli._declare import choice, echo, option, path
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from polyvisor.demo import Report, Step

__all__: list[str] = []


@command("demo")
@option(
    "--only",
    multiple=True,
    type=choice("sim", "qemu"),
    help="Run on this alone; may be given twice.",
)
@option("--keep", type=path(file_okay=False), metavar="FOLDER", help="Keep all files.")
def demo_command(only: tuple[str, ...], keep: str | None) -> None:
    """Save, restore and live-migrate a counting guest, and check that no tick was lost.

    On the simulator, and on real QEMU where that is installed.
    """
    import attrs

    from polyvisor.demo import run

    here = session()

    def tell(report: Report, step: Step | None) -> None:
        if here.json or here.quiet:
            return
        if step is None:
            echo(f"On {report.title}:")
        else:
            echo(f"  {step.name:<16}{step.seconds * 1000:>9.1f} ms   {step.note}".rstrip())

    reports = run(only, keep=keep, tell=tell)
    if any(report.ok is False for report in reports):
        here.exit_code = 1

    def plain() -> None:
        for report in reports:
            mark = {True: "✓", False: "✗", None: "-"}[report.ok]
            echo(f"{mark} {report.title}: {report.message}")

    here.facts([attrs.asdict(report) for report in reports], plain)
