"""Firmware, kernel and boot order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.words import joined

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["boot", "flash"]


def flash(c: Context) -> dict[str, str]:
    """Add the block nodes of the firmware and return the machine's properties for them."""
    os = c.spec.os
    if os.loader is None or os.loader.type != "pflash" or not os.loader.path:
        return {}
    loader = os.loader
    found = {"pflash0": _node(c, "pflash0", {"file": loader.path},
                              readonly=loader.readonly is True)}  # fmt: skip
    variables = os.nvram
    if variables is not None and (variables.path or variables.source is not None):
        source = variables.source
        where: dict[str, Any] = {"file": variables.path}
        if source is not None and variables.type in ("file", "block"):
            where = {"file": source.file, "dev": source.dev}
        elif source is not None:
            where = {"source": source}
        found["pflash1"] = _node(c, "pflash1", where, readonly=False)
    if loader.secure:
        c.line.add("global", "driver=cfi.pflash01,property=secure,value=on")
    return found


def _node(c: Context, name: str, where: dict[str, Any], *, readonly: bool) -> str:
    if where.get("source") is not None:
        from polyvisor_qemu.cmdline.protocols import network

        place = network(c, f"libvirt-{name}", where["source"], None) or {}
    elif where.get("dev"):
        place = {"driver": "host_device", "filename": where["dev"]}
    else:
        place = {"driver": "file", "filename": where["file"]}
    c.line.json(
        "blockdev",
        {**place, "node-name": f"libvirt-{name}-storage", "auto-read-only": True,
         "discard": "unmap"},
    )  # fmt: skip
    c.line.json(
        "blockdev",
        {"node-name": f"libvirt-{name}-format", "read-only": readonly, "driver": "raw",
         "file": f"libvirt-{name}-storage"},
    )  # fmt: skip
    return f"libvirt-{name}-format"


def boot(c: Context) -> None:
    """Add what is booted."""
    os = c.spec.os
    if os.loader is not None and os.loader.type != "pflash" and os.loader.path:
        c.line.add("bios", os.loader.path)
    words: dict[str, object] = {}
    if os.bootmenu is not None and os.bootmenu.enable is not None:
        words["menu"] = os.bootmenu.enable
        if os.bootmenu.enable:
            words["splash-time"] = os.bootmenu.timeout or None
    if os.bios is not None:
        words["reboot-timeout"] = os.bios.reboot_timeout
    words["strict"] = True
    c.line.add("boot", joined(**{key.replace("-", "__"): value for key, value in words.items()}))
    for option, value in (("kernel", os.kernel), ("initrd", os.initrd), ("append", os.cmdline),
                          ("dtb", os.dtb)):  # fmt: skip
        if value:
            c.line.add(option, value)
    for table in os.acpi.tables if os.acpi is not None else ():
        c.line.add("acpitable", joined(sig="SLIC", file=table.path))
