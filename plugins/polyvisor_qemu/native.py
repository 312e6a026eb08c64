"""``qemu-argv``: the command line with which a machine would be started, for people to read."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, ClassVar

from polyvisor.errors import SpecError
from polyvisor.native import NativeFormat

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["QemuArgvFormat"]


class QemuArgvFormat(NativeFormat):
    """Writes command lines; reading them was given up by libvirt too.

    Numbers of descriptors stand for what the driver opens before it starts QEMU: sockets,
    files that are written, network devices, secrets.
    """

    name: ClassVar[str] = "qemu-argv"

    def recognises(self, data: bytes) -> bool:
        """Recognise nothing: a command line cannot be read."""
        return False

    def read(self, data: bytes, *, path: str) -> DomainSpec:
        """Refuse.

        Raises:
            SpecError: always.
        """
        raise SpecError(
            f"{path}: a command line of QEMU cannot be read; write the definition by hand",
            fault="a command line cannot be read",
        )

    def write(self, spec: DomainSpec) -> str:
        """Return the command line as a shell takes it, an option in each line.

        Raises:
            SpecError: it asks for what QEMU cannot do.
        """
        import platform

        from polyvisor_qemu.cmdline import build
        from polyvisor_qemu.probe import emulator_for

        arch = spec.os.arch or platform.machine()
        known = {"i686": "i386", "ppc64le": "ppc64"}.get(arch, arch)
        emulator = spec.devices.emulator or emulator_for(arch) or f"qemu-system-{known}"
        line = build(spec.with_uuid(), emulator)
        lines = [f"{key}={shlex.quote(value)}" for key, value in line.environment.items()]
        lines.append(shlex.quote(line.args[0]))
        for word in line.args[1:]:
            if word.startswith("-") or not lines[-1].startswith("-") or " " in lines[-1]:
                lines.append(shlex.quote(word))
            else:
                lines[-1] += f" {shlex.quote(word)}"
        return " \\\n".join(lines) + "\n"
