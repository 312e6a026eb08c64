"""What belongs to a domain beside its disks, on real QEMU, OVMF and swtpm."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import OperationInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not Path("/usr/share/qemu/firmware/60-edk2-x86_64.json").exists()
        or shutil.which("swtpm") is None,
        reason="OVMF or swtpm is missing: apt install ovmf swtpm",
    ),
]
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='{}'/></tpm>"


@pytest.fixture
def spec(make_spec: Callable[..., Any]) -> Callable[..., Any]:
    """Hold a function that makes the definition of a guest with UEFI and an emulated TPM."""

    def make(name: str = "guest", persistent: str = "no") -> Any:
        text = make_spec(name, machine="q35", memory=64, devices=TPM.format(persistent)).to_xml()
        return text.replace("<os>", "<os firmware='efi'>")

    return make


def _kept(hosts: Hosts) -> tuple[list[str], list[str]]:
    """Return the files of variables and the folders of TPMs that the host has."""
    variables = sorted(path.name for path in hosts.root.rglob("*_VARS.fd"))
    return variables, sorted(path.parent.name for path in hosts.root.rglob("tpm2"))


def test_undefined(hosts: Hosts, spec: Callable[..., Any]) -> None:
    """Variables are never lost unasked nor left unasked; a TPM goes unless it is to stay."""
    host = hosts.open()
    domain = host.domains.define(spec())
    domain.undefine()  # Nothing was made yet.
    domain = host.domains.define(spec())
    uuid = str(domain.uuid)
    domain.start()
    domain.destroy()
    assert _kept(hosts) == (["guest_VARS.fd"], [uuid])
    with pytest.raises(OperationInvalid, match=r"guest_VARS\.fd"):
        domain.undefine()
    domain.undefine(nvram=False, tpm=False)
    assert _kept(hosts) == (["guest_VARS.fd"], [uuid])

    again = host.domains.define(spec().replace("<name>", f"<uuid>{uuid}</uuid><name>"))
    again.undefine(nvram=True)
    assert _kept(hosts) == ([], [])

    lasting = host.domains.define(spec(persistent="yes"))
    lasting.start()
    lasting.destroy()
    lasting.undefine(nvram=True)
    assert _kept(hosts) == ([], [str(lasting.uuid)])


def test_undefined_while_it_runs(hosts: Hosts, spec: Callable[..., Any]) -> None:
    """The TPM is needed as long as the guest lives, and goes with it."""
    host = hosts.open()
    domain = host.domains.define(spec())
    domain.start()
    with pytest.raises(OperationInvalid, match="nvram"):
        domain.undefine()
    domain.undefine(nvram=True)
    assert _kept(hosts) == ([], [str(domain.uuid)])
    domain.destroy()
    assert _kept(hosts) == ([], [])


def test_transient(hosts: Hosts, spec: Callable[..., Any]) -> None:
    """What a transient domain's TPM kept goes with it; its variables stay, as with libvirt."""
    host = hosts.open()
    passing = host.domains.create(spec())
    staying = host.domains.create(spec("other", "yes"))
    passing.destroy()
    staying.destroy()
    assert _kept(hosts) == (["guest_VARS.fd", "other_VARS.fd"], [str(staying.uuid)])


def test_command_line(hosts: Hosts, spec: Callable[..., Any]) -> None:
    """The options are virsh's."""
    host = hosts.open()
    domain = host.domains.define(spec())
    domain.start()
    domain.destroy()

    def undefine(*options: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "polyvisor", "-c", hosts.uri(), "undefine", "guest"]
        return subprocess.run([*line, *options], capture_output=True, text=True, timeout=60)

    refused = undefine()
    assert refused.returncode != 0
    assert "guest_VARS.fd" in refused.stderr
    assert undefine("--nvram", "--keep-tpm").returncode == 0
    assert _kept(hosts) == ([], [str(domain.uuid)])
