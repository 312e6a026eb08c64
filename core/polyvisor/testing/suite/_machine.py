"""The state machine of a domain, explored by hypothesis against a model of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import polyvisor
from polyvisor.errors import NotFound, OperationInvalid
from polyvisor.states import DomainState
from polyvisor.testing._target import Target, requires
from polyvisor.testing.suite._fixtures import clear

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

__all__ = ["TestStateMachine"]

OFF, RUNNING, PAUSED = DomainState.SHUTOFF, DomainState.RUNNING, DomainState.PAUSED


def _machine(host: Connection, target: Target) -> type[RuleBasedStateMachine]:
    saves = host.support.usable("save.file")
    managed = host.support.usable("save.managed")

    class Life(RuleBasedStateMachine):
        """What a domain may do next depends on its state alone."""

        def __init__(self) -> None:
            super().__init__()
            clear(host)
            self.folder = tempfile.TemporaryDirectory()
            self.image = Path(self.folder.name) / "image"
            self.domain: Domain | None = None
            self.state = OFF
            self.persistent = False
            self.managed = False
            self.saved: DomainState | None = None

        def teardown(self) -> None:
            clear(host)
            self.folder.cleanup()

        def refused(self, verb: str, *arguments: Any) -> None:
            assert self.domain is not None
            with pytest.raises(OperationInvalid):
                getattr(self.domain, verb)(*arguments)

        @property
        def there(self) -> Domain:
            assert self.domain is not None
            return self.domain

        @rule()
        def define(self) -> None:
            if self.domain is None:
                self.domain = host.domains.define(target.spec("guest"))
                self.saved = None
                self.image.unlink(missing_ok=True)
            else:
                host.domains.define(self.domain.spec(inactive=True))
            self.persistent = True

        @precondition(lambda self: self.domain is not None)
        @rule()
        def undefine(self) -> None:
            if self.managed or not self.persistent:
                self.refused("undefine")
                return
            self.there.undefine()
            self.persistent = False
            if self.state is OFF:
                self.domain = None

        @precondition(lambda self: self.domain is not None)
        @rule()
        def start(self) -> None:
            if self.state is not OFF:
                self.refused("start")
                return
            self.there.start()
            # A managed save image brings back the state that it was made in.
            self.state = self.saved_state if self.managed else RUNNING
            self.managed = False

        @precondition(lambda self: self.domain is not None)
        @rule()
        def suspend(self) -> None:
            if self.state is not RUNNING:
                self.refused("suspend")
                return
            self.there.suspend()
            self.state = PAUSED

        @precondition(lambda self: self.domain is not None)
        @rule()
        def resume(self) -> None:
            if self.state is not PAUSED:
                self.refused("resume")
                return
            self.there.resume()
            self.state = RUNNING

        @precondition(lambda self: self.domain is not None)
        @rule()
        def destroy(self) -> None:
            if self.state is OFF:
                self.refused("destroy")
                return
            self.there.destroy()
            self._stopped()

        @precondition(lambda self: saves and self.domain is not None)
        @rule()
        def save(self) -> None:
            if self.state is OFF:
                self.refused("save", self.image)
                return
            self.there.save(self.image)
            self.saved = self.state
            self._stopped()

        @precondition(lambda self: saves and self.saved is not None)
        @rule()
        def restore(self) -> None:
            assert self.saved is not None
            if self.state is not OFF:
                with pytest.raises(polyvisor.PolyvisorError):
                    host.domains.restore(self.image)
                return
            self.domain = host.domains.restore(self.image)
            self.state = self.saved

        @precondition(lambda self: managed and self.domain is not None)
        @rule()
        def managed_save(self) -> None:
            if self.state is OFF or not self.persistent:
                self.refused("managed_save")
                return
            self.there.managed_save()
            self.managed = True
            self.saved_state = self.state
            self.state = OFF

        def _stopped(self) -> None:
            self.state = OFF
            if not self.persistent:
                self.domain = None

        @invariant()
        def it_is_as_the_model_says(self) -> None:
            """State, persistence and the list agree with the model."""
            if self.domain is None:
                assert list(host.domains) == []
                with pytest.raises(NotFound):
                    host.domains["guest"]
                return
            info = self.domain.info()
            assert info.state is self.state
            assert info.persistent == self.persistent
            assert info.managed_save == self.managed
            assert (info.id is None) == (self.state is OFF)
            assert list(host.domains) == [self.domain]

    return Life


@requires("domains.define", "domains.suspend")
class TestStateMachine:
    """No sequence of verbs brings a domain into a state that the model does not know."""

    def test_any_sequence(self, host: Connection, target: Target) -> None:
        """Hypothesis looks for a sequence after which driver and model differ."""
        quick = target.against != "real"
        run_state_machine_as_test(
            _machine(host, target),
            settings=settings(
                max_examples=30 if quick else 5,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                derandomize=True,
                database=None,
            ),
        )
