"""TOML and JSON of a domain: read, and the same in every form."""

from __future__ import annotations

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec

SEEDS = ("genericxml2xmlindata/*.xml", "qemuxml2argvdata/*a*.xml")
EXAMPLES = (
    b'type = "kvm"\nname = "web"\nmemory = "2 GiB"\nvcpu = { count = 2 }\n',
    b'{"type": "kvm", "name": "web", "memory": 1024, "devices": {"disks": [{"type": "file"}]}}',
)


def one(data: bytes) -> None:
    """Read what is JSON, XML or else TOML, and write and read it in all plain forms."""
    read = {b"{": DomainSpec.from_json, b"<": DomainSpec.from_xml}.get(
        data.lstrip()[:1], DomainSpec.from_toml
    )
    try:
        spec = read(data)
    except SpecError:
        return
    assert DomainSpec.from_xml(spec.to_xml()) == spec
    assert DomainSpec.from_dict(spec.to_dict()) == spec
    assert DomainSpec.from_json(spec.to_json()) == spec
    try:
        toml = spec.to_toml()
    except SpecError:
        return
    assert DomainSpec.from_toml(toml) == spec
