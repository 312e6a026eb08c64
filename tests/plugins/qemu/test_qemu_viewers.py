"""What a destination says in prepare, and what a source makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.driver import MigrationOptions
from polyvisor.errors import Unsupported
from polyvisor.jobs import Job
from polyvisor.states import DomainState
from polyvisor_qemu.cookies import QemuCookie
from polyvisor_qemu.probe import has_spice
from polyvisor_qemu.subject import subject_of

if TYPE_CHECKING:
    import polyvisor
    from polyvisor.domain import Domain
    from polyvisor.driver import Migration, Prepared

# The conftest's own class; tests are no package that could be imported from.
Hosts = Any

pytestmark = pytest.mark.real

needs_spice = pytest.mark.skipif(
    not has_spice(), reason="QEMU has no SPICE: qemu-system-modules-spice"
)
SCREEN = "<graphics type='spice' autoport='yes'{more}/><video><model type='qxl'/></video>"


@contextmanager
def prepared(
    domain: Domain, there: polyvisor.Connection, options: MigrationOptions
) -> Iterator[tuple[Migration, Prepared, Job]]:
    """Begin and prepare a migration, which is given up in the end."""
    leaving, arriving = domain.connection.driver.migration, there.driver.migration
    assert leaving is not None
    assert arriving is not None
    with Job("migration") as job:
        begun = leaving.begin(domain.uuid, options, job)
        try:
            ready = arriving.prepare(begun.spec, begun.cookie, options)
            try:
                yield leaving, ready, job
            finally:
                arriving.finish(domain.uuid, None, options, cancelled=True)
        finally:
            leaving.confirm(domain.uuid, None, options, cancelled=True)


def told(ready: Prepared) -> QemuCookie:
    """Return what a destination says."""
    assert ready.cookie is not None
    return QemuCookie.from_bytes(ready.cookie)[0]


@needs_spice
def test_an_encrypted_screen_is_told_with_its_subject(
    hosts: Hosts, certificates: Callable[[str], Path]
) -> None:
    """Clients are to know whom to expect: the certificate's subject goes with the port."""
    folder = certificates("there.example")
    source = hosts.open("a", spice_tls_x509_cert_dir=str(folder))
    domain = source.domains.create(hosts.counting(more=SCREEN.format(more=" listen='0.0.0.0'")))
    there = hosts.open("b", spice_tls_x509_cert_dir=str(folder))
    with prepared(domain, there, MigrationOptions()) as (_, ready, _):
        screen = told(ready).graphics
    assert screen is not None
    assert (screen.kind, screen.listen) == ("spice", "0.0.0.0")
    assert screen.tls_port is not None
    assert screen.port != screen.tls_port > 0
    assert screen.subject == subject_of(f"{folder}/server-cert.pem")
    assert screen.subject is not None
    hosts.wait_for_count()


@needs_spice
def test_a_plain_screen_is_told_without(hosts: Hosts) -> None:
    """There is a port, as QEMU chose it there, and none that is encrypted."""
    domain = hosts.open("a").domains.create(hosts.counting(more=SCREEN.format(more="")))
    here = domain.spec().devices.graphics[0].port
    with prepared(domain, hosts.open("b"), MigrationOptions()) as (_, ready, _):
        screen = told(ready).graphics
    assert screen is not None
    assert (screen.tls_port, screen.subject) == (-1, None)
    assert screen.port not in (0, here)
    hosts.wait_for_count()


def test_what_the_destination_cannot_do_is_refused(hosts: Hosts) -> None:
    """A source that is told of no multifd there does not try; its guest runs on."""
    domain = hosts.open("a").domains.create(hosts.counting())
    options = MigrationOptions(parallel=True)
    with prepared(domain, hosts.open("b"), options) as (leaving, ready, job):
        assert ("multifd", False) in (told(ready).capabilities or ())
        assert ready.cookie is not None
        less = ready.cookie.replace(b"    <cap name='multifd' auto='no'/>\n", b"")
        assert less != ready.cookie
        with pytest.raises(Unsupported, match="has no multifd"):
            leaving.perform(domain.uuid, ready.uri, less, options, job)
    assert domain.state is DomainState.RUNNING
    hosts.wait_for_count()
