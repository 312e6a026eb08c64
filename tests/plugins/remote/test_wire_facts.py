"""Our tables against libvirt's own description of its protocol, where its source is at hand."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor_remote.wire import program

if TYPE_CHECKING:
    from polyvisor_remote.wire.declaration import Permission, Type

#: Lengths that the protocol takes from elsewhere (``libvirt-host.h``).
BUFFERS = {
    "VIR_SECURITY_MODEL_BUFLEN": 257,
    "VIR_SECURITY_LABEL_BUFLEN": 4097,
    "VIR_SECURITY_DOI_BUFLEN": 257,
    "VIR_UUID_BUFLEN": 16,
}
SCALARS = {
    "int": "int",
    "unsigned int": "uint",
    "hyper": "hyper",
    "unsigned hyper": "uhyper",
    "unsigned char": "uchar",
    "unsigned short": "ushort",
    "char": "char",
    "opaque": "opaque",
    "double": "double",
    "remote_auth_type": "int",
    "remote_uuid": "uuid",
    "remote_nonnull_string": "string",
    "remote_string": "string?",
    "admin_nonnull_string": "string",
    "admin_string": "string?",
}
#: Flags that libvirt's rules name, with their values (``libvirt-domain.h`` and others).
FLAGS = {
    "VIR_DOMAIN_XML_SECURE": 1,
    "VIR_DOMAIN_XML_MIGRATABLE": 8,
    "VIR_DOMAIN_SNAPSHOT_XML_SECURE": 1,
    "VIR_DOMAIN_CHECKPOINT_XML_SECURE": 1,
    "VIR_DOMAIN_SAVE_IMAGE_XML_SECURE": 1,
    "VIR_DOMAIN_AFFECT_LIVE": 1,
    "VIR_DOMAIN_AFFECT_CONFIG": 2,
    "VIR_DOMAIN_CHECKPOINT_CREATE_QUIESCE": 2,
    "VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE": 64,
    "VIR_DOMAIN_REBOOT_GUEST_AGENT": 2,
    "VIR_DOMAIN_SHUTDOWN_GUEST_AGENT": 2,
    "VIR_DOMAIN_VCPU_GUEST": 8,
    "VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT": 1,
    "VIR_NETWORK_UPDATE_AFFECT_LIVE": 1,
    "VIR_NETWORK_UPDATE_AFFECT_CONFIG": 2,
    "VIR_NODE_DEVICE_UPDATE_AFFECT_LIVE": 1,
    "VIR_NODE_DEVICE_UPDATE_AFFECT_CONFIG": 2,
}
FILES = {
    "remote": "remote/remote_protocol.x",
    "qemu": "remote/qemu_protocol.x",
    "lxc": "remote/lxc_protocol.x",
    "admin": "admin/admin_protocol.x",
}


class Facts:
    """What one ``.x`` file says."""

    def __init__(self, path: Path, prefix: str) -> None:
        self.prefix = prefix
        text = path.read_text()
        plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        self.constants: dict[str, int] = dict(BUFFERS)
        for name, value in re.findall(r"const\s+(\w+)\s*=\s*(\w+)\s*;", plain):
            self.constants[name] = self.constants.get(value) or int(value, 0)
        bodies = re.findall(r"^struct (\w+) \{(.*?)^\};", plain, re.DOTALL | re.MULTILINE)
        self.names = {name for name, _ in bodies}
        self.structures = {
            name: [self._field(line) for line in body.split(";") if line.strip()]
            for name, body in bodies
        }
        self.procedures = {
            int(found[4]): (found[3].lower(), found[1])
            for found in re.finditer(
                r"/\*\*((?:(?!\*/).)*?)\*/\s*(\w+_PROC_(\w+)) = (\d+)", text, re.DOTALL
            )
        }

    def _field(self, line: str) -> tuple[str, str, int | None, int | None]:
        found = re.fullmatch(r"(.+?) ?(\*?)(\w+)(?:([<\[])(\w*)[>\]])?", " ".join(line.split()))
        assert found is not None, line
        length = found[5] and (self.constants.get(found[5]) or int(found[5]))
        cap, count = (length, None) if found[4] == "<" else (None, length or None)
        name = self._type(found[1]) + ("?" if found[2] else "")
        return found[3], "chars" if name == "char" and found[4] else name, cap, count

    def _type(self, name: str) -> str:
        if name in SCALARS:
            return SCALARS[name]
        bare = re.sub(r"^(remote|qemu|lxc|admin)_", "", name)
        if bare.startswith("nonnull_"):
            return bare.removeprefix("nonnull_")
        if name.startswith("remote_") and f"remote_nonnull_{bare}" in self.names:
            return f"{bare}?"
        if self.prefix == "qemu" and bare == "domain":
            return "domain?"
        if bare.endswith("_msg"):
            return bare.removesuffix("_msg") + "!"
        return bare.removesuffix("_ret") + "->" if bare.endswith("_ret") else bare


def shown(kind: Type) -> tuple[str, int | None, int | None]:
    """Return a declared type in the form of the facts."""
    return kind.name + ("?" if kind.optional else ""), kind.cap, kind.count


def source() -> Path | None:
    """Return the ``src`` folder of libvirt's unpacked source, if there is one."""
    named = os.environ.get("POLYVISOR_LIBVIRT_SOURCE")
    return Path(named, "src") if named else None


