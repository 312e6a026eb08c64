"""``test:///`` beside libvirt's own test driver."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import polyvisor
from polyvisor.errors import AuthError, SpecError, StorageError, Unsupported, UriError
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState
from polyvisor_sim.default import DOMAIN, MACHINE
from polyvisor_sim.defaults import complete
from polyvisor_sim.machine import machine_for

NODE = """\
<node>
  <domain type='test'>
    <name>one</name><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
    <memory>4096</memory><os><type>hvm</type></os>
  </domain>
  <domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
    <test:runstate>{state}</test:runstate>
    {more}
    <name>two</name><memory>4096</memory><os><type>hvm</type></os>
  </domain>
  <domain file='three.xml'/>
  <network><name>default</name></network>
  <cpu>
    <mhz>6000</mhz><model>i986</model><active>50</active>
    <nodes>4</nodes><sockets>4</sockets><cores>4</cores><threads>2</threads>
  </cpu>
  <memory>{memory}</memory>
  {auth}
</node>
"""

SMALL = """\
<domain type='test'>
  <name>small</name>
  <uuid>8b2f7d8e-5a5e-4a0c-9d92-0a0c4c7d7f10</uuid>
  <memory unit='MiB'>8</memory>
  <metadata><x:y xmlns:x="urn:x" a="1">t</x:y></metadata>
  <os><type>hvm</type></os>
</domain>
"""


@pytest.fixture
def host() -> Iterator[polyvisor.Connection]:
    """Hold an open ``test:///default``."""
    with polyvisor.open("test:///default") as connection:
        yield connection


@pytest.fixture
def node_file(tmp_path: Path) -> Path:
    """Hold the path of a node file with three domains, of which the second is paused."""
    return write_node(tmp_path)


def write_node(
    folder: Path, *, state: str = "3", more: str = "", auth: str = "", memory: str = "8192000"
) -> Path:
    """Write a node file and what it refers to; return its path."""
    (folder / "three.xml").write_text(SMALL)
    path = folder / "node.xml"
    path.write_text(NODE.format(state=state, more=more, auth=auth, memory=memory))
    return path


def virsh(uri: str, *commands: str) -> str:
    """Run commands in one virsh on libvirt's own test driver; return what it printed."""
    program = shutil.which("virsh")
    if program is None:
        pytest.skip("virsh is not installed (Debian: libvirt-clients)")
    return subprocess.run(
        [program, "-q", "-c", uri, "; ".join(commands)], capture_output=True, text=True, check=True
    ).stdout


def facts(uri: str) -> dict[str, str]:
    """Return what ``virsh nodeinfo`` prints, by the words before the colon."""
    lines = virsh(uri, "nodeinfo").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines) if key}


def assert_same_facts(host: polyvisor.Connection, expected: dict[str, str]) -> None:
    """Compare the host's facts with those that virsh printed."""
    found = host.host
    assert {
        "CPU model": found.cpu_model,
        "CPU(s)": str(found.cpus),
        "CPU frequency": f"{found.cpu_mhz} MHz",
        "CPU socket(s)": str(found.sockets),
        "Core(s) per socket": str(found.cores),
        "Thread(s) per core": str(found.threads),
        "NUMA cell(s)": str(found.numa_nodes),
        "Memory size": f"{found.memory >> 10} KiB",
    } == expected


def test_the_domain_is_as_if_it_had_been_defined_and_started(host: polyvisor.Connection) -> None:
    """It is put there without being read, and no different from one that was."""
    domain = host.domains["test"]
    written = domain.xml(inactive=True)
    assert written == DOMAIN == domain.spec(inactive=True).to_xml()
    spec = DomainSpec.from_xml(DOMAIN)
    assert complete(spec, "i686") == spec
    assert machine_for(spec) == MACHINE
    before = domain.status()
    started = domain.xml()
    domain.destroy()
    domain.undefine()
    again = host.domains.define(written)
    again.start()
    assert again.uuid == domain.uuid
    assert again.status() == before
    assert again.xml().replace("id='2'", "id='1'") == started
    assert "id='1'" in started


