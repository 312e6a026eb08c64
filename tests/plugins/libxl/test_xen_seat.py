"""What a person at a guest uses and a debugger wants: consoles and cores, on the stand-in."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from polyvisor.errors import (
    Busy,
    HypervisorError,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    StorageError,
    Unsupported,
)
from polyvisor.model import DomainSpec

if TYPE_CHECKING:
    from polyvisor.domain import Domain

PTY = "<devices><console type='pty'><target type='xen' port='0'/></console></devices>"


@attrs.frozen
class Terminal:
    """A terminal of the host, held where xenconsoled would hold it."""

    master: int
    path: str

    def hears(self, data: bytes) -> bool:
        """Say whether that is what comes from the other end next."""
        assert select.select([self.master], [], [], 20)[0]
        return os.read(self.master, 100) == data


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Hold a terminal."""
    master, slave = os.openpty()
    made = Terminal(master, os.ttyname(slave))
    os.close(slave)
    yield made
    os.close(master)


def _ends_at(hosts, domain: Domain, console: str, terminal: Terminal) -> None:
    """Have a console of a guest end at a terminal."""
    path = hosts.root / "a.xen" / f"{console}-{domain.info().id}"
    path.write_text(terminal.path)


def _talk(fd: int, terminal: Terminal) -> None:
    os.write(fd, b"typed\r")
    assert terminal.hears(b"typed\r")
    os.write(terminal.master, b"said\n")
    assert select.select([fd], [], [], 20)[0]
    assert os.read(fd, 100) == b"said\n"


@pytest.mark.parametrize("name", [None, "console0"])
def test_a_console(hosts, domain: Domain, terminal: Terminal, name: str | None) -> None:
    """What is typed and said passes unchanged, and one has it at a time, unless by force."""
    _ends_at(hosts, domain, "console0", terminal)
    fd = domain.open_console(name)
    try:
        _talk(fd, terminal)
        with pytest.raises(Busy, match="somebody else"):
            domain.open_console(name)
    finally:
        os.close(fd)
    fd = domain.open_console(name, force=True)
    _talk(fd, terminal)
    os.close(fd)


def test_consoles_by_kind(hosts, host, terminal: Terminal) -> None:
    """An HVM guest's first port is an emulated one; its Xen console is another."""
    text = hosts.spec(more=PTY.replace("</devices>", "<serial type='pty'/></devices>")).to_xml()
    text = text.replace("machine='xenpv'>xen<", "machine='xenfv'>hvm<")
    domain = host.domains.create(DomainSpec.from_xml(text))
    for console, names in (
        ("serial0", (None, "serial0", "console0")),
        ("console0", ("console1",)),
    ):
        _ends_at(hosts, domain, console, terminal)
        for name in names:
            fd = domain.open_console(name)
            _talk(fd, terminal)
            os.close(fd)
        (hosts.root / "a.xen" / f"{console}-{domain.info().id}").unlink()
    domain.destroy()


def test_no_console(hosts, domain: Domain, make_running: Callable[..., Domain]) -> None:
    """A port that is not there, leads elsewhere or belongs to nothing that runs is refused."""
    with pytest.raises(NotFound, match="serial7"):
        domain.open_console("serial7")
    domain.destroy()
    with pytest.raises(OperationInvalid, match="not running"):
        domain.open_console()
    domain.undefine()
    path = hosts.root / "log"
    other = make_running(
        f"<devices><console type='file'><source path='{path}'/></console></devices>"
    )
    with pytest.raises(OperationInvalid, match="leads to a file"):
        other.open_console()


def test_a_console_without_a_terminal(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where xenconsoled does not run, that is what the error says."""
    from polyvisor_libxl import consoles

    monkeypatch.setattr(consoles, "_PATIENCE", 0.1)
    with pytest.raises(HypervisorError, match="xenconsoled"):
        domain.open_console()


@pytest.mark.parametrize("live", [False, True])
def test_a_core(hosts, domain: Domain, tmp_path: Path, live: bool) -> None:
    """The core is that of a moment in the guest's life, after which it counts on."""
    assert hosts.counts_on(domain)
    reports: list[str] = []
    domain.dump(tmp_path / "core", live=live, progress=lambda report: reports.append(report.phase))
    core = (tmp_path / "core").read_bytes()
    assert core.startswith(b"\x7fELF")
    assert struct.unpack_from("<Q", core, 64)[0] in hosts.ticks(domain)
    assert reports
    assert str(domain.state) == "running"
    assert hosts.counts_on(domain)
    domain.suspend()
    domain.dump(tmp_path / "core", live=live)
    assert str(domain.state) == "paused"


def test_a_core_and_then(hosts, domain: Domain, host, tmp_path: Path) -> None:
    """After a dump the guest is shut off as crashed, or reset if it has such a button."""
    with pytest.raises(Unsupported, match="reset button"):
        domain.dump(tmp_path / "core", reset=True)
    assert not (tmp_path / "core").exists()
    with pytest.raises(InvalidArgument):
        domain.dump(tmp_path / "core", reset=True, crash=True)
    with pytest.raises(Unsupported, match="kdump-zlib"):
        domain.dump(tmp_path / "core", core_format="kdump-zlib")
    domain.dump(tmp_path / "core", crash=True)
    status = domain.status()
    assert (str(status.state), str(status.reason)) == ("shut off", "crashed")
    assert (tmp_path / "core").exists()


def test_a_core_that_fails(hosts, domain: Domain, tmp_path: Path) -> None:
    """Whatever goes wrong, an earlier core is whole and the guest counts on."""
    (tmp_path / "core").write_text("earlier")
    hosts.fault("libxl_domain_core_dump -3")
    with pytest.raises(HypervisorError, match="ERROR_FAIL"):
        domain.dump(tmp_path / "core")
    hosts.fault()
    with pytest.raises(StorageError):
        domain.dump(tmp_path / "no folder" / "core")
    assert (tmp_path / "core").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.glob(".*")) == []
    assert hosts.counts_on(domain)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_dumping(hosts, domain: Domain, tmp_path: Path, when: str) -> None:
    """Killed on either side of libxl's work, the guest runs on and nothing is left over."""
    (tmp_path / "core").write_text("earlier")
    code = """
    import signal
    from polyvisor_libxl.context import Context
    dump = Context.core_dump
    def killing(*words):
        if sys.argv[1] == "after":
            dump(*words)
        os.kill(os.getpid(), signal.SIGKILL)
    Context.core_dump = killing
    host.domains["guest"].dump(sys.argv[2])
    """
    hosts.run_process(code, when, str(tmp_path / "core"))
    assert hosts.counts_on(domain)
    assert str(domain.state) == "running"
    assert (tmp_path / "core").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.glob(".*")) == []
