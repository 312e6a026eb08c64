"""What stands beside QEMU: firmware with its variables, emulated TPMs, shared folders."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import HypervisorError
from polyvisor.states import DomainState
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real


def test_uefi(hosts: Hosts, make_spec: Make) -> None:
    """UEFI firmware of this host is chosen, and keeps its variables from start to start."""
    if not Path("/usr/share/qemu/firmware/60-edk2-x86_64.json").exists():
        pytest.skip("ovmf is not installed")
    text = make_spec(machine="q35", memory=256).to_xml().replace("<os>", "<os firmware='efi'>")
    wanted = "<firmware><feature enabled='no' name='secure-boot'/></firmware>"
    domain = hosts.open().domains.define(text.replace("</type>", f"</type>{wanted}"))
    domain.start(paused=True)
    (variables,) = hosts.root.rglob("guest_VARS.fd")
    domain.destroy()
    variables.write_bytes(variables.read_bytes()[:-1] + b"\x01")
    domain.start(paused=True)
    assert variables.read_bytes()[-1] == 1, "what the firmware kept is gone"
    domain.destroy()
    domain.undefine(nvram=True)


TPM = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'></backend></tpm>"
SHARED = (
    "<filesystem type='mount'><driver type='virtiofs'/><source dir='FOLDER'/><target dir='b'/>"
    "</filesystem>"
)


def helpers_of(hosts: Hosts) -> list[int]:
    """Return the processes whose command lines name the test's folder and that are no QEMU."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                program = words.split(b"\0")[0]
                if str(hosts.root).encode() in words and program.endswith((b"swtpm", b"virtiofsd")):
                    found.append(int(entry.name))
    return found


def test_emulated_tpm(hosts: Hosts, make_spec: Make) -> None:
    """An emulated TPM serves its guest, keeps its state, and ends with QEMU however that ends."""
    if shutil.which("swtpm") is None:
        pytest.skip("swtpm is not installed")
    host = hosts.open()
    secret = host.secrets.define(
        "<secret private='yes'><usage type='vtpm'><name>guest</name></usage></secret>"
    )
    secret.set_value(b"correct horse")
    key = f"<encryption secret='{secret.uuid}'/></backend>"
    domain = host.domains.define(make_spec(devices=TPM.replace("</backend>", key)))
    for end in (domain.destroy, lambda: os.kill(hosts.processes()[0], signal.SIGKILL)):
        domain.start()
        with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
            (tpm,) = monitor.execute("query-tpm")
        assert tpm["model"] == "tpm-tis"
        assert len(helpers_of(hosts)) == 1
        end()
        deadline = time.monotonic() + 10
        while helpers_of(hosts):
            assert time.monotonic() < deadline, "the TPM outlives its guest"
            time.sleep(0.01)
        assert domain.state is not DomainState.RUNNING
    assert list(hosts.root.rglob("tpm2/*")), "nothing was kept"
    domain.undefine()


def test_shared_folder(hosts: Hosts, make_spec: Make) -> None:
    """A folder is shared by a process of its own, which ends with QEMU."""
    if os.geteuid() != 0 or not Path("/usr/lib/qemu/virtiofsd").exists():
        pytest.skip("virtiofsd is not installed, or this is not root")
    shared = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    binary = "<binary><sandbox mode='chroot'/></binary><source"
    devices = SHARED.replace("<source", binary).replace("FOLDER", str(hosts.root))
    domain = hosts.open().domains.create(make_spec(more=shared, devices=devices), paused=True)
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        kinds = [one["type"] for one in monitor.execute("qom-list", path="/machine/peripheral")]
    assert "child<vhost-user-fs-pci>" in kinds
    assert helpers_of(hosts)
    domain.destroy()
    deadline = time.monotonic() + 10
    while helpers_of(hosts):
        assert time.monotonic() < deadline, "virtiofsd outlives its guest"
        time.sleep(0.01)


def test_helper_that_is_missing(hosts: Hosts, make_spec: Make) -> None:
    """Where a helper's program is missing, the start says what to install, and nothing is left."""
    host = hosts.open(virtiofsd="/nowhere/virtiofsd")
    spec = make_spec(devices=SHARED.replace("FOLDER", str(hosts.root)))
    with pytest.raises(HypervisorError, match="apt install virtiofsd"):
        host.domains.create(spec)
    assert hosts.processes() == []