# Beside libvirt


def test_the_host_is_libvirts(host: polyvisor.Connection) -> None:
    """Facts, capabilities and version are those that virsh prints."""
    assert_same_facts(host, facts("test:///default"))
    assert host.capabilities().strip() == virsh("test:///default", "capabilities").strip()
    version = virsh("test:///default", "version")
    assert f"Running hypervisor: {host.host.hypervisor} {host.host.hypervisor_version}" in version
    assert host.host.hostname == virsh("test:///default", "hostname").strip()


def test_the_starting_domain_is_libvirts(host: polyvisor.Connection) -> None:
    """There is one domain, it runs, and its definition is libvirt's to the letter."""
    assert [line.name for line in host.domains.summaries()] == ["test"]
    domain = host.domains["test"]
    info = domain.info()
    assert (info.id, info.state, info.persistent) == (1, DomainState.RUNNING, True)
    assert (info.max_memory, info.memory, info.vcpus) == (8 << 30, 2 << 30, 2)
    assert domain.xml().strip() == virsh("test:///default", "dumpxml test").strip()
    assert (
        domain.xml(inactive=True).strip()
        == virsh("test:///default", "dumpxml --inactive test").strip()
    )


def test_a_definition_is_completed_as_libvirt_does(
    host: polyvisor.Connection, tmp_path: Path
) -> None:
    """What a definition leaves out is filled in alike."""
    path = tmp_path / "small.xml"
    path.write_text(SMALL)
    domain = host.domains.define(path)
    printed = virsh("test:///default", f"define {path}", "dumpxml small")
    assert domain.xml().strip() == printed[printed.index("<domain") :].strip()


def test_a_node_file_is_read_as_libvirt_reads_it(node_file: Path) -> None:
    """Host facts, domains and their states are those of the file."""
    uri = f"test://{node_file}"
    with polyvisor.open(uri) as host:
        assert_same_facts(host, facts(uri))
        assert host.capabilities().strip() == virsh(uri, "capabilities").strip()
        ours = {line.name: str(line.state) for line in host.domains.summaries()}
        theirs = {
            name: state
            for _, name, state in (
                line.split(maxsplit=2) for line in virsh(uri, "list --all").splitlines() if line
            )
        }
        assert ours == {name: state.strip() for name, state in theirs.items()}
        for name in ("one", "small"):
            printed = virsh(uri, f"dumpxml --inactive {name}").strip()
            assert host.domains[name].xml(inactive=True).strip() == printed


# Worlds


def test_connections_share_the_default_host_while_one_is_open() -> None:
    """What one connection does another sees; when the last closes, all begins anew."""
    with polyvisor.open("test:///default") as one, polyvisor.open("test:///default") as other:
        one.domains["test"].suspend()
        assert other.domains["test"].state is DomainState.PAUSED
        other.domains.define(SMALL)
        stream = one.events(timeout=10)
        other.domains["small"].start()
        assert next(stream).domain.name == "small"
        stream.close()
        other.close()
        assert "small" in one.domains
    with polyvisor.open("test:///default") as again:
        assert [domain.name for domain in again.domains] == ["test"]
        assert again.domains["test"].state is DomainState.RUNNING


def test_each_connection_to_a_file_is_a_host_of_its_own(node_file: Path) -> None:
    """Nothing is shared, and nothing is written to the file."""
    before = node_file.read_text()
    with polyvisor.open(f"test://{node_file}") as one, polyvisor.open(one.uri) as other:
        one.domains["one"].destroy()
        assert other.domains["one"].state is DomainState.RUNNING
    assert node_file.read_text() == before


def test_its_guests_have_memory(host: polyvisor.Connection) -> None:
    """Eight gibibytes of it, of which only what was touched is there."""
    domain = host.domains["test"]
    found = host.driver.verify_memory(domain.uuid)
    assert found.ok
    assert found.pages == (8 << 30) // 4096


