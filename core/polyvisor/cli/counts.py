"""Commands that print what one device of a domain has done, its memory, its vCPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.errors import InvalidArgument, NotFound, OperationInvalid, Unsupported

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__: list[str] = []

#: virsh's names, by those of domstats (``cmdDomblkstat``, ``cmdDomIfstat``, ``cmdDomMemStat``).
_BLOCK = {
    "rd.reqs": "rd_req",
    "rd.bytes": "rd_bytes",
    "wr.reqs": "wr_req",
    "wr.bytes": "wr_bytes",
    "fl.reqs": "flush_operations",
    "rd.times": "rd_total_times",
    "wr.times": "wr_total_times",
    "fl.times": "flush_total_times",
}
_INTERFACE = {
    f"{way}.{theirs}": f"{way}_{ours}"
    for way in ("rx", "tx")
    for theirs, ours in (
        ("bytes", "bytes"),
        ("pkts", "packets"),
        ("errs", "errs"),
        ("drop", "drop"),
    )
}
_MEMORY = {
    "current": "actual",
    "swap_in": "swap_in",
    "swap_out": "swap_out",
    "major_fault": "major_fault",
    "minor_fault": "minor_fault",
    "unused": "unused",
    "available": "available",
    "usable": "usable",
    "last-update": "last_update",
    "disk_caches": "disk_caches",
    "hugetlb_pgalloc": "hugetlb_pgalloc",
    "hugetlb_pgfail": "hugetlb_pgfail",
    "rss": "rss",
}
_VCPU_STATES = ("offline", "running", "blocked")


def _running(domain: str, group: str) -> tuple[Domain, dict[str, Any]]:
    """Return a domain that runs and its figures of a group."""
    found = session().domain(domain)
    if not found.active:
        raise OperationInvalid(f"{found.name!r} is not running", domain=found.name)
    return found, found.stats(groups={group})


def _of_device(figures: dict[str, Any], kind: str, wanted: set[str]) -> dict[str, Any] | None:
    for number in range(int(figures.get(f"{kind}.count", 0))):
        start = f"{kind}.{number}."
        if {figures.get(f"{start}name"), figures.get(f"{start}path")} & wanted:
            return {
                name.removeprefix(start): value
                for name, value in figures.items()
                if name.startswith(start)
            }
    return None


def _counts(figures: dict[str, Any], names: dict[str, str], device: str | None = None) -> None:
    """Print what there is of figures, by other names."""
    facts = {ours: figures[theirs] for theirs, ours in names.items() if theirs in figures}
    before = "" if device is None else f"{device} "

    def plain() -> None:
        for name, value in facts.items():
            echo(f"{before}{name} {value}")

    session().facts(facts, plain)


@command("domblkstat")
@domain_argument
@argument("device", required=False)
def domblkstat_command(domain: str, device: str | None) -> None:
    """Print what DOMAIN's disk DEVICE (target or path) has done, or all of them together."""
    found, figures = _running(domain, "block")
    if device is not None:
        told = _of_device(figures, "block", {device})
        if told is None:
            raise NotFound(f"{found.name!r} has no disk {device!r}", key=device)
        _counts(told, _BLOCK, device)
        return
    total: dict[str, int] = {}
    for name, value in figures.items():
        _, _, rest = name.partition(".")
        key = rest.partition(".")[2]
        if key in _BLOCK:
            total[key] = total.get(key, 0) + value
    _counts(total, _BLOCK)


@command("domifstat")
@domain_argument
@argument("interface")
def domifstat_command(domain: str, interface: str) -> None:
    """Print what went through DOMAIN's INTERFACE, its target or its MAC address."""
    found, figures = _running(domain, "net")
    for one in found.spec().devices.interfaces:
        if one.mac is not None and one.mac.address == interface.lower() and one.target:
            interface = one.target
    told = _of_device(figures, "net", {interface})
    if told is None:
        raise NotFound(
            f"{found.name!r} has no interface {interface!r} on the host that counts", key=interface
        )
    _counts(told, _INTERFACE, interface)


@command("dommemstat")
@domain_argument
def dommemstat_command(domain: str) -> None:
    """Print what is known of DOMAIN's memory, in KiB."""
    _, figures = _running(domain, "balloon")
    _counts({name.removeprefix("balloon."): value for name, value in figures.items()}, _MEMORY)


