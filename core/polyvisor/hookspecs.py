"""The hooks that a plugin may implement; mark implementations with ``polyvisor.hookimpl``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from polyvisor.driver import DriverInfo
    from polyvisor.events import Event
    from polyvisor.model import DomainSpec
    from polyvisor.model.build import Defaults
    from polyvisor.model.check import Rule
    from polyvisor.native import NativeInfo
    from polyvisor.saveimage import FormatInfo

__all__ = [
    "hookimpl",
    "hookspec",
    "polyvisor_build_defaults",
    "polyvisor_check_rules",
    "polyvisor_commands",
    "polyvisor_domain_starting",
    "polyvisor_drivers",
    "polyvisor_event",
    "polyvisor_migration_phase",
    "polyvisor_native_formats",
    "polyvisor_remote_call",
    "polyvisor_save_formats",
]

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker("polyvisor")
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker("polyvisor")


@hookspec
def polyvisor_drivers() -> Sequence[DriverInfo]:
    """Announce drivers; called once, must not import them."""
    raise AssertionError  # a specification is never called


@hookspec
def polyvisor_save_formats() -> Sequence[FormatInfo]:
    """Announce save image formats; called once, must not import them."""
    raise AssertionError


@hookspec
def polyvisor_native_formats() -> Sequence[NativeInfo]:
    """Announce formats of foreign configurations; called once, must not import them."""
    raise AssertionError


@hookspec
def polyvisor_commands() -> Sequence[click.Command]:
    """Add commands to the ``polyvisor`` command line."""
    raise AssertionError


@hookspec
def polyvisor_domain_starting(uri: str, spec: DomainSpec) -> DomainSpec | None:
    """Before a domain starts: return a changed definition or ``None``, or raise ``Vetoed``."""
    raise AssertionError


@hookspec
def polyvisor_event(uri: str, event: Event) -> None:
    """See each event that this process causes or listens to."""
    raise AssertionError


@hookspec
def polyvisor_migration_phase(
    phase: str, side: str, uri: str, spec: DomainSpec, facts: dict[str, Any]
) -> None:
    """Before each migration phase on either side: look, or raise ``Vetoed`` to stop it."""
    raise AssertionError


@hookspec
def polyvisor_check_rules() -> Sequence[Rule]:
    """Announce rules that definitions are checked by, beside polyvisor's own."""
    raise AssertionError


@hookspec
def polyvisor_build_defaults() -> Sequence[Defaults]:
    """Announce defaults for definitions that are built of a few words."""
    raise AssertionError


@hookspec
def polyvisor_remote_call(
    user: str | None, procedure: str, permissions: tuple[str, ...], arguments: Any
) -> None:
    """Before a daemon does what a remote client asks for: raise ``Denied`` to refuse it."""
    raise AssertionError
