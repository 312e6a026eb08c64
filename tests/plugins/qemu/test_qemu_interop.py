"""Guests that go from libvirt to us and back through save images."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyvisor import saveimage

Hosts = Any
pytestmark = [pytest.mark.real, pytest.mark.slow]

#: What libvirt calls a compression, and what we do.
COMPRESSIONS = {"raw": "none", "gzip": "gzip", "bzip2": "bzip2", "xz": "xz", "lzop": "lzop"}


@pytest.fixture(params=COMPRESSIONS)
def libvirt(
    request: pytest.FixtureRequest, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Callable[..., None]]]:
    """Hold a compression, and what runs virsh on a libvirt that uses it."""
    form: str = request.param
    if form != "raw" and shutil.which(form) is None:
        pytest.skip(f"{form} is not installed")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    from harness import Missing
    from libvirt_host import libvirt_host

    try:
        with libvirt_host(
            hosts.root / "lv", "host-lv", settings=f'save_image_format = "{form}"\n'
        ) as uri:

            def virsh(*words: object) -> None:
                done = subprocess.run(
                    ["virsh", "-c", uri, *map(str, words)],
                    check=False,
                    timeout=120,
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, done.stderr

            yield COMPRESSIONS[form], virsh
    except Missing as missing:
        pytest.skip(str(missing))


def test_there_and_back(hosts: Hosts, libvirt: tuple[str, Callable[..., None]]) -> None:
    """What virsh saves is restored here, and the other way; the guest counts on each time."""
    compression, virsh = libvirt
    host = hosts.open(layout="libvirt")
    (hosts.root / "x.xml").write_text(hosts.counting().to_xml())
    virsh("create", hosts.root / "x.xml")
    hosts.wait_for_count()
    virsh("save", "guest", theirs := hosts.root / "theirs")
    assert saveimage.inspect(theirs).compression == compression

    domain = host.domains.restore(theirs)
    hosts.wait_for_count()
    domain.save(ours := hosts.root / "ours", compression=compression)
    assert hosts.processes() == []

    virsh("restore", ours)
    hosts.wait_for_count()
    virsh("destroy", "guest")
    lines = hosts.serial.read_text().split()[1::2]
    assert lines == sorted(lines), "the guest was started anew"
    assert len(set(lines)) == len(lines)
