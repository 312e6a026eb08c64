"""Commands for the disks of domains: lists, sizes, and jobs that move data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import argument, echo, number, option
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.cli._where import size

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.driver import BlockJobInfo
    from polyvisor.model.devices.disk import Disk

__all__: list[str] = []

#: Seconds between two looks at a job.
_PAUSE = 0.2
_TITLES = {
    "pull": "Block Pull",
    "copy": "Block Copy",
    "commit": "Block Commit",
    "active-commit": "Active Block Commit",
    "backup": "Backup",
}


def _source(disk: Disk) -> str | None:
    source = disk.source
    if source is None:
        return None
    if source.pool is not None:
        return f"{source.pool}/{source.volume}"
    return source.file or source.dev or source.dir or source.name


@command("domblklist")
@domain_argument
@option("--inactive", is_flag=True, help="Of the definition for the next start.")
@option("--details", is_flag=True, help="Types and devices too.")
def domblklist_command(domain: str, inactive: bool, details: bool) -> None:
    """List DOMAIN's disks."""
    spec = session().domain(domain).spec(inactive=inactive)
    facts = [
        {
            "type": disk.type or "file",
            "device": disk.device or "disk",
            "target": None if disk.target is None else disk.target.dev,
            "source": _source(disk),
        }
        for disk in spec.devices.disks
    ]
    columns = (["type", "device"] if details else []) + ["target", "source"]
    session().facts(
        facts,
        lambda: session().table(
            [name.capitalize() for name in columns],
            [[fact[name] for name in columns] for fact in facts],
        ),
    )


@command("domblkinfo")
@domain_argument
@argument("disk", required=False)
@option("--human", is_flag=True, help="With units.")
@option("--all", "every", is_flag=True, help="Of all disks.")
def domblkinfo_command(domain: str, disk: str | None, human: bool, every: bool) -> None:
    """Print the sizes of DISK of DOMAIN, in bytes."""
    import attrs

    from polyvisor.errors import InvalidArgument

    found = session().domain(domain)
    if every == (disk is not None):
        raise InvalidArgument("domblkinfo: name a disk, or give --all")
    names = ("capacity", "allocation", "physical")
    if disk is not None:
        one = attrs.asdict(found.disks.info(disk))
        rows = [(name.capitalize(), _size(one[name], human)) for name in names]
        session().facts(one, lambda: session().pairs(rows))
        return
    facts: list[dict[str, Any]] = []
    for each in found.spec().devices.disks:
        target = None if each.target is None else each.target.dev
        # An empty drive has none.
        sized = target is not None and _source(each) is not None
        sizes = attrs.asdict(found.disks.info(target)) if sized and target is not None else {}
        facts.append({"target": target, **{name: sizes.get(name) for name in names}})
    session().facts(
        facts,
        lambda: session().table(
            ["Target", *(name.capitalize() for name in names)],
            [[one["target"], *(_size(one[name], human) for name in names)] for one in facts],
        ),
    )


def _size(value: int | None, human: bool) -> str | None:
    if value is None or not human:
        return None if value is None else str(value)
    amount, unit = float(value), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.3f} {unit}"


@command("blockresize")
@domain_argument
@argument("disk")
@argument("new_size", metavar="SIZE")
def blockresize_command(domain: str, disk: str, new_size: str) -> None:
    """Change what DOMAIN sees of DISK to SIZE, in KiB or with a unit: 2GiB."""
    found = session().domain(domain)
    found.disks.resize(disk, size(new_size))
    session().done(f"Block device '{disk}' is resized", uuid=found.uuid)


@command("domblkthreshold")
@domain_argument
@argument("disk")
@argument("threshold")
def domblkthreshold_command(domain: str, disk: str, threshold: str) -> None:
    """Have an event tell when DOMAIN writes beyond THRESHOLD of the file of DISK.

    THRESHOLD is an offset in bytes or with a unit: 2GiB; 0 takes it away.
    """
    found = session().domain(domain)
    found.disks.set_threshold(disk, size(threshold, unit=1))


# Jobs

_bandwidth = option("--bandwidth", default="0", help="Most per second, in MiB or with a unit.")
_wait = option("--wait", is_flag=True, help="Return when it has ended, or both sides are alike.")
_relative = option(
    "--keep-relative", "relative", is_flag=True, help="Relative names in the chain stay so."
)
_verbose = option("--verbose", is_flag=True, help="Print how far it is.")


def _rate(text: str) -> int:
    return size(text, unit=1 << 20)


def _follow(found: Domain, disk: str, verbose: bool) -> BlockJobInfo | None:
    """Wait until a job has ended, or its two sides are alike; return it in that case."""
    while True:
        job = found.disks.job(disk)
        if job is None or job.ready:
            return job
        if verbose:
            echo(_line(job), err=True)
        time.sleep(_PAUSE)


