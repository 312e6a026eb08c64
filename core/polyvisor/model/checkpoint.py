"""Checkpoints of domains: instants since which changes of disks are known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import attrs

from polyvisor.errors import SchemaError
from polyvisor.model._codecs import ULONG, Codec, Fault, choices
from polyvisor.model.binding import Element, attr, child, children, element, value
from polyvisor.model.document import Document
from polyvisor.model.snapshot import DOMAIN, DomainReference

if TYPE_CHECKING:
    from polyvisor.model.domain import DomainSpec

__all__ = ["CheckpointDisk", "CheckpointDisks", "CheckpointParent", "CheckpointSpec"]

CheckpointMode = Literal["no", "bitmap"]

_name = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]*").fullmatch


def _check_name(text: str) -> str:
    if not isinstance(text, str) or _name(text) is None:
        raise Fault(f"{text!r} is not a checkpoint's name", "use letters, digits, '_', '-' and '.'")
    return text


#: Names of checkpoints become names of bitmaps in images (checkpointName, domaincheckpoint.rng).
CHECKPOINT_NAME = Codec(
    _check_name, _check_name, schema={"type": "string", "pattern": "^[a-zA-Z0-9_-][a-zA-Z0-9_.-]*$"}
)


@element(kw_only=True)
class CheckpointParent(Element):
    """The checkpoint that came before."""

    name: str = value(CHECKPOINT_NAME, required=True)


@element(kw_only=True)
class CheckpointDisk(Element):
    """One disk: whether its changes are recorded, and under which name."""

    #: Its target's name, or the path of its source.
    name: str = attr(required=True)
    checkpoint: CheckpointMode | None = attr(choices(CheckpointMode))
    #: The bitmap's name; None: the checkpoint's.
    bitmap: str | None = attr()
    #: Bytes changed since; told on request.
    size: int | None = attr(ULONG)

    def _refuse(self) -> None:
        if self.checkpoint == "no" and (self.bitmap is not None or self.size is not None):
            raise Fault("a disk without checkpoint has no bitmap and no size", "remove them")


@element(kw_only=True)
class CheckpointDisks(Element):
    """Disks for which something is said."""

    disks: tuple[CheckpointDisk, ...] = children(CheckpointDisk, "disk")


@element(kw_only=True)
class CheckpointSpec(Document):
    """A checkpoint of a domain: libvirt's ``<domaincheckpoint>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "domaincheckpoint"
    XML_TITLE: ClassVar[str] = "checkpoint"

    #: None: the time of its creation becomes its name.
    name: str | None = value(CHECKPOINT_NAME)
    description: str | None = value()
    parent: CheckpointParent | None = child(CheckpointParent)
    #: In seconds since 1970.
    creation_time: int | None = value(ULONG, name="creationTime")
    disk_list: CheckpointDisks | None = child(CheckpointDisks, "disks")
    #: The domain as it was.
    domain: DomainSpec | DomainReference | None = child(DOMAIN)

    @property
    def disks(self) -> tuple[CheckpointDisk, ...]:
        """Disks for which something is said."""
        return () if self.disk_list is None else self.disk_list.disks

    def created(self, seconds: int, domain: DomainSpec | None = None) -> Self:
        """Return a checkpoint that is made now: what is asked for, without what is history.

        Args:
            seconds: the time of its creation since 1970; its name, if it has none.
            domain: of which it is made.

        Raises:
            SchemaError: it names a disk that the domain has not.
        """
        name = self.name or str(seconds)
        spec = attrs.evolve(self, name=name, creation_time=seconds, parent=None, domain=None)
        spec = spec.definition()
        if domain is not None:
            spec = attrs.evolve(spec, domain=domain, disk_list=spec.aligned(domain))
        return spec

    def aligned(self, domain: DomainSpec) -> CheckpointDisks:
        """Return what is done with each disk of a domain.

        When nothing is said of disks, the changes of all that can be written are recorded;
        otherwise of those named (virDomainCheckpointAlignDisks, checkpoint_conf.c).

        Args:
            domain: the domain.
        """
        said = {disk.name: disk for disk in self.disks}
        result = []
        for disk in domain.devices.disks:
            name = disk.target.dev if disk.target is not None else None
            source = disk.source
            path = None if source is None else source.file or source.dev
            known = said.pop(name or "", None) or said.pop(path or "", None)
            if known is None:
                empty = source is None or source == type(source)()
                recorded = not self.disks and not disk.readonly and not empty
                known = CheckpointDisk(
                    name=name or path or "", checkpoint="bitmap" if recorded else "no"
                )
            if known.checkpoint != "no":
                known = attrs.evolve(known, checkpoint="bitmap", bitmap=known.bitmap or self.name)
            result.append(attrs.evolve(known, name=name or known.name))
        if said:
            unknown = next(iter(said))
            raise SchemaError(
                f"the domain has no disk {unknown!r}; name one by its target, such as "
                f"{result[0].name if result else 'vda'!r}",
                element="domaincheckpoint/disks/disk",
                fault="unknown disk",
            )
        return CheckpointDisks(disks=tuple(result))

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined."""
        spec = super().definition()
        domain = spec.domain
        if domain is not None and not isinstance(domain, DomainReference):
            domain = domain.normalised()
        return attrs.evolve(spec, domain=domain)
