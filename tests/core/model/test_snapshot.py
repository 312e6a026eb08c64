"""Snapshots, checkpoints and backups, as those who import the model meet them."""

from __future__ import annotations

import attrs
import jsonschema
import pytest

from polyvisor.errors import SchemaError
from polyvisor.model import BackupSpec, CheckpointSpec, DomainSpec, SnapshotSpec, schema
from polyvisor.model.snapshot import DomainReference, SnapshotMemory

DOMAIN = DomainSpec.from_xml(
    """
<domain type='kvm'>
  <name>web</name>
  <uuid>9d37b878-a7cc-9f9a-b78f-49b3abad25a8</uuid>
  <memory unit='GiB'>1</memory>
  <devices>
    <disk><source file='/srv/web.qcow2'/><target dev='vda'/></disk>
    <disk type='block'><source dev='/dev/data'/><target dev='vdb'/></disk>
  </devices>
</domain>
"""
)


def test_a_snapshot_holds_the_domain_as_it_was() -> None:
    """Whole, with everything that a domain's class can do, or by its UUID only."""
    snapshot = SnapshotSpec(name="before", domain=DOMAIN, active=True)
    again = SnapshotSpec.from_xml(snapshot.to_xml())
    assert again == snapshot
    assert isinstance(again.domain, DomainSpec)
    assert again.domain.memory == 1 << 30
    assert again.to_xml().endswith("  <active>1</active>\n</domainsnapshot>\n")
    old = SnapshotSpec.from_xml(
        "<domainsnapshot><domain><uuid>9d37b878-a7cc-9f9a-b78f-49b3abad25a8</uuid></domain>"
        "</domainsnapshot>"
    )
    assert old.domain == DomainReference(uuid=DOMAIN.uuid)
    for one in (snapshot, old):
        assert SnapshotSpec.from_toml(one.to_toml()) == one
        assert SnapshotSpec.from_json(one.to_json()) == one
        jsonschema.Draft202012Validator(schema(SnapshotSpec)).validate(one.to_dict())


def test_a_snapshot_of_a_domain_of_a_plugins_own_type() -> None:
    """The domain's type is not one of a list."""
    spec = attrs.evolve(DOMAIN, type="mine")
    snapshot = SnapshotSpec.from_xml(SnapshotSpec(domain=spec).to_xml())
    assert snapshot.domain == spec
    assert SnapshotSpec.from_dict(snapshot.to_dict()) == snapshot


def test_a_snapshot_that_is_taken_now() -> None:
    """History is dropped, the time becomes the name, and what is implied is explicit."""
    asked = SnapshotSpec.from_xml(
        """
        <domainsnapshot>
          <state>running</state>
          <parent><name>older</name></parent>
          <memory file='/srv/web.memory'/>
          <disks><disk name='vda'><source file='/srv/b'/><driver/></disk><disk name='vdb'/></disks>
          <active>1</active>
        </domainsnapshot>
        """
    )
    taken = asked.created(1386166249, DOMAIN)
    assert (taken.name, taken.creation_time, taken.domain) == ("1386166249", 1386166249, DOMAIN)
    assert taken.state is taken.parent is taken.active is None
    assert taken.memory == SnapshotMemory(snapshot="external", file="/srv/web.memory")
    first, second = taken.disks
    assert (first.snapshot, first.type, first.driver) == ("external", "file", None)
    assert second.snapshot is None
    assert asked.definition().parent is not None


def test_a_checkpoint_that_is_made_now() -> None:
    """As with snapshots; the disks are those asked for."""
    asked = CheckpointSpec.from_xml(
        "<domaincheckpoint><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>"
    )
    made = asked.created(7, DOMAIN)
    assert (made.name, made.creation_time, made.domain) == ("7", 7, DOMAIN)
    assert [(disk.name, disk.checkpoint, disk.bitmap) for disk in made.disks] == [
        ("vda", "bitmap", "7"),
        ("vdb", "no", None),
    ]
    every = CheckpointSpec(name="c1").created(7, DOMAIN)
    assert [disk.bitmap for disk in every.disks] == ["c1", "c1"]
    with pytest.raises(SchemaError, match="the domain has no disk 'hda'"):
        CheckpointSpec.from_xml(
            "<domaincheckpoint><disks><disk name='hda'/></disks></domaincheckpoint>"
        ).created(7, DOMAIN)
    assert CheckpointSpec.from_xml(made.to_xml()) == made