def test_closing_leaves_no_descriptor(tmp_path: Path) -> None:
    """Memory that was touched is given back with the host."""
    import gc

    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with polyvisor.open("test:///default") as host:
        for number in range(5):
            domain = host.domains.create(
                SMALL.replace("small", f"n{number}").replace("f10", f"f1{number}")
            )
            host.driver.verify_memory(domain.uuid)
            domain.snapshots.create("s")
    del host, domain
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.mark.parametrize(
    ("state", "more", "expected"),
    [
        ("1", "", (DomainState.RUNNING, True, False)),
        ("2", "", (DomainState.RUNNING, True, False)),
        ("3", "<test:transient/>", (DomainState.PAUSED, False, False)),
        ("5", "", (DomainState.SHUTOFF, True, False)),
        ("5", "<test:hasmanagedsave/>", (DomainState.SHUTOFF, True, True)),
    ],
)
def test_how_a_domain_begins(
    tmp_path: Path, state: str, more: str, expected: tuple[DomainState, bool, bool]
) -> None:
    """State, persistence and managed save are as the file says, and the domain can go on."""
    with polyvisor.open(f"test://{write_node(tmp_path, state=state, more=more)}") as host:
        domain = host.domains["two"]
        info = domain.info()
        assert (info.state, info.persistent, info.managed_save) == expected
        assert "runstate" not in domain.xml()
        if info.state is DomainState.SHUTOFF:
            domain.start()
            assert domain.state is DomainState.RUNNING
        assert host.driver.verify_memory(domain.uuid).ok


# Bad input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "9"}, "'two': runstate '9' is not one of 0 to 7"),
        ({"state": "off"}, "runstate 'off'"),
        ({"state": "5", "more": "<test:transient/>"}, "transient domain cannot be shut off"),
        ({"state": "1", "more": "<test:hasmanagedsave/>"}, "is shut off"),
        ({"more": "<name/>"}, "name"),
        ({"memory": "much"}, "<memory> is a whole number, not 'much'"),
        ({"auth": "</node>"}, "line"),
    ],
)
def test_wrong_node_files(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    """The error names the file and what is wrong in it."""
    path = write_node(tmp_path, **changes)
    with pytest.raises(SpecError, match=words) as caught:
        polyvisor.open(f"test://{path}")
    assert str(path) in caught.value.message


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """Neither the node file nor one that it refers to may be missing."""
    with pytest.raises(StorageError, match="nowhere"):
        polyvisor.open("test:///nowhere/node.xml")
    path = write_node(tmp_path)
    (tmp_path / "three.xml").unlink()
    with pytest.raises(StorageError, match=r"three\.xml"):
        polyvisor.open(f"test://{path}")


@pytest.mark.parametrize(
    "uri", ["test:///", "test://somewhere/default", "test:///default?x=1", "test:default"]
)
def test_uris_that_mean_nothing(uri: str) -> None:
    """What cannot be opened is refused with what can."""
    with pytest.raises(UriError, match="test:///"):
        polyvisor.open(uri)


def test_a_node_file_may_ask_who_comes(tmp_path: Path) -> None:
    """User and password are taken from the connection's settings."""
    path = write_node(tmp_path, auth="<auth><user password='secret'>ann</user></auth>")
    config = tmp_path / "polyvisor.toml"
    with pytest.raises(AuthError, match="no user is given"):
        polyvisor.open(f"test://{path}")
    for password, fits in (("wrong", False), ("secret", True)):
        config.write_text(
            f'[connections.t]\nuri = "test://{path}"\n'
            f'settings = {{ user = "ann", password = "{password}" }}\n'
        )
        if fits:
            with polyvisor.open("t", config=config) as host:
                assert "one" in host.domains
        else:
            with pytest.raises(AuthError, match="'ann'"):
                polyvisor.open("t", config=config)


def test_migration_is_for_others(host: polyvisor.Connection, tmp_path: Path) -> None:
    """The support table says why, and where it is possible."""
    with (
        polyvisor.open(f"sim:///a?root={tmp_path}") as other,
        pytest.raises(Unsupported, match="sim:///NAME can migrate"),
    ):
        host.domains["test"].migrate(other)
