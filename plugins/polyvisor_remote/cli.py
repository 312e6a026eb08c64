"""The command ``polyvisord``."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import click

from polyvisor.errors import PolyvisorError

if TYPE_CHECKING:
    from polyvisor.config import Config
    from polyvisor_remote.server.settings import Settings

__all__ = ["main"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--listen",
    "-l",
    multiple=True,
    metavar="ADDRESS",
    help="unix:PATH, unix-ro:PATH, tcp:HOST:PORT or tls:HOST:PORT; may be given several times.",
)
@click.option("--config", metavar="FILE", help="Read this configuration.")
@click.option("--check-config", is_flag=True, help="Only say whether the configuration is right.")
@click.option("--print-config", is_flag=True, help="Only print the settings in force, as TOML.")
@click.option(
    "--add-user",
    metavar="NAME",
    help="Only ask for a password and print the line that lets NAME in, for the file of users.",
)
@click.option("--verbose", "-v", count=True, help="Say more of what happens; twice: much more.")
def main(
    listen: tuple[str, ...],
    config: str | None,
    check_config: bool,
    print_config: bool,
    add_user: str | None,
    verbose: int,
) -> None:
    """Serve hypervisors to libvirt's clients: virsh, virt-manager and whatever uses libvirt.

    The connections and settings are those of polyvisor.toml; the daemon's own stand in the
    table [plugins.remote].
    """
    levels = {0: logging.WARNING, 1: logging.INFO}
    logging.basicConfig(level=levels.get(verbose, logging.DEBUG), format="polyvisord: %(message)s")
    try:
        if add_user is not None:
            click.echo(user_line(add_user))
        elif print_config:
            click.echo(printed(read(config, listen)[1]), nl=False)
        elif check_config:
            places = ", ".join(map(str, read(config, listen)[1].listen)) or "nowhere yet"
            click.echo(f"polyvisord: the configuration is right; it would listen on {places}")
        else:
            run(config, listen)
    except PolyvisorError as error:
        click.echo(f"polyvisord: {error.message}", err=True)
        sys.exit(1)


def read(file: str | None, listen: tuple[str, ...]) -> tuple[Config, Settings]:
    """Return the configuration in force and the daemon's settings.

    Raises:
        ConfigError: something is wrong.
    """
    from polyvisor.config import load
    from polyvisor_remote.server.settings import Settings

    config = load(file)
    return config, Settings.of(config, listen)


def user_line(name: str) -> str:
    """Return the line of a user whose password is asked for.

    Raises:
        InvalidArgument: a name cannot be written so.
    """
    from polyvisor.errors import InvalidArgument
    from polyvisor_remote.server.scram import Credential

    if not name or any(character in ":#\n" for character in name):
        raise InvalidArgument(f"{name!r} is no name of a user: it must not hold ':' or '#'")
    password = click.prompt("Password", hide_input=True, err=True, confirmation_prompt=True)
    return f"{name}:{Credential.of(password)}"


def printed(settings: Settings) -> str:
    """Return the settings as they would stand in a file."""
    import tomli_w

    return tomli_w.dumps({"plugins": {"remote": settings.plain()}})


def run(file: str | None, listen: tuple[str, ...]) -> None:
    """Serve until a signal ends it."""
    from polyvisor_remote.server.daemon import Daemon

    daemon = Daemon(lambda: read(file, listen))
    for where in daemon.begin():
        click.echo(f"polyvisord: listens on {where}", err=True)
    daemon.run()
