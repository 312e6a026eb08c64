"""Commands for consoles, screens, keys and cores of domains."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polyvisor.cli._declare import argument, choice, echo, option, path
from polyvisor.cli._session import command, domain_argument, session

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__: list[str] = []

#: What ends a console: control and ], as in virsh and telnet.
_END = 0x1D


@command("console")
@domain_argument
@argument("devname", required=False)
@option("--force", is_flag=True, help="Take it from whoever has it open.")
def console_command(domain: str, devname: str | None, force: bool) -> None:
    """Connect to DOMAIN's console, or to the port DEVNAME; ^] ends it."""
    found = session().domain(domain)
    fd = found.open_console(devname, force=force)
    try:
        session().done(f"Connected to domain '{found.name}'", uuid=found.uuid)
        session().done("Escape character is ^] (Ctrl + ])")
        _talk(fd)
    finally:
        os.close(fd)


def _talk(fd: int) -> None:
    """Carry what is typed and what is printed until one side ends."""
    import select
    import termios
    import tty

    typed, shown = 0, 1
    terminal = os.isatty(typed)
    before = termios.tcgetattr(typed) if terminal else None
    try:
        if terminal:
            tty.setraw(typed)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(typed, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if fd in ready:
                data = _piece(fd)
                if not data:
                    return
                _all(shown, data)
            if typed in ready:
                data = os.read(typed, 4096)
                ended = not data or _END in data
                _all(fd, data.partition(bytes([_END]))[0])
                if ended:
                    return
    finally:
        if before is not None:
            termios.tcsetattr(typed, termios.TCSADRAIN, before)


def _piece(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # EIO is how a terminal shows its end.
        return b""


def _all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@command("screenshot")
@domain_argument
@argument("file", type=path(), required=False)
@option("--screen", type=int, default=0, help="Number of the screen.")
def screenshot_command(domain: str, file: str | None, screen: int) -> None:
    """Write a picture of DOMAIN's screen to FILE."""
    from datetime import datetime

    found = session().domain(domain)
    if file is None:
        file = f"{found.name}-{datetime.now().astimezone():%Y-%m-%d-%H:%M:%S}.png"
    kind = found.screenshot(file, screen=screen)
    session().done(f"Screenshot saved to {file}, with type of {kind}", file=file, type=kind)


@command("send-key")
@domain_argument
@argument("keys", nargs=-1, required=True, metavar="KEY...")
@option("--codeset", default="linux", help="Which codes; linux unless given.")
@option("--holdtime", type=int, default=0, help="Milliseconds for which they are held.")
def send_key_command(domain: str, keys: tuple[str, ...], codeset: str, holdtime: int) -> None:
    """Press KEYs of DOMAIN's keyboard together: codes, or names such as KEY_A."""
    codes = [_code(key) for key in keys]
    session().domain(domain).send_keys(codes, codeset=codeset, hold=holdtime / 1000)


def _names() -> dict[str, int]:
    """Return the codes of the usual keys by name (``linux/input-event-codes.h``)."""
    rows = {
        1: "ESC 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE TAB Q W E R T Y U I O P LEFTBRACE "
        "RIGHTBRACE ENTER LEFTCTRL A S D F G H J K L SEMICOLON APOSTROPHE GRAVE LEFTSHIFT "
        "BACKSLASH Z X C V B N M COMMA DOT SLASH RIGHTSHIFT KPASTERISK LEFTALT SPACE CAPSLOCK "
        "F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NUMLOCK SCROLLLOCK",
        87: "F11 F12",
        96: "KPENTER RIGHTCTRL KPSLASH SYSRQ RIGHTALT LINEFEED HOME UP PAGEUP LEFT RIGHT END DOWN "
        "PAGEDOWN INSERT DELETE MACRO MUTE VOLUMEDOWN VOLUMEUP POWER",
        125: "LEFTMETA RIGHTMETA",
    }
    return {
        f"KEY_{name}": first + place
        for first, names in rows.items()
        for place, name in enumerate(names.split())
    }


def _code(key: str) -> int:
    from polyvisor.errors import InvalidArgument

    if key.isdigit():
        return int(key)
    try:
        return int(key, 16) if key.startswith("0x") else _names()[key.upper()]
    except (KeyError, ValueError):
        raise InvalidArgument(f"invalid keycode: {key!r}; give a number or a name") from None


@command("dump")
@domain_argument
@argument("file", type=path())
@option("--live", is_flag=True, help="Let the guest run meanwhile.")
@option("--crash", is_flag=True, help="Stop the domain afterwards, as crashed.")
@option("--reset", is_flag=True, help="Reset the domain afterwards.")
@option("--memory-only", is_flag=True, help="Only memory and registers, as an ELF core.")
@option(
    "--format",
    "core_format",
    type=choice("elf", "raw", "kdump-zlib", "kdump-lzo", "kdump-snappy", "win-dmp"),
    default="raw",
    help="The form of the core.",
)
def dump_command(
    domain: str,
    file: str,
    live: bool,
    crash: bool,
    reset: bool,
    memory_only: bool,
    core_format: str,
) -> None:
    """Write DOMAIN's memory to FILE for a debugger."""
    found = session().domain(domain)
    with session().progress("dump") as progress:
        found.dump(
            file,
            live=live,
            crash=crash,
            reset=reset,
            memory_only=memory_only,
            core_format="raw" if core_format == "elf" else core_format,
            progress=progress,
        )
    session().done(f"Domain '{domain}' dumped to {file}", uuid=found.uuid)


@command("ttyconsole")
@domain_argument
def ttyconsole_command(domain: str) -> None:
    """Print the terminal behind DOMAIN's first console, if it has one."""
    from polyvisor.errors import NotFound

    found = session().domain(domain)
    devices = found.spec().devices
    for port in (*devices.consoles, *devices.serials):
        tty = port.tty or (port.source.path if port.type == "pty" and port.source else None)
        if tty:
            session().facts({"tty": tty}, lambda tty=tty: echo(tty))  # type: ignore[misc]
            return
    raise NotFound(f"{found.name!r} has no console that is a terminal", key="console")


def _displays(found: Domain) -> list[tuple[str, str, int | None]]:
    """Return kind, address and port of each display that waits for viewers."""
    from polyvisor.errors import OperationInvalid

    if not found.active:
        raise OperationInvalid(f"{found.name!r} is not running", domain=found.name)
    told: list[tuple[str, str, int | None]] = []
    for one in found.spec().devices.graphics:
        if one.type in ("vnc", "spice", "rdp"):
            host = one.listen or next((each.address for each in one.listens if each.address), None)
            port = one.port if one.port is not None and one.port > 0 else one.tls_port
            told.append((one.type, host or "127.0.0.1", port))
    return told


@command("vncdisplay")
@domain_argument
def vncdisplay_command(domain: str) -> None:
    """Print address and number of DOMAIN's VNC display."""
    from polyvisor.errors import NotFound

    found = session().domain(domain)
    for kind, host, port in _displays(found):
        if kind == "vnc" and port is not None:
            text = f"{'' if host in ('0.0.0.0', '::') else host}:{port - 5900}"  # noqa: S104
            session().facts({"host": host, "port": port}, lambda text=text: echo(text))  # type: ignore[misc]
            return
    raise NotFound(f"{found.name!r} has no VNC display with a port", key="vnc")


@command("domdisplay-reload")
@domain_argument
@option("--type", "kind", default=None, help="Of this kind: vnc.")
def domdisplay_reload_command(domain: str, kind: str | None) -> None:
    """Have DOMAIN's display use its certificates as they are now, for viewers to come."""
    found = session().domain(domain)
    found.reload_graphics(kind)
    session().done(f"Domain {found.name!r} uses its display's certificates anew", uuid=found.uuid)


@command("domdisplay")
@domain_argument
@option("--type", "wanted", help="vnc, spice or rdp; the first there is unless it is said.")
@option("--all", "everything", is_flag=True, help="All of them.")
def domdisplay_command(domain: str, wanted: str | None, everything: bool) -> None:
    """Print where viewers find DOMAIN's display."""
    from polyvisor.errors import NotFound

    found = session().domain(domain)
    uris = []
    for kind, host, port in _displays(found):
        if wanted not in (None, kind) or port is None:
            continue
        where = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104
        where = f"[{where}]" if ":" in where else where
        uris.append(f"{kind}://{where}:{port - 5900 if kind == 'vnc' else port}")
    if not uris:
        raise NotFound(f"{found.name!r} has no display with a port", key=wanted or "display")
    shown = uris if everything else uris[:1]
    session().facts(shown, lambda: echo("\n".join(shown)))
