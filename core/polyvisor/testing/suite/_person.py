"""What a person at the machine would use: consoles, screens, keys, and the agent inside."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.errors import Busy, InvalidArgument, NotFound, OperationInvalid, PolyvisorError
from polyvisor.model import DomainSpec
from polyvisor.testing._target import Target, requires

if TYPE_CHECKING:
    from polyvisor.connection import Connection

__all__ = ["TestAgent", "TestConsoles", "TestScreens"]

_PORTS = re.compile(r"\s*<(serial|console)\b[^>]*?(?:/>|>.*?</\1>)", re.DOTALL)
#: What a picture begins with, by its media type.
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/x-portable-pixmap": b"P6"}


def _with(xml: str, device: str) -> DomainSpec:
    if "</devices>" not in xml:
        xml = xml.replace("<devices/>", "").replace("</domain>", "<devices></devices></domain>")
    return DomainSpec.from_xml(xml.replace("</devices>", f"{device}</devices>"))


def with_console(target: Target, name: str) -> DomainSpec:
    """Return the target's machine with one console, which is a terminal."""
    return _with(_PORTS.sub("", target.spec(name).to_xml()), "<console type='pty'/>")


def with_screen(target: Target, name: str) -> DomainSpec:
    """Return the target's machine with a screen."""
    spec = target.spec(name)
    if spec.devices is not None and spec.devices.videos:
        return spec
    return _with(spec.to_xml(), "<video><model type='vga'/></video>")


def _need_consoles(target: Target) -> None:
    if not target.consoles:
        pytest.skip("nothing is behind the target's consoles")


@requires("console.serial")
class TestConsoles:
    """A console is a descriptor that lives as long as the domain runs."""

    def test_a_console_is_opened_and_shows_the_end(self, host: Connection, target: Target) -> None:
        """It can be written to while the domain runs, and is at its end when that stops."""
        _need_consoles(target)
        domain = host.domains.define(with_console(target, "guest"))
        domain.start()
        fd = domain.open_console()
        try:
            assert os.write(fd, b"\r") == 1
            domain.destroy()
            os.set_blocking(fd, True)
            for _ in range(10_000):
                try:
                    if not os.read(fd, 65536):
                        break
                except OSError:  # so a terminal tells that its other side is gone
                    break
            else:
                pytest.fail("the console of a domain that stopped shows no end")
        finally:
            os.close(fd)

    def test_it_can_be_taken_over(self, host: Connection, target: Target) -> None:
        """Opened once more it is busy, if that can be told, or both have it; forced, it opens."""
        _need_consoles(target)
        domain = host.domains.define(with_console(target, "guest"))
        domain.start()
        opened = [domain.open_console()]
        try:
            try:
                opened.append(domain.open_console())
            except Busy:
                opened.append(domain.open_console(force=True))
            assert len(set(opened)) == 2
        finally:
            for fd in opened:
                os.close(fd)
        domain.destroy()

    def test_no_console(self, host: Connection, target: Target) -> None:
        """A device that is not there is not found; a domain that does not run has none open."""
        domain = host.domains.define(with_console(target, "guest"))
        with pytest.raises(OperationInvalid):
            domain.open_console()
        domain.start()
        with pytest.raises(NotFound):
            domain.open_console("no such alias")
        domain.destroy()


class TestScreens:
    """Pictures are whole files, keys are known ones."""

    @requires("console.screenshot")
    def test_a_picture(self, host: Connection, target: Target, tmp_path: Path) -> None:
        """A picture is what its media type says; without a screen there is no file."""
        domain = host.domains.define(with_screen(target, "guest"))
        picture = tmp_path / "picture"
        with pytest.raises(OperationInvalid):
            domain.screenshot(picture)
        domain.start()
        kind = domain.screenshot(picture)
        assert kind in _MAGIC
        assert picture.read_bytes().startswith(_MAGIC[kind])
        with pytest.raises(NotFound):
            domain.screenshot(tmp_path / "other", screen=77)
        assert not (tmp_path / "other").exists()
        domain.destroy()

    @requires("console.send-key")
    def test_keys(self, host: Connection, target: Target) -> None:
        """A key is pressed; none, too many and a stopped machine's are refused."""
        domain = host.domains.define(target.spec("guest"))
        with pytest.raises(OperationInvalid):
            domain.send_keys([30])
        domain.start()
        domain.send_keys([30])
        domain.send_keys([42, 30], hold=0.05)
        for wrong in ([], [30] * 17):
            with pytest.raises(InvalidArgument):
                domain.send_keys(wrong)
        assert domain.active
        domain.destroy()

    @requires("console.graphics")
    def test_a_viewer(self, host: Connection, target: Target) -> None:
        """A viewer's socket is served by the display; one that is not there is not found."""
        display = "<graphics type='vnc' autoport='yes'/>"
        domain = host.domains.define(_with(target.spec("guest").to_xml(), display))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with pytest.raises(OperationInvalid):
                domain.open_graphics(theirs.fileno())
            domain.start()
            with pytest.raises(NotFound):
                domain.open_graphics(theirs.fileno(), screen=77)
            domain.open_graphics(theirs.fileno())
            theirs.close()
            ours.settimeout(60)
            # RFC 6143, section 7.1.1: the server speaks first.
            assert ours.recv(4, socket.MSG_WAITALL) == b"RFB "
        domain.destroy()


@requires("domains.debug")
class TestDebug:
    """Whoever looks into a machine finds what is there."""

    def test_looking_into_a_machine(self, host: Connection, target: Target) -> None:
        """The monitor answers, memory has its size, an interrupt harms nothing."""
        domain = host.domains.define(target.spec("guest"))
        with pytest.raises(OperationInvalid):
            domain.debug.memory(0, 16)
        with pytest.raises(OperationInvalid):
            domain.debug.nmi()
        domain.start()
        assert len(domain.debug.memory(0, 100_000)) == 100_000
        with pytest.raises(InvalidArgument):
            domain.debug.memory(-1, 1)
        with pytest.raises(InvalidArgument):
            domain.debug.disk("vda", 0, -1)
        with pytest.raises(PolyvisorError):
            domain.debug.disk("nosuch", 0, 16)
        domain.debug.nmi()
        assert domain.active
        domain.destroy()


@requires("guest.agent")
class TestAgent:
    """Whoever has no agent is told so, at once or when the time is up."""

    def test_a_guest_without_one(self, host: Connection, target: Target) -> None:
        """The least machine has no agent: asking it fails in words, and changes nothing."""
        domain = host.domains.define(target.spec("guest"))
        with pytest.raises(OperationInvalid):
            domain.agent.ping()
        domain.start()
        with pytest.raises(PolyvisorError) as caught:
            domain.agent.ping(timeout=1.0)
        assert caught.value.code in ("operation-invalid", "timeout")
        assert domain.active
        domain.destroy()
