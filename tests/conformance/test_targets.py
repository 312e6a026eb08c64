"""What ``polyvisor plugins --check`` runs the suite against, for the drivers that are here."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

import polyvisor
from polyvisor.connection import registry
from polyvisor.errors import ConnectError, OperationInvalid
from polyvisor.plugins import load_object
from polyvisor.testing import Target

DRIVERS = {
    info.name: (info, status.name)
    for status in registry().statuses.values()
    for info in status.drivers
    if status.distribution == "polyvisor"
}


@pytest.mark.parametrize("name", DRIVERS)
def test_every_driver_of_ours_names_its_target(name: str) -> None:
    """The suite can be run for each, where its hypervisor is."""
    info, plugin = DRIVERS[name]
    assert info.target is not None
    assert callable(load_object(info.target, plugin))


@pytest.mark.parametrize("name", ["sim", "test", "remote"])
def test_a_target_is_an_empty_host(name: str, tmp_path: Path) -> None:
    """It runs its least machine, and what a target had begun has ended with it."""
    info, plugin = DRIVERS[name]
    before = set(os.listdir("/proc/self/fd"))
    with Target.at(load_object(info.target, plugin), tmp_path) as target:
        assert isinstance(target, Target)
        assert target.peer is None or target.peer != target.uri
        with polyvisor.open(target.uri) as host:
            assert "guest" not in host.domains
            domain = host.domains.create(target.spec("guest"))
            assert domain.active
            domain.destroy()
    if target.served:
        with pytest.raises(ConnectError):
            polyvisor.open(target.uri)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_target_may_be_a_mapping_or_hold_one(tmp_path: Path) -> None:
    """Both ways give the same; one that holds something ends it, whatever happens."""
    from collections.abc import Iterator, Mapping
    from contextlib import contextmanager

    ended = []

    def plain(folder: Path) -> Mapping[str, object]:
        return {"uri": f"x:///{folder.name}", "spec": str.upper}

    @contextmanager
    def holding(folder: Path) -> Iterator[Mapping[str, object]]:
        try:
            yield plain(folder)
        finally:
            ended.append(folder)

    with Target.at(plain, tmp_path) as one, Target.at(holding, tmp_path) as other:
        assert attrs.asdict(one) == attrs.asdict(other)
        assert not ended
    assert ended == [tmp_path]
    with pytest.raises(ZeroDivisionError), Target.at(holding, tmp_path):
        raise ZeroDivisionError
    assert ended == [tmp_path, tmp_path]


def test_a_xen_host_with_guests_is_not_touched(
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite would destroy them, so the target for Xen refuses, and they run on."""
    from polyvisor_libxl import conformance

    opened = polyvisor.open
    with opened(f"standin:///system?root={tmp_path}") as host:
        xml = """<domain type='xen'><name>precious</name><memory unit='MiB'>4</memory>
            <os><type machine='xenpv'>xen</type><kernel>/bin/sh</kernel></os></domain>"""
        domain = host.domains.create(xml)
        monkeypatch.setattr(polyvisor, "open", lambda uri: opened(host.uri))
        with pytest.raises(OperationInvalid, match="precious"):
            conformance.target(tmp_path)
        assert domain.active
        domain.destroy()
