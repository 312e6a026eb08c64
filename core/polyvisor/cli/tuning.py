"""Commands for a domain's share of the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.cli._where import size, where, where_options

__all__: list[str] = []


def _cpus(text: str, most: int) -> list[int]:
    from polyvisor.model.cpuset import members

    return list(range(most)) if text == "r" else members(text)


def _pin(domain: str, which: int | str | None, cpulist: str | None, flags: dict[str, bool]) -> None:
    from polyvisor.model.cpuset import compact

    found = session().domain(domain)
    if cpulist is not None and which is not None:
        cpus = _cpus(cpulist, found.connection.host.cpus)
        found.tuning.pin(which, cpus, **where(found, **flags))
        return
    pins = found.tuning.pins(live=where(found, **flags)["live"])
    shown = {
        str(key): compact(sorted(cpus))
        for key, cpus in pins.items()
        if (key == which if which is not None else isinstance(key, int))
    }
    header = "emulator" if which == "emulator" else "VCPU"
    rows = [["*" if key == "emulator" else key, cpus] for key, cpus in shown.items()]
    session().facts(shown, lambda: session().table([header, "CPU Affinity"], rows))


@command("vcpupin")
@domain_argument
@argument("vcpu", type=int, required=False)
@argument("cpulist", required=False)
@where_options
def vcpupin_command(domain: str, vcpu: int | None, cpulist: str | None, **flags: bool) -> None:
    """Print on which CPUs of the host DOMAIN's vCPUs may run, or pin VCPU to CPULIST."""
    _pin(domain, vcpu, cpulist, flags)


@command("emulatorpin")
@domain_argument
@argument("cpulist", required=False)
@where_options
def emulatorpin_command(domain: str, cpulist: str | None, **flags: bool) -> None:
    """Print on which CPUs of the host the rest of DOMAIN may run, or pin it to CPULIST."""
    _pin(domain, "emulator", cpulist, flags)


@command("iothreadinfo")
@domain_argument
@where_options
def iothreadinfo_command(domain: str, **flags: bool) -> None:
    """Print on which CPUs of the host DOMAIN's I/O threads may run."""
    from polyvisor.model.cpuset import compact

    found = session().domain(domain)
    pins = found.tuning.pins(live=where(found, **flags)["live"])
    shown = {
        str(key).removeprefix("iothread"): compact(sorted(cpus))
        for key, cpus in pins.items()
        if isinstance(key, str) and key.startswith("iothread")
    }

    def plain() -> None:
        if not shown:
            echo("No IOThreads found for the domain")
            return
        session().table(["IOThread ID", "CPU Affinity"], [list(row) for row in shown.items()])

    session().facts(shown, plain)


@command("iothreadpin")
@domain_argument
@argument("iothread", type=int)
@argument("cpulist")
@where_options
def iothreadpin_command(domain: str, iothread: int, cpulist: str, **flags: bool) -> None:
    """Pin the I/O thread IOTHREAD of DOMAIN to CPULIST."""
    _pin(domain, f"iothread{iothread}", cpulist, flags)


@command("iothreadadd")
@domain_argument
@argument("iothread", type=int)
@where_options
def iothreadadd_command(domain: str, iothread: int, **flags: bool) -> None:
    """Add an I/O thread with the number IOTHREAD to DOMAIN."""
    found = session().domain(domain)
    found.add_iothread(iothread, **where(found, **flags))


@command("iothreaddel")
@domain_argument
@argument("iothread", type=int)
@where_options
def iothreaddel_command(domain: str, iothread: int, **flags: bool) -> None:
    """Remove the I/O thread IOTHREAD, which nothing uses, from DOMAIN."""
    found = session().domain(domain)
    found.remove_iothread(iothread, **where(found, **flags))


@command("iothreadset")
@domain_argument
@argument("iothread", type=int)
@option("--poll-max-ns", type=int, help="Nanoseconds that it looks for work at most.")
@option("--poll-grow", type=int, help="By what that time grows.")
@option("--poll-shrink", type=int, help="By what that time shrinks.")
@option("--thread-pool-min", type=int, help="Least threads of its pool.")
@option("--thread-pool-max", type=int, help="Most threads of its pool.")
@where_options
def iothreadset_command(
    domain: str,
    iothread: int,
    poll_max_ns: int | None,
    poll_grow: int | None,
    poll_shrink: int | None,
    thread_pool_min: int | None,
    thread_pool_max: int | None,
    **flags: bool,
) -> None:
    """Set how the I/O thread IOTHREAD of DOMAIN works."""
    from polyvisor.errors import InvalidArgument

    given = {
        "poll_max_ns": poll_max_ns,
        "poll_grow": poll_grow,
        "poll_shrink": poll_shrink,
        "thread_pool_min": thread_pool_min,
        "thread_pool_max": thread_pool_max,
    }
    values = {name: value for name, value in given.items() if value is not None}
    if not values:
        raise InvalidArgument("iothreadset: say what is to be set; --help shows what there is")
    found = session().domain(domain)
    found.set_iothread(iothread, values, **where(found, **flags))


