"""The documents beside the domain: read, written and read again, whichever the root says."""

from __future__ import annotations

from polyvisor import model
from polyvisor.errors import SpecError
from polyvisor.model.document import Document

SEEDS = (
    "networkxml2xmlin/*.xml",
    "storagepoolxml2xmlin/*.xml",
    "storagevolxml2xmlin/*.xml",
    "interfaceschemadata/*.xml",
    "nodedevschemadata/*.xml",
    "nwfilterxml2xmlin/*.xml",
    "secretxml2xmlin/*.xml",
    "qemudomainsnapshotxml2xmlin/*.xml",
    "qemudomaincheckpointxml2xmlin/*.xml",
    "domainbackupxml2xmlin/*.xml",
    "capabilityschemadata/*.xml",
    "domaincapsdata/empty.xml",
    "domaincapsdata/libxl*.xml",
)
EXAMPLES = (
    b"<network><name>n</name><ip address='10.0.0.1' netmask='255.0.0.0'/></network>",
    b"<pool type='dir'><name>p</name><target><path>/p</path></target></pool>",
    b"<volume><name>v</name><capacity unit='G'>1</capacity></volume>",
    b"<secret private='yes'><usage type='volume'><volume>/v</volume></usage></secret>",
    b"<filter name='f'><rule action='drop' direction='in'><tcp dstportstart='22'/></rule></filter>",
    b"<interface type='ethernet' name='e'><start mode='none'/></interface>",
    b"<device><name>d</name><capability type='css'><cssid>0x0</cssid><ssid>0x0</ssid>"
    b"<devno>0x1</devno></capability></device>",
    b"<domainsnapshot><memory file='/m'/><disks><disk name='a'/></disks></domainsnapshot>",
    b"<domaincheckpoint><disks><disk name='a'/></disks></domaincheckpoint>",
    b"<domainbackup><disks><disk name='a' type='block'><target dev='/b'/></disk></disks>"
    b"</domainbackup>",
    b"<cpu><arch>x86_64</arch><pages unit='KiB' size='4'/></cpu>",
)
#: Every document that the model exports, by its root's tag.
KINDS: dict[bytes, type[Document]] = {
    cls.XML_TAG.encode(): cls
    for name in model.__all__
    if isinstance(cls := getattr(model, name), type)
    and issubclass(cls, Document)
    and cls is not model.DomainSpec
}


def one(data: bytes) -> None:
    """Read a document as the kind that its first tag names; the same comes back.

    What libvirt keeps of it is a document too.
    """
    at = data.find(b"<")
    tag = next((tag for tag in KINDS if data.startswith(tag, at + 1)), b"network")
    cls = KINDS[tag]
    try:
        value = cls.from_xml(data)
    except SpecError:
        return
    assert cls.from_xml(value.to_xml()) == value
    try:
        kept = value.definition()
    except SpecError:
        return
    assert cls.from_xml(kept.to_xml()) == kept
