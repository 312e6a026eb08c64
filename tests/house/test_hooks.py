"""Every hook works for a third party: a plugin installed beside polyvisor, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

GUEST = """
    import polyvisor

    def guest(name):
        return f'''
            <domain type="test">
              <name>{name}</name>
              <memory unit="KiB">8192</memory>
              <os><type>hvm</type></os>
            </domain>
        '''
"""

Third = Callable[[str, str], str]


@pytest.fixture
def third_party(tmp_path: Path) -> Third:
    """Give a function that installs a plugin's source, runs a script and returns its output."""

    def run(plugin: str, script: str) -> str:
        site = tmp_path / "site"
        info = site / "polyvisor_third-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: polyvisor-third\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text("[polyvisor]\nthird = polyvisor_third\n")
        (site / "polyvisor_third.py").write_text(
            f"import polyvisor\npolyvisor_api = 1\n{textwrap.dedent(plugin)}"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(GUEST) + textwrap.dedent(script)],
            check=False,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_polyvisor_drivers(third_party: Third) -> None:
    """A driver that a third party announces opens its scheme."""
    plugin = """
        from polyvisor.driver import DriverInfo, Driver

        @polyvisor.hookimpl
        def polyvisor_drivers():
            return [DriverInfo("third", ("third",), "A test", "polyvisor_third:Third")]

        class Third(Driver):
            domains = None

            @classmethod
            def open(cls, uri, context):
                driver = cls()
                driver.uri = str(uri)
                return driver

            def close(self): ...
            def host(self): ...
            def support(self): ...
    """
    printed = third_party(plugin, "print(polyvisor.open('third:///here'))")
    assert printed == "<Connection third:///here>\n"


def test_polyvisor_save_formats(third_party: Third) -> None:
    """An image of a format that a third party announces is recognised by its first bytes."""
    plugin = """
        from polyvisor.saveimage import FormatInfo, ImageHeader, SaveFormat

        @polyvisor.hookimpl
        def polyvisor_save_formats():
            return [FormatInfo("third", (b"THIRD",), "A test", "polyvisor_third:Third")]

        class Third(SaveFormat):
            name = "third"

            def read_header(self, image, *, path):
                return ImageHeader("third", 3, "<domain/>", image.seek(0, 2))

            def write_header(self, image, spec, *, was_running, compression): ...
    """
    script = """
        import os, pathlib
        from polyvisor.saveimage import inspect

        image = pathlib.Path(os.environ["HOME"], "image")
        image.write_bytes(b"THIRD and more")
        header = inspect(image)
        print(header.format, header.version, header.stream_offset)
    """
    assert third_party(plugin, script) == "third 3 14\n"


def test_polyvisor_native_formats(third_party: Third) -> None:
    """A configuration in a language that a third party announces is recognised and read."""
    plugin = """
        from polyvisor.native import NativeFormat, NativeInfo

        @polyvisor.hookimpl
        def polyvisor_native_formats():
            return [NativeInfo("third-ini", "A test", (".ini",), "polyvisor_third:Third")]

        class Third(NativeFormat):
            name = "third-ini"

            def recognises(self, data):
                return data.startswith(b"name=")

            def read(self, data, *, path):
                from polyvisor.model import DomainSpec

                return DomainSpec(type="third", name=data[5:].decode().strip(), memory=1 << 20)

            def write(self, spec):
                return f"name={spec.name}"
    """
    script = """
        import os, pathlib
        from polyvisor import native

        file = pathlib.Path(os.environ["HOME"], "guest.ini")
        file.write_text("name=guest\\n")
        spec = native.load(file)
        print(spec.name, native.open_format("third-ini").write(spec))
    """
    assert third_party(plugin, script) == "guest name=guest\n"


