"""What is written down about domains, their share of the host, and their cores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.errors import InvalidArgument, OperationInvalid
from polyvisor.testing._target import requires

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__ = ["TestAnnotations", "TestDumps", "TestTuning"]

_SPACE = "http://example.org/note"


@requires("domains.metadata")
class TestAnnotations:
    """Title, description and metadata change nothing for the guest."""

    def test_texts_of_both_definitions(self, domain: Domain) -> None:
        """They change where it is said, and everywhere if it is not."""
        domain.start()
        domain.set_title("a title")
        domain.set_description("words\nof more lines")
        for spec in (domain.spec(), domain.spec(inactive=True)):
            assert (spec.title, spec.description) == ("a title", "words\nof more lines")
        domain.set_title("for now", live=True)
        assert domain.spec().title == "for now"
        assert domain.spec(inactive=True).title == "a title"
        domain.set_description(None)
        assert domain.spec().description is None

    def test_metadata_of_a_namespace(self, domain: Domain) -> None:
        """An element is told as it was given, and is gone when it is removed."""
        domain.set_metadata(_SPACE, "n", "<note>text</note>")
        assert domain.metadata(_SPACE) == "<note>text</note>"
        domain.start()
        assert domain.metadata(_SPACE) == "<note>text</note>"
        domain.set_metadata(_SPACE, None, None)
        assert domain.metadata(_SPACE) is None
        assert domain.metadata(_SPACE, inactive=True) is None


@requires("domains.tuning")
class TestTuning:
    """Values are kept as they were set, and others refused."""

    def test_values_of_a_definition(self, domain: Domain) -> None:
        """What is set is told again, and stands in the definition."""
        if "memtune" not in domain.tuning.groups():
            pytest.skip("the driver does not limit memory")
        domain.tuning.set("memtune", {"hard_limit": 1 << 30}, config=True)
        assert domain.tuning.get("memtune", live=False) == {"hard_limit": 1 << 30}
        assert domain.spec(inactive=True).memtune is not None
        domain.tuning.set("memtune", {"hard_limit": 0}, config=True)
        assert domain.tuning.get("memtune", live=False) == {}
        with pytest.raises(InvalidArgument):
            domain.tuning.set("memtune", {"no such": 1}, config=True)

    def test_pins(self, domain: Domain) -> None:
        """A vCPU runs on the host's CPUs that it is pinned to, at first on any."""
        cpus = domain.connection.host.cpus
        assert domain.tuning.pins(live=False)[0] == frozenset(range(cpus))
        domain.tuning.pin(0, [0], config=True)
        domain.tuning.pin("emulator", [cpus - 1], config=True)
        assert domain.tuning.pins(live=False)[0] == {0}
        assert domain.tuning.pins(live=False)["emulator"] == {cpus - 1}
        for which, wanted in ((99, [0]), (0, [cpus]), (0, [])):
            with pytest.raises(InvalidArgument):
                domain.tuning.pin(which, wanted, config=True)


@requires("domains.dump")
class TestDumps:
    """A core holds the guest's memory, and the guest runs on unless told otherwise."""

    def test_an_elf_core(self, domain: Domain, tmp_path: Path) -> None:
        """The file is an ELF core at least as large as the guest's memory."""
        with pytest.raises(OperationInvalid):
            domain.dump(tmp_path / "core", memory_only=True)
        domain.start()
        domain.dump(tmp_path / "core", memory_only=True)
        assert (tmp_path / "core").read_bytes()[:4] == b"\x7fELF"
        assert domain.state.name == "RUNNING"
        domain.dump(tmp_path / "core", memory_only=True, crash=True)
        assert not domain.active
        assert str(domain.status().reason) == "crashed"
