"""libvirt's cookie of QEMU migrations, byte for byte, with ours behind its NUL.

Source of the form: ``qemuMigrationCookieXMLFormat`` and ``qemuMigrationCookieXMLParse`` of
libvirt's src/qemu/qemu_migration_cookie.c. It looks at the last byte, which must be NUL, and
then reads up to the first one; so what polyvisor tells itself can stand between the two, and
libvirt neither minds nor sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from uuid import NAMESPACE_OID, UUID, uuid5

import attrs

from polyvisor.model import escape_attribute, escape_text
from polyvisor_qemu.cookies.parts import Element, Graphics, Nbd, number, read, refused

__all__ = ["FEATURES", "QemuCookie", "host_uuid"]

#: Bytes of a cookie at most; ``VIR_MIGRATE_COOKIE_MAX`` of libvirt's remote_protocol.x.
LIMIT = 4 << 20
#: ``qemuMigrationCookieFlag``: what a cookie may demand to be understood, in libvirt's order.
FEATURES = (
    "graphics",
    "lockstate",
    "persistent",
    "network",
    "nbd",
    "statistics",
    "memory-hotplug",
    "cpu-hotplug",
    "cpu",
    "allowReboot",
    "capabilities",
    "block-dirty-bitmaps",
)
#: Those that we understand if they are demanded: of locks, that there are none.
UNDERSTOOD = frozenset(FEATURES) - {"block-dirty-bitmaps"}


@attrs.frozen
class QemuCookie:
    """What one side tells in one phase; what is ``None`` or empty is not said.

    Attributes:
        name: the domain's name.
        uuid: its UUID.
        hostname: the teller's name.
        host: the teller's UUID (:func:`host_uuid`).
        features: what the reader must understand, of :data:`FEATURES`.
        graphics: the destination's screen.
        lock: the lock driver and its state, which may be ``None``.
        domain: the persistent definition, as XML.
        interfaces: index, kind of port and its data for each with a virtual port.
        nbd: disks that are copied along.
        statistics: figures by their names (``VIR_DOMAIN_JOB_*`` and ``started``, ``stopped``,
            ``sent``, ``delta``): milliseconds, bytes, bytes per second, pages.
        cpu: the guest's CPU, as XML.
        allow_reboot: whether the guest may reboot, as older libvirts say it.
        capabilities: QEMU's capabilities, and of each whether libvirt turns it on by itself.
        bitmaps: dirty bitmaps, for each disk's target names and aliases.
    """

    name: str
    uuid: UUID
    hostname: str
    host: UUID
    features: tuple[str, ...] = ()
    graphics: Graphics | None = None
    lock: tuple[str, str | None] | None = None
    domain: str | None = None
    interfaces: tuple[tuple[int, str, str | None], ...] | None = None
    nbd: Nbd | None = None
    statistics: Mapping[str, int] | None = None
    cpu: str | None = None
    allow_reboot: bool | None = None
    capabilities: tuple[tuple[str, bool], ...] | None = None
    bitmaps: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    def to_bytes(self, ours: bytes = b"") -> bytes:
        """Return the cookie as it travels.

        Args:
            ours: what stands behind libvirt's part; no NUL in it.
        """
        lines = ["<qemu-migration>", *(f"  {line}" for line in self._lines()), "</qemu-migration>"]
        text = "\n".join(lines) + "\n"
        return text.encode() + b"\0" + (ours + b"\0" if ours else b"")

    def _lines(self) -> Iterator[str]:
        yield f"<name>{escape_text(self.name)}</name>"
        yield f"<uuid>{self.uuid}</uuid>"
        yield f"<hostname>{escape_text(self.hostname)}</hostname>"
        yield f"<hostuuid>{self.host}</hostuuid>"
        yield from (f"<feature name='{name}'/>" for name in FEATURES if name in self.features)
        if self.graphics is not None:
            yield from _graphics_lines(self.graphics)
        if self.lock is not None and self.lock[1] is not None:
            yield f"<lockstate driver='{escape_attribute(self.lock[0])}'>"
            yield f"  <leases>{escape_text(self.lock[1])}</leases>"
            yield "</lockstate>"
        if self.domain is not None:
            yield from self.domain.rstrip("\n").split("\n")
        if self.interfaces is not None:
            yield from _interface_lines(self.interfaces)
        if self.nbd is not None:
            yield from _nbd_lines(self.nbd)
        if self.statistics is not None:
            yield "<statistics>"
            yield from (f"  <{name}>{value}</{name}>" for name, value in self.statistics.items())
            yield "</statistics>"
        if self.cpu is not None:
            yield from self.cpu.rstrip("\n").split("\n")
        if self.allow_reboot is not None:
            yield f"<allowReboot value='{'yes' if self.allow_reboot else 'no'}'/>"
        if self.capabilities is not None:
            yield "<capabilities>"
            for name, automatic in self.capabilities:
                auto = "yes" if automatic else "no"
                yield f"  <cap name='{escape_attribute(name)}' auto='{auto}'/>"
            yield "</capabilities>"
        if self.bitmaps:
            yield "<blockDirtyBitmaps>"
            for target, named in self.bitmaps:
                yield f"  <disk target='{escape_attribute(target)}'>"
                for pair in named:
                    name, alias = map(escape_attribute, pair)
                    yield f"    <bitmap name='{name}' alias='{alias}'/>"
                yield "  </disk>"
            yield "</blockDirtyBitmaps>"

    @staticmethod
    def from_bytes(data: bytes) -> tuple[QemuCookie, bytes]:
        """Read a cookie; return it and what of ours stands behind it.

        Raises:
            MigrationError: it is damaged, or demands what we do not understand; says how.
        """
        return _read(data)

    def check(self, name: str, uuid: UUID | None, features: frozenset[str] = UNDERSTOOD) -> None:
        """Refuse one of another domain, or that demands what is not in ``features``.

        Raises:
            MigrationError: says which.
        """
        if uuid is not None and self.uuid != uuid:
            raise refused(f"it is of the domain {self.uuid}, but {name!r} is {uuid}")
        if self.name != name:
            raise refused(f"it is of the domain {self.name[:80]!r}, not {name!r}")
        for feature in self.features:
            if feature not in features:
                raise refused(f"it demands {feature!r}, which is not supported")
        if self.lock is not None and self.lock[0] != "nop":
            raise refused(f"the source uses the lock driver {self.lock[0][:40]!r}, we use none")


# A phase asks more than once what the same cookie says, each side its own.
@lru_cache(maxsize=4)
def _read(data: bytes) -> tuple[QemuCookie, bytes]:
    if len(data) > LIMIT:
        raise refused(f"it has {len(data)} bytes, more than {LIMIT}")
    if not data.endswith(b"\0"):
        raise refused("it does not end with a NUL byte")
    text, _, ours = data.partition(b"\0")
    root = read(text, "qemu-migration")
    words = {}
    for field in ("name", "uuid", "hostname", "hostuuid"):
        element = root.first(field)
        if element is None or not element.text:
            raise refused(f"<{field}> is missing")
        words[field] = element.text
    features = tuple(each.need("name") for each in root.all("feature"))
    for feature in features:
        if feature not in FEATURES:
            raise refused(f"it demands {feature[:40]!r}, which we do not know")
    domains = root.all("domain")
    if len(domains) > 1:
        raise refused("it has several <domain>")
    cpu = root.first("cpu")
    reboot = root.first("allowReboot")
    cookie = QemuCookie(
        name=words["name"],
        uuid=_uuid(words["uuid"]),
        hostname=words["hostname"],
        host=_uuid(words["hostuuid"]),
        features=tuple(name for name in FEATURES if name in features),
        graphics=_graphics(root.first("graphics")),
        lock=_lock(root.first("lockstate")),
        domain=_slice(text, domains[0]) if domains else None,
        interfaces=_interfaces(root.first("network")),
        nbd=_nbd(root.first("nbd")),
        statistics=_statistics(root.first("statistics")),
        cpu=None if cpu is None else _slice(text, cpu),
        allow_reboot=None if reboot is None else reboot.need("value") == "yes",
        capabilities=_capabilities(root.first("capabilities")),
        bitmaps=_bitmaps(root.first("blockDirtyBitmaps")),
    )
    return cookie, ours.rstrip(b"\0")


def _graphics_lines(graphics: Graphics) -> Iterator[str]:
    listen = escape_attribute(graphics.listen)
    line = f"<graphics type='{graphics.kind}' port='{graphics.port}' listen='{listen}'"
    if graphics.tls_port is not None:
        line += f" tlsPort='{graphics.tls_port}'"
    if graphics.subject is None:
        yield f"{line}/>"
        return
    yield f"{line}>"
    yield f"  <cert info='subject' value='{escape_attribute(graphics.subject)}'/>"
    yield "</graphics>"


def _interface_lines(interfaces: tuple[tuple[int, str, str | None], ...]) -> Iterator[str]:
    if not interfaces:
        return
    yield "<network>"
    for index, kind, data in interfaces:
        line = f"  <interface index='{index}' vporttype='{escape_attribute(kind)}'"
        if data is None:
            yield f"{line}/>"
            continue
        yield f"{line}>"
        yield f"    <portdata>{escape_text(data)}</portdata>"
        yield "  </interface>"
    yield "</network>"


def _nbd_lines(nbd: Nbd) -> Iterator[str]:
    line = "<nbd" if nbd.port is None else f"<nbd port='{nbd.port}'"
    if not nbd.disks:
        yield f"{line}/>"
        return
    yield f"{line}>"
    for target, capacity in nbd.disks:
        yield f"  <disk target='{escape_attribute(target)}' capacity='{capacity}'/>"
    yield "</nbd>"


def _uuid(words: str) -> UUID:
    try:
        return UUID(words)
    except ValueError as error:
        raise refused(f"{words[:80]!r} is not a UUID") from error


def _slice(text: bytes, element: Element) -> str:
    """Return an element's own text, its lines indented as they would be if it stood alone."""
    try:
        words = text[element.start : element.end].decode()
    except UnicodeDecodeError as error:
        raise refused("it is not UTF-8") from error
    indent = text[: element.start].rpartition(b"\n")[2]
    if indent.strip():
        return words
    return words.replace(f"\n{indent.decode()}", "\n")


