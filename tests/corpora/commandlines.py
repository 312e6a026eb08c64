"""QEMU's command lines of upstream's test, taken apart and compared with ours.

What is compared is what QEMU would be told, not how it is written: JSON and ``key=value`` are
one, numbers in any base and ``on``/``true`` too, and options stand in no order. Left out is
what belongs to how a process is run, not to the machine: monitors, what QEMU does when the
guest ends (libvirt does that itself), and of secrets and open files how they are handed over.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from data import cases, corpora

from polyvisor.errors import PolyvisorError
from polyvisor.model import DomainSpec
from polyvisor_qemu.cmdline import Host, build

__all__ = ["ARCHITECTURES", "CommandLine", "Outcome", "command_lines", "compared", "parsed"]

#: Architectures whose cases for the latest QEMU are compared.
ARCHITECTURES = ("x86_64", "aarch64")

#: An option: what it is called and its sorted properties.
Option = tuple[str, tuple[tuple[str, str], ...]]

#: The property that the first word of an option's value is, if it has no name.
_IMPLIED = {
    "machine": "type", "accel": "accel", "cpu": "model", "m": "size", "smp": "cpus",
    "numa": "kind", "vnc": "vnc", "fsdev": "fsdriver", "tpmdev": "type", "display": "type",
    "netdev": "type", "chardev": "backend", "object": "qom-type", "device": "driver",
    "audiodev": "driver", "sandbox": "enable", "name": "guest", "spice": "unix",
}  # fmt: skip
_PLAIN = {"bios", "kernel", "initrd", "append", "dtb", "uuid", "serial", "watchdog-action", "k"}
_BARE = {"S", "no-user-config", "nodefaults", "no-shutdown", "no-acpi", "no-reboot", "no-hpet",
         "mem-prealloc", "usb"}  # fmt: skip
_FD = {"fd", "fds", "vhostfd", "vhostfds"}


class CommandLine(NamedTuple):
    """One case of upstream's test."""

    name: str
    architecture: str
    input: Path
    expected: Path


class Outcome(NamedTuple):
    """What came of one comparison."""

    case: CommandLine
    #: ``equal``, ``differs`` or ``refused``.
    outcome: str
    #: Options of upstream's that are not ours, and the other way round.
    missing: tuple[Option, ...] = ()
    surplus: tuple[Option, ...] = ()
    #: Why it is refused.
    refusal: str = ""

    @property
    def cause(self) -> str:
        """The options that differ, in few words."""
        if self.outcome == "refused":
            return "refused"
        names = sorted({_title(option) for option in (*self.missing, *self.surplus)})
        return ", ".join(names)


def command_lines() -> Iterator[CommandLine]:
    """Yield the cases for the latest QEMU of each architecture."""
    root = corpora()
    if root is None:
        return
    folder = root / "qemuxml2argvdata"
    known = {case.name for case in cases()["qemuxml2argvtest"] if not case.refused}
    for architecture in ARCHITECTURES:
        end = f".{architecture}-latest.args"
        for path in sorted(folder.glob(f"*{end}")):
            name = path.name.removesuffix(end)
            given = folder / f"{name}.xml"
            if given.is_file() and (not known or name in known):
                yield CommandLine(name, architecture, given, path)


def compared(case: CommandLine) -> Outcome:
    """Build a case's command line and compare it with upstream's."""
    theirs = parsed(upstream_words(case.expected.read_text()))
    try:
        spec = DomainSpec.from_xml(case.input.read_bytes()).with_uuid()
        line = build(spec, "qemu", _host(case, spec), live=False)
    except PolyvisorError as error:
        return Outcome(case, "refused", refusal=str(error))
    ours = parsed(line.args[1:])
    missing, surplus = Counter(theirs), Counter(ours)
    both = missing & surplus
    missing -= both
    surplus -= both
    if not missing and not surplus:
        return Outcome(case, "equal")
    return Outcome(case, "differs", tuple(missing.elements()), tuple(surplus.elements()))


def upstream_words(text: str) -> list[str]:
    """Return the words of a file of upstream's, from behind the emulator on."""
    words = shlex.split(text.replace("\\\n", " "))
    start = next(n for n, word in enumerate(words) if word.startswith("/") and "=" not in word)
    return words[start + 1 :]


def parsed(words: list[str]) -> list[Option]:
    """Take a command line apart into what it tells QEMU."""
    found: list[Option] = []
    machine: list[tuple[str, str]] = []
    place = 0
    while place < len(words):
        name = words[place].lstrip("-")
        place += 1
        value = ""
        if name not in _BARE and place < len(words):
            value = words[place]
            place += 1
        if name in ("no-acpi", "no-hpet"):
            machine.append((name.removeprefix("no-"), "off"))
            continue
        option = _option(name, value)
        if option is None:
            continue
        if name == "machine":
            machine += option[1]
            continue
        found.append(option)
    return [*found, ("machine", tuple(sorted(machine)))]


def _option(name: str, value: str) -> Option | None:
    if name in {"no-shutdown", "no-reboot", "action", "mon"}:
        return None
    if name in _PLAIN or name in _BARE:
        return name, (("", value),)
    pairs = _properties(name, value)
    held = dict(pairs)
    if name == "chardev" and held.get("id") == "charmonitor":
        return None
    if held.get("qom-type") == "secret":
        # How its value gets there is the host's own affair.
        if held["id"] == "masterKey0":
            return None
        pairs = [(key, text) for key, text in pairs if key in ("qom-type", "id")]
    return name, tuple(sorted(pairs))


