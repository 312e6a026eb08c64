"""The registry finds plugins, keeps bad ones apart and says what is wrong with each."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from polyvisor import hookimpl
from polyvisor._entrypoints import EntryPoint, find
from polyvisor.driver import DriverInfo, Usability
from polyvisor.errors import Denied, PluginError, PluginUnusable, UriError, Vetoed
from polyvisor.events import DomainRef, Event, EventKind
from polyvisor.model import DomainSpec
from polyvisor.plugins import API_VERSION, PluginState, Registry

GOOD = """
    import polyvisor
    from polyvisor.driver import DriverInfo

    polyvisor_api = 1

    @polyvisor.hookimpl
    def polyvisor_drivers():
        return [
            DriverInfo("{name}", ("{scheme}",), "a test", "{module}:Missing", "{module}:probe")
        ]
"""


@pytest.fixture
def plugin_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a function that writes a plugin module and returns its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written: list[str] = []

    def write(name: str, source: str = GOOD, scheme: str | None = None) -> EntryPoint:
        module = f"polyvisor_test_{name}"
        text = textwrap.dedent(source)
        text = text.replace("{name}", name).replace("{module}", module)
        (tmp_path / f"{module}.py").write_text(text.replace("{scheme}", scheme or name))
        written.append(module)
        return EntryPoint(name, module, f"dist-{name}", "1.2")

    yield write
    for module in written:
        sys.modules.pop(module, None)


def test_a_good_plugin_is_loaded_with_its_version_and_schemes(plugin_module) -> None:
    """A plugin's status carries where it comes from and what it opens."""
    registry = Registry(points=[plugin_module("good")])
    status = registry.statuses["good"]
    assert status.state is PluginState.LOADED
    assert (status.distribution, status.version) == ("dist-good", "1.2")
    assert [info.schemes for info in status.drivers] == [("good",)]
    assert not status.faults


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("this is no Python", "SyntaxError"),
        ("raise SystemError('boom')", "boom"),
        ("pass", "polyvisor_api"),
        ("polyvisor_api = 99", "99"),
        ("polyvisor_api = 0", "upgrade the plugin"),
        (
            "import polyvisor\npolyvisor_api = 1\n"
            "@polyvisor.hookimpl\ndef polyvisor_drivers():\n    raise ValueError('in hook')",
            "in hook",
        ),
        (
            "import polyvisor\npolyvisor_api = 1\n"
            "@polyvisor.hookimpl\ndef polyvisor_no_such_hook():\n    pass",
            "polyvisor_no_such_hook",
        ),
        (
            "import polyvisor\npolyvisor_api = 1\n"
            "@polyvisor.hookimpl\ndef polyvisor_event(wrong_argument):\n    pass",
            "wrong_argument",
        ),
        (
            "import polyvisor\npolyvisor_api = 1\n"
            "@polyvisor.hookimpl(wrapper=True)\ndef polyvisor_event(event):\n    yield",
            "wrapper",
        ),
    ],
)
def test_a_broken_plugin_is_named_and_the_others_work(plugin_module, source, fault) -> None:
    """Whatever is wrong with one plugin is recorded against its name alone."""
    registry = Registry(points=[plugin_module("bad", source), plugin_module("good")])
    assert registry.statuses["bad"].state is PluginState.BROKEN
    assert fault in " ".join(registry.statuses["bad"].faults)
    assert registry.statuses["good"].state is PluginState.LOADED
    assert "good" in registry.schemes


def test_a_clash_of_schemes_is_reported_against_the_later_plugin(plugin_module) -> None:
    """The first plugin keeps the scheme; the second says whose it is."""
    registry = Registry(
        points=[
            plugin_module("bbb", scheme="same"),
            plugin_module("aaa", scheme="same"),
        ]
    )
    assert registry.driver_for("same")[1] == "aaa"
    assert "'aaa'" in registry.statuses["bbb"].faults[0]
    assert registry.statuses["bbb"].drivers == []


def test_our_own_plugins_keep_their_schemes(plugin_module) -> None:
    """A third party's plugin cannot take a scheme from polyvisor's own distribution."""
    ours = plugin_module("zzz", scheme="same")
    ours = EntryPoint(ours.name, ours.value, "polyvisor", "1")
    registry = Registry(points=[plugin_module("aaa", scheme="same"), ours])
    assert registry.driver_for("same")[1] == "zzz"