def _graphics(element: Element | None) -> Graphics | None:
    if element is None:
        return None
    kind = element.need("type")
    if re.fullmatch("[a-z-]{1,20}", kind) is None:
        raise refused(f"{kind[:40]!r} is no kind of graphics")
    cert = next((one for one in element.all("cert") if one.given.get("info") == "subject"), None)
    tls = element.given.get("tlsPort")
    return Graphics(
        kind,
        _port(element.need("port")),
        element.need("listen"),
        None if tls is None else _port(tls),
        None if cert is None else cert.need("value"),
    )


def _port(words: str) -> int:
    return -1 if words == "-1" else number(words, "port", 65535)


def _lock(element: Element | None) -> tuple[str, str | None] | None:
    if element is None:
        return None
    leases = element.first("leases")
    return element.need("driver"), (leases.text or None) if leases is not None else None


def _interfaces(element: Element | None) -> tuple[tuple[int, str, str | None], ...] | None:
    if element is None:
        return None
    found = []
    for at, one in enumerate(element.all("interface")):
        data = one.first("portdata")
        index = number(one.given.get("index", str(at)), "index of an interface", 1 << 16)
        found.append((index, one.need("vporttype"), None if data is None else data.text))
    return tuple(found)


def _nbd(element: Element | None) -> Nbd | None:
    if element is None:
        return None
    port = element.given.get("port")
    disks = tuple(
        (one.need("target"), number(one.need("capacity"), "size of a disk"))
        for one in element.all("disk")
    )
    return Nbd(None if port is None else number(port, "port", 65535), disks)


