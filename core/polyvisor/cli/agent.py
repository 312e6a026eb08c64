"""Commands for the agent inside a guest."""

from __future__ import annotations

from typing import Any

from polyvisor.cli._declare import argument, echo, number, option, path
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.driver import AGENT_SECONDS

__all__: list[str] = []

#: As virsh names the options.
_KINDS = ("user", "os", "timezone", "hostname", "filesystem", "disk", "interface")


@command("qemu-agent-command")
@domain_argument
@argument("words", nargs=-1, required=True, metavar="COMMAND...")
@option("--timeout", type=number(float, 0), default=5.0, help="Seconds to wait for the answer.")
@option("--block", is_flag=True, help="Wait as long as the agent takes.")
def qemu_agent_command_command(
    domain: str, words: tuple[str, ...], timeout: float, block: bool
) -> None:
    """Send COMMAND, JSON text, to the agent in DOMAIN and print its answer."""
    import json

    agent = session().domain(domain).agent
    answer = agent.command(" ".join(words), timeout=None if block else timeout)
    session().facts(json.loads(answer), lambda: echo(answer))


@command("guest-agent-timeout")
@domain_argument
@option("--timeout", type=number(int, -2), default=-2, help="-1: the usual 5; -2: without an end.")
def guest_agent_timeout_command(domain: str, timeout: int) -> None:
    """Say for how many seconds answers of the agent in DOMAIN are waited for while it runs."""
    found = session().domain(domain)
    seconds = {-2: None, -1: AGENT_SECONDS}.get(timeout, float(timeout))
    found.agent.set_timeout(seconds)
    session().done("Timeout of the agent set", uuid=found.uuid, timeout=seconds)


@command("domfsfreeze")
@domain_argument
@argument("mountpoints", nargs=-1)
def domfsfreeze_command(domain: str, mountpoints: tuple[str, ...]) -> None:
    """Stop DOMAIN from writing to its file systems, or to those at MOUNTPOINTS."""
    found = session().domain(domain)
    count = found.agent.freeze(list(mountpoints) or None)
    session().done(f"Froze {count} filesystem(s)", uuid=found.uuid, filesystems=count)


@command("domfsthaw")
@domain_argument
def domfsthaw_command(domain: str) -> None:
    """Let DOMAIN write to its file systems again."""
    found = session().domain(domain)
    count = found.agent.thaw()
    session().done(f"Thawed {count} filesystem(s)", uuid=found.uuid, filesystems=count)


@command("domfstrim")
@domain_argument
@option("--minimum", type=number(int, 0), default=0, help="Leave out smaller ranges, in bytes.")
def domfstrim_command(domain: str, minimum: int) -> None:
    """Have DOMAIN tell its disks which of their blocks are free."""
    found = session().domain(domain).agent.trim(minimum=minimum)
    session().facts(found, lambda: None)


@command("domfsinfo")
@domain_argument
def domfsinfo_command(domain: str) -> None:
    """Print what is mounted in DOMAIN."""
    found = session().domain(domain).agent.disks_of_filesystems()
    rows = [
        [one["mountpoint"], one["name"], one["type"], ",".join(targets)] for one, targets in found
    ]
    facts = [{**one, "targets": targets} for one, targets in found]
    session().facts(facts, lambda: session().table(["Mountpoint", "Name", "Type", "Target"], rows))


@command("domhostname")
@domain_argument
def domhostname_command(domain: str) -> None:
    """Print the name that DOMAIN has for itself."""
    name = session().domain(domain).agent.hostname()
    session().facts({"hostname": name}, lambda: echo(f"{name}\n"))


@command("domtime")
@domain_argument
@option("--now", is_flag=True, help="Set it to this host's time.")
@option("--sync", is_flag=True, help="Set it to that of the guest's own hardware.")
@option("--time", "seconds", type=int, help="Set it to so many seconds since 1970.")
@option("--pretty", is_flag=True, help="Print a date.")
def domtime_command(domain: str, now: bool, sync: bool, seconds: int | None, pretty: bool) -> None:
    """Print or set DOMAIN's time."""
    from datetime import UTC, datetime

    from polyvisor.errors import InvalidArgument

    if sum((now, sync, seconds is not None)) > 1:
        raise InvalidArgument("domtime: --now, --sync and --time exclude each other")
    agent = session().domain(domain).agent
    if now or sync or seconds is not None:
        when = None if sync else datetime.now(UTC)
        agent.set_time(when if seconds is None else datetime.fromtimestamp(seconds, UTC))
        return
    time = agent.time()
    shown = f"{time:%Y-%m-%d %H:%M:%S}" if pretty else str(int(time.timestamp()))
    session().facts({"time": time.timestamp()}, lambda: echo(f"Time: {shown}"))


