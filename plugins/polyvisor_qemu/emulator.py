"""What an emulator can do: asked over QMP once per binary, and kept.

The answer is kept under the binary's identity (path, size, time of change) and whether KVM can
be used, so that nothing that starts guests ever waits for it.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError
from polyvisor_qemu.qmp import written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

__all__ = ["CpuDefinition", "Emulator", "MachineType", "answers", "emulator"]

#: Seconds for an emulator to answer everything.
_PATIENCE = 60.0
_QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("query-version", {}),
    ("query-target", {}),
    ("query-machines", {}),
    ("qom-list-types", {}),
    ("query-command-line-options", {}),
    ("query-migrate-capabilities", {}),
    ("query-cpu-definitions", {}),
)


@attrs.frozen
class MachineType:
    """A type of machine.

    Attributes:
        name: its name, with its version.
        alias: what it is the newest of, such as ``"pc"``; ``None`` if it is an older one.
        max_cpus: how many vCPUs it can have.
        default: whether it is the emulator's default.
        deprecated: whether it is about to go.
        default_cpu: QEMU's type of the CPU that it has if none is said.
        default_ram: what its memory is called.
        numa_mem: whether NUMA cells may be given a size instead of memory.
    """

    name: str
    alias: str | None
    max_cpus: int
    default: bool
    deprecated: bool
    default_cpu: str | None
    default_ram: str | None
    numa_mem: bool


@attrs.frozen
class CpuDefinition:
    """A CPU model.

    Attributes:
        name: its name.
        missing: features that it has and this host does not; ``None`` if that is not known.
        deprecated: whether it is about to go.
        alias_of: the version that the name stands for.
    """

    name: str
    missing: tuple[str, ...] | None
    deprecated: bool
    alias_of: str | None


@attrs.frozen
class Emulator:
    """What an emulator said of itself.

    Attributes:
        path: the binary.
        version: such as ``(7, 2, 22)``.
        arch: the architecture of its guests, in libvirt's words.
        machines: its machine types by name.
        types: all its types of objects and devices.
        options: options that are in this build, such as ``"spice"``.
        capabilities: what it can do in migrations, in QEMU's words.
        cpus: CPU models with software emulation, by name.
        kvm_cpus: the same with KVM; empty if KVM cannot be used.
    """

    path: str
    version: tuple[int, ...]
    arch: str
    machines: dict[str, MachineType]
    types: frozenset[str]
    options: frozenset[str]
    capabilities: frozenset[str]
    cpus: dict[str, CpuDefinition]
    kvm_cpus: dict[str, CpuDefinition]

    @classmethod
    def of(cls, path: str, told: dict[str, Any]) -> Self:
        """Return what the kept answers of an emulator say."""
        return cls(
            path=path,
            version=tuple(told["version"]),
            arch=told["arch"],
            machines={one["name"]: MachineType(**one) for one in told["machines"]},
            types=frozenset(told["types"]),
            options=frozenset(told["options"]),
            capabilities=frozenset(told["capabilities"]),
            cpus=_models(told["cpus"]),
            kvm_cpus=_models(told["kvm_cpus"]),
        )

    def machine(self, name: str | None) -> MachineType | None:
        """Return a machine type by its name or alias; of ``None`` the emulator's default.

        libvirt's default for PCs is ``pc``, for ARM ``virt``, whatever the emulator's is.
        """
        if name is None:
            name = {"x86_64": "pc", "i686": "pc", "aarch64": "virt"}.get(self.arch)
        found = self.machines.get(name or "")
        if found is not None:
            return found
        return next(
            (
                one
                for one in self.machines.values()
                if (one.alias == name if name is not None else one.default)
            ),
            None,
        )

    def has(self, *types: str) -> bool:
        """Say whether it has all these devices or objects."""
        return self.types.issuperset(types)


def _models(told: list[dict[str, Any]]) -> dict[str, CpuDefinition]:
    return {
        one["name"]: CpuDefinition(
            one["name"],
            None if one["missing"] is None else tuple(one["missing"]),
            one["deprecated"],
            one["alias_of"],
        )
        for one in told
    }


def emulator(path: str, cache_dir: str, *, kvm: bool, timeout: float = _PATIENCE) -> Emulator:
    """Return what an emulator can do.

    Args:
        path: the binary.
        cache_dir: folder for answers.
        kvm: whether KVM can be used with it; then it is asked for CPU models with KVM too.
        timeout: seconds to wait for its answers, where they are not known yet.

    Raises:
        HypervisorError: it does not answer; with its words.
    """
    from polyvisor_qemu.probe import kept

    asked = [name for name, _ in _QUESTIONS]
    told = kept(path, cache_dir, "emulator", lambda: _ask(path, timeout), asked)
    cpus: list[dict[str, Any]] = []
    if kvm:
        cpus = kept(path, cache_dir, "kvm-cpus", lambda: _told(_answers(path, "kvm", timeout)[-1]))
    return Emulator.of(path, {**told, "kvm_cpus": cpus})


def _ask(path: str, timeout: float) -> dict[str, Any]:
    version, target, machines, types, options, capabilities, cpus = _answers(path, "tcg", timeout)
    numbers = version["qemu"]
    native = {"i386": "i686", "arm": "armv7l"}
    return {
        "version": [numbers["major"], numbers["minor"], numbers["micro"]],
        "arch": native.get(target["arch"], target["arch"]),
        "machines": [
            {
                "name": one["name"],
                "alias": one.get("alias"),
                "max_cpus": one["cpu-max"],
                "default": one.get("is-default", False),
                "deprecated": one.get("deprecated", False),
                "default_cpu": one.get("default-cpu-type"),
                "default_ram": one.get("default-ram-id"),
                "numa_mem": one.get("numa-mem-supported", False),
            }
            for one in machines
        ],
        "types": sorted(one["name"] for one in types if not one.get("abstract")),
        "options": sorted(one["option"] for one in options),
        "capabilities": sorted(one["capability"] for one in capabilities),
        "cpus": _told(cpus),
    }


def _told(cpus: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": one["name"],
            "missing": one.get("unavailable-features"),
            "deprecated": one.get("deprecated", False),
            "alias_of": one.get("alias-of"),
        }
        for one in cpus
    ]


def _answers(path: str, accelerator: str, timeout: float) -> list[Any]:
    """Return an emulator's answers to all questions."""
    found = answers(path, accelerator, _QUESTIONS, timeout=timeout)
    for (name, _), answer in zip(_QUESTIONS, found, strict=True):
        if answer is None:
            raise HypervisorError(f"{path} does not answer {name}", native_message=None)
    return found


