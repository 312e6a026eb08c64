"""The registry of plugins: found through entry points, loaded one by one, kept apart.

A plugin is a module (or object) that an entry point of the group ``polyvisor`` names.
It states the version of the plugin interface that it was written for in an attribute
``polyvisor_api`` and has hook implementations (:mod:`polyvisor.hookspecs`).

Whatever one plugin does wrong is recorded against its name, and the others work on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor import _entrypoints, hookspecs
from polyvisor._loading import PROBE_SECONDS, Manager, ask, describe, load_object
from polyvisor.errors import Denied, PluginError, PluginUnusable, UriError, Vetoed

if TYPE_CHECKING:
    from polyvisor.driver import Driver, DriverInfo, Usability
    from polyvisor.events import Event
    from polyvisor.model import DomainSpec
    from polyvisor.model.build import Defaults
    from polyvisor.model.check import Problem, Rule
    from polyvisor.native import NativeInfo
    from polyvisor.saveimage import FormatInfo

__all__ = [
    "API_VERSION",
    "GROUP",
    "OLDEST_API_VERSION",
    "PROBE_SECONDS",
    "PluginState",
    "PluginStatus",
    "Registry",
    "load_object",
]

#: Entry point group.
GROUP = "polyvisor"
#: Version of the plugin interface that this release offers.
API_VERSION = 1
#: Oldest version that it still serves.
OLDEST_API_VERSION = 1

# Hooks that the registry calls one by one, so that each sees what the one before made of
# it and each failure has a name.
_CHAINED = ("polyvisor_domain_starting", "polyvisor_event", "polyvisor_migration_phase")


class PluginState(StrEnum):
    """What became of a plugin."""

    LOADED = "loaded"
    DISABLED = "disabled"
    BROKEN = "broken"


@attrs.define
class PluginStatus:
    """What is known of one plugin.

    Attributes:
        name: the entry point's name.
        target: what the entry point refers to.
        distribution: the distribution that installed it.
        version: that distribution's version.
        state: what became of it.
        faults: what went wrong, in words; may be non-empty for a loaded plugin.
        drivers: the drivers it announced and that are in force.
        formats: the save image formats it announced and that are in force.
        native_formats: the same for formats of foreign configurations.
        plugin: the module or object itself, once loaded.
    """

    name: str
    target: str
    distribution: str = ""
    version: str = ""
    state: PluginState = PluginState.LOADED
    faults: list[str] = attrs.field(factory=list)
    drivers: list[DriverInfo] = attrs.field(factory=list)
    formats: list[FormatInfo] = attrs.field(factory=list)
    native_formats: list[NativeInfo] = attrs.field(factory=list)
    plugin: object | None = attrs.field(default=None, repr=False)

    def unmet(self, complaint: str = "") -> list[str]:
        """Return what its distribution requires and is not installed here, with what to do.

        Reads what is installed, which takes some ten milliseconds.

        Args:
            complaint: what went wrong beside ``faults``, such as a probe's reason; extras that
                would have what it speaks of are named too.
        """
        if not self.distribution:
            return []
        from polyvisor._requirements import unmet

        return unmet(self.distribution, self.name, "; ".join([*self.faults, complaint]))


class Registry:
    """The plugins of one configuration.

    Args:
        only: names to load; ``None`` means all.
        disable: names to leave out.
        points: entry points instead of those installed, for tests.
    """

    def __init__(
        self,
        *,
        only: Iterable[str] | None = None,
        disable: Iterable[str] = (),
        points: Iterable[_entrypoints.EntryPoint] | None = None,
    ) -> None:
        self._manager = Manager("polyvisor")
        self._manager.add_hookspecs(hookspecs)
        self._statuses: dict[str, PluginStatus] = {}
        self._schemes: dict[str, tuple[DriverInfo, PluginStatus]] = {}
        self._transports: dict[str, tuple[DriverInfo, PluginStatus]] = {}
        self._formats: dict[str, tuple[FormatInfo, PluginStatus]] = {}
        self._native_formats: dict[str, tuple[NativeInfo, PluginStatus]] = {}
        self._unasked: list[PluginStatus] = []
        self._asking = threading.RLock()
        self._rules: tuple[Rule, ...] | None = None
        chosen = None if only is None else set(only)
        refused = set(disable)
        found = _entrypoints.find(GROUP) if points is None else list(points)
        # Our own come first, so that they keep their schemes; then by name.
        found.sort(key=lambda point: (point.distribution != "polyvisor", point.name))
        for point in found:
            status = self._new_status(point)
            if point.name in refused or (chosen is not None and point.name not in chosen):
                status.state = PluginState.DISABLED
                continue
            try:
                plugin = load_object(point.value, point.name)
            except PluginError as error:
                self._break(status, error.message)
                continue
            self._take_in(status, plugin)
        self._bind_hooks()

    def register(self, plugin: object, name: str) -> PluginStatus:
        """Add a plugin that no entry point names, such as one defined in a script.

        Returns:
            Its status; look at ``faults``.
        """
        status = self._new_status(_entrypoints.EntryPoint(name, "", "", ""))
        self._take_in(status, plugin)
        self._bind_hooks()
        self._ask_formats()
        return status

    # Asking

    @property
    def statuses(self) -> Mapping[str, PluginStatus]:
        """All plugins by name, whatever became of them."""
        self._ask_formats()
        return self._statuses

    @property
    def schemes(self) -> Mapping[str, DriverInfo]:
        """The driver that opens each scheme."""
        return {scheme: info for scheme, (info, _) in self._schemes.items()}

    @property
    def formats(self) -> Mapping[str, FormatInfo]:
        """The save image formats by name."""
        self._ask_formats()
        return {name: info for name, (info, _) in self._formats.items()}

    @property
    def native_formats(self) -> Mapping[str, NativeInfo]:
        """The formats of foreign configurations by name."""
        self._ask_formats()
        return {name: info for name, (info, _) in self._native_formats.items()}

    def driver_for(self, scheme: str, transport: str | None = None) -> tuple[DriverInfo, str]:
        """Return the driver that opens ``scheme``, and its plugin's name.

        Args:
            scheme: a URI's scheme.
            transport: what stands after its ``+``; whoever opens that opens every scheme.

        Raises:
            UriError: no plugin claims the scheme or the transport; names the known ones, and
                the broken or disabled plugin that would perhaps have claimed it.
        """
        entry = self._schemes.get(scheme) if transport is None else self._transports.get(transport)
        if entry is not None:
            return entry[0], entry[1].name
        if transport is not None:
            known = ", ".join(sorted(self._transports)) or "none"
            raise UriError(f"no plugin opens +{transport} (known transports: {known})")
        for status in self._statuses.values():
            if status.name == scheme and status.state is not PluginState.LOADED:
                why = "; ".join(status.faults) or "it is disabled by configuration"
                if status.state is PluginState.BROKEN:
                    why = "; ".join([why, *status.unmet()])
                raise UriError(
                    f"no driver for {scheme!r}: plugin {status.name!r} is {status.state}: {why}"
                )
        from difflib import get_close_matches

        near = get_close_matches(scheme, self._schemes, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(sorted(self._schemes)) or "none"
        raise UriError(f"no plugin opens {scheme!r}{hint} (known schemes: {known})")

    def probe(self, info: DriverInfo, plugin: str, *, timeout: float = PROBE_SECONDS) -> Usability:
        """Ask a driver's probe whether it can work on this machine.

        Args:
            info: the driver.
            plugin: whose it is.
            timeout: seconds after which one that has not answered counts as not usable.
        """
        from polyvisor.driver import Usability

        if info.probe is None:
            return Usability(True)
        return ask(info.probe, plugin, timeout)

    def factory(self, info: DriverInfo, plugin: str) -> type[Driver]:
        """Import a driver's class.

        Raises:
            PluginUnusable: it cannot be imported and its probe says why.
            PluginError: it cannot be imported, or is no driver of our API version.
        """
        from polyvisor.driver import Driver

        try:
            found = load_object(info.factory, plugin)
        except PluginError as error:
            usability = self.probe(info, plugin)
            status = self._statuses.get(plugin)
            unmet = [] if status is None else status.unmet(f"{error.message}; {usability.reason}")
            if usability.usable:
                if not unmet:
                    raise
                raise PluginError("; ".join([error.message, *unmet]), plugin=plugin) from error
            words = [usability.reason, *([usability.remedy] if usability.remedy else []), *unmet]
            raise PluginUnusable(
                f"plugin {plugin!r} cannot work here: {'; '.join(words)}", plugin=plugin
            ) from error
        if not (isinstance(found, type) and issubclass(found, Driver)):
            raise PluginError(
                f"plugin {plugin!r}: {info.factory} is not a polyvisor.driver.Driver",
                plugin=plugin,
            )
        self._check_api(found.api_version, plugin)
        return found

    def commands(self) -> list[Any]:
        """Return the commands that plugins add to the command line."""
        return self._collect(self._manager.hook.polyvisor_commands, self._statuses_by_plugin())

    def check_rules(self) -> tuple[Rule, ...]:
        """Return all rules that definitions are checked by: polyvisor's own, then plugins'.

        A rule of a plugin that raises refuses the definition with a ``PluginError``, since it
        may be there to enforce a policy.
        """
        if self._rules is None:
            from polyvisor.model.check import RULES

            statuses = self._statuses_by_plugin()
            named = self._collect_by_plugin(self._manager.hook.polyvisor_check_rules, statuses)
            self._rules = (*RULES, *(_guarded(rule, plugin) for plugin, rule in named))
        return self._rules

    def build_defaults(self) -> tuple[Defaults, ...]:
        """Return the layers of defaults that definitions are built with, plugins' last."""
        from polyvisor.model.build import LAYERS

        hook = self._manager.hook.polyvisor_build_defaults
        return (*LAYERS, *self._collect(hook, self._statuses_by_plugin()))

    # Steering and watching

    def domain_starting(self, uri: str, spec: DomainSpec) -> DomainSpec:
        """See :class:`polyvisor.driver.Hooks`.

        A hook that raises anything but ``Vetoed`` refuses the start too, since it may
        be there to enforce a policy; the error names its plugin.
        """
        for impl in self._starting:
            arguments = {"uri": uri, "spec": spec}
            try:
                changed: Any = impl.function(*[arguments[name] for name in impl.argnames])
            except Vetoed as veto:
                _sign(veto, impl.plugin_name, spec, "start")
                raise
            except Exception as error:
                raise PluginError(
                    f"start {spec.name!r}: hook polyvisor_domain_starting of plugin "
                    f"{impl.plugin_name!r} failed: {describe(error)}; disable the plugin "
                    f"to go on without it",
                    plugin=impl.plugin_name,
                    domain=spec.name,
                    operation="start",
                ) from error
            if changed is not None:
                spec = changed
        return spec

    def event(self, uri: str, event: Event) -> None:
        """See :class:`polyvisor.driver.Hooks`."""
        for impl in self._watching:
            arguments = {"uri": uri, "event": event}
            try:
                impl.function(*[arguments[name] for name in impl.argnames])
            except Exception as error:  # noqa: BLE001 - a watcher must not stop the watched
                self._blame(impl.plugin_name, f"hook polyvisor_event failed: {describe(error)}")

    def migration_phase(
        self, phase: str, side: str, uri: str, spec: DomainSpec, facts: dict[str, Any]
    ) -> None:
        """Tell hooks that a migration phase is about to begin on one side.

        Raises:
            Vetoed: a hook refused.
            PluginError: a hook failed, which stops the migration too.
        """
        for impl in self._migrating:
            arguments = {"phase": phase, "side": side, "uri": uri, "spec": spec, "facts": facts}
            try:
                impl.function(*[arguments[name] for name in impl.argnames])
            except Vetoed as veto:
                _sign(veto, impl.plugin_name, spec, "migrate")
                raise
            except Exception as error:
                raise PluginError(
                    f"migrate {spec.name!r}: hook polyvisor_migration_phase of plugin "
                    f"{impl.plugin_name!r} failed in {phase} on the {side}: {describe(error)}; "
                    f"the domain is on the source as before; disable the plugin to go on "
                    f"without it",
                    plugin=impl.plugin_name,
                    domain=spec.name,
                    operation="migrate",
                ) from error

    @property
    def guards_remote_calls(self) -> bool:
        """Whether any plugin wants to be asked about what remote clients call."""
        return bool(self._guarding)

    def remote_call(
        self, user: str | None, procedure: str, permissions: tuple[str, ...], arguments: Any
    ) -> None:
        """Ask hooks whether a remote client may call a procedure.

        Raises:
            Denied: a hook refused, or failed, since it may be there to enforce a policy.
        """
        for impl in self._guarding:
            facts = {
                "user": user,
                "procedure": procedure,
                "permissions": permissions,
                "arguments": arguments,
            }
            try:
                impl.function(*[facts[name] for name in impl.argnames])
            except Denied as denied:
                if denied.plugin is None:
                    denied.plugin = impl.plugin_name
                raise
            except Exception as error:
                fault = f"hook polyvisor_remote_call failed: {describe(error)}"
                self._blame(impl.plugin_name, fault)
                raise Denied(
                    f"{procedure}: {fault} in plugin {impl.plugin_name!r}, so that nobody may; "
                    f"disable the plugin to go on without it",
                    plugin=impl.plugin_name,
                    operation=procedure,
                ) from error

    # Taking plugins in

    def _new_status(self, point: _entrypoints.EntryPoint) -> PluginStatus:
        name = point.name
        if name in self._statuses:
            name = f"{point.name} ({point.distribution or 'registered again'})"
        status = PluginStatus(name, point.value, point.distribution, point.version)
        self._statuses[name] = status
        return status

    def _take_in(self, status: PluginStatus, plugin: object) -> None:
        try:
            self._check_api(getattr(plugin, "polyvisor_api", None), status.name)
            names = [name for name in dir(plugin) if name.startswith("polyvisor_")]
            for name in _CHAINED:
                if name not in names:
                    continue
                options = self._manager.parse_hookimpl_opts(plugin, name)
                if options and (options.get("wrapper") or options.get("hookwrapper")):
                    raise PluginError(
                        f"plugin {status.name!r}: {name} cannot be a wrapper",
                        plugin=status.name,
                    )
            self._manager.register(plugin, status.name)
        except PluginError as error:
            self._break(status, error.message)
            return
        except Exception as error:  # noqa: BLE001 - pluggy's complaints about its hooks
            if self._manager.has_plugin(status.name):
                self._manager.unregister(name=status.name)
            self._break(status, describe(error))
            return
        unknown = [
            name
            for name in names
            if not hasattr(hookspecs, name) and self._manager.parse_hookimpl_opts(plugin, name)
        ]
        if unknown:
            self._manager.unregister(plugin)
            self._break(status, f"it implements unknown hooks: {', '.join(unknown)}")
            return
        status.plugin = plugin
        for info in self._collect(self._manager.hook.polyvisor_drivers, {status.name: status}):
            self._claim(status, info)
        self._unasked.append(status)

    def _ask_formats(self) -> None:
        """Collect the formats of plugins that were not asked yet; most commands need none."""
        with self._asking:
            while self._unasked:
                self._take_formats(self._unasked.pop(0))

    def _take_formats(self, status: PluginStatus) -> None:
        hook = self._manager.hook
        by_plugin = {status.name: status}
        for announced in self._collect(hook.polyvisor_save_formats, by_plugin):
            if announced.name in self._formats:
                owner = self._formats[announced.name][1].name
                status.faults.append(
                    f"save format {announced.name!r} already belongs to plugin {owner!r}"
                )
            else:
                self._formats[announced.name] = (announced, status)
                status.formats.append(announced)
        for native in self._collect(hook.polyvisor_native_formats, by_plugin):
            if native.name in self._native_formats:
                owner = self._native_formats[native.name][1].name
                status.faults.append(
                    f"configuration format {native.name!r} already belongs to plugin {owner!r}"
                )
            else:
                self._native_formats[native.name] = (native, status)
                status.native_formats.append(native)

    def _claim(self, status: PluginStatus, info: DriverInfo) -> None:
        def free(what: str, names: tuple[str, ...], claimed: Mapping[str, Any]) -> tuple[str, ...]:
            for name in names:
                if name in claimed:
                    owner = claimed[name][1].name
                    status.faults.append(
                        f"{what} {name!r} already belongs to plugin {owner!r}; "
                        f"disable one of the two"
                    )
            return tuple(name for name in names if name not in claimed)

        schemes = free("scheme", info.schemes, self._schemes)
        transports = free("transport", info.transports, self._transports)
        if schemes or transports:
            if (schemes, transports) != (info.schemes, info.transports):
                info = attrs.evolve(info, schemes=schemes, transports=transports)
            status.drivers.append(info)
            self._schemes.update(dict.fromkeys(schemes, (info, status)))
            self._transports.update(dict.fromkeys(transports, (info, status)))

    def _collect(self, hook: Any, statuses: Mapping[str, PluginStatus]) -> list[Any]:
        return [item for _, item in self._collect_by_plugin(hook, statuses)]

    def _collect_by_plugin(
        self, hook: Any, statuses: Mapping[str, PluginStatus]
    ) -> list[tuple[str, Any]]:
        """Call a hook plugin by plugin, so that one that raises loses only its own."""
        collected: list[tuple[str, Any]] = []
        for impl in hook.get_hookimpls():
            status = statuses.get(impl.plugin_name)
            if status is None:
                continue
            try:
                collected.extend((impl.plugin_name, item) for item in impl.function() or ())
            except Exception as error:  # noqa: BLE001 - a foreign hook may raise anything
                self._break(status, f"hook {hook.name} failed: {describe(error)}")
        return collected

    def _bind_hooks(self) -> None:
        hook = self._manager.hook
        self._starting = hook.polyvisor_domain_starting.get_hookimpls()[::-1]
        self._watching = hook.polyvisor_event.get_hookimpls()[::-1]
        self._rules = None
        self._migrating = hook.polyvisor_migration_phase.get_hookimpls()[::-1]
        self._guarding = hook.polyvisor_remote_call.get_hookimpls()[::-1]

    def _statuses_by_plugin(self) -> dict[str, PluginStatus]:
        return {
            name: status
            for name, status in self._statuses.items()
            if status.state is PluginState.LOADED
        }

    def _check_api(self, version: object, plugin: str) -> None:
        if not isinstance(version, int) or isinstance(version, bool):
            raise PluginError(
                f"plugin {plugin!r} does not state the plugin API version it was written for; "
                f"it needs 'polyvisor_api = {API_VERSION}'",
                plugin=plugin,
            )
        if version > API_VERSION:
            raise PluginError(
                f"plugin {plugin!r} was written for plugin API {version}, this polyvisor offers "
                f"{OLDEST_API_VERSION} to {API_VERSION}; upgrade polyvisor",
                plugin=plugin,
            )
        if version < OLDEST_API_VERSION:
            raise PluginError(
                f"plugin {plugin!r} was written for plugin API {version}, this polyvisor offers "
                f"{OLDEST_API_VERSION} to {API_VERSION}; upgrade the plugin",
                plugin=plugin,
            )

    def _break(self, status: PluginStatus, fault: str) -> None:
        status.state = PluginState.BROKEN
        status.faults.append(fault)

    def _blame(self, name: str, fault: str) -> None:
        status = self._statuses.get(name)
        if status is not None and fault not in status.faults:
            status.faults.append(fault)
        import logging

        logging.getLogger("polyvisor.plugins").warning("plugin %r: %s", name, fault)


def _sign(veto: Vetoed, plugin: str, spec: DomainSpec, operation: str) -> None:
    """Say in a veto whose it is and what it refused, where the hook did not."""
    veto.plugin = veto.plugin or plugin
    veto.domain = veto.domain or spec.name
    veto.operation = veto.operation or operation


def _guarded(rule: Rule, plugin: str) -> Rule:
    """Return a rule of a plugin that names it when it fails."""

    def check(spec: DomainSpec) -> list[Problem]:
        try:
            return list(rule.check(spec))
        except Exception as error:
            raise PluginError(
                f"check {spec.name!r}: rule {rule.name!r} of plugin {plugin!r} failed: "
                f"{describe(error)}; disable the plugin to go on without it",
                plugin=plugin,
                domain=spec.name,
                operation="check",
            ) from error

    return attrs.evolve(rule, check=check)