def test_polyvisor_commands(third_party: Third) -> None:
    """A command that a third party adds runs as a command of polyvisor's own."""
    plugin = """
        @polyvisor.hookimpl
        def polyvisor_commands():
            import click

            @click.command("greet")
            @click.argument("whom")
            def greet(whom):
                click.echo(f"hello {whom}")

            return [greet]
    """
    script = """
        import sys
        from polyvisor.cli import main

        sys.argv = ["polyvisor", "greet", "world"]
        sys.exit(main())
    """
    assert third_party(plugin, script) == "hello world\n"


def test_polyvisor_domain_starting(third_party: Third) -> None:
    """The definition that the hook returns is started, and a veto refuses the start."""
    plugin = """
        import attrs
        from polyvisor.errors import Vetoed

        @polyvisor.hookimpl
        def polyvisor_domain_starting(uri, spec):
            if spec.name == "forbidden":
                raise Vetoed("not on a Tuesday")
            return attrs.evolve(spec, title="changed by the hook")
    """
    script = """
        with polyvisor.open("test:///default") as host:
            domain = host.domains.define(guest("allowed"))
            domain.start()
            print(domain.spec().title, domain.spec(inactive=True).title)
            refused = host.domains.define(guest("forbidden"))
            try:
                refused.start()
            except polyvisor.PolyvisorError as error:
                print(error.code, error.plugin, "Tuesday" in str(error), refused.active)
    """
    assert third_party(plugin, script) == ("changed by the hook None\nvetoed third True False\n")


def test_polyvisor_event(third_party: Third) -> None:
    """The hook sees what this process causes, in order."""
    plugin = """
        @polyvisor.hookimpl
        def polyvisor_event(event):
            print(event.domain.name, event.kind, event.detail)
    """
    script = """
        with polyvisor.open("test:///default") as host:
            domain = host.domains.define(guest("watched"))
            domain.start()
            domain.destroy()
    """
    assert third_party(plugin, script) == (
        "watched defined added\nwatched started booted\nwatched stopped destroyed\n"
    )


PHASES = ("begin", "prepare", "perform", "finish")


def test_polyvisor_migration_phase(third_party: Third) -> None:
    """The hook sees each phase on its side, in order, before it begins."""
    plugin = """
        @polyvisor.hookimpl
        def polyvisor_migration_phase(phase, side, uri, spec, facts):
            print(phase, side, uri, spec.name, facts["source"], facts["destination"])
    """
    script = """
        with polyvisor.open("sim:///a") as a, polyvisor.open("sim:///b") as b:
            domain = a.domains.define(guest("goes").replace('"test"', '"sim"'))
            domain.start()
            moved = domain.migrate(b)
            print(moved.active, domain.active)
            moved.destroy()
    """
    assert third_party(plugin, script).splitlines() == [
        "begin source sim:///a goes sim:///a sim:///b",
        "prepare destination sim:///b goes sim:///a sim:///b",
        "perform source sim:///a goes sim:///a sim:///b",
        "finish destination sim:///b goes sim:///a sim:///b",
        "True False",
    ]


def test_a_hook_that_stops_a_migration(third_party: Third) -> None:
    """Whatever phase it stops, the domain runs on where it was and can be moved afterwards.

    A veto arrives as the hook raised it, a hook that fails as an error that names its plugin.
    """
    plugin = """
        from polyvisor.errors import Vetoed

        stop = {}

        @polyvisor.hookimpl
        def polyvisor_migration_phase(phase, side):
            if stop.get(phase) == "veto":
                raise Vetoed("it stays")
            if stop.get(phase) == "fail":
                raise ZeroDivisionError(side)
    """
    script = """
        import polyvisor_third

        with polyvisor.open("sim:///a") as a, polyvisor.open("sim:///b") as b:
            domain = a.domains.define(guest("guest").replace('"test"', '"sim"'))
            domain.start()
            for how in ("veto", "fail"):
                for phase in ("begin", "prepare", "perform", "finish"):
                    polyvisor_third.stop = {phase: how}
                    try:
                        domain.migrate(b)
                    except polyvisor.PolyvisorError as error:
                        print(type(error).__name__, error.plugin, error.domain, error.operation,
                              domain.state, len(list(b.domains)), error)
                polyvisor_third.stop = {}
                moved = domain.migrate(b, undefine_source=True)
                domain = moved.migrate(a, undefine_source=True)
            print(domain.state)
            domain.destroy()
    """
    sides = ("source", "destination", "source", "destination")
    assert third_party(plugin, script).splitlines() == [
        *["Vetoed third guest migrate running 0 it stays"] * 4,
        *[
            f"PluginError third guest migrate running 0 migrate 'guest': hook "
            f"polyvisor_migration_phase of plugin 'third' failed in {phase} on the {side}: "
            f"ZeroDivisionError: {side}; the domain is on the source as before; disable the "
            f"plugin to go on without it"
            for phase, side in zip(PHASES, sides, strict=True)
        ],
        "running",
    ]


