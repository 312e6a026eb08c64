"""The compiled binding to libxl: built against the host's own headers, kept, loaded.

libxl's structures and signatures differ from release to release, and many of them exist only
as macros and inline functions of its header. So the compiler is to see that header: cffi's
API mode compiles ``shim.c`` once for each libxl, and the result is kept in the user's cache
folder under the version of libxl and what it was made from.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from polyvisor.errors import PluginUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ENOUGH",
    "EXTRA",
    "HEADERS",
    "build",
    "cache_folder",
    "choose_api",
    "installed",
    "load",
    "missing",
    "module_path",
]

NAME = "_polyvisor_libxl"
#: The oldest interface whose restore call can be told the stream's version: ``libxl.h``,
#: ``libxl_domain_create_restore`` under "API versions".
ENOUGH = 0x040400
#: The newest whose signatures ``shim.c`` was written for.
KNOWN = 0x041400
HEADERS = (
    "install libxl's headers and a C compiler: apt install libxen-dev gcc libc6-dev python3-dev "
    "(Debian, Ubuntu), or dnf install xen-devel gcc python3-devel (Fedora)"
)
EXTRA = (
    "install the extra: pip install 'polyvisor[libxl]' "
    "(or apt install python3-cffi python3-setuptools)"
)

_LOADED: dict[str, Any] = {}
_LOADING = threading.Lock()

#: What the process that compiles runs.
_COMPILE = """
import json, sys
import cffi

given = json.load(sys.stdin)
ffi = cffi.FFI()
ffi.cdef(given["declared"])
ffi.set_source(
    given["name"],
    given["source"],
    libraries=["xenlight", "xenctrl", "xentoollog"],
    define_macros=[("LIBXL_API_VERSION", given["api"])],
    extra_compile_args=["-Wno-unused-function", "-Wno-unused-parameter"],
)
print(ffi.compile(tmpdir=given["folder"]))
"""


def load(library: str | None = None) -> Any:
    """Return the compiled module, with ``ffi`` and ``lib``; build it if there is none yet.

    Args:
        library: a libxl to use instead of the one installed in the usual place.

    Raises:
        PluginUnusable: libxl, its headers, a compiler or cffi is missing; says what to install.
    """
    path = module_path()
    if path not in _LOADED:
        with _LOADING:
            if path not in _LOADED:
                if not os.path.exists(path):
                    build()
                if library is not None:
                    import ctypes

                    # Found by its SONAME when the module asks for libxl.
                    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
                _LOADED[path] = _import(path)
    return _LOADED[path]


def _import(path: str) -> Any:
    from importlib.machinery import ExtensionFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    try:
        found = spec_from_file_location(NAME, path, loader=ExtensionFileLoader(NAME, path))
        assert found is not None
        module = module_from_spec(found)
        assert found.loader is not None
        found.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise PluginUnusable(
            f"libxl: the binding needs cffi: {error}; {EXTRA}", plugin="libxl"
        ) from error
    except ImportError as error:
        raise PluginUnusable(
            f"libxl: the binding at {path} cannot be loaded: {error}; build it anew with "
            f"'polyvisor plugins build libxl'",
            plugin="libxl",
        ) from error
    return module


def installed() -> str | None:
    """Return the version of the libxl that programs are linked with here, such as ``"4.17"``.

    ``None`` if there is none.
    """
    found = [
        match[1]
        for folder in _library_folders()
        for name in _names(folder)
        if (match := re.fullmatch(r"libxenlight\.so\.(\d+\.\d+)", name))
    ]
    return max(found, key=lambda text: [int(part) for part in text.split(".")], default=None)


def _library_folders() -> list[str]:
    import platform

    machine = platform.machine()
    return [
        f"{prefix}/{place}"
        for prefix in ("/usr/local", "/usr", "")
        for place in (f"lib/{machine}-linux-gnu", "lib64", "lib")
    ]


def _names(folder: str) -> Sequence[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return ()


def cache_folder() -> str:
    """Return the folder for compiled bindings."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return f"{base}/polyvisor/libxl"