@command("guestvcpus")
@domain_argument
@option("--cpulist", metavar="CPUS", help="Which to change, as in 1,3-5.")
@option("--enable", is_flag=True, help="Have the guest use them.")
@option("--disable", is_flag=True, help="Have the guest do without them.")
def guestvcpus_command(domain: str, cpulist: str | None, enable: bool, disable: bool) -> None:
    """Print or change which of its vCPUs DOMAIN uses, as its agent sees them."""
    from polyvisor.errors import InvalidArgument
    from polyvisor.model.cpuset import compact, members

    if (enable or disable) != (cpulist is not None) or (enable and disable):
        raise InvalidArgument("guestvcpus: give --cpulist with either --enable or --disable")
    agent = session().domain(domain).agent
    if cpulist is not None:
        agent.set_vcpus(members(cpulist), online=enable)
        return
    facts = {name: compact(numbers) for name, numbers in agent.vcpus().items()}
    session().facts(facts, lambda: _plain(facts))


@command("set-user-password")
@domain_argument
@argument("user")
@argument("password", required=False)
@option("--encrypted", is_flag=True, help="It is what crypt(3) made of the password.")
def set_user_password_command(
    domain: str, user: str, password: str | None, encrypted: bool
) -> None:
    """Set the PASSWORD of USER in DOMAIN; without one it is read from standard input."""
    if password is None:
        import sys

        if sys.stdin.isatty():
            from getpass import getpass

            password = getpass(f"Password of {user} in {domain}: ")
        else:
            password = sys.stdin.readline().rstrip("\n")
    found = session().domain(domain)
    found.agent.set_password(user, password, encrypted=encrypted)
    session().done(f"Password set successfully for {user} in {domain}", uuid=found.uuid, user=user)


@command("get-user-sshkeys")
@domain_argument
@argument("user")
def get_user_sshkeys_command(domain: str, user: str) -> None:
    """Print the keys with which USER may log in to DOMAIN."""
    keys = session().domain(domain).agent.ssh_keys(user)
    session().facts(keys, lambda: echo("".join(f"{key}\n" for key in keys), nl=False))


@command("set-user-sshkeys")
@domain_argument
@argument("user")
@argument("file", type=path(), required=False)
@option("--reset", is_flag=True, help="Let these keys be the only ones; without FILE, none.")
@option("--remove", is_flag=True, help="Take the keys away.")
def set_user_sshkeys_command(
    domain: str, user: str, file: str | None, reset: bool, remove: bool
) -> None:
    """Let USER log in to DOMAIN with the keys in FILE, one a line."""
    from pathlib import Path

    from polyvisor.errors import InvalidArgument

    if (reset and remove) or (file is None and not reset):
        raise InvalidArgument("set-user-sshkeys: give a FILE, or --reset, and not --remove with it")
    text = "" if file is None else Path(file).read_text(encoding="utf-8")
    keys = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    found = session().domain(domain)
    if remove:
        found.agent.remove_ssh_keys(user, keys)
    else:
        found.agent.add_ssh_keys(user, keys, reset=reset)
    session().done(f"Keys of {user} in {domain} changed", uuid=found.uuid, user=user)


def _kinds(function: Any) -> Any:
    for kind in reversed(_KINDS):
        function = option(f"--{kind}", is_flag=True, help=f"What belongs to {kind}.")(function)
    return function


@command("guestinfo")
@domain_argument
@_kinds
def guestinfo_command(domain: str, **chosen: bool) -> None:
    """Print what the agent knows of DOMAIN: all that it can tell, or the chosen kinds."""
    kinds = [kind for kind, wanted in chosen.items() if wanted]
    facts = session().domain(domain).agent.guest_info(*kinds)

    session().facts(facts, lambda: _plain(facts))


def _plain(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        echo(f"{name:<20}: {_shown(value)}")


def _shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
