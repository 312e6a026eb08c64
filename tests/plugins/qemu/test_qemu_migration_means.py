"""Migrations of real guests by other means than QEMU's plain stream."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import Cancelled, InvalidArgument, MigrationError
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polyvisor.jobs import JobProgress

# The conftest's own class; tests are no package that could be imported from.
Hosts = Any

pytestmark = pytest.mark.real

#: The name that the certificates are for.
NAME = "there.example"
#: The secret with the password of their keys.
SECRET = "4f8e4a5e-6f43-4dd8-9a41-a54b6b1f6a01"


def place() -> str:
    """Return an address that nobody listens at."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return f"tcp:127.0.0.1:{tried.getsockname()[1]}"


@pytest.mark.parametrize("parallel", [False, True])
def test_over_tls(hosts: Hosts, certificates: Callable[[str], Path], parallel: bool) -> None:
    """Encrypted, to who has the right certificate; then plain again, and into a file."""
    folder = str(certificates(NAME))
    here = hosts.open("a", migrate_tls_x509_cert_dir=folder)
    there = hosts.open("b", migrate_tls_x509_cert_dir=folder)
    domain = here.domains.create(hosts.counting())
    hosts.wait_for_count()
    with pytest.raises(MigrationError, match="hostname"):
        domain.migrate(there, uri=place(), tls=True, tls_destination="other.example")
    assert domain.state is DomainState.RUNNING
    assert there.domains.list() == []
    moved = domain.migrate(there, uri=place(), tls=True, tls_destination=NAME, parallel=parallel)
    assert moved.state is DomainState.RUNNING
    hosts.wait_for_count()
    back = moved.migrate(here)
    hosts.wait_for_count()
    back.save(hosts.root / "image")
    here.domains.restore(hosts.root / "image")
    hosts.wait_for_count()


def test_without_certificates(hosts: Hosts) -> None:
    """Where there are none, the destination refuses; the guest runs on."""
    here, there = hosts.open("a"), hosts.open("b", migrate_tls_x509_cert_dir=str(hosts.root / "no"))
    domain = here.domains.create(hosts.counting())
    with pytest.raises(MigrationError, match=r"certificate|credentials|No such file"):
        domain.migrate(there, uri=place(), tls=True)
    assert domain.state is DomainState.RUNNING
    assert there.domains.list() == []


def test_means_end_with_the_migration(hosts: Hosts) -> None:
    """Neither a cancelled migration's nor an arrived one's means are the next stream's."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting())
    hosts.wait_for_count()
    cancelled = False

    def cancel(told: JobProgress) -> None:
        nonlocal cancelled
        if not cancelled:
            cancelled = True
            domain.abort_job()

    with pytest.raises(Cancelled):
        domain.migrate(there, bandwidth=20_000, parallel=True, progress=cancel)
    assert domain.state is DomainState.RUNNING
    moved = domain.migrate(there, compression=["mt", "xbzrle"], auto_converge=True)
    moved = moved.migrate(here, parallel=True, compression=["zlib"])
    moved.save(hosts.root / "image")
    here.domains.restore(hosts.root / "image")
    hosts.wait_for_count()


def test_a_limit_is_lifted(hosts: Hosts) -> None:
    """A migration too slow to end is told another limit, and ends."""
    domain = hosts.open("a").domains.create(hosts.counting())
    hosts.wait_for_count()
    steered = False

    def faster(told: JobProgress) -> None:
        nonlocal steered
        if told.processed and not steered:
            steered = True
            domain.steer_migration(bandwidth=1 << 40)

    moved = domain.migrate(hosts.open("b"), bandwidth=20_000, progress=faster)
    assert steered
    assert moved.state is DomainState.RUNNING
    hosts.wait_for_count()


@pytest.mark.parametrize(
    ("means", "told"),
    [
        ({"compression": ["rot13"]}, "'rot13' is not QEMU's"),
        ({"compression": ["mt"], "parallel": True}, "does not go with parallel"),
        ({"compression": ["zstd"]}, "needs parallel"),
    ],
)
def test_what_does_not_go_together(hosts: Hosts, means: dict[str, Any], told: str) -> None:
    """It is said; the guest was not even stopped."""
    domain = hosts.open("a").domains.create(hosts.counting())
    with pytest.raises((InvalidArgument, MigrationError), match=told):
        domain.migrate(hosts.open("b"), **means)
    assert domain.state is DomainState.RUNNING


def test_a_destination_that_stands_still(hosts: Hosts) -> None:
    """The destination's QEMU is stopped in the stream: when the time is up the guest runs on."""
    here, there = hosts.open("a"), hosts.open("b", answer_timeout=2)
    domain = here.domains.create(hosts.counting(memory=64))
    hosts.wait_for_count()
    (ours,) = hosts.processes()
    stopped: list[int] = []

    def stop(told: JobProgress) -> None:
        if told.processed and not stopped:
            stopped.extend(set(hosts.processes()) - {ours})
            os.kill(stopped[0], signal.SIGSTOP)

    with pytest.raises(Cancelled, match="not done after 4 s"):
        domain.migrate(there, bandwidth=100_000, timeout=4, timeout_action="abort", progress=stop)
    assert stopped
    assert domain.state is DomainState.RUNNING
    assert there.domains.list() == []
    assert hosts.processes() == [ours]
    hosts.wait_for_count()
    assert domain.migrate(there).state is DomainState.RUNNING
    hosts.wait_for_count()