def test_a_transport_goes_to_its_plugin_whatever_the_scheme(plugin_module) -> None:
    """What stands after the plus chooses the driver, for schemes that nobody has too."""
    far = GOOD.replace('("{scheme}",), "a', '(), "a').replace('e")', 'e", transports=("far",))')
    registry = Registry(points=[plugin_module("far", far), plugin_module("near")])
    for scheme in ("near", "nobodys"):
        assert registry.driver_for(scheme, "far")[1] == "far"
    assert registry.driver_for("near")[1] == "near"
    with pytest.raises(UriError, match=r"\+warp .*known transports: far"):
        registry.driver_for("near", "warp")
    again = Registry(points=[plugin_module("far", far), plugin_module("later", far)])
    assert "transport 'far'" in again.statuses["later"].faults[0]


def test_plugins_are_switched_off_by_name(plugin_module) -> None:
    """A disabled plugin is listed, not imported, and its scheme's error says so."""
    points = [plugin_module("one", "raise AssertionError"), plugin_module("two")]
    registry = Registry(points=points, disable=["one"])
    assert registry.statuses["one"].state is PluginState.DISABLED
    with pytest.raises(UriError, match=r"'one' is disabled"):
        registry.driver_for("one")
    registry = Registry(points=points, only=["two"])
    assert registry.statuses["one"].state is PluginState.DISABLED


def test_an_unknown_scheme_names_the_known_and_the_nearest(plugin_module) -> None:
    """A typo in a scheme is answered with what was perhaps meant."""
    registry = Registry(points=[plugin_module("qemu")])
    with pytest.raises(UriError, match=r"did you mean 'qemu'.*known schemes: qemu"):
        registry.driver_for("qmeu")


def test_a_driver_that_cannot_be_imported_says_what_its_probe_says(plugin_module) -> None:
    """The probe's remedy reaches the one who tried to open."""
    source = (
        GOOD
        + """
    from polyvisor.driver import Usability

    def probe():
        return Usability(False, "frobnicator is not installed", "apt install frobnicator")
    """
    )
    registry = Registry(points=[plugin_module("good", source)])
    info, plugin = registry.driver_for("good")
    with pytest.raises(PluginUnusable, match="apt install frobnicator"):
        registry.factory(info, plugin)


def test_a_factory_that_is_missing_is_the_plugins_defect(plugin_module) -> None:
    """A usable plugin whose class is not there is an error that names the reference."""
    source = (
        GOOD
        + """
    def probe():
        from polyvisor.driver import Usability
        return Usability(True)
    """
    )
    registry = Registry(points=[plugin_module("good", source)])
    info, plugin = registry.driver_for("good")
    with pytest.raises(PluginError, match="polyvisor_test_good:Missing"):
        registry.factory(info, plugin)


def test_a_probe_that_raises_is_an_answer(plugin_module) -> None:
    """A probe's exception becomes the reason why the plugin is not usable."""
    source = GOOD + "\n    def probe():\n        raise OSError('no device')\n"
    registry = Registry(points=[plugin_module("good", source)])
    usability = registry.probe(*registry.driver_for("good"))
    assert usability == Usability(False, "its probe failed: OSError: no device")


SPEC = (
    "<domain type='test'><name>one</name><memory>65536</memory><os><type>hvm</type></os></domain>"
)


def _event() -> Event:
    from datetime import UTC, datetime
    from uuid import uuid4

    return Event(1, DomainRef(uuid4(), "one"), EventKind.STARTED, "booted", datetime.now(UTC))


def test_a_start_hook_changes_the_definition() -> None:
    """Each hook sees what the one before made of the definition."""

    class Titles:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_domain_starting(self, spec: DomainSpec) -> DomainSpec:
            import attrs

            return attrs.evolve(spec, title=f"{spec.title or ''}+")

    registry = Registry(points=[])
    registry.register(Titles(), "first")
    registry.register(Titles(), "second")
    spec = registry.domain_starting("sim:///x", DomainSpec.from_xml(SPEC))
    assert spec.title == "++"


