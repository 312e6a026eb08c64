"""What is marked starts with the host, by the first polyvisord after its boot."""

from __future__ import annotations

import time
from pathlib import Path

from served import served

import polyvisor
from polyvisor.states import DomainState

GUEST = """<domain type='test'><name>{name}</name><memory unit='MiB'>16</memory>
<os><type>hvm</type></os></domain>"""
NETWORK = "<network><name>n</name></network>"
POOL = "<pool type='dir'><name>p</name><target><path>{path}</path></target></pool>"


def until_runs(uri: str, name: str) -> None:
    """Wait until a domain runs."""
    deadline = time.monotonic() + 30
    with polyvisor.open(uri) as host:
        while host.domains[name].state is not DomainState.RUNNING:
            assert time.monotonic() < deadline, f"{name} was not started"
            time.sleep(0.02)


def test_once_for_each_boot(own_home: Path) -> None:
    """Pools, networks, domains: what was shut down since then stays so; a fault is no other's."""
    one, other = (f"sim:///{host}?root={own_home}/root" for host in "ab")
    (own_home / "pool").mkdir()
    with polyvisor.open(one) as host:
        for name in ("marked", "plain"):
            host.domains.define(GUEST.format(name=name))
        host.domains["marked"].set_autostart(True)
        network = host.networks.define(NETWORK)
        pool = host.storage_pools.define(POOL.format(path=own_home / "pool"))
        network.autostart = pool.autostart = True
        lost = host.storage_pools.define(
            POOL.replace("<name>p<", "<name>lost<").format(path=own_home / "nosuch")
        )
        lost.autostart = True
    with polyvisor.open(other) as host:
        host.domains.define(GUEST.format(name="later")).set_autostart(True)
    config = "[plugins.remote]\nautostart = [{}]\n"
    with served(own_home / "d", config=config.format(f"'nosuch:///', '{one}'")):
        until_runs(one, "marked")
        with polyvisor.open(one) as host:
            assert host.networks["n"].active
            assert host.storage_pools["p"].active
            assert not host.domains["plain"].active
            host.domains["marked"].destroy()
    # Those of the second are started after those of the first, which are not again.
    with served(own_home / "d", config=config.format(f"'{one}', '{other}'")):
        until_runs(other, "later")
        with polyvisor.open(one) as host:
            assert not host.domains["marked"].active


def test_one_of_many_is_the_first(own_home: Path) -> None:
    """Whoever asks first is told so, after each boot."""
    uri = f"sim:///a?root={own_home}/root"
    with polyvisor.open(uri) as host, polyvisor.open(uri) as same:
        assert host.driver.first_of_boot()
        assert not same.driver.first_of_boot()
        assert not host.driver.first_of_boot()
        (mark,) = (own_home / "root").rglob("boot")
        mark.write_text("an earlier one")
        assert same.driver.first_of_boot()
        assert not host.driver.first_of_boot()
    with polyvisor.open("test:///default") as host:
        assert host.driver.first_of_boot()
        assert not host.driver.first_of_boot()


def test_a_remote_hosts_are_its_own_affair(own_home: Path) -> None:
    """A client does not start what its daemon's host has."""
    with served(own_home / "d") as daemon, polyvisor.open(daemon.uri()) as host:
        assert not host.driver.first_of_boot()
