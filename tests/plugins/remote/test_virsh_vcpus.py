"""Virtual CPUs one by one: what virsh says through polyvisord and through libvirtd."""

from __future__ import annotations

import json
import re
import sys
import time

import pytest
from served import run
from test_virsh_qemu import Both, both

import polyvisor
from polyvisor.errors import InvalidArgument, PolyvisorError, Unsupported

pytestmark = pytest.mark.real

__all__ = ["both"]

GUEST = """<domain type='qemu'><name>g</name><uuid>6f7a2a2e-52f6-4cf9-a8a4-4ac1bb5f4a11</uuid>
<memory unit='MiB'>32</memory><vcpu current='1'>4</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
</devices></domain>"""
#: Said alike, one after the other; libvirt also writes down in which order they came.
SAME = """
define {file}
setvcpu g 2 --enable --config; dumpxml g --xpath //vcpus
setvcpu g 0 --disable --config
setvcpu g 9 --enable --config
setvcpu g 1-3 --enable; dumpxml g --xpath //vcpus
setvcpu g 1,3 --disable; vcpucount g
setvcpu g x --enable
start g
dumpxml g --xpath //vcpus
vcpucount g
vcpuinfo g
setvcpu g 3 --enable --live; dumpxml g --xpath //vcpus
dumpxml g --inactive --xpath //vcpus
setvcpu g 0 --disable --live
setvcpu g 3 --enable --live
setvcpu g 1,2 --enable --live
setvcpu g 1-2 --disable --live --config
setvcpu g 9 --enable --live
setvcpu g 1 --enable --live --config; vcpucount g
setvcpus g 4 --live; dumpxml g --xpath //vcpus
guest-agent-timeout g --timeout 3
guest-agent-timeout g --timeout -9
managedsave g
start g
vcpucount g --live
dumpxml g --xpath //vcpus
destroy g
"""


def plain(text: str) -> str:
    """Return what virsh said without the order in which vCPUs came, their times and places."""
    return re.sub(r' order="\d+"|(CPU(?: time)?:) .*\n', "", text)


def test_certain_vcpus_come(both: Both) -> None:
    """Into definitions and guests, which keep them when they are saved; what cannot is refused."""
    file = both.folder / "guest.xml"
    file.write_text(GUEST)
    for words in SAME.strip().splitlines():
        said = both.said(words.format(file=file))
        assert plain(said["a"]) == plain(said["b"]), words


def test_our_client_plugs_them(both: Both) -> None:
    """Behind either daemon; QEMU has those that were asked for, and no others."""
    for side, uri in both.uris.items():
        with polyvisor.open(uri) as host:
            domain = host.domains.define(GUEST)
            domain.enable_vcpus({2}, config=True)
            domain.start()
            domain.enable_vcpus({3})
            told = json.loads(domain.debug.command('{"execute":"query-cpus-fast"}'))["return"]
            assert sorted(one["cpu-index"] for one in told) == [0, 2, 3], side
            with pytest.raises(InvalidArgument):
                domain.enable_vcpus({3})
            with pytest.raises(Unsupported):
                domain.enable_vcpus({0}, False)
            domain.destroy()
            domain.undefine()


def test_an_agents_timeout_is_kept(both: Both) -> None:
    """Nobody answers: what is asked takes as long as was said; libvirtd knows that at once."""
    for side, uri in both.uris.items():
        with polyvisor.open(uri) as host:
            domain = host.domains.define(GUEST)
            domain.start()
            domain.agent.set_timeout(1)
            begun = time.monotonic()
            with pytest.raises(PolyvisorError):
                domain.agent.users()
            spent = time.monotonic() - begun
            assert spent < 4.5
            assert side == "b" or spent > 0.9
            domain.destroy()
            domain.undefine()


def test_the_command_line_plugs_them(both: Both) -> None:
    """As virsh does; without a word of which way, it refuses."""
    uri = both.uris["a"]
    with polyvisor.open(uri) as host:
        host.domains.define(GUEST)
    own = (sys.executable, "-m", "polyvisor", "-c", uri)
    assert run(*own, "setvcpu", "g", "2-3", "--enable", "--config").returncode == 0
    assert run(*own, "setvcpu", "g", "3", "--disable").returncode == 0
    assert "--enable or --disable" in run(*own, "setvcpu", "g", "1").stderr
    assert run(*own, "vcpucount", "g", "--active", "--config").stdout.strip() == "2"
    assert run(*own, "start", "g").returncode == 0
    assert run(*own, "guest-agent-timeout", "g", "--timeout", "2").returncode == 0
    assert "reload graphics" in run(*own, "domdisplay-reload", "g").stderr
    assert run(*own, "destroy", "g").returncode == 0
    assert run(*own, "undefine", "g").returncode == 0
