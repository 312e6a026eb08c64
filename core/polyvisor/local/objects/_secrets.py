"""Secrets and network filters: definitions that are never started."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, ClassVar

import attrs

from polyvisor.driver import NwFilters, Secrets
from polyvisor.errors import AlreadyExists, NotFound, OperationInvalid
from polyvisor.events import ObjectEventKind
from polyvisor.local.objects._family import LocalFamily

if TYPE_CHECKING:
    from polyvisor.model import NwFilterSpec, SecretSpec
    from polyvisor.objects import ObjectSummary
    from polyvisor.state import ObjectRecord

__all__ = ["LocalNwFilters", "LocalSecrets"]


class LocalSecrets(LocalFamily["SecretSpec"], Secrets):
    """Secrets, kept with their values in the host's store, which only its user can read.

    The value of an ephemeral one is kept by this process alone, and gone with it.
    """

    title: ClassVar[str] = "secret"

    def document(self) -> type[SecretSpec]:
        from polyvisor.model import SecretSpec

        return SecretSpec

    def name_of(self, spec: SecretSpec, key: str) -> str:
        usage = spec.usage
        if usage is None or usage.id is None:
            return key
        return f"{usage.type} {usage.id}"

    def define(self, spec: SecretSpec) -> str:
        name = self.name_of(spec, "")
        known = self.home.store.object_by_name(self.family, name) if name else None
        if known is not None and self.key_of(spec) not in (None, known.key):
            raise AlreadyExists(
                f"define secret: the secret with UUID {known.key} is already for {name}; "
                f"undefine that one first"
            )
        key = super().define(spec)
        if spec.ephemeral:
            with self.held(key, "define") as record:
                if record is not None and "value" in record.data:
                    self.put(attrs.evolve(record, data={}))
        return key

    def undefine(self, key: str) -> None:
        super().undefine(key)
        _ephemeral(self).pop(key, None)

    def summary(self, record: ObjectRecord) -> ObjectSummary:
        name = "" if record.name == record.key else record.name.partition(" ")[2]
        return attrs.evolve(super().summary(record), name=name, active=True)

    def by_usage(self, kind: str, usage: str) -> ObjectSummary:
        record = self.home.store.object_by_name(self.family, f"{kind} {usage}")
        if record is None:
            raise NotFound(f"no secret is for {kind} {usage!r}", kind="secret", key=usage)
        return self.summary(record)

    def value(self, key: str) -> bytes:
        record = self.record(key)
        held = _ephemeral(self).get(key)
        if held is not None:
            return held
        text = record.data.get("value")
        if text is None:
            raise NotFound(f"the secret {key} has no value yet; set one", kind="secret", key=key)
        return base64.b64decode(text)

    def set_value(self, key: str, value: bytes) -> None:
        with self.held(key, "set value") as record:
            known = self._known(record, key)
            if self.spec(key).ephemeral:
                _ephemeral(self)[key] = bytes(value)
                self.put(known, ObjectEventKind.VALUE_CHANGED)
                return
            data = {**known.data, "value": base64.b64encode(value).decode()}
            self.put(attrs.evolve(known, data=data), ObjectEventKind.VALUE_CHANGED)


# Values of ephemeral secrets, by home.
_kept: dict[int, dict[str, bytes]] = {}


def _ephemeral(secrets: LocalSecrets) -> dict[str, bytes]:
    store = secrets.home.store
    if id(store) not in _kept:
        import weakref

        _kept[id(store)] = {}
        weakref.finalize(store, _kept.pop, id(store), None)
    return _kept[id(store)]


class LocalNwFilters(LocalFamily["NwFilterSpec"], NwFilters):
    """Network filters, kept for those who apply them."""

    title: ClassVar[str] = "network filter"

    def document(self) -> type[NwFilterSpec]:
        from polyvisor.model import NwFilterSpec

        return NwFilterSpec

    def undefine(self, key: str) -> None:
        record = self.record(key)
        for other in self.home.store.objects(self.family):
            if other.key != key and _refers_to(self.spec(other.key), record.name):
                raise OperationInvalid(
                    f"undefine {record.name!r}: the network filter {other.name!r} refers to it; "
                    f"change that one first",
                    operation="undefine",
                )
        super().undefine(key)

    def summary(self, record: ObjectRecord) -> ObjectSummary:
        return attrs.evolve(super().summary(record), active=True)


def _refers_to(spec: NwFilterSpec, name: str) -> bool:
    return any(getattr(entry, "filter", None) == name for entry in spec.entries)