@pytest.mark.parametrize("phase", ["perform", "finish"])
def test_the_destination_dies_at_a_phase(
    hosts: Hosts, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its QEMU is killed as the phase begins: the guest runs on where it was."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting())
    hosts.wait_for_count()
    (ours,) = hosts.processes()
    part = here.driver.migration if phase == "perform" else there.driver.migration
    act = getattr(part, phase)

    def kill_first(*arguments: Any, **more: Any) -> Any:
        for theirs in set(hosts.processes()) - {ours}:
            hosts.kill(theirs)
        return act(*arguments, **more)

    monkeypatch.setattr(part, phase, kill_first)
    with pytest.raises(MigrationError, match="on the source as before") as caught:
        domain.migrate(there)
    monkeypatch.undo()
    assert caught.value.owner == "source"
    assert domain.state is DomainState.RUNNING
    assert there.domains.list() == []
    assert hosts.processes() == [ours]
    hosts.wait_for_count()
    assert domain.migrate(there).state is DomainState.RUNNING
    hosts.wait_for_count()


@pytest.mark.parametrize("locked", [False, True])
def test_disks_over_tls(hosts: Hosts, certificates: Callable[[str], Path], locked: bool) -> None:
    """Disks are encrypted as the stream is; keys may have a password, which is a secret."""
    folder = certificates(NAME)
    both: dict[str, Any] = {"migrate_tls_x509_cert_dir": str(folder)}
    if locked:
        both["migrate_tls_x509_secret_uuid"] = SECRET
        for side in ("server", "client"):
            key = folder / f"{side}-key.pem"
            line = ["openssl", "pkcs8", "-topk8", "-v2", "aes256", "-in", str(key)]
            line += ["-passout", "pass:open sesame", "-out", str(folder / "locked")]
            subprocess.run(line, check=True, capture_output=True, timeout=60)
            (folder / "locked").replace(key)
    here, there = hosts.open("a", **both), hosts.open("b", **both)
    for host in (here, there) if locked else ():
        secret = host.secrets.define(
            f"<secret ephemeral='no' private='yes'><uuid>{SECRET}</uuid><usage type='tls'>"
            f"<name>key</name></usage></secret>"
        )
        secret.set_value(b"open sesame")
    mine, theirs = hosts.root / "mine", hosts.root / "theirs"
    mine.write_bytes(b"x" * (1 << 20))
    domain = here.domains.create(
        hosts.counting(
            more=f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
            f"<source file='{mine}'/><target dev='vdb' bus='virtio'/></disk>"
        )
    )
    hosts.wait_for_count()
    spec = domain.spec().to_xml().replace(str(mine), str(theirs))
    means: dict[str, Any] = {"copy_storage": "all", "disks": ["vdb"], "spec": spec, "tls": True}
    with pytest.raises(MigrationError, match="hostname"):
        domain.migrate(there, uri=place(), tls_destination="other.example", **means)
    assert domain.state is DomainState.RUNNING
    assert not theirs.exists()
    moved = domain.migrate(there, uri=place(), tls_destination=NAME, **means)
    assert moved.state is DomainState.RUNNING
    hosts.wait_for_count()
    moved.destroy()
    assert theirs.read_bytes() == mine.read_bytes()


@pytest.mark.parametrize("other", [{"parallel": True}, {"tls": True}])
def test_what_does_not_go_through_a_tunnel(hosts: Hosts, other: dict[str, Any]) -> None:
    """A tunnel is one stream, and as safe as its connection: more is refused in words."""
    domain = hosts.open("a").domains.create(hosts.counting())
    with pytest.raises((InvalidArgument, MigrationError), match="does not go with tunnelled"):
        domain.migrate(hosts.open("b"), peer_to_peer=True, tunnelled=True, **other)
    assert domain.state is DomainState.RUNNING


def test_limits_that_were_set_before(hosts: Hosts) -> None:
    """What a domain is limited to counts where a migration states nothing, and only there."""
    domain = hosts.open("a").domains.create(hosts.counting())
    hosts.wait_for_count()
    domain.set_migration_limits(bandwidth=20_480, downtime=0.7)

    def told_by_qemu(**options: Any) -> tuple[int, int]:
        def cancel(told: JobProgress) -> None:
            if told.processed:
                domain.abort_job()

        with pytest.raises(Cancelled):
            domain.migrate(hosts.open("b"), progress=cancel, **options)
        answer = json.loads(domain.debug.command('{"execute":"query-migrate-parameters"}'))
        return answer["return"]["max-bandwidth"], answer["return"]["downtime-limit"]

    assert told_by_qemu() == (20_480, 700)
    assert told_by_qemu(bandwidth=10_240) == (10_240, 700)
    domain.set_migration_limits(bandwidth=30_720)
    assert told_by_qemu(downtime=0.5) == (30_720, 500)
    limits = domain.migration_limits()
    assert (limits.bandwidth, limits.downtime) == (30_720, 0.7)
