"""Connections: the way in to one hypervisor on one host."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload

from polyvisor._sources import as_spec
from polyvisor.errors import (
    ConnectionClosed,
    Denied,
    InternalError,
    NotFound,
    PluginUnusable,
    PolyvisorError,
    Unsupported,
)
from polyvisor.handles._host import OnHost

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor._sources import SpecSource as SpecSource
    from polyvisor.config import Config
    from polyvisor.domain import Domain
    from polyvisor.driver import Driver, OpenContext
    from polyvisor.events import AnyEvent, Event
    from polyvisor.jobs import ProgressCallback
    from polyvisor.model import DomainSpec
    from polyvisor.networks import InterfaceCollection, NetworkCollection, NwFilterCollection
    from polyvisor.node_devices import NodeDeviceCollection
    from polyvisor.plugins import Registry
    from polyvisor.secrets import SecretCollection
    from polyvisor.states import DomainSummary
    from polyvisor.storage import StoragePoolCollection
    from polyvisor.support import SupportTable
    from polyvisor.uri import ConnectionUri

__all__ = ["Connection", "DomainCollection", "as_spec", "open", "registry"]

_Part = TypeVar("_Part")

_registries: dict[tuple[Any, ...], Registry] = {}


def registry(config: Config | str | os.PathLike[str] | None = None) -> Registry:
    """Return the plugins that a configuration chooses; loaded once for each choice.

    Args:
        config: a configuration, the path of one, or ``None`` for the one in force.
    """
    plugins = _load_config(config).plugins
    key = (plugins.enable, plugins.disable)
    if key not in _registries:
        from polyvisor.plugins import Registry

        _registries[key] = Registry(only=plugins.enable, disable=plugins.disable)
    return _registries[key]


def open(  # noqa: A001 - the verb that the field uses
    target: str | None = None,
    *,
    readonly: bool = False,
    config: Config | str | os.PathLike[str] | None = None,
) -> Connection:
    """Open a connection.

    Args:
        target: a URI, or the name of a connection in the configuration; ``None`` means
            the configured default, and ``sim:///default`` if there is none.
        readonly: refuse everything that changes something.
        config: a configuration, the path of one, or ``None`` for the one in force.

    Raises:
        ConfigError: the configuration is wrong, or says to the driver what that does not know.
        UriError: no plugin opens such a URI, or it means nothing to its plugin.
        PluginUnusable: the plugin cannot work on this machine; says what to install.
        ConnectError: the hypervisor cannot be reached.
    """
    from polyvisor.driver import OpenContext
    from polyvisor.uri import ConnectionUri

    configuration = _load_config(config)
    chosen = configuration.resolve(target)
    uri = ConnectionUri.parse(chosen.uri)
    plugins = registry(configuration)
    info, plugin = plugins.driver_for(uri.scheme, uri.transport)
    settings: dict[str, Any] = dict(configuration.plugins.settings.get(info.name, {}))
    settings.update(chosen.settings)
    if settings and info.settings is not None:
        from polyvisor._settings import check

        check(configuration, chosen, info, plugin)
    context = OpenContext(hooks=plugins, settings=settings, readonly=readonly, root=chosen.root)
    driver = _open_driver(plugins, uri, context)
    return Connection(
        driver,
        plugin=plugin,
        name=chosen.name,
        readonly=readonly,
        hooks=plugins,
        config=configuration,
    )


def _open_driver(plugins: Registry, uri: ConnectionUri, context: OpenContext) -> Driver:
    info, plugin = plugins.driver_for(uri.scheme, uri.transport)
    factory = plugins.factory(info, plugin)
    try:
        return factory.open(uri, context)
    except PolyvisorError as error:
        if error.plugin is None:
            error.plugin = plugin
        raise
    except Exception as error:
        usability = plugins.probe(info, plugin)
        if not usability.usable:
            remedy = f"; {usability.remedy}" if usability.remedy else ""
            raise PluginUnusable(
                f"cannot open {uri}: {usability.reason}{remedy}", plugin=plugin
            ) from error
        raise InternalError(
            f"cannot open {uri}: plugin {plugin!r} let out {type(error).__name__}: {error}; "
            f"this is a defect of the plugin",
            plugin=plugin,
        ) from error


def _load_config(config: Config | str | os.PathLike[str] | None) -> Config:
    from polyvisor.config import Config, load

    return config if isinstance(config, Config) else load(config)


class _Closed:
    """Stands where the driver was once a connection is closed."""

    def __getattr__(self, name: str) -> Any:
        raise ConnectionClosed("the connection was closed; open it again")


class Connection(OnHost):
    """An open connection; a context manager that closes itself.

    Made by :func:`polyvisor.open`. May be used from several threads.

    Attributes:
        domains: the domains, see :class:`DomainCollection`.
        plugin: name of the plugin behind it.
        name: the connection's name in the configuration, or ``None``.
        readonly: whether changes are refused.
        uri: the canonical URI.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        plugin: str = "",
        name: str | None = None,
        readonly: bool = False,
        hooks: Registry | None = None,
        config: Config | None = None,
    ) -> None:
        self._driver = driver
        self._config = config
        self._hooks = hooks
        self.plugin = plugin
        self.name = name
        self.readonly = readonly
        self.uri: str = driver.uri
        self.domains: DomainCollection = DomainCollection(self)

    def __repr__(self) -> str:
        state = "closed " if self.closed else ""
        return f"<{state}Connection {self.uri}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; domains stay as they are. A second call does nothing."""
        driver = self._driver
        if not isinstance(driver, _Closed):
            self._driver = cast("Driver", _Closed())
            driver.close()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return isinstance(self._driver, _Closed)

    @property
    def support(self) -> SupportTable:
        """What works on this connection, with reasons."""
        return self._driver.support()

    @property
    def driver(self) -> Driver:
        """The driver itself, for what the public API does not cover."""
        return self._driver

    # The families of host objects, imported when one is first asked for.

    @property
    def storage_pools(self) -> StoragePoolCollection:
        """The storage pools."""
        from polyvisor.storage import StoragePoolCollection

        return StoragePoolCollection(self)

    @property
    def networks(self) -> NetworkCollection:
        """The virtual networks."""
        from polyvisor.networks import NetworkCollection

        return NetworkCollection(self)

    @property
    def interfaces(self) -> InterfaceCollection:
        """The host's own network interfaces."""
        from polyvisor.networks import InterfaceCollection

        return InterfaceCollection(self)

    @property
    def node_devices(self) -> NodeDeviceCollection:
        """The host's devices."""
        from polyvisor.node_devices import NodeDeviceCollection

        return NodeDeviceCollection(self)

    @property
    def secrets(self) -> SecretCollection:
        """Passphrases and keys."""
        from polyvisor.secrets import SecretCollection

        return SecretCollection(self)

    @property
    def nwfilters(self) -> NwFilterCollection:
        """Rules for the traffic of domains."""
        from polyvisor.networks import NwFilterCollection

        return NwFilterCollection(self)

    @overload
    def events(self, *, timeout: float | None = ...) -> Iterator[Event]: ...
    @overload
    def events(
        self, *, timeout: float | None = ..., objects: Literal[True]
    ) -> Iterator[AnyEvent]: ...
    def events(self, *, timeout: float | None = None, objects: bool = False) -> Iterator[Any]:
        """Yield what happens on the host from now on, in order, whoever causes it.

        Args:
            timeout: end after this many seconds without an event; ``None``: never.
            objects: yield what happens to networks, pools and the like too, as
                :class:`~polyvisor.events.ObjectEvent`.

        Raises:
            Unsupported: the driver has no events.
        """
        part = self._need(self._driver.events, "events")
        return part.stream(timeout=timeout, objects=objects)

    def _need(self, part: _Part | None, feature: str) -> _Part:
        """Return ``part``, or say from the support table why there is none."""
        if part is None:
            raise self._unsupported(feature)
        return part

    def _unsupported(self, feature: str) -> Unsupported:
        answer = self._driver.support()[feature]
        reason = f": {answer.reason}" if answer.reason else ""
        return Unsupported(
            f"{self.uri}: {feature} is {answer.status}{reason}",
            feature=feature,
            plugin=self.plugin,
        )

    def _checked(self, source: SpecSource, operation: str, validate: bool) -> DomainSpec:
        """Return a definition that breaks no rule; see :mod:`polyvisor.model.check`."""
        from polyvisor.model import DomainSpec
        from polyvisor.model.check import RULES, ensure

        if validate:
            from polyvisor.model.paths import with_absolute_paths
            from polyvisor.model.schemas import ensure_valid

            given = source.to_xml() if isinstance(source, DomainSpec) else source
            ensure_valid(
                with_absolute_paths(given), folder=_load_config(None).schemas, operation=operation
            )
        spec = as_spec(source)
        rules = RULES if self._hooks is None else self._hooks.check_rules()
        text = None if isinstance(source, DomainSpec) else source
        ensure(spec, rules=rules, source=text, operation=operation)
        return spec

    def _check_writable(self, operation: str) -> None:
        if self.readonly:
            raise Denied(
                f"{operation}: the connection to {self.uri} is read-only; open it for writing",
                operation=operation,
            )