def module_path() -> str:
    """Return where the binding for this host's libxl is kept, or would be."""
    import hashlib
    import sysconfig

    made_from = hashlib.sha256()
    for name in ("shim.h", "shim.c"):
        made_from.update(_read(name).encode())
    made_from.update(f"{sys.version_info[:2]} {sysconfig.get_platform()}".encode())
    version = installed() or "none"
    return f"{cache_folder()}/{version}-{made_from.hexdigest()[:16]}/{NAME}.abi3.so"


def _read(name: str) -> str:
    with open(f"{os.path.dirname(__file__)}/{name}", encoding="utf-8") as file:
        return file.read()


def choose_api(header: str) -> int:
    """Return the ``LIBXL_API_VERSION`` to compile with, of those that a ``libxl.h`` lists.

    Args:
        header: the text of ``libxl.h``.

    Raises:
        PluginUnusable: it lists none that will do.
    """
    listed = {
        int(value, 16) for value in re.findall(r"LIBXL_API_VERSION != 0x([0-9a-fA-F]+)", header)
    }
    fit = [value for value in listed if ENOUGH <= value <= KNOWN]
    if not fit:
        shown = ", ".join(f"0x{value:06x}" for value in sorted(listed)) or "none"
        raise PluginUnusable(
            f"libxl: the host's libxl.h offers the interfaces {shown}; 0x{ENOUGH:06x} or newer is "
            f"needed: install Xen 4.5 or newer",
            plugin="libxl",
        )
    return max(fit)


def build() -> str:
    """Compile the binding for this host's libxl and keep it; return its path.

    Raises:
        PluginUnusable: something that this needs is not installed; says what.
    """
    import shutil
    import tempfile

    header = next(
        (
            path
            for folder in ("/usr/local/include", "/usr/include")
            if os.path.exists(path := f"{folder}/libxl.h")
        ),
        None,
    )
    if header is None:
        raise PluginUnusable(f"libxl: there is no libxl.h on this host; {HEADERS}", plugin="libxl")
    with open(header, encoding="utf-8", errors="replace") as file:
        api = choose_api(file.read())
    path = module_path()
    folder = os.path.dirname(path)
    os.makedirs(cache_folder(), mode=0o700, exist_ok=True)
    work = tempfile.mkdtemp(prefix="build-", dir=cache_folder())
    try:
        made = _compile(work, api)
        whole = f"{work}/whole"
        os.mkdir(whole, mode=0o700)
        os.rename(made, f"{whole}/{os.path.basename(path)}")
        try:
            os.rename(whole, folder)
        except OSError:
            if not os.path.exists(path):  # Else somebody else has built it meanwhile.
                raise
            os.replace(f"{whole}/{os.path.basename(path)}", path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def missing() -> str | None:
    """Return the first package of Python's that building needs and that is not installed."""
    from importlib.util import find_spec

    # Python 3.12 has no distutils any more, which cffi compiles with.
    needed = ("cffi", "setuptools") if sys.version_info >= (3, 12) else ("cffi",)
    return next((name for name in needed if find_spec(name) is None), None)


def _compile(folder: str, api: int) -> str:
    """Compile in a process of its own: cffi changes the working folder while it does."""
    import json
    import subprocess

    if absent := missing():
        raise PluginUnusable(f"libxl: {absent} is not installed; {EXTRA}", plugin="libxl")
    given = {
        "folder": folder,
        "name": NAME,
        "declared": _read("shim.h"),
        "source": _read("shim.c"),
        "api": f"0x{api:06x}",
    }
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        said = done.stderr.strip()
        last = said.splitlines()[-1] if said else f"exit code {done.returncode}"
        raise PluginUnusable(
            f"libxl: compiling the binding failed: {last}; {HEADERS}",
            plugin="libxl",
            native_message=said[-4000:],
        )
    return lines[-1]