def test_a_veto_names_its_plugin() -> None:
    """``Vetoed`` from a hook reaches the caller with the plugin's name."""

    class Policy:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_domain_starting(self, spec: DomainSpec) -> None:
            raise Vetoed("not on a Tuesday")

    registry = Registry(points=[])
    registry.register(Policy(), "policy")
    with pytest.raises(Vetoed, match="Tuesday") as caught:
        registry.domain_starting("sim:///x", DomainSpec.from_xml(SPEC))
    assert caught.value.plugin == "policy"


def test_a_failing_start_hook_refuses_and_says_how_to_go_on() -> None:
    """A hook may be a policy, so one that fails does not let the start through."""

    class Broken:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_domain_starting(self) -> None:
            raise ZeroDivisionError

    registry = Registry(points=[])
    registry.register(Broken(), "broken")
    with pytest.raises(PluginError, match=r"'broken' failed.*disable the plugin"):
        registry.domain_starting("sim:///x", DomainSpec.from_xml(SPEC))


def test_a_failing_event_hook_is_recorded_and_the_others_hear_the_event() -> None:
    """A watcher's exception stops neither the event nor the other watchers."""
    heard: list[Event] = []

    class Broken:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_event(self, event: Event) -> None:
            raise ZeroDivisionError

    class Listening:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_event(self, uri: str, event: Event) -> None:
            heard.append(event)

    registry = Registry(points=[])
    registry.register(Listening(), "listening")
    registry.register(Broken(), "broken")
    event = _event()
    registry.event("sim:///x", event)
    registry.event("sim:///x", event)
    assert heard == [event, event]
    assert registry.statuses["broken"].faults == ["hook polyvisor_event failed: ZeroDivisionError"]


def test_a_migration_hook_stops_the_migration_by_name() -> None:
    """A veto and a failure in ``polyvisor_migration_phase`` both stop, each in its words."""

    class Phases:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_migration_phase(self, phase: str, side: str) -> None:
            if phase == "perform":
                raise Vetoed("no room")
            if phase == "finish":
                raise KeyError("x")

    registry = Registry(points=[])
    registry.register(Phases(), "phases")
    spec = DomainSpec.from_xml(SPEC)
    registry.migration_phase("begin", "source", "sim:///x", spec, {})
    with pytest.raises(Vetoed, match="no room"):
        registry.migration_phase("perform", "source", "sim:///x", spec, {})
    with pytest.raises(PluginError, match="in finish on the destination"):
        registry.migration_phase("finish", "destination", "sim:///x", spec, {})


def test_a_failing_guard_of_remote_calls_lets_nobody_in() -> None:
    """What ``polyvisor_remote_call`` raises refuses the call, and is recorded if it is a fault."""

    class Guard:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_remote_call(self, user: str | None) -> None:
            if user is None:
                raise Denied("who are you?")
            raise KeyError(user)

    registry = Registry(points=[])
    assert not registry.guards_remote_calls
    registry.remote_call("ada", "domain_create", ("domain:start",), None)
    registry.register(Guard(), "guard")
    assert registry.guards_remote_calls
    with pytest.raises(Denied, match="who are you"):
        registry.remote_call(None, "domain_create", (), None)
    with pytest.raises(Denied, match="so that nobody may"):
        registry.remote_call("ada", "domain_create", (), None)
    assert registry.statuses["guard"].faults == [
        "hook polyvisor_remote_call failed: KeyError: 'ada'"
    ]


def test_plugins_add_commands() -> None:
    """What ``polyvisor_commands`` returns is collected."""
    import click

    @click.command("hello")
    def hello() -> None:
        """Say hello."""

    class Commands:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_commands(self):
            return [hello]

    registry = Registry(points=[])
    registry.register(Commands(), "commands")
    assert registry.commands() == [hello]


def test_plugins_announce_save_formats_once() -> None:
    """Two plugins with a format of one name: the first keeps it, the second is told."""
    from polyvisor.saveimage import FormatInfo

    info = FormatInfo("format", (b"MAGIC",), "a test", "nowhere:Format")

    class Formats:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_save_formats(self):
            return [info]

        @hookimpl
        def polyvisor_drivers(self):
            return [DriverInfo("x", (), "nothing", "nowhere:Driver")]

    registry = Registry(points=[])
    first = registry.register(Formats(), "first")
    second = registry.register(Formats(), "second")
    assert registry.formats == {"format": info}
    assert first.formats == [info]
    assert "'first'" in second.faults[0]