def test_a_backup_of_all_disks() -> None:
    """With nothing said, a copy of each image file stands beside it."""
    spec = attrs.evolve(
        DOMAIN, devices=attrs.evolve(DOMAIN.devices, disks=DOMAIN.devices.disks[:1])
    )
    backup = BackupSpec().aligned(spec, "full")
    (disk,) = backup.disks
    assert disk.target is not None
    assert (disk.backup, disk.backupmode, disk.target.file) == (
        True,
        "full",
        "/srv/web.qcow2.full",
    )
    pulled = "<domainbackup mode='pull'><server name='localhost'/></domainbackup>"
    (disk,) = BackupSpec.from_xml(pulled).aligned(spec, "tmp").disks
    assert disk.scratch is not None
    assert disk.scratch.file == "/srv/web.qcow2.tmp"


def test_a_backup_of_some_disks() -> None:
    """Those of which nothing is said are left out; changes count since the checkpoint named."""
    backup = BackupSpec.from_xml(
        "<domainbackup><incremental>c1</incremental><disks><disk name='vda'>"
        "<target file='/srv/b'/></disk></disks></domainbackup>"
    ).aligned(DOMAIN, "x")
    assert [disk.backup for disk in backup.disks] == [True, False]
    assert backup.disks[0].incremental == "c1"
    assert backup.disks[0].backupmode == "incremental"
    with pytest.raises(SchemaError, match="no place is known for the backup of disk 'vdb'"):
        BackupSpec.from_dict({"disk_list": {"disks": [{"name": "vdb"}]}}).aligned(DOMAIN, "x")


@pytest.mark.parametrize(
    ("cls", "xml", "message"),
    [
        (SnapshotSpec, "<state>asleep</state>", "domainsnapshot/state: 'asleep' is not"),
        (SnapshotSpec, "<memory snapshot='external'/>", "memory: .* needs a file"),
        (SnapshotSpec, "<memory snapshot='no' file='/a'/>", "is for an external snapshot"),
        (SnapshotSpec, "<memory file='a'/>", "'a' is not absolute"),
        (SnapshotSpec, "<disks><disk snapshot='no'/></disks>", "disks/disk: has no attribute name"),
        (SnapshotSpec, "<disks><disk name='a' snapshot='of'/></disks>", "snapshot: 'of' is not"),
        (SnapshotSpec, "<parent/>", "parent: has no <name>"),
        (CheckpointSpec, "<name>a/b</name>", "'a/b' is not a checkpoint's name"),
        (
            CheckpointSpec,
            "<disks><disk name='a' checkpoint='no' bitmap='b'/></disks>",
            "has no bitmap",
        ),
        (BackupSpec, "<server name='a'/>", "server: a server is for mode 'pull'"),
        (
            BackupSpec,
            "<disks><disk name='a'/><disk name='b'><scratch file='/a'/></disk></disks>",
            r"line 1: domainbackup/disks/disk\[2\]/scratch: in mode 'push'",
        ),
        (BackupSpec, "<disks><disk name='a'><target dev='/a'/></disk></disks>", "has no file"),
        (BackupSpec, "<disks><disk name='a' type='block'/></disks>", "needs a device"),
    ],
)
def test_what_libvirt_refuses(
    cls: type[SnapshotSpec | CheckpointSpec | BackupSpec], xml: str, message: str
) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        cls.from_xml(f"<{cls.XML_TAG}>{xml}</{cls.XML_TAG}>")


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("", "mode 'pull' needs a <server>"),
        ("<server/>", "has no attribute name"),
        ("<server transport='unix'/>", "needs a socket"),
        ("<server name='a' socket='/a'/>", "a socket is for transport 'unix'"),
        ("<server transport='rdma' name='a'/>", "is not pulled by 'rdma'"),
    ],
)
def test_servers_that_libvirt_refuses(server: str, message: str) -> None:
    """A backup is pulled from an address or a socket."""
    with pytest.raises(SchemaError, match=message):
        BackupSpec.from_xml(f"<domainbackup mode='pull'>{server}</domainbackup>")