def answers(
    path: str,
    accelerator: str,
    questions: Sequence[tuple[str, dict[str, Any]]],
    *,
    timeout: float,
) -> list[Any]:
    """Run an emulator without a machine, and ask it.

    Args:
        path: the binary.
        accelerator: QEMU's name for it.
        questions: commands of QMP and their arguments.
        timeout: seconds for all the answers.

    Returns:
        The answers, ``None`` for what it refuses.

    Raises:
        HypervisorError: it does not answer at all, or not in time.
    """
    line = [
        path, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none",
        "-accel", accelerator, "-qmp", "stdio",
    ]  # fmt: skip
    asked = [("qmp_capabilities", {}), *questions, ("quit", {})]
    text = "".join(
        written({"execute": name, "arguments": given, "id": number}).decode()
        for number, (name, given) in enumerate(asked)
    )
    try:
        done = subprocess.run(
            line, input=text, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HypervisorError(f"{path} did not say in {timeout:g} s what it can do") from error
    except OSError as error:
        raise HypervisorError(f"cannot run {path}: {error.strerror}") from error
    found: dict[int, Any] = {}
    for line_ in done.stdout.splitlines():
        try:
            answer = json.loads(line_)
        except ValueError:
            continue
        if "return" in answer and "id" in answer:
            found[answer["id"]] = answer["return"]
    if 0 not in found:
        words = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise HypervisorError(f"{path} does not answer: {words}", native_message=words)
    return [found.get(number) for number in range(1, len(questions) + 1)]
