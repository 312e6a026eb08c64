"""Storage pools and volumes, as those who import the model meet them."""

from __future__ import annotations

import attrs
import pytest

from polyvisor.errors import SchemaError
from polyvisor.model import StoragePoolSpec, StorageVolumeSpec
from polyvisor.model.storage import Permissions
from polyvisor.model.storage_pool import PoolDevice, PoolHost, PoolSource, PoolTarget
from polyvisor.model.storage_volume import VolumeTarget, VolumeTimestamps

GIB = 1024**3


def test_a_pool_in_three_lines() -> None:
    """What libvirt fills in is filled in however a pool is made."""
    pool = StoragePoolSpec(type="logical", source=PoolSource(name="vg0"))
    assert pool.name == "vg0"
    assert pool.source.format == "lvm2"
    assert pool.target == PoolTarget(path="/dev/vg0")
    assert StoragePoolSpec.from_xml(pool.to_xml()) == pool


def test_paths_are_kept_as_libvirt_keeps_them() -> None:
    """Slashes are single, but for two at the start and those of a URI."""
    for given, kept in [
        ("///var//lib/", "/var/lib"),
        ("//server//share/", "//server/share"),
        ("gluster://host//vol/", "gluster://host//vol/"),
        ("/", "/"),
        ("//", "/"),
    ]:
        assert PoolTarget(path=given).path == kept


def test_a_definition_has_no_state() -> None:
    """Sizes and free extents are a running pool's, and an id of -1 is none."""
    pool = StoragePoolSpec(
        type="fs",
        name="images",
        capacity=10 * GIB,
        allocation=GIB,
        available=9 * GIB,
        source=PoolSource(devices=(PoolDevice(path="/dev/sda1"),)),
        target=PoolTarget(path="/mnt", permissions=Permissions(mode=0o700, owner=-1)),
    )
    kept = pool.definition()
    assert (kept.capacity, kept.allocation, kept.available) == (0, 0, 0)
    assert kept.target == PoolTarget(path="/mnt", permissions=Permissions(mode=0o700))
    assert kept.definition() == kept


def test_a_volume_in_one_line() -> None:
    """Allocation is the whole capacity unless said otherwise, and a file is raw."""
    volume = StorageVolumeSpec(name="disk.img", capacity=2 * GIB)
    assert volume.allocation == 2 * GIB
    assert volume.target.format == "raw"
    assert "<capacity unit='bytes'>2147483648</capacity>" in volume.to_xml()
    assert StorageVolumeSpec.from_xml(volume.to_xml()) == volume


def test_times_are_exact() -> None:
    """Times of a volume keep their nanoseconds."""
    times = VolumeTimestamps(atime=1341933637_273190990, mtime=5 * 10**9)
    volume = StorageVolumeSpec(name="a", target=VolumeTarget(timestamps=times))
    xml = volume.to_xml()
    assert "<atime>1341933637.273190990</atime>" in xml
    assert "<mtime>5</mtime>" in xml
    assert StorageVolumeSpec.from_xml(xml).target.timestamps == times
    assert volume.definition().target.timestamps is None