def _tune(
    group: str,
    domain: str,
    device: str | None,
    values: dict[str, Any],
    flags: dict[str, bool],
    every: Sequence[str] = (),
) -> None:
    found = session().domain(domain)
    place = where(found, **flags)
    if values:
        found.tuning.set(group, values, device, **place)
        return
    told = dict(found.tuning.get(group, device, live=place["live"]))
    if every:
        told = {name: told.get(name, 0) for name in every}

    def plain() -> None:
        for name, value in told.items() if every else sorted(told.items()):
            echo(f"{name:<15}: {value}")

    session().facts(told, plain)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@command("schedinfo")
@domain_argument
@argument("settings", nargs=-1, metavar="[NAME=VALUE]...")
@where_options
def schedinfo_command(domain: str, settings: tuple[str, ...], **flags: bool) -> None:
    """Print or set the scheduler's values for DOMAIN, such as cpu_shares=512."""
    from polyvisor.errors import InvalidArgument

    values = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not value.lstrip("-").isdigit():
            raise InvalidArgument(f"schedinfo: {text!r} is not NAME=NUMBER")
        values[name] = int(value)
    _tune("schedinfo", domain, None, values, flags)


@command("memtune")
@domain_argument
@option("--hard-limit", help="The most that it may use, in KiB or with a unit.")
@option("--soft-limit", help="The most when memory is short.")
@option("--swap-hard-limit", help="The most of memory and swap.")
@option("--min-guarantee", help="What it has in any case.")
@where_options
def memtune_command(
    domain: str,
    hard_limit: str | None,
    soft_limit: str | None,
    swap_hard_limit: str | None,
    min_guarantee: str | None,
    **flags: bool,
) -> None:
    """Print or set DOMAIN's limits on memory; 0 takes a limit away."""
    given = _given(
        hard_limit=hard_limit,
        soft_limit=soft_limit,
        swap_hard_limit=swap_hard_limit,
        min_guarantee=min_guarantee,
    )
    _tune("memtune", domain, None, {name: size(text) for name, text in given.items()}, flags)


@command("blkiotune")
@domain_argument
@option("--weight", type=int, help="Weight of all its input and output.")
@option("--device-weights", "device_weight", help="PATH,WEIGHT,PATH,WEIGHT,…")
@option("--device-read-iops-sec", help="PATH,NUMBER,…")
@option("--device-write-iops-sec", help="PATH,NUMBER,…")
@option("--device-read-bytes-sec", help="PATH,NUMBER,…")
@option("--device-write-bytes-sec", help="PATH,NUMBER,…")
@where_options
def blkiotune_command(domain: str, live: bool, config: bool, current: bool, **values: Any) -> None:
    """Print or set the weights and limits of DOMAIN's input and output."""
    flags = {"live": live, "config": config, "current": current}
    _tune("blkiotune", domain, None, _given(**values), flags)


@command("numatune")
@domain_argument
@option("--mode", help="strict, preferred, interleave or restrictive.")
@option("--nodeset", help="Nodes of the host: 0-1,3.")
@where_options
def numatune_command(domain: str, mode: str | None, nodeset: str | None, **flags: bool) -> None:
    """Print or set the nodes of the host from which DOMAIN gets its memory."""
    _tune("numatune", domain, None, _given(numa_mode=mode, numa_nodeset=nodeset), flags)


def _limits(function: Callable[..., Any]) -> Callable[..., Any]:
    for unit in ("iops", "bytes"):
        for way in ("write", "read", "total"):
            function = option(f"--{way}-{unit}-sec", type=int, help="At most; 0: no limit.")(
                function
            )
    return function


@command("blkdeviotune")
@domain_argument
@argument("device")
@_limits
@where_options
def blkdeviotune_command(
    domain: str, device: str, live: bool, config: bool, current: bool, **values: Any
) -> None:
    """Print or set the limits of DOMAIN's disk DEVICE."""
    flags = {"live": live, "config": config, "current": current}
    _tune("blkdeviotune", domain, device, _given(**values), flags)


@command("domiftune")
@domain_argument
@argument("interface")
@option("--inbound", help="AVERAGE,PEAK,BURST,FLOOR in KiB per second and KiB; 0: no limit.")
@option("--outbound", help="AVERAGE,PEAK,BURST.")
@where_options
def domiftune_command(
    domain: str, interface: str, inbound: str | None, outbound: str | None, **flags: bool
) -> None:
    """Print or set the limits of DOMAIN's INTERFACE."""
    from polyvisor.errors import InvalidArgument

    names = ("average", "peak", "burst", "floor")
    values: dict[str, Any] = {}
    for way, text in (("inbound", inbound), ("outbound", outbound)):
        words = [] if text is None else text.split(",")
        if len(words) > len(names) or not all(word.isdigit() or not word for word in words):
            raise InvalidArgument(f"domiftune: {text!r} is not AVERAGE,PEAK,BURST,FLOOR")
        values.update(
            {f"{way}.{name}": int(word) for name, word in zip(names, words, strict=False) if word}
        )
    every = [f"{way}.{name}" for way in ("inbound", "outbound") for name in names]
    _tune("domiftune", domain, interface, values, flags, every[:-1])