def _properties(name: str, value: str) -> list[tuple[str, str]]:
    if value.startswith("{"):
        return list(_flat("", json.loads(value)))
    pairs: list[tuple[str, str]] = []
    for number, part in enumerate(re.split(r"(?<!,),(?!,)", value.replace(",,", "\0"))):
        key, equals, text = part.replace("\0", ",").partition("=")
        if not equals:
            key, text = (_IMPLIED.get(name, ""), key) if number == 0 else (key, "on")
        pairs.append((key, text))
    if name == "global" and dict(pairs).keys() >= {"driver", "property", "value"}:
        held = dict(pairs)
        pairs = [(f"{held['driver']}.{held['property']}", held["value"])]
    if name == "m":
        pairs = [(key, _bytes(text) if key in ("size", "maxmem") else text) for key, text in pairs]
    return [(key, _scalar(key, text)) for key, text in pairs]


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, held in value.items():
            yield from _flat(f"{key}.{name}" if key else name, held)
    elif isinstance(value, list):
        for number, held in enumerate(value):
            yield from _flat(f"{key}.{number}", held)
    else:
        yield key, _scalar(key, value)


def _scalar(key: str, value: Any) -> str:
    """Return a value in the one form in which two are compared."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = "" if value is None else str(value)
    if key in _FD:
        return "an open file" + ":" * text.count(":")
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        return str(int(text, 16))
    return {"true": "on", "false": "off", "yes": "on", "no": "off"}.get(text, text)


def _bytes(text: str) -> str:
    scale = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:])
    return str(int(text[:-1]) * scale if scale else int(text) << 20)


def _title(option: Option) -> str:
    """Return what an option is about: its name and its kind."""
    held = dict(option[1])
    kind = next((held[key] for key in ("driver", "qom-type", "backend", "type") if key in held), "")
    if option[0] in ("machine", "blockdev", "audiodev", "display", "netdev", "chardev"):
        kind = ""
    return f"-{option[0]} {kind}".strip()


# --- the host that upstream's test makes up -----------------------------------------------------


#: Settings that upstream's test makes for some cases alone (qemuxml2argvtest.c).
_SETTINGS: dict[str, dict[str, Any]] = {
    "graphics-vnc-sasl": {"vnc_sasl": True},
    "graphics-vnc-tls": {"vnc_sasl": True, "vnc_tls_x509_verify": True,
                         "vnc_tls_x509_cert_dir": "/etc/pki/libvirt-vnc"},
    "graphics-vnc-tls-secret": {"vnc_sasl": True, "vnc_tls_x509_verify": True,
                                "vnc_tls_x509_cert_dir": "/etc/pki/libvirt-vnc",
                                "vnc_tls_x509_secret_uuid": "6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea"},
    "graphics-spice-sasl": {"spice_sasl": True},
    "serial-tcp-tlsx509-chardev": {"chardev_tls": True},
    "serial-tcp-tlsx509-chardev-verify": {"chardev_tls": True, "chardev_tls_x509_verify": True},
    "serial-tcp-tlsx509-chardev-notls": {"chardev_tls": True},
    "serial-tcp-tlsx509-secret-chardev": {
        "chardev_tls": True, "chardev_tls_x509_secret_uuid": "6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea"
    },
}  # fmt: skip


class _TestHost(Host):
    """The host of upstream's test: its folders, ports and devices are made up."""

    def hugepage_folder(self, mount: str, spec: DomainSpec) -> str:
        return f"{mount}/libvirt/qemu/-1-{spec.name[:20]}"

    def memory_folder(self, spec: DomainSpec) -> str:
        return f"/var/lib/libvirt/qemu/ram/-1-{spec.name[:20]}"

    def vnc_port(self) -> int | None:
        return 5900

    def spice_port(self, *, tls: bool) -> int | None:
        return 5902 if tls else 5901

    def rendernode(self) -> str | None:
        return "/dev/dri/foo"

    def is_drive(self, path: str) -> bool:
        return path == "/dev/cdrom"

    def tpm_socket(self) -> str:
        return "/dev/test"

    def vsock_cid(self) -> int | None:
        return 42

    def scsi_device(self, source: Any) -> str:
        return "/dev/sg0"

    def helps(self, path: str) -> bool:
        return True

    def network_bridge(self, network: str | None) -> str | None:
        return "virbr0"


def _host(case: CommandLine, spec: DomainSpec) -> Host:
    settings = {
        "spice_tls_x509_cert_dir": "/etc/pki/libvirt-spice",
        "spice_password": "123456",
        "nbd_tls_x509_cert_dir": "/etc/pki/libvirt-nbd/dummy,path",
        "nbd_tls_x509_secret_uuid": "6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea",
        "chardev_tls_x509_cert_dir": "/etc/pki/libvirt-chardev",
        **_SETTINGS.get(case.name, {}),
    }
    return _TestHost(
        run=f"/tmp/lib/domain--1-{spec.name[:20]}",
        hugepages={2 << 20: "/dev/hugepages2M", 1 << 30: "/dev/hugepages1G"},
        nvram="/var/lib/libvirt/qemu/nvram",
        firmware=(),
        settings=settings,
    )
