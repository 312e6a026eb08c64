"""A domain's share of the host: weights, limits, places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.driver import Tuning

__all__ = ["DomainTuning"]


class DomainTuning:
    """Groups of values, named as virsh's commands; see :class:`polyvisor.driver.Tuning`.

    Every method raises :class:`~polyvisor.errors.Unsupported` if the driver tunes nothing.
    """

    __slots__ = ("_connection", "_domain", "_uuid")

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._connection = domain._connection
        self._uuid = domain.uuid

    def groups(self) -> Sequence[str]:
        """Return the groups that there are: ``schedinfo``, ``memtune`` and others."""
        return self._part().groups()

    def get(
        self, group: str, device: str | None = None, *, live: bool | None = None
    ) -> Mapping[str, int | str]:
        """Return a group's values, as far as they are set.

        Args:
            group: its name.
            device: the disk's or interface's target, where the group is a device's.
            live: of the running guest, else of the definition; ``None``: if it runs.
        """
        return self._part().get(self._uuid, group, device, live=self._domain._live(live))

    @verb
    def set(
        self,
        group: str,
        values: Mapping[str, int | str],
        device: str | None = None,
        *,
        live: bool | None = None,
        config: bool | None = None,
    ) -> None:
        """Set some of a group's values.

        Args:
            group: its name.
            values: the values by their names.
            device: see :meth:`get`.
            live: for the running guest; ``None``: if it runs and nothing else is said.
            config: from the next start on; ``None``: if it does not run.
        """
        self._part().set(self._uuid, group, values, device, **self._where(live, config))

    def pins(self, *, live: bool | None = None) -> Mapping[int | str, AbstractSet[int]]:
        """Return on which of the host's CPUs each vCPU, ``"iothread1"``, ``"emulator"`` may run."""
        return self._part().pins(self._uuid, live=self._domain._live(live))

    @verb
    def pin(
        self,
        which: int | str,
        cpus: Iterable[int],
        *,
        live: bool | None = None,
        config: bool | None = None,
    ) -> None:
        """Let a vCPU, ``"iothread1"`` or ``"emulator"`` run on these CPUs of the host only.

        Raises:
            NotFound: there is no such thread.
        """
        self._part().pin(self._uuid, which, frozenset(cpus), **self._where(live, config))

    def _where(self, live: bool | None, config: bool | None) -> dict[str, bool]:
        if live is None and config is None:
            active = self._domain._live(None)
            return {"live": active, "config": not active}
        return {"live": bool(live), "config": bool(config)}

    def _part(self) -> Tuning:
        return self._connection._need(self._connection._driver.tuning, "domains.tuning")