def _statistics(element: Element | None) -> dict[str, int] | None:
    if element is None:
        return None
    found = {}
    for one in element.children:
        if one.children or re.fullmatch("[a-z][a-z_]{0,40}", one.name) is None:
            raise refused(f"<{one.name[:40]}> is no figure")
        sign = -1 if one.text.startswith("-") and one.name == "delta" else 1
        words = one.text[1:] if sign < 0 else one.text
        found[one.name] = sign * number(words, f"figure {one.name}")
    return found


def _capabilities(element: Element | None) -> tuple[tuple[str, bool], ...] | None:
    if element is None:
        return None
    return tuple((one.need("name"), one.given.get("auto") == "yes") for one in element.all("cap"))


def _bitmaps(element: Element | None) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    if element is None:
        return ()
    return tuple(
        (
            disk.need("target"),
            tuple((one.need("name"), one.need("alias")) for one in disk.all("bitmap")),
        )
        for disk in element.all("disk")
    )


@cache
def host_uuid() -> UUID:
    """Return what tells hosts apart: another for each boot and each view of the file system.

    libvirt refuses guests of a host with its own UUID; this is never that.
    """
    import os

    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return uuid5(NAMESPACE_OID, f"polyvisor {boot} {os.stat('/proc/self/ns/mnt').st_ino}")
