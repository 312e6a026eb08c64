"""The subject of a certificate as GnuTLS writes it, which clients of SPICE compare.

The order is the certificate's own, as ``gnutls_x509_crt_get_dn`` has it, which libvirt calls
(``qemuDomainExtractTLSSubject`` of its src/qemu/qemu_migration_cookie.c). The encoding is DER
(ITU-T X.690), the certificate RFC 5280's, what is escaped RFC 4514's.
"""

from __future__ import annotations

__all__ = ["subject_of"]

#: Bytes that a file with a certificate may have, as for libvirt.
_LIMIT = 8192
#: GnuTLS's names of the parts of a name, by their object identifiers in DER.
_NAMES = {
    bytes((0x55, 4, 3)): "CN",
    bytes((0x55, 4, 6)): "C",
    bytes((0x55, 4, 7)): "L",
    bytes((0x55, 4, 8)): "ST",
    bytes((0x55, 4, 10)): "O",
    bytes((0x55, 4, 11)): "OU",
    bytes.fromhex("0992268993f22c640119"): "DC",
    bytes.fromhex("0992268993f22c640101"): "UID",
    bytes.fromhex("2a864886f70d010901"): "EMAIL",
}
#: Kinds of text, by their tags, and how Python calls their encodings.
_TEXT = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii"}
_SEQUENCE, _SET, _INTEGER, _OID, _VERSION = 0x30, 0x31, 0x02, 0x06, 0xA0


def subject_of(path: str) -> str | None:
    """Return the subject of the certificate in a PEM file.

    Returns:
        ``None`` if it cannot be read, or has parts of other kinds than servers' have.
    """
    import ssl

    try:
        with open(path, encoding="ascii") as file:
            text = file.read(_LIMIT + 1)
        if len(text) > _LIMIT:
            return None
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        pem = text[text.index(begin) : text.index(end) + len(end)]
        return _subject(ssl.PEM_cert_to_DER_cert(pem))
    except (OSError, ValueError, LookupError):
        return None


def _subject(der: bytes) -> str:
    ((_, certificate),) = _parts(der)
    (_, signed), *_ = _parts(certificate)
    fields = _parts(signed)
    if fields[0][0] == _VERSION:
        del fields[0]
    # Its number, algorithm, issuer and time come first.
    tags = [tag for tag, _ in fields[:5]]
    if tags != [_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE]:
        raise ValueError("no certificate")
    return ",".join(_relative(part) for part in _parts(fields[4][1]))


def _relative(part: tuple[int, bytes]) -> str:
    if part[0] != _SET:
        raise ValueError("no name")
    found = []
    for _, pair in _parts(part[1]):
        (kind, oid), (form, value) = _parts(pair)
        if kind != _OID:
            raise ValueError("no part of a name")
        found.append(f"{_NAMES[oid]}={_escaped(value.decode(_TEXT[form]))}")
    return "+".join(found)


def _escaped(text: str) -> str:
    words = "".join(f"\\{one}" if one in ',+"\\<>;' else one for one in text)
    if words[:1] in ("#", " "):
        words = f"\\{words}"
    return f"{words[:-1]}\\ " if len(text) > 1 and words.endswith(" ") else words


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """Return the tags and contents of what stands side by side."""
    found, at = [], 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("it is cut off")
        found.append((tag, data[at : at + length]))
        at += length
    return found