def test_entry_points_are_those_that_the_standard_library_finds() -> None:
    """The quick finder agrees with ``importlib.metadata`` on this installation."""
    from importlib.metadata import entry_points

    for group in ("polyvisor", "console_scripts", "pytest11"):
        ours = {(point.name, point.value) for point in find(group)}
        theirs = {
            (point.name, point.value.partition("[")[0].strip())
            for point in entry_points(group=group)
        }
        assert ours == theirs


def test_installed_plugins_are_found() -> None:
    """Our own plugins register as a third party's would."""
    registry = Registry()
    assert {"sim", "qemu"} <= set(registry.statuses)
    assert all(status.distribution == "polyvisor" for status in registry.statuses.values())


def test_a_probe_that_hangs_is_an_answer(plugin_module) -> None:
    """A probe is given so many seconds; one that has not answered then is left behind."""
    source = GOOD + "\n    def probe():\n        import time\n        time.sleep(3)\n"
    registry = Registry(points=[plugin_module("good", source)])
    answer = registry.probe(*registry.driver_for("good"), timeout=0.05)
    assert not answer.usable
    assert "did not answer within 0.05 s" in answer.reason


@pytest.mark.parametrize("phase", ["begin", "prepare", "perform", "finish"])
def test_a_hook_that_raises_in_the_midst_of_a_migration(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration is undone: the guest runs on the source, and nothing is over there."""
    import polyvisor
    from polyvisor import connection

    seen: list[str] = []

    class Breaks:
        polyvisor_api = 1

        @hookimpl
        def polyvisor_migration_phase(self, phase: str, side: str) -> None:
            seen.append(phase)
            if phase == failing[0]:
                raise ZeroDivisionError("in the midst")

    failing = [phase]
    monkeypatch.setattr(connection, "_registries", {})
    connection.registry().register(Breaks(), "breaks")
    guest = (
        "<domain type='sim'><name>guest</name><memory unit='MiB'>4</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    with (
        polyvisor.open(f"sim:///a?root={tmp_path}") as here,
        polyvisor.open(f"sim:///b?root={tmp_path}") as there,
    ):
        domain = here.domains.define(guest)
        domain.start()
        with pytest.raises(polyvisor.PolyvisorError, match=r"breaks.*in the midst"):
            domain.migrate(there)
        assert seen[-1] == phase
        assert domain.state is polyvisor.DomainState.RUNNING
        assert domain.job() is None
        assert not list(there.domains)
        failing[0] = "never"
        moved = domain.migrate(there)
        assert moved.active
        assert not domain.active
        moved.destroy()
        domain.undefine()


@pytest.mark.parametrize("packaging", [True, False])
def test_a_driver_that_lacks_something_names_the_extra(
    plugin_module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaging: bool
) -> None:
    """Opening it says what to install, with and without the library that compares versions."""
    from polyvisor import _requirements

    monkeypatch.setattr(_requirements, "compares_versions", lambda: packaging)
    point = plugin_module(f"lacks{packaging}".lower())
    name = point.name
    (tmp_path / f"{point.value}_far.py").write_text("import no_such_thing")
    (tmp_path / f"{point.value}.py").write_text(
        (tmp_path / f"{point.value}.py").read_text().replace(":Missing", "_far:Far")
        + "def probe():\n    from polyvisor.driver import Usability\n    return Usability(True)\n"
    )
    info = tmp_path / f"dist_{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.2\n"
        "Requires-Dist: attrs\nRequires-Dist: other-thing; extra == 'more'\n"
        f"Requires-Dist: no-such-thing>=2; extra == '{name}'\n"
    )
    registry = Registry(points=[point])
    with pytest.raises(PluginError) as caught:
        registry.factory(*registry.driver_for(name))
    assert caught.value.message.endswith(
        f"No module named 'no_such_thing'; dist-{name}[{name}] requires no-such-thing>=2, which "
        f"is not installed; pip install 'dist-{name}[{name}]'"
    )
    assert len(registry.statuses[name].unmet("other_thing is missing")) == 1
    assert registry.statuses[name].unmet() == []
