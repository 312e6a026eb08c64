"""Changing a domain: devices, sizes, and what is written down about it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.connection import Connection
    from polyvisor.driver import Resources

__all__ = ["Changing"]


class Changing:
    """What changes a domain that goes on to be the same one."""

    __slots__ = ()

    _connection: Connection
    uuid: UUID

    @verb
    def attach_device(self, xml: str, *, live: bool | None = None, config: bool = False) -> None:
        """Add a device.

        Args:
            xml: the device, as it would stand in ``<devices>``.
            live: to the running guest; ``None``: if it runs.
            config: to the definition, from the next start on.
        """
        part = self._connection._need(self._connection._driver.devices, "devices.attach")
        part.attach(self.uuid, xml, live=self._live(live), config=config)

    @verb
    def detach_device(self, xml: str, *, live: bool | None = None, config: bool = False) -> None:
        """Remove the device that matches ``xml``; see :meth:`attach_device`."""
        part = self._connection._need(self._connection._driver.devices, "devices.attach")
        part.detach(self.uuid, xml, live=self._live(live), config=config)

    @verb
    def detach_device_alias(
        self, alias: str, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Remove the device that is called ``alias``; see :meth:`attach_device`."""
        part = self._connection._need(self._connection._driver.devices, "devices.attach")
        part.detach_alias(self.uuid, alias, live=self._live(live), config=config)

    @verb
    def update_device(self, xml: str, *, live: bool | None = None, config: bool = False) -> None:
        """Change the device that matches ``xml`` into it; see :meth:`attach_device`."""
        part = self._connection._need(self._connection._driver.devices, "devices.attach")
        part.update(self.uuid, xml, live=self._live(live), config=config)

    @verb
    def set_vcpus(self, count: int, *, live: bool | None = None, config: bool = False) -> None:
        """Set how many virtual CPUs are on; see :meth:`attach_device` for the rest."""
        part = self._connection._need(self._connection._driver.resources, "devices.vcpus")
        part.set_vcpus(self.uuid, count, live=self._live(live), config=config)

    @verb
    def enable_vcpus(
        self,
        numbers: AbstractSet[int],
        enabled: bool = True,
        *,
        live: bool | None = None,
        config: bool = False,
    ) -> None:
        """Plug certain virtual CPUs in, or out; see :meth:`attach_device` for the rest.

        Args:
            numbers: theirs, from 0; of a running guest one alone.
            enabled: whether they are to be there.
            live: see there.
            config: see there.
        """
        part = self._connection._need(self._connection._driver.resources, "devices.vcpus")
        part.enable_vcpus(self.uuid, numbers, enabled, live=self._live(live), config=config)

    @verb
    def set_memory(self, size: int, *, live: bool | None = None, config: bool = False) -> None:
        """Set how many bytes of memory it has; see :meth:`attach_device` for the rest."""
        part = self._connection._need(self._connection._driver.resources, "devices.memory")
        part.set_memory(self.uuid, size, live=self._live(live), config=config)

    @verb
    def set_memory_stats_period(
        self, seconds: int, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Have its balloon tell how memory is used every so many seconds; 0: never.

        Args:
            seconds: between two tellings.
            live: see :meth:`attach_device`.
            config: see there.
        """
        part = self._connection._need(self._connection._driver.resources, "devices.memory")
        part.set_memory_stats_period(self.uuid, seconds, live=self._live(live), config=config)

    @verb
    def set_max_vcpus(self, count: int, *, live: bool = False, config: bool = True) -> None:
        """Set how many virtual CPUs it may have, from its next start on."""
        part = self._connection._need(self._connection._driver.resources, "devices.vcpus")
        part.set_max_vcpus(self.uuid, count, live=live, config=config)

    @verb
    def set_max_memory(self, size: int, *, live: bool = False, config: bool = True) -> None:
        """Set how many bytes of memory it may have, from its next start on."""
        part = self._connection._need(self._connection._driver.resources, "devices.memory")
        part.set_max_memory(self.uuid, size, live=live, config=config)

    @verb
    def add_iothread(self, number: int, *, live: bool | None = None, config: bool = False) -> None:
        """Add an I/O thread for disks; see :meth:`attach_device` for the rest.

        Args:
            number: its number, from 1.
            live: see there.
            config: see there.
        """
        self._resources("devices.iothreads").add_iothread(
            self.uuid, number, live=self._live(live), config=config
        )

    @verb
    def remove_iothread(
        self, number: int, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Remove an I/O thread that nothing uses; see :meth:`add_iothread`."""
        self._resources("devices.iothreads").remove_iothread(
            self.uuid, number, live=self._live(live), config=config
        )

    @verb
    def set_iothread(
        self,
        number: int,
        values: Mapping[str, int],
        *,
        live: bool | None = None,
        config: bool = False,
    ) -> None:
        """Set how an I/O thread works; see :meth:`add_iothread`.

        Args:
            number: its number.
            values: see :meth:`polyvisor.driver.Resources.set_iothread`.
            live: see :meth:`attach_device`.
            config: see there.
        """
        self._resources("devices.iothreads").set_iothread(
            self.uuid, number, values, live=self._live(live), config=config
        )

    def _resources(self, feature: str) -> Resources:
        self._able(feature)
        return self._connection._need(self._connection._driver.resources, feature)

    @verb
    def set_lifecycle_action(
        self, event: str, action: str, *, live: bool | None = None, config: bool | None = None
    ) -> None:
        """Say what is to happen when the guest ends of itself.

        Args:
            event: ``"poweroff"``, ``"reboot"`` or ``"crash"``.
            action: ``"destroy"``, ``"restart"``, ``"preserve"``, …, of those that the hypervisor
                has for it.
            live: for the running guest; ``None``: if it runs and nothing else is said.
            config: from the next start on; ``None``: if it does not run.
        """
        self._able("domains.lifecycle")
        if live is None and config is None:
            live = self._live(None)
            config = not live
        domains = self._connection._driver.domains
        domains.set_lifecycle_action(self.uuid, event, action, live=bool(live), config=bool(config))

    # What is written down about it

    @verb
    def rename(self, name: str) -> None:
        """Give it another name; it must be persistent and off.

        Raises:
            AlreadyExists: the name belongs to another domain.
        """
        self._able("domains.rename")
        self._connection._driver.domains.rename(self.uuid, name)

    @verb
    def set_title(
        self, text: str | None, *, live: bool | None = None, config: bool | None = None
    ) -> None:
        """Set its title, which is one line; ``None`` removes it.

        Args:
            text: the title.
            live: in the definition of the running guest; ``None``: if it runs.
            config: in that which counts from its next start on; ``None``: if it has one.
        """
        self._set_text("title", text, live, config)

    @verb
    def set_description(
        self, text: str | None, *, live: bool | None = None, config: bool | None = None
    ) -> None:
        """Set its description; see :meth:`set_title`."""
        self._set_text("description", text, live, config)

    def _set_text(
        self, kind: str, text: str | None, live: bool | None, config: bool | None
    ) -> None:
        part = self._connection._need(self._connection._driver.annotations, "domains.metadata")
        part.set_text(self.uuid, kind, text, **self._where(live, config))

    def metadata(self, uri: str, *, inactive: bool = False) -> str | None:
        """Return the element of a namespace in its metadata, without prefix, or ``None``.

        Args:
            uri: the namespace.
            inactive: of an active domain, from the definition for its next start.
        """
        spec = self._connection._driver.domains.spec(self.uuid, inactive=inactive)
        return spec.metadata_of(uri)

    @verb
    def set_metadata(
        self,
        uri: str,
        prefix: str | None,
        xml: str | None,
        *,
        live: bool | None = None,
        config: bool | None = None,
    ) -> None:
        """Set the element of a namespace in its metadata.

        Args:
            uri: the namespace.
            prefix: what its names are written with; needed with ``xml``.
            xml: the element, without prefix; ``None`` removes it.
            live: see :meth:`set_title`.
            config: see :meth:`set_title`.
        """
        part = self._connection._need(self._connection._driver.annotations, "domains.metadata")
        part.set_metadata(self.uuid, uri, prefix, xml, **self._where(live, config))

    def _able(self, feature: str) -> None:
        """Refuse what the driver does not claim, in its own words."""
        if not self._connection.support.usable(feature):
            raise self._connection._unsupported(feature)

    def _live(self, live: bool | None) -> bool:
        if live is not None:
            return live
        return self._connection._driver.domains.status(self.uuid).state.active

    def _where(self, live: bool | None, config: bool | None) -> dict[str, bool]:
        """Return which definitions are to change: those that there are, unless it is said."""
        if live is None and config is None:
            found = self._connection._driver.domains.summary(self.uuid)
            return {"live": found.state.active, "config": found.persistent}
        return {"live": bool(live), "config": bool(config)}