def test_polyvisor_check_rules(third_party: Third) -> None:
    """A definition that breaks a rule of a third party is refused, by its name."""
    plugin = """
        from polyvisor.model.check import Problem, Rule

        def short(spec):
            if len(spec.name) > 5:
                yield Problem("domain/name", f"{spec.name!r} is long", "use 5 letters")

        def broken(spec):
            if spec.name == "bad":
                raise ValueError("oops")
            return ()

        @polyvisor.hookimpl
        def polyvisor_check_rules():
            return [
                Rule("short-name", "Names are short.", short, types=frozenset({"test"})),
                Rule("broken", "Nothing.", broken),
            ]
    """
    script = """
        with polyvisor.open("test:///default") as host:
            for name in ("short", "much-too-long", "bad"):
                try:
                    print(host.domains.define(guest(name)).name)
                except polyvisor.PolyvisorError as error:
                    print(error.code, getattr(error, "rule", error.plugin), error)
    """
    assert third_party(plugin, script) == (
        "short\n"
        "semantic short-name define 'much-too-long': line 3: domain/name: 'much-too-long' is "
        "long; use 5 letters [short-name]\n"
        "plugin third check 'bad': rule 'broken' of plugin 'third' failed: ValueError: oops; "
        "disable the plugin to go on without it\n"
    )


def test_polyvisor_build_defaults(third_party: Third) -> None:
    """What a host builds has the defaults of a third party, unless the caller says otherwise."""
    plugin = """
        from polyvisor.model.build import Defaults

        @polyvisor.hookimpl
        def polyvisor_build_defaults():
            return [Defaults({"disk_bus": "sata"}, types=frozenset({"sim"}))]
    """
    script = """
        with polyvisor.open("sim:///default") as host:
            disks = ["/a", {"path": "/b", "bus": "usb"}]
            spec = host.domains.build(name="a", memory=1 << 20, disks=disks)
            print(spec.type, [disk.target.bus for disk in spec.devices.disks])
    """
    assert third_party(plugin, script) == "sim ['sata', 'usb']\n"


def test_polyvisor_remote_call(third_party: Third) -> None:
    """The hook sees who asks a daemon for what, and its refusal reaches the client."""
    plugin = """
        from polyvisor.errors import Denied

        @polyvisor.hookimpl
        def polyvisor_remote_call(user, procedure, permissions, arguments):
            print(user, procedure, permissions)
            if "domain:stop" in permissions and arguments.dom.name == "stays":
                raise Denied("it stays")
    """
    script = """
        from types import SimpleNamespace

        from polyvisor.connection import registry

        plugins = registry()
        print(plugins.guards_remote_calls)
        for name in ("goes", "stays"):
            arguments = SimpleNamespace(dom=SimpleNamespace(name=name))
            try:
                plugins.remote_call("uid:7", "domain_destroy", ("domain:stop",), arguments)
            except polyvisor.PolyvisorError as error:
                print(error.code, error.message, error.plugin)
    """
    asked = "uid:7 domain_destroy ('domain:stop',)\n"
    assert third_party(plugin, script) == f"True\n{asked}{asked}denied it stays third\n"