REFUSED_POOLS = [
    ("<pool><name>a</name></pool>", "has no attribute type"),
    ("<pool type='dri'><name>a</name></pool>", "did you mean 'dir'"),
    ("<pool type='dir'><target><path>/a</path></target></pool>", "has no <name>"),
    ("<pool type='dir'><name>a</name></pool>", "no target path"),
    ("<pool type='dir'><name>a/b</name></pool>", "line 1: pool/name: .* slash"),
    ("<pool type='fs'><name>a</name><target><path>/a</path></target></pool>", "no <device>"),
    (
        "<pool type='dir'><name>a</name>\n<target><path>/a</path>\n"
        "<permissions><mode>0999</mode></permissions></target></pool>",
        "line 3: pool/target/permissions/mode: '0999' is not a mode",
    ),
    (
        "<pool type='netfs'><name>a</name>\n<source><host name='h'/><dir path='/'/>\n"
        "<format type='nsf'/></source><target><path>/a</path></target></pool>",
        "line 3: pool/source/format: 'nsf' is not a format .* 'nfs'",
    ),
    (
        "<pool type='netfs'><name>a</name><source><host name='h'/><dir path='/'/>"
        "<format type='cifs'/><protocol ver='3'/></source>"
        "<target><path>/a</path></target></pool>",
        "protocol: a protocol version is for NFS only",
    ),
    ("<pool type='netfs'><name>a</name><source><dir path='/'/></source></pool>", "no <host>"),
    ("<pool type='netfs'><name>a</name><source><host name='h'/></source></pool>", "no <dir>"),
    ("<pool type='rbd'><name>a</name><source><host name='h'/></source></pool>", "no <name>"),
    ("<pool type='scsi'><name>a</name></pool>", "no <adapter>"),
    (
        "<pool type='scsi'><name>a</name><source><adapter wwnn='1' wwpn='2'/></source></pool>",
        "an adapter has no type",
    ),
    (
        "<pool type='scsi'><name>a</name><source><adapter type='scsi_host'/></source></pool>",
        "pool/source/adapter: a scsi_host adapter is named either by name or by parentaddr",
    ),
    (
        "<pool type='scsi'><name>a</name><source>"
        "<adapter type='fc_host' wwnn='123' wwpn='10000000c9831b4b'/></source></pool>",
        "'123' is not a world wide name",
    ),
    (
        "<pool type='scsi'><name>a</name><source><adapter type='fc_host' "
        "wwnn='20000000c9831b4b' wwpn='10000000c9831b4b' parent_wwnn='20000000c9831b4b'/>"
        "</source></pool>",
        "parent_wwnn and parent_wwpn go together",
    ),
    (
        "<pool type='scsi'><name>a</name><source><adapter type='fc_host'/></source></pool>",
        "no wwnn or no wwpn",
    ),
    (
        "<pool type='iscsi-direct'><name>a</name><source><host name='h'/>"
        "<device path='iqn'/></source></pool>",
        "no initiator IQN",
    ),
    (
        "<pool type='disk'><name>a</name><features><cow state='no'/></features>"
        "<source><device path='/dev/sda'/></source><target><path>/dev</path></target></pool>",
        "pool/features/cow: cow is for pools of type fs and dir",
    ),
]


@pytest.mark.parametrize(("xml", "message"), REFUSED_POOLS)
def test_pools_that_libvirt_refuses(xml: str, message: str) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        StoragePoolSpec.from_xml(xml)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<volume><capacity>1</capacity></volume>", "has no <name>"),
        ("<volume><name/></volume>", "volume/name: the name is empty"),
        ("<volume type='fil'><name>a</name></volume>", "did you mean 'file'"),
        ("<volume><name>a</name><capacity unit='QiB'>1</capacity></volume>", "'QiB' is not a unit"),
        ("<volume><name>a</name><capacity>-1</capacity></volume>", "out of range"),
        (
            "<volume><name>a</name><capacity unit='EiB'>9</capacity></volume>",
            "line 1: volume/capacity: 9 EiB is out of range",
        ),
        (
            "<volume><name>a</name><target><compat>1</compat></target></volume>",
            "volume/target/compat: '1' is not a version",
        ),
        (
            "<volume><name>a</name><target>\n<features><lazy/></features></target></volume>",
            "line 2: volume/target/features: 'lazy' is not a feature",
        ),
        (
            "<volume><name>a</name><target>\n<encryption format='lux'/></target></volume>",
            "line 2: volume/target/encryption: 'lux' is not a format; use one of default",
        ),
        (
            "<volume><name>a</name><target><timestamps><atime>now</atime></timestamps>"
            "</target></volume>",
            "'now' is not a time",
        ),
    ],
)
def test_volumes_that_libvirt_refuses(xml: str, message: str) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        StorageVolumeSpec.from_xml(xml)


def test_a_pool_made_wrong_is_not_written() -> None:
    """What would be refused when read is refused when written, and the place is named."""
    pool = StoragePoolSpec(type="rbd", name="a", source=PoolSource(hosts=(PoolHost(name="h"),)))
    with pytest.raises(SchemaError, match=r"^pool/source: an rbd pool's source has no <name>"):
        pool.to_xml()
    named = attrs.evolve(pool, source=attrs.evolve(pool.source, name="rbd"))
    assert StoragePoolSpec.from_xml(named.to_xml()) == named