def _line(job: BlockJobInfo) -> str:
    share = 100 if job.ready or not job.total else min(99, 100 * job.done // job.total)
    return f"{_TITLES[job.kind]}: [{share:3d} %]"


def _begun(
    found: Domain, disk: str, words: str, done: str, wait: bool, verbose: bool, end: str | None
) -> None:
    """Say that a job has begun; or wait for it, and go over or stay if that is asked."""
    if not (wait or end):
        session().done(words, uuid=found.uuid)
        return
    job = _follow(found, disk, verbose)
    if job is not None and end is not None:
        found.disks.abort(disk, pivot=end == "pivot")
        done = "Successfully pivoted" if end == "pivot" else done
    elif job is not None:
        done = "Now in synchronized phase"
    session().done(done, uuid=found.uuid)


@command("blockpull")
@domain_argument
@argument("disk")
@argument("base", required=False)
@_relative
@_bandwidth
@_wait
@_verbose
def blockpull_command(
    domain: str,
    disk: str,
    base: str | None,
    relative: bool,
    bandwidth: str,
    wait: bool,
    verbose: bool,
) -> None:
    """Bring the data of DISK's backing files, or of those above BASE, into its own file."""
    found = session().domain(domain)
    found.disks.pull(disk, base=base, bandwidth=_rate(bandwidth), relative=relative)
    _begun(found, disk, "Block Pull started", "Pull complete", wait, verbose, None)


@command("blockcommit")
@domain_argument
@argument("disk")
@option("--base", help="File that takes the data; the chain's last unless it is said.")
@option("--top", help="Topmost file that is merged; the disk's own unless it is said.")
@option("--active", is_flag=True, help="The topmost file is the disk's own.")
@option("--delete", is_flag=True, help="Remove files that are no longer needed.")
@option("--shallow", is_flag=True, help="The base is the file right below the top.")
@_relative
@option("--pivot", is_flag=True, help="Wait, and go over to the base; means --active.")
@option("--keep-overlay", "keep", is_flag=True, help="Wait, and stay; means --active.")
@_bandwidth
@_wait
@_verbose
def blockcommit_command(
    domain: str,
    disk: str,
    base: str | None,
    top: str | None,
    active: bool,
    delete: bool,
    shallow: bool,
    relative: bool,
    pivot: bool,
    keep: bool,
    bandwidth: str,
    wait: bool,
    verbose: bool,
) -> None:
    """Bring the data of DISK's upper files down into a lower one."""
    found = session().domain(domain)
    end = _end(pivot, keep, "--keep-overlay")
    found.disks.commit(
        disk,
        base=base,
        top=top,
        bandwidth=_rate(bandwidth),
        active=active or end is not None,
        delete=delete,
        shallow=shallow,
        relative=relative,
    )
    _begun(found, disk, "Block Commit started", "Commit complete", wait, verbose, end)


def _end(pivot: bool, stay: bool, name: str) -> str | None:
    from polyvisor.errors import InvalidArgument

    if pivot and stay:
        raise InvalidArgument(f"--pivot and {name} exclude each other")
    return "pivot" if pivot else "stay" if stay else None


@command("blockcopy")
@domain_argument
@argument("disk")
@argument("dest")
@option("--format", "form", help="Format of the copy; the disk's own unless it is said.")
@option("--blockdev", is_flag=True, help="DEST is a device.")
@option("--shallow", is_flag=True, help="Only what is above the backing file.")
@option("--reuse-external", "reuse", is_flag=True, help="DEST is there already.")
@option("--granularity", type=number(int, 0), default=0, help="Bytes that are copied at once.")
@option("--buf-size", type=number(int, 0), default=0, help="Bytes that are under way at most.")
@option("--pivot", is_flag=True, help="Wait, and go over to the copy.")
@option("--finish", is_flag=True, help="Wait, and stay when both are alike.")
@_bandwidth
@_wait
@_verbose
def blockcopy_command(
    domain: str,
    disk: str,
    dest: str,
    form: str | None,
    blockdev: bool,
    shallow: bool,
    reuse: bool,
    granularity: int,
    buf_size: int,
    pivot: bool,
    finish: bool,
    bandwidth: str,
    wait: bool,
    verbose: bool,
) -> None:
    """Copy DISK to DEST while DOMAIN goes on."""
    from polyvisor.model.binding import write_document
    from polyvisor.model.devices.disk import Disk, DiskDriver
    from polyvisor.model.devices.disk_source import DiskSource

    found = session().domain(domain)
    end = _end(pivot, finish, "--finish")
    target = Disk(
        type="block" if blockdev else "file",
        source=DiskSource(dev=dest) if blockdev else DiskSource(file=dest),
        driver=None if form is None else DiskDriver(type=form),
    )
    found.disks.copy(
        disk,
        write_document(target, "disk"),
        bandwidth=_rate(bandwidth),
        shallow=shallow,
        reuse=reuse,
        granularity=granularity,
        buffer=buf_size,
    )
    _begun(found, disk, "Block Copy started", "Successfully copied", wait, verbose, end)


@command("blockjob")
@domain_argument
@argument("disk")
@argument("bandwidth", required=False)
@option("--abort", is_flag=True, help="End the job.")
@option("--async", "later", is_flag=True, help="Do not wait for its end.")
@option("--pivot", is_flag=True, help="Go over to the other side.")
def blockjob_command(
    domain: str, disk: str, bandwidth: str | None, abort: bool, later: bool, pivot: bool
) -> None:
    """Print, limit (to BANDWIDTH, in MiB per second) or end the job on DISK of DOMAIN."""
    import attrs

    found = session().domain(domain)
    if abort or later or pivot:
        found.disks.abort(disk, pivot=pivot, wait=not later)
        return
    if bandwidth is not None:
        found.disks.set_bandwidth(disk, _rate(bandwidth))
        return
    job = found.disks.job(disk)
    session().facts(
        None if job is None else attrs.asdict(job),
        lambda: echo(f"No current block job for {disk}" if job is None else _line(job)),
    )
