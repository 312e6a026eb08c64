"""QEMU with guests that change as they run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from polyvisor.errors import HypervisorError, Unsupported
from polyvisor.local import ChangesGuests, TunesGuests
from polyvisor_qemu.hypervisor import QemuHypervisor

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec

__all__ = ["ChangingQemu"]


class ChangingQemu(QemuHypervisor, ChangesGuests, TunesGuests):
    """Plugs devices in and out, changes media, vCPUs and the balloon; weighs and places guests."""

    tunable = ("schedinfo", "memtune", "blkiotune", "numatune", "blkdeviotune", "domiftune")

    def attach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> Any:
        """See :func:`polyvisor_qemu.hotplug.attach`."""
        from polyvisor_qemu.hotplug import attach

        if kind == "interfaces" and device.backend is not None and device.backend.type == "passt":
            raise Unsupported(
                f"attach a device to {guest.name!r}: passt must be there when the guest starts",
                feature="devices.attach",
                domain=guest.name,
            )
        device = self._with_image(guest, kind, device)
        self._let_open(guest, kind, device)
        try:
            return attach(self, guest, kind, device, spec)
        except BaseException:
            self._close(guest, kind, device, guest.spec)
            raise

    def _with_image(self, guest: Guest, kind: str, device: Any) -> Any:
        """Return a disk with the file of its volume; one that is transient must be there first."""
        if kind != "disks" or (device.type != "volume" and device.transient is None):
            return device
        if device.transient is not None:
            raise Unsupported(
                f"attach a device to {guest.name!r}: a transient disk must be there when the "
                f"guest starts",
                feature="devices.attach",
                domain=guest.name,
            )
        from polyvisor_qemu.settling import volume_found

        return volume_found(guest.spec, device, self.volume)

    def before_plugging(self, guest: Guest) -> dict[str, Any]:
        """See :func:`polyvisor_qemu.unplugging.seen`."""
        from polyvisor_qemu.unplugging import seen

        with self.monitor(guest) as monitor:
            return seen(monitor)

    def _let_open(self, guest: Guest, kind: str, device: Any) -> None:
        if self.owning is not None:
            from polyvisor_qemu.owning import files_of

            for path in files_of(kind, device):
                self.owning.give(guest.uuid, path)

    def _close(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> None:
        """Take files that a device used back, unless another one uses them."""
        if self.owning is not None:
            from polyvisor_qemu.owning import files_of, files_of_guest

            used = {os.path.realpath(path) for path in files_of_guest(spec)}
            gone = {os.path.realpath(path) for path in files_of(kind, device)} - used
            if gone:
                self.owning.give_back(guest.uuid, gone)

    def detach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> None:
        """See :func:`polyvisor_qemu.unplugging.detach`."""
        from polyvisor_qemu.unplugging import detach

        detach(self, guest, kind, device)
        self._close(guest, kind, device, spec)

    def update_device(self, guest: Guest, kind: str, old: Any, new: Any, spec: DomainSpec) -> Any:
        """See :func:`polyvisor_qemu.updates.update`."""
        from polyvisor_qemu.updates import update

        new = self._with_image(guest, kind, new)
        self._let_open(guest, kind, new)
        got = update(self, guest, kind, old, new)
        self._close(guest, kind, old, spec)
        return got

    def device_alias(self, guest: Guest, kind: str, device: Any) -> str | None:
        """Return QEMU's name of a device."""
        from polyvisor_qemu.plugged import Plugged

        with suppress(HypervisorError):
            return Plugged(guest).name(kind, device)
        return None

    def as_it_is(self, guest: Guest) -> tuple[DomainSpec, Sequence[tuple[str, Any]]] | None:
        """See :func:`polyvisor_qemu.unplugging.departed`; sizes of memory modules change too."""
        sized = any(one.model == "virtio-mem" for one in guest.spec.devices.memories)
        if not sized and not guest.runtime.get("leaving"):
            return None
        from polyvisor_qemu.modules import as_they_are
        from polyvisor_qemu.unplugging import departed

        before = guest.spec
        spec, gone = departed(self, guest)
        if sized:
            with self.monitor(guest) as monitor:
                spec = as_they_are(guest, monitor, spec)
        for kind, device in gone:
            self._close(guest, kind, device, spec)
        return (spec, gone) if gone or spec != before else None

    def set_lifecycle_action(self, guest: Guest, event: str, spec: DomainSpec) -> None:
        """Tell QEMU (``set-action``); what it is to do for a reboot that is under way stays."""
        from polyvisor_qemu.cmdline.machine import action_words
        from polyvisor_qemu.hotplug import refused
        from polyvisor_qemu.powering import pending

        key = {"poweroff": "shutdown", "reboot": "reboot", "crash": "panic"}[event]
        words = action_words(spec)
        if key not in words or (key == "shutdown" and pending(guest)):
            return
        with refused(guest, "set lifecycle action"), self.monitor(guest) as monitor:
            monitor.execute("set-action", **cast("Any", {key: words[key]}))

    def check_lifecycle(self, spec: DomainSpec) -> None:
        """Refuse what QEMU does not do of itself."""
        from polyvisor_qemu.cmdline.machine import action_words

        action_words(spec)

    def set_vcpus(self, guest: Guest, count: int) -> None:
        """See :func:`polyvisor_qemu.vcpus.set_count`."""
        from polyvisor_qemu.vcpus import set_count

        set_count(self, guest, count)
        self._place_vcpus(guest)

    def vcpus(self, guest: Guest) -> Sequence[tuple[bool, bool]]:
        """See :func:`polyvisor_qemu.vcpus.there`."""
        from polyvisor_qemu.vcpus import there

        with self.monitor(guest) as monitor:
            return there(monitor)

    def enable_vcpu(self, guest: Guest, number: int, enabled: bool) -> None:
        """See :func:`polyvisor_qemu.vcpus.enable`."""
        from polyvisor_qemu.vcpus import enable

        enable(self, guest, number, enabled)
        self._place_vcpus(guest)

    def _place_vcpus(self, guest: Guest) -> None:
        spec = guest.spec
        if spec.cputune or (spec.vcpu and spec.vcpu.cpuset):
            from polyvisor_qemu.placing import place

            with self.monitor(guest) as monitor:
                place(guest, spec, monitor)

    def set_memory_stats_period(self, guest: Guest, seconds: int) -> None:
        """Have the balloon ask its guest so often (``guest-stats-polling-interval``)."""
        from polyvisor_qemu.cmdline.others import polling
        from polyvisor_qemu.hotplug import refused

        balloon = guest.spec.devices.memballoon
        name = (balloon and balloon.alias) or "balloon0"
        what = "set a period of memory's figures"
        with refused(guest, what), self.monitor(guest) as monitor:
            monitor.execute("qom-set", **polling(name, seconds))

    def add_iothread(self, guest: Guest, number: int, spec: DomainSpec) -> None:
        """See :func:`polyvisor_qemu.iothreads.add`."""
        from polyvisor_qemu.iothreads import add

        add(self, guest, number, spec)

    def remove_iothread(self, guest: Guest, number: int) -> None:
        """See :func:`polyvisor_qemu.iothreads.remove`."""
        from polyvisor_qemu.iothreads import remove

        remove(self, guest, number)

    def set_iothread(self, guest: Guest, number: int, values: Mapping[str, int]) -> None:
        """See :func:`polyvisor_qemu.iothreads.set_values`."""
        from polyvisor_qemu.iothreads import set_values

        set_values(self, guest, number, values)

    def tune(
        self, guest: Guest, group: str, values: Mapping[str, int | str], device: Any | None
    ) -> None:
        """See :func:`polyvisor_qemu.placing.tune`, of interfaces :mod:`polyvisor_qemu.shaping`."""
        if group == "domiftune":
            from polyvisor_qemu.shaping import change

            assert device is not None
            change(guest, device, values, self.settings.get("ovs_timeout", 5))
            return
        from polyvisor_qemu.placing import tune

        tune(self, guest, group, values, device)

    def pin(self, guest: Guest, which: int | str, cpus: AbstractSet[int]) -> None:
        """See :func:`polyvisor_qemu.placing.pin`."""
        from polyvisor_qemu.placing import pin

        pin(self, guest, which, cpus)

    def set_memory(self, guest: Guest, size: int) -> None:
        """Set the target of the guest's balloon, which it reaches as fast as it likes."""
        from polyvisor_qemu.hotplug import refused

        with refused(guest, "set memory"), self.monitor(guest) as monitor:
            monitor.execute("balloon", value=size)