SOURCE = source()
pytestmark = pytest.mark.skipif(
    SOURCE is None,
    reason="POLYVISOR_LIBVIRT_SOURCE names no unpacked libvirt source; `apt-get source libvirt`",
)
NAMES = list(FILES)


@pytest.fixture(params=NAMES)
def facts(request: pytest.FixtureRequest) -> Facts:
    """Return what libvirt says of a program."""
    assert SOURCE is not None
    return Facts(SOURCE / FILES[request.param], request.param)


def test_numbers_and_names_are_libvirts(facts: Facts) -> None:
    """Each procedure that this libvirt has is declared, under its number."""
    ours = program(facts.prefix)
    assert facts.procedures
    assert {number: ours[number].name for number in facts.procedures} == {
        number: name for number, (name, _) in facts.procedures.items()
    }
    assert ours.number == facts.constants[f"{facts.prefix.upper()}_PROGRAM"]


def test_layouts_and_caps_are_libvirts(facts: Facts) -> None:
    """Each structure has the same fields of the same types with the same caps, in order."""
    ours = program(facts.prefix)
    checked = 0
    for number, (name, _) in facts.procedures.items():
        procedure = ours[number]
        for ending, structure in (
            ("msg" if procedure.event else "args", procedure.arguments),
            ("ret", procedure.result),
        ):
            theirs = facts.structures.get(f"{facts.prefix}_{name}_{ending}", [])
            assert [(one.name, *shown(one.type)) for one in structure.fields] == theirs, (
                f"{name}_{ending}"
            )
            checked += bool(theirs)
    for name, theirs in facts.structures.items():
        bare = name.removeprefix(f"{facts.prefix}_").removeprefix("nonnull_")
        if bare in ours.structures:
            mine = [(one.name, *shown(one.type)) for one in ours.structures[bare].fields]
            assert mine == theirs, name
            checked += 1
    assert checked > len(facts.procedures) / 2


def test_priorities_streams_and_permissions_are_libvirts(facts: Facts) -> None:
    """Who may call what, what may wait, and where a stream follows, as libvirt has it.

    An older libvirt may have asked for less.
    """
    ours = program(facts.prefix)
    for number, (name, notes) in facts.procedures.items():
        mine = ours[number]
        assert mine.event or mine.high is ("@priority: high" in notes), name
        stream = re.search(r"@(read|write)stream", notes)
        assert mine.stream == (stream[1] if stream else None), name
        rules = [rule for rule in re.findall(r"@acl: (\S+)", notes) if rule != "none"]
        assert {normal(rule) for rule in rules} <= {spelled(one) for one in mine.permissions}, name
        filters = re.findall(r"@aclfilter: (\S+)", notes)
        assert [spelled(one) for one in mine.filters] == filters, name


def spelled(one: Permission) -> str:
    """Return a permission in a spelling that both sides can be brought into."""
    text = f"{one.object}:{one.action}"
    if one.condition is None:
        return text
    if one.condition.mask is None:
        return f"{text}::{one.condition.field}:{one.condition.value}"
    assert one.condition.field == "flags"
    return f"{text}:{'!' if one.condition.inverse else ''}{one.condition.mask}"


def normal(rule: str) -> str:
    """Return libvirt's rule in that spelling."""
    parts = rule.split(":")
    if len(parts) == 3:
        names = parts[2].removeprefix("!").split("|")
        mask = sum(FLAGS[name] for name in names)
        return f"{parts[0]}:{parts[1]}:{'!' if parts[2].startswith('!') else ''}{mask}"
    return ":".join([*parts[:-1], str(FLAGS[parts[-1]])]) if len(parts) == 5 else rule
