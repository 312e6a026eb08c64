"""Work on the disks of domains: sizes, and jobs that move data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import NotFound
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.server.numbers import BLOCK_JOBS
from polyvisor_remote.wire import mapping

if TYPE_CHECKING:
    from polyvisor.driver import BlockJobs
    from polyvisor_remote.server.session import Session

_MIB = 1 << 20
# virDomainBlockJobAbortFlags
_ASYNC, _PIVOT = 1, 2
#: ``VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES`` and the same of ``SPEED``.
_BYTES = 1
# virDomainBlockRebaseFlags; of them, pulling knows the last.
_SHALLOW, _REUSE, _COPY_RAW, _COPY, _RELATIVE, _COPY_DEV, _PULL_BYTES = (
    1 << bit for bit in range(7)
)
# virDomainBlockCopyFlags: shallow and reuse are those of rebase.
_TRANSIENT = 4
# virDomainBlockCommitFlags
_COMMIT_SHALLOW, _DELETE, _ACTIVE, _COMMIT_RELATIVE, _COMMIT_BYTES = 1, 2, 4, 8, 16
# virDomainBlockResizeFlags
_RESIZE_BYTES = 1


def _part(session: Session, procedure: str) -> BlockJobs:
    return need(session.driver.block, procedure)


def _rate(bandwidth: int, in_bytes: int) -> int:
    """Return bytes per second, of those or of MiB per second."""
    return bandwidth if in_bytes else bandwidth * _MIB


@serves("domain_get_block_info", slow=True)
def get_block_info(session: Session, arguments: Any) -> tuple[int, int, int]:
    """Return a disk's sizes."""
    check_flags(arguments.flags, 0, "virDomainGetBlockInfo")
    part = _part(session, "domain_get_block_info")
    found = part.disk_info(session.uuid(arguments.dom), arguments.path)
    return found.allocation, found.capacity, found.physical


@serves("domain_block_resize", slow=True)
def block_resize(session: Session, arguments: Any) -> None:
    """Change a disk's size, given in KiB unless the flags say bytes."""
    check_flags(arguments.flags, _RESIZE_BYTES, "virDomainBlockResize")
    size = arguments.size * (1 if arguments.flags & _RESIZE_BYTES else 1024)
    part = _part(session, "domain_block_resize")
    part.resize(session.uuid(arguments.dom), arguments.disk, size)


@serves("domain_set_block_threshold", slow=True)
def set_block_threshold(session: Session, arguments: Any) -> None:
    """Have an event tell of a write beyond an offset."""
    check_flags(arguments.flags, 0, "virDomainSetBlockThreshold")
    part = _part(session, "domain_set_block_threshold")
    uuid = session.uuid(arguments.dom)
    try:
        part.set_threshold(uuid, arguments.dev, arguments.threshold)
    except NotFound as error:
        raise Failure(8, f"failed to find disk '{arguments.dev}'") from error


def _pull(session: Session, arguments: Any, base: str | None, bandwidth: int, **more: bool) -> None:
    part = _part(session, "domain_block_pull")
    uuid = session.uuid(arguments.dom)
    part.pull(uuid, arguments.path, base=base, bandwidth=bandwidth, **more)


def _said(**flags: int) -> dict[str, bool]:
    """Return flags that are set: drivers need not know the others."""
    return {name: True for name, flag in flags.items() if flag}


@serves("domain_block_pull", slow=True)
def block_pull(session: Session, arguments: Any) -> None:
    """Begin to bring the whole backing chain into a disk's own file."""
    check_flags(arguments.flags, _PULL_BYTES, "virDomainBlockPull")
    _pull(session, arguments, None, _rate(arguments.bandwidth, arguments.flags & _PULL_BYTES))


@serves("domain_block_rebase", slow=True)
def block_rebase(session: Session, arguments: Any) -> None:
    """Begin to pull what is above a file; or, as older clients do, to copy a disk."""
    flags = arguments.flags
    copying = _SHALLOW | _REUSE | _COPY_RAW | _COPY | _COPY_DEV
    check_flags(flags, copying | _RELATIVE | _PULL_BYTES, "virDomainBlockRebase")
    bandwidth = _rate(arguments.bandwidth, flags & _PULL_BYTES)
    if not flags & _COPY:
        if flags & copying:
            raise Failure(8, "flags of a copy need VIR_DOMAIN_BLOCK_REBASE_COPY")
        if flags & _RELATIVE and arguments.base is None:
            raise Failure(
                8, "flag VIR_DOMAIN_BLOCK_REBASE_RELATIVE is valid only with non-null base"
            )
        more = _said(relative=flags & _RELATIVE)
        _pull(session, arguments, arguments.base, bandwidth, **more)
        return
    if arguments.base is None:
        raise Failure(8, "virDomainBlockRebase: a copy needs a destination")
    _part(session, "domain_block_rebase").copy(
        session.uuid(arguments.dom),
        arguments.path,
        _destination(arguments.base, raw=bool(flags & _COPY_RAW), device=bool(flags & _COPY_DEV)),
        bandwidth=bandwidth,
        shallow=bool(flags & _SHALLOW),
        reuse=bool(flags & _REUSE),
    )