class DomainCollection(Mapping["str | int | UUID", "Domain"]):
    """The domains of a connection.

    Iterating gives :class:`~polyvisor.domain.Domain` handles. An index is a name, a
    UUID (as text too), or the number of an active domain.
    """

    def __init__(self, connection: Connection) -> None:
        from polyvisor.domain import Domain

        self._connection = connection
        self._handle = Domain

    def __iter__(self) -> Iterator[Domain]:  # type: ignore[override]
        return iter(self.list())

    def __len__(self) -> int:
        return len(self._connection._driver.domains.list())

    def __contains__(self, key: object) -> bool:
        return self.get(key) is not None  # type: ignore[arg-type]

    def __getitem__(self, key: str | int | UUID) -> Domain:
        """Return the domain that ``key`` names.

        Raises:
            NotFound: there is none (not a ``KeyError``: it says more).
        """
        connection = self._connection
        domains = connection._driver.domains
        if isinstance(key, str):
            try:
                return self._handle(connection, domains.by_name(key))
            except NotFound:
                uuid = _parse_uuid(key)
                if uuid is None or not domains.exists(uuid):
                    raise
                return self._handle(connection, uuid)
        if isinstance(key, int):
            return self._handle(connection, domains.by_id(key))
        if not domains.exists(key):
            raise NotFound(f"no domain with UUID {key}", key=str(key))
        return self._handle(connection, key)

    def get(self, key: str | int | UUID, default: Any = None) -> Any:
        """Return the domain that ``key`` names, or ``default``."""
        try:
            return self[key]
        except NotFound:
            return default

    def find(self, text: str) -> Domain:
        """Return the domain that a person means by ``text``: number, UUID or name.

        The order is virsh's.

        Raises:
            NotFound: none of them.
        """
        if text.isascii() and text.isdigit():
            domain = self.get(int(text))
            if domain is not None:
                return cast("Domain", domain)
        uuid = _parse_uuid(text)
        if uuid is not None and self._connection._driver.domains.exists(uuid):
            return self._handle(self._connection, uuid)
        return self[text]

    def list(self, *, active: bool = True, inactive: bool = True) -> builtins.list[Domain]:
        """Return handles of all domains of the wanted kinds, in no fixed order."""
        connection, handle = self._connection, self._handle
        found = connection._driver.domains.list(active=active, inactive=inactive)
        return [handle(connection, uuid) for uuid in found]

    def summaries(self, *, active: bool = True, inactive: bool = True) -> Sequence[DomainSummary]:
        """Return one line of facts for each domain of the wanted kinds, ordered by name.

        Much cheaper than asking each handle.
        """
        return self._connection._driver.domains.summaries(active=active, inactive=inactive)

    def stats(
        self,
        *,
        active: bool = True,
        inactive: bool = True,
        groups: Iterable[str] | None = None,
        backing: bool = False,
    ) -> Sequence[tuple[DomainSummary, dict[str, Any]]]:
        """Return each domain of the wanted kinds with its figures, ordered by name.

        The figures are those of :meth:`Domain.stats`, much cheaper than asking each handle:
        all are asked at once.

        Args:
            active: those that are active.
            inactive: the others.
            groups: see :meth:`Domain.stats`.
            backing: see there.
        """
        chosen = None if groups is None else frozenset(groups)
        return self._connection._driver.domains.all_stats(
            active=active, inactive=inactive, groups=chosen, backing=backing
        )

    def build(self, *, name: str, memory: int | str, **words: Any) -> DomainSpec:
        """Return a definition for this host made of a few words; it is not defined yet.

        Args:
            name: its name.
            memory: bytes, or text such as ``"2 GiB"``.
            words: as for :meth:`polyvisor.model.DomainSpec.build`; without ``type`` and
                ``arch`` it is for the best that the host has, and plugins' defaults count.

        Raises:
            SchemaError: a value is not allowed; names it.
            InvalidArgument: there is no such field, or no such device.
        """
        from polyvisor.model import DomainSpec

        connection = self._connection
        if "type" not in words or "arch" not in words:
            host = connection.host
            scheme = str(connection.uri).partition(":")[0].partition("+")[0]
            best = host.accelerators[0] if host.accelerators else scheme
            words.setdefault("type", {"tcg": "qemu"}.get(best, best))
            words.setdefault("arch", host.architecture or None)
        if connection._hooks is not None:
            words.setdefault("layers", connection._hooks.build_defaults())
        return DomainSpec.build(name=name, memory=memory, **words)

    def define(self, source: SpecSource, *, validate: bool = False) -> Domain:
        """Keep a definition as a persistent domain, or give an old one a new definition.

        Args:
            source: a :class:`~polyvisor.model.DomainSpec`, XML as ``str`` or ``bytes``,
                or a path; relative paths in that file count from its folder.
            validate: hold it against libvirt's RELAX NG schema first.

        Raises:
            SpecError: the definition is wrong, or this hypervisor cannot run it; a
                ``SemanticError`` tells in ``findings`` of all that is wrong.
            AlreadyExists: the name belongs to another domain.
        """
        self._connection._check_writable("define")
        spec = self._connection._checked(source, "define", validate)
        uuid = self._connection._driver.domains.define(spec)
        return self._handle(self._connection, uuid)

    def create(
        self,
        source: SpecSource,
        *,
        paused: bool = False,
        autodestroy: bool = False,
        validate: bool = False,
    ) -> Domain:
        """Start a transient domain, which is forgotten when it stops.

        Args:
            source: as for :meth:`define`.
            paused: leave its vCPUs stopped.
            autodestroy: destroy it when this connection closes.
            validate: as for :meth:`define`.
        """
        from polyvisor.driver import DomainOptions

        self._connection._check_writable("create")
        options = DomainOptions(paused=paused, autodestroy=autodestroy)
        spec = self._connection._checked(source, "create", validate)
        uuid = self._connection._driver.domains.create(spec, options)
        return self._handle(self._connection, uuid)

    def restore(
        self,
        path: str | os.PathLike[str],
        *,
        spec: SpecSource | None = None,
        paused: bool | None = None,
        bypass_cache: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Domain:
        """Start the domain saved in an image; the image stays.

        Args:
            path: the image.
            spec: a changed definition to restore with; must be ABI-compatible.
            paused: whether it is to be paused then; ``None``: as when it was saved.
            bypass_cache: read the image past the host's cache, which it would fill.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.

        Raises:
            SaveImageError: it is no image that this connection can restore.
            AlreadyExists: the domain is active already.
        """
        from polyvisor.driver import SaveOptions
        from polyvisor.jobs import Job

        connection = self._connection
        connection._check_writable("restore")
        save = connection._need(connection._driver.save, "save.file")
        options = SaveOptions(
            paused=paused,
            spec=None if spec is None else as_spec(spec),
            bypass_cache=bypass_cache,
        )
        with Job("restore", progress) as job:
            return self._handle(connection, save.restore(os.fspath(path), options, job))


def _parse_uuid(text: str) -> UUID | None:
    from uuid import UUID

    try:
        return UUID(text)
    except ValueError:
        return None