@command("cpu-stats")
@domain_argument
@option("--total", is_flag=True, help="Of all of the host's CPUs together, which is always so.")
def cpu_stats_command(domain: str, total: bool) -> None:
    """Print the time that DOMAIN has had of the host's CPUs."""
    _, figures = _running(domain, "cpu")
    names = {"cpu.time": "cpu_time", "cpu.user": "user_time", "cpu.system": "system_time"}
    facts = {ours: figures[theirs] / 1e9 for theirs, ours in names.items() if theirs in figures}

    def plain() -> None:
        echo("Total:")
        for name, value in facts.items():
            echo(f"\t{name:<12} {value:17.9f} seconds")

    session().facts(facts, plain)


@command("vcpucount")
@domain_argument
@option("--maximum", is_flag=True, help="How many it can have.")
@option("--active", is_flag=True, help="How many it has now.")
@option("--live", is_flag=True, help="Of the running guest.")
@option("--config", is_flag=True, help="Of the definition for the next start.")
@option("--current", is_flag=True, help="Of the guest if it runs, else of the definition.")
@option("--guest", is_flag=True, help="How many the guest uses, by its agent.")
def vcpucount_command(
    domain: str, maximum: bool, active: bool, live: bool, config: bool, current: bool, guest: bool
) -> None:
    """Print how many virtual CPUs DOMAIN has and can have."""
    found = session().domain(domain)
    runs = found.active
    if guest:
        count = len(found.agent.vcpus()["online"])
        session().facts({"guest": count}, lambda: echo(count))
        return
    if (maximum and active) or sum((live, config, current)) > 1:
        raise InvalidArgument("vcpucount: give one of --maximum and --active, one of the others")
    if live and not runs:
        raise OperationInvalid(f"{found.name!r} is not running", domain=found.name)
    facts: dict[str, dict[str, int]] = {"maximum": {}, "current": {}}
    for place, inactive in (("config", True), ("live", False)):
        if place == "live" and not runs:
            continue
        spec = found.spec(inactive=inactive)
        most = spec.vcpu.count if spec.vcpu is not None else spec.vcpus
        facts["maximum"][place], facts["current"][place] = most, spec.vcpus
    if maximum or active or live or config or current:
        place = "config" if config or not runs else "live"
        count = facts["maximum" if maximum else "current"][place]
        session().facts({"count": count}, lambda: echo(count))
        return

    def plain() -> None:
        for what, places in facts.items():
            for place, count in places.items():
                echo(f"{what:<12} {place:<10} {count:>3}")

    session().facts(facts, plain)


@command("vcpuinfo")
@domain_argument
def vcpuinfo_command(domain: str) -> None:
    """Print state, time and places of each of DOMAIN's virtual CPUs."""
    found, figures = _running(domain, "vcpu")
    cpus = found.connection.host.cpus
    try:
        pins = found.tuning.pins(live=True)
    except Unsupported:
        pins = {}
    facts = [
        {
            "vcpu": number,
            "state": _VCPU_STATES[figures.get(f"vcpu.{number}.state", 1)],
            "time": figures.get(f"vcpu.{number}.time", 0) / 1e9,
            "affinity": sorted(pins.get(number, range(cpus))),
        }
        for number in range(figures["vcpu.current"])
    ]

    def plain() -> None:
        for one in facts:
            places = "".join("y" if cpu in one["affinity"] else "-" for cpu in range(cpus))
            rows = [
                ("VCPU", one["vcpu"]),
                ("CPU", "N/A"),
                ("State", one["state"]),
                ("CPU time", f"{one['time']:.1f}s"),
                ("CPU Affinity", places),
            ]
            for name, value in rows:
                echo(f"{name + ':':<15} {value}")
            echo()

    session().facts(facts, plain)


@command("maxvcpus")
@option("--type", "kind", help="Of domains of this type, such as kvm.")
def maxvcpus_command(kind: str | None) -> None:
    """Print how many virtual CPUs a domain can have here."""
    most = session().connection.domain_capabilities(kind=kind).max_vcpus
    if most is None:
        raise Unsupported("maxvcpus: the hypervisor does not say how many there can be")
    session().facts({"maxvcpus": most}, lambda: echo(most))


@command("cpu-models")
@argument("arch")
def cpu_models_command(arch: str) -> None:
    """Print the models of processor that guests of ARCH can have."""
    found = session().connection.domain_capabilities(arch=arch).cpu
    mode = found.mode("custom") if found is not None else None
    names = [one.name for one in mode.models] if mode is not None else []

    def plain() -> None:
        for name in names:
            echo(name)

    session().facts(names, plain)