def _destination(path: str, *, raw: bool, device: bool) -> str:
    """Return the ``<disk>`` that a destination's name stands for."""
    from polyvisor.model import escape_attribute

    kind, name = ("block", "dev") if device else ("file", "file")
    driver = "<driver type='raw'/>" if raw else ""
    try:
        source = f"<source {name}='{escape_attribute(path)}'/>"
    except ValueError as error:
        raise Failure(8, f"the destination {path!r} {error}") from error
    return f"<disk type='{kind}'>{source}{driver}</disk>"


@serves("domain_block_copy", slow=True)
def block_copy(session: Session, arguments: Any) -> None:
    """Begin to copy a disk."""
    flags = arguments.flags
    check_flags(flags, _SHALLOW | _REUSE | _TRANSIENT, "virDomainBlockCopy")
    given = mapping(arguments.params)
    for name in given:
        if name not in ("bandwidth", "granularity", "buf-size"):
            raise Failure(8, f"virDomainBlockCopy: the parameter '{name}' has no effect here")
    granularity = given.get("granularity", 0)
    if granularity & (granularity - 1):
        raise Failure(8, "granularity must be power of 2")
    _part(session, "domain_block_copy").copy(
        session.uuid(arguments.dom),
        arguments.path,
        arguments.destxml,
        bandwidth=given.get("bandwidth", 0),
        shallow=bool(flags & _SHALLOW),
        reuse=bool(flags & _REUSE),
        granularity=granularity,
        buffer=given.get("buf-size", 0),
    )


@serves("domain_block_commit", slow=True)
def block_commit(session: Session, arguments: Any) -> None:
    """Begin to bring data down the chain; a disk's own file needs the flag that says so."""
    flags = arguments.flags
    known = _COMMIT_SHALLOW | _DELETE | _ACTIVE | _COMMIT_RELATIVE | _COMMIT_BYTES
    check_flags(flags, known, "virDomainBlockCommit")
    _part(session, "domain_block_commit").commit(
        session.uuid(arguments.dom),
        arguments.disk,
        base=arguments.base,
        top=arguments.top,
        bandwidth=_rate(arguments.bandwidth, flags & _COMMIT_BYTES),
        active=bool(flags & _ACTIVE),
        delete=bool(flags & _DELETE),
        **_said(shallow=flags & _COMMIT_SHALLOW, relative=flags & _COMMIT_RELATIVE),
    )


@serves("domain_block_job_abort", slow=True)
def block_job_abort(session: Session, arguments: Any) -> None:
    """End a job, and go over to its other side if asked for."""
    flags = arguments.flags
    check_flags(flags, _ASYNC | _PIVOT, "virDomainBlockJobAbort")
    _part(session, "domain_block_job_abort").abort(
        session.uuid(arguments.dom),
        arguments.path,
        pivot=bool(flags & _PIVOT),
        wait=not flags & _ASYNC,
    )


@serves("domain_get_block_job_info", slow=True)
def get_block_job_info(session: Session, arguments: Any) -> tuple[int, int, int, int, int]:
    """Return how far a job is: found, kind, limit, done and total."""
    check_flags(arguments.flags, _BYTES, "virDomainGetBlockJobInfo")
    part = _part(session, "domain_get_block_job_info")
    job = part.info(session.uuid(arguments.dom), arguments.path)
    if job is None:
        return 0, 0, 0, 0, 0
    bandwidth = job.bandwidth if arguments.flags & _BYTES else -(-job.bandwidth // _MIB)
    done = job.done
    if not job.ready and done == job.total:
        # Equal numbers mean to clients that the two sides are the same.
        done = max(0, done - 1)
    total = max(job.total, done + (not job.ready))
    return 1, BLOCK_JOBS.index(job.kind) + 1, bandwidth, done, total


@serves("domain_block_job_set_speed", slow=True)
def block_job_set_speed(session: Session, arguments: Any) -> None:
    """Change the limit of a job."""
    check_flags(arguments.flags, _BYTES, "virDomainBlockJobSetSpeed")
    bandwidth = _rate(arguments.bandwidth, arguments.flags & _BYTES)
    part = _part(session, "domain_block_job_set_speed")
    part.set_bandwidth(session.uuid(arguments.dom), arguments.path, bandwidth)
