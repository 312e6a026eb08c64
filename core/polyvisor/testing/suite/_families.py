"""Networks, storage pools, secrets and filters, for drivers that have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.errors import NotFound, OperationInvalid
from polyvisor.events import ObjectEvent
from polyvisor.objects import PoolState
from polyvisor.testing._target import requires

if TYPE_CHECKING:
    from polyvisor.connection import Connection

__all__ = ["TestNetworks", "TestNwFilters", "TestSecrets", "TestStoragePools"]

_NETWORK = "<network><name>pvsuite</name></network>"
_VOLUME = "<volume><name>one</name><capacity unit='MiB'>1</capacity></volume>"


@requires("networks")
class TestNetworks:
    """Virtual networks."""

    def test_a_life(self, host: Connection) -> None:
        """A network is defined, started, stopped and forgotten, and its state shows it."""
        network = host.networks.define(_NETWORK)
        try:
            assert not network.active
            with pytest.raises(OperationInvalid):
                network.destroy()
            network.start()
            assert network.active
            assert network.bridge()
            assert host.networks["pvsuite"] == network
            with pytest.raises(OperationInvalid):
                network.start()
            network.destroy()
        finally:
            if network.active:
                network.destroy()
            network.undefine()
        with pytest.raises(NotFound):
            network.summary()

    @requires("events")
    def test_its_events(self, host: Connection) -> None:
        """Its life is told to those who listen for objects."""
        stream = host.events(timeout=10, objects=True)
        host.networks.define(_NETWORK).undefine()
        seen = [event for event in (next(stream), next(stream)) if isinstance(event, ObjectEvent)]
        assert [(one.family, one.name, str(one.kind)) for one in seen] == [
            ("network", "pvsuite", "defined"),
            ("network", "pvsuite", "undefined"),
        ]


@requires("storage")
class TestStoragePools:
    """Storage pools and volumes."""

    def test_a_life(self, host: Connection, tmp_path: Path) -> None:
        """A pool in a folder is built and started, and holds what is written into its volumes."""
        folder = tmp_path / "pool"
        pool = host.storage_pools.define(
            f"<pool type='dir'><name>pvsuite</name><target><path>{folder}</path></target></pool>"
        )
        assert pool.info().state is PoolState.INACTIVE
        pool.build()
        pool.start()
        assert pool.info().state is PoolState.RUNNING
        volume = pool.create_volume(_VOLUME)
        assert volume.info().capacity == 1 << 20
        with volume.open(write=True) as file:
            file.seek(512)
            file.write(b"written")
        with pool.volume("one").open() as file:
            file.seek(512)
            assert file.read(7) == b"written"
        clone = pool.create_volume(_VOLUME.replace("one", "two"), clone=volume)
        with clone.open() as file:
            assert file.read()[512:519] == b"written"
        volume.resize(2 << 20)
        assert volume.info().capacity == 2 << 20
        assert [one.name for one in pool.volumes()] == ["one", "two"]
        for one in pool.volumes():
            one.delete()
        assert list(pool.volumes()) == []
        pool.destroy()
        pool.delete()
        pool.undefine()
        assert host.storage_pools.get("pvsuite") is None


@requires("secrets")
class TestSecrets:
    """Secrets."""

    def test_a_life(self, host: Connection) -> None:
        """A secret keeps its value until it is undefined."""
        secret = host.secrets.define(
            "<secret><usage type='ceph'><name>pvsuite</name></usage></secret>"
        )
        secret.set_value(b"\0 value \xff")
        assert host.secrets.for_use("ceph", "pvsuite").value() == b"\0 value \xff"
        secret.undefine()
        with pytest.raises(NotFound):
            host.secrets.for_use("ceph", "pvsuite")


@requires("nwfilters")
class TestNwFilters:
    """Network filters."""

    def test_a_life(self, host: Connection) -> None:
        """A filter is kept as it was defined until it is undefined."""
        made = host.nwfilters.define(
            "<filter name='pvsuite'><rule action='drop' direction='in'><tcp/></rule></filter>"
        )
        assert len(host.nwfilters["pvsuite"].spec().rules) == 1
        made.undefine()
        assert "pvsuite" not in host.nwfilters
