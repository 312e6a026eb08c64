"""One connection to libxl: its context, its log, and what is asked of it."""

from __future__ import annotations

import itertools
import logging
import os
import select
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polyvisor.errors import ConnectError, HypervisorError, OperationInvalid
from polyvisor_libxl.callbacks import install_callbacks
from polyvisor_libxl.dominfo import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor_libxl.dominfo import DomainFacts

__all__ = ["ERRORS", "Context", "error_name"]

_LOG = logging.getLogger("polyvisor.libxl")

#: Python's levels for those of ``xentoollog.h`` (``XTL_DEBUG`` = 1 … ``XTL_CRITICAL`` = 9).
_LEVELS = (0, 10, 10, 10, 10, 20, 20, 30, 40, 50)
_XTL_DEBUG, _XTL_WARN, _XTL_ERROR = 1, 7, 8
#: How many lines of the log are kept for errors.
_KEPT = 40
#: Seconds between two reports of progress, at most.
_REPORT = 0.2
#: Words that say how far libxc is; it gives numbers of pages with them.
_PAGES = "Frames"

#: How a guest is asked unless somebody says how.
ASKING = ("paravirt", "acpi")

#: ``libxl_error`` of ``_libxl_types.h``.
ERRORS = (
    "NONSPECIFIC", "VERSION", "FAIL", "NI", "NOMEM", "INVAL", "BADFAIL", "GUEST_TIMEDOUT",
    "TIMEDOUT", "NOPARAVIRT", "NOT_READY", "OSEVENT_REG_FAIL", "BUFFERFULL", "UNKNOWN_CHILD",
    "LOCK_FAIL", "JSON_CONFIG_EMPTY", "DEVICE_EXISTS", "CHECKPOINT_DEVOPS_DOES_NOT_MATCH",
    "CHECKPOINT_DEVICE_NOT_SUPPORTED", "VNUMA_CONFIG_INVALID", "DOMAIN_NOTFOUND", "ABORTED",
    "NOTFOUND", "DOMAIN_DESTROYED", "FEATURE_REMOVED", "PROTOCOL_ERROR_QMP",
    "UNKNOWN_QMP_ERROR", "QMP_GENERIC_ERROR", "QMP_COMMAND_NOT_FOUND",
    "QMP_DEVICE_NOT_ACTIVE", "QMP_DEVICE_NOT_FOUND", "QEMU_API",
)  # fmt: skip
_INVALID_DOMID = 0xFFFFFFFF


def error_name(rc: int) -> str:
    """Return the name of one of libxl's error codes, such as ``"ERROR_FAIL"``."""
    return f"ERROR_{ERRORS[-rc - 1]}" if 0 < -rc <= len(ERRORS) else f"error {rc}"


class Context:
    """libxl, opened; may be used from several threads at once.

    Args:
        module: the compiled binding, see :func:`polyvisor_libxl.binding.load`.

    Raises:
        ConnectError: this host does not run Xen, or we may not control it.
    """

    def __init__(self, module: Any) -> None:
        self._ffi, self._lib = module.ffi, module.lib
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._progress: Callable[[int, int], None] | None = None
        self._handle = self._ffi.new_handle(self)
        self._tokens = itertools.count(1)
        self._closing = threading.Lock()
        install_callbacks(module)
        rc = self._ffi.new("int *")
        level = _XTL_DEBUG if _LOG.isEnabledFor(logging.DEBUG) else _XTL_WARN
        with self._quiet_below(_XTL_ERROR + 1):
            self._connection = self._lib.pv_connect(self._handle, level, rc)
        if not self._connection:
            raise ConnectError(
                f"cannot open Xen: {self._words() or error_name(rc[0])}; this host must run Xen, "
                f"with xenstored, and we must be root in its control domain",
                native_code=error_name(rc[0]),
            )
        self._ctx = self._lib.pv_context(self._connection)

    @contextmanager
    def _quiet_below(self, level: int) -> Iterator[None]:
        self._quiet = level
        try:
            yield
        finally:
            self._quiet = 0

    def close(self) -> None:
        """Release the context. A second call does nothing."""
        with self._closing:
            connection, self._connection = self._connection, None
        if connection:
            self._lib.pv_disconnect(connection)

    # What libxl tells

    def message(self, level: int, error: int, context: str, text: str) -> None:
        """Take a line of libxl's log."""
        if level >= _XTL_ERROR or (level == _XTL_WARN and self._quiet):
            self._lines.append(text.strip())
        if not self._quiet:
            suffix = f": {os.strerror(error)}" if error > 0 else ""
            _LOG.log(_LEVELS[level], "%s: %s%s", context or "libxl", text.strip(), suffix)

    def advanced(self, what: str, done: int, total: int) -> None:
        """Take a report of how far libxc is with a stream."""
        if self._progress is not None and what.startswith(_PAGES):
            self._progress(done, total)

    def broke(self, text: str, error: int) -> None:
        """Take libxl's word that it cannot go on."""
        _LOG.critical("libxl cannot go on: %s: %s", text, os.strerror(error))

    def _words(self) -> str:
        """Return what libxl said of late, and forget it."""
        lines = list(dict.fromkeys(self._lines))
        self._lines.clear()
        # libxl puts the place in its source before the words: "libxl_dom.c:12:func:Domain 3:".
        return " / ".join(
            line.split(":", 3)[-1].strip() if ".c:" in line else line for line in lines[:4]
        )

    def check(self, rc: int, what: str, name: str | None = None) -> None:
        """Raise what a return code means.

        Args:
            rc: what libxl returned; 0 is good.
            what: what was tried, in words.
            name: the domain's name.

        Raises:
            HypervisorError: with libxl's code and log lines.
        """
        if rc == 0:
            return
        code, words = error_name(rc), self._words()
        raise HypervisorError(
            f"{what}: libxl failed with {code}{': ' if words else ''}{words}",
            domain=name,
            native_code=code,
            native_message=words or None,
        )

    # Looking

    def version(self) -> str:
        """Return Xen's version, such as ``"4.17.5"``."""
        found = self._lib.libxl_get_version_info(self._ctx)
        extra = self._text(found.xen_version_extra).split("-")[0]
        return f"{found.xen_version_major}.{found.xen_version_minor}{extra}"

    def hypervisor_capabilities(self) -> list[str]:
        """Return the kinds of guest that Xen runs here, such as ``"hvm-3.0-x86_64"``."""
        return self._text(self._lib.libxl_get_version_info(self._ctx).capabilities).split()

    def command_line(self) -> str:
        """Return Xen's own command line."""
        return self._text(self._lib.libxl_get_version_info(self._ctx).commandline)

    def physical(self) -> tuple[int, int, int, int]:
        """Return the host's memory in bytes, its CPUs, cores for each socket, and MHz."""
        info = self._ffi.new("libxl_physinfo *")
        self.check(self._lib.libxl_get_physinfo(self._ctx, info), "ask for the host's facts")
        page = self._lib.libxl_get_version_info(self._ctx).pagesize
        return info.total_pages * page, info.nr_cpus, info.cores_per_socket, info.cpu_khz // 1000

    def domains(self) -> list[DomainFacts]:
        """Return what the hypervisor says of all domains."""
        count = self._ffi.new("int *")
        found = self._lib.libxl_list_domain(self._ctx, count)
        if not found:
            self.check(-3, "list domains")
        try:
            return [facts_of(self._ffi, found[i]) for i in range(count[0])]
        finally:
            self._lib.libxl_dominfo_list_free(found, count[0])

    def domain(self, domid: int) -> DomainFacts | None:
        """Return what the hypervisor says of a domain; ``None`` if it is not there."""
        info = self._ffi.new("libxl_dominfo *")
        self._lib.libxl_dominfo_init(info)
        with self._quiet_below(_XTL_ERROR + 1):
            rc = self._lib.libxl_domain_info(self._ctx, info, domid)
            self._lines.clear()
        try:
            return facts_of(self._ffi, info) if rc == 0 else None
        finally:
            self._lib.libxl_dominfo_dispose(info)

    def find(self, uuid: UUID) -> DomainFacts | None:
        """Return what the hypervisor says of the domain with a UUID, if there is one."""
        return next((facts for facts in self.domains() if facts.uuid == uuid.int), None)

    def name_of(self, domid: int) -> str | None:
        """Return a domain's name as xenstore has it."""
        found = self._lib.libxl_domid_to_name(self._ctx, domid)
        return self._taken(found)

    def config_of(self, domid: int) -> str:
        """Return a domain's configuration as libxl's JSON.

        Raises:
            HypervisorError: libxl has none for it.
        """
        rc = self._ffi.new("int *")
        with self._quiet_below(_XTL_ERROR + 1):
            config = self._lib.pv_config_of(self._ctx, domid, rc)
        if not config:
            self.check(rc[0] or -3, f"ask for the configuration of domain {domid}")
        try:
            return self._taken(self._lib.pv_config_write(self._ctx, config)) or "{}"
        finally:
            self._lib.pv_config_free(config)

    def console(self, domid: int, number: int | None, *, serial: bool = False) -> str | None:
        """Return the terminal of a domain's console, once it has one.

        Args:
            domid: the domain.
            number: which console; ``None`` for what Xen itself takes for the first.
            serial: of the emulated serial ports, not of Xen's consoles.
        """
        path = self._ffi.new("char **")
        with self._quiet_below(_XTL_ERROR + 1):
            which = -1 if number is None else number
            rc = self._lib.pv_console(self._ctx, domid, which, serial, path)
            self._lines.clear()
        return self._taken(path[0]) if rc == 0 else None

    def _text(self, pointer: Any) -> str:
        return self._ffi.string(pointer).decode("utf-8", "replace") if pointer else ""

    def _taken(self, pointer: Any) -> str | None:
        """Return a string that libxl made for us, and free it."""
        if not pointer:
            return None
        text = self._text(pointer)
        self._lib.free(pointer)
        return text

    # Domains come and go

    def _config(self, json: str, name: str) -> Any:
        self._lines.clear()
        config = self._lib.pv_config_read(self._ctx, json.encode())
        if not config:
            self.check(-6, f"start {name!r}: its configuration", name)
        return self._ffi.gc(config, self._lib.pv_config_free)

    def create(self, json: str, name: str) -> int:
        """Make a domain, paused, and return its number."""
        config, domid = self._config(json, name), self._ffi.new("uint32_t *", _INVALID_DOMID)
        try:
            self._run(
                lambda token: self._lib.pv_create(self._ctx, config, domid, token),
                f"start {name!r}",
                name,
            )
        except BaseException:
            self._clear(domid[0])
            raise
        return int(domid[0])

    def restore(
        self, json: str, name: str, fd: int, version: int, job: Job, end: Callable[[], object]
    ) -> int:
        """Make a domain, paused, from a stream, and return its number.

        Args:
            json: its configuration.
            name: its name.
            fd: the stream, at its first byte.
            version: the stream's version.
            job: reports progress, and may be cancelled.
            end: ends the stream before its time, to give up: libxl 4.17 can crash when it is
                told to abort what it restores.
        """
        config, domid = self._config(json, name), self._ffi.new("uint32_t *", _INVALID_DOMID)
        try:
            self._run(
                lambda token: self._lib.pv_restore(self._ctx, config, domid, fd, version, token),
                f"restore {name!r}",
                name,
                job,
                end,
            )
        except BaseException:
            self._clear(domid[0])
            raise
        return int(domid[0])

    def _clear(self, domid: int) -> None:
        """After a failure: libxl does not always clear up itself."""
        if domid != _INVALID_DOMID and self.domain(domid) is not None:
            lines = list(self._lines)
            self._lib.pv_destroy(self._ctx, domid)
            self._lines.clear()
            self._lines.extend(lines)

    def suspend(
        self, domid: int, name: str, fd: int, job: Job, *, live: bool, awake: bool = True
    ) -> None:
        """Write a running domain to ``fd``; it stands suspended when this returns.

        Args:
            domid: the domain.
            name: its name.
            fd: where to.
            job: reports progress, and may be cancelled.
            live: let it run meanwhile.
            awake: whether it is not paused; a paused one is woken, for it to answer.
        """

        def start(token: int) -> int:
            rc = int(self._lib.pv_suspend(self._ctx, domid, fd, live, token))
            if rc == 0 and not awake:
                self._lib.pv_unpause(self._ctx, domid)
            return rc

        self._run(start, f"write {name!r}", name, job)

    def core_dump(self, domid: int, name: str, path: str, job: Job | None = None) -> None:
        """Write a domain's memory into a file for debuggers."""
        self._run(
            lambda token: self._lib.pv_core_dump(self._ctx, domid, path.encode(), token),
            f"dump {name!r}",
            name,
            job,
        )

    def _run(
        self,
        start: Callable[[int], int],
        what: str,
        name: str,
        job: Job | None = None,
        give_up: Callable[[], object] | None = None,
    ) -> None:
        """Start something that takes long, and wait for its end.

        Args:
            start: begins it; the argument is its token.
            what: what it is, in words.
            name: the domain's name.
            job: reports progress, and may be cancelled.
            give_up: makes it fail soon; libxl's own abort if there is nothing better.

        Raises:
            HypervisorError: it failed.
            Cancelled: the job was cancelled.
        """
        token = next(self._tokens)
        give_up = give_up or (lambda: self._lib.pv_abort(self._ctx, token))
        self._lines.clear()
        self.check(start(token), what, name)
        rc = self._ffi.new("int *")
        ended = os.eventfd(0, os.EFD_CLOEXEC)
        failed: list[int] = []

        def wait() -> None:
            failed.append(self._lib.pv_wait(self._ctx, token, rc))
            os.eventfd_write(ended, 1)

        waiter = threading.Thread(target=wait, name="polyvisor-libxl", daemon=True)
        waiter.start()
        cancelled = False
        try:
            if job is None:
                waiter.join()
            else:
                cancelled = self._follow(job, ended, give_up)
        except BaseException:
            give_up()
            raise
        finally:
            waiter.join()
            os.close(ended)
        if cancelled and rc[0] != 0:
            self._words()
            assert job is not None
            job.check()
        self.check(failed[0] or rc[0], what, name)

    def _follow(self, job: Job, ended: int, give_up: Callable[[], object]) -> bool:
        """Report progress until something has ended; return whether it was cancelled."""
        # Each pass over memory is counted anew by libxc: passes so far, and the present one.
        passes, earlier, latest = 0, 0, (0, 0)

        def advanced(done: int, total: int) -> None:
            nonlocal passes, earlier, latest
            if done < latest[0]:
                passes, earlier = passes + 1, earlier + latest[0]
            latest = done, total

        previous = self._progress
        self._progress = advanced
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(job.fileno(), select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll(_REPORT * 1000)}
                if ended in ready:
                    return job.cancelled
                if job.cancelled:
                    give_up()
                    poll.unregister(job.fileno())
                    poll.poll()
                    return True
                if latest[1]:
                    done, total = latest
                    job.report(
                        "memory",
                        processed=(earlier + done) * 4096,
                        total=(earlier + total) * 4096,
                        iteration=passes,
                    )
        finally:
            self._progress = previous

    # What is quick

    def pause(self, domid: int, name: str) -> None:
        """Stop the vCPUs."""
        self._quick(self._lib.pv_pause(self._ctx, domid), "suspend", name)

    def unpause(self, domid: int, name: str) -> None:
        """Let the vCPUs run."""
        self._quick(self._lib.pv_unpause(self._ctx, domid), "resume", name)

    def resume(self, domid: int, name: str) -> None:
        """Let a guest that was suspended for saving go on."""
        self._quick(self._lib.pv_resume(self._ctx, domid), "resume", name)

    def destroy(self, domid: int, name: str) -> None:
        """End a domain and wait until it is gone."""
        self._lines.clear()
        self._quick(self._lib.pv_destroy(self._ctx, domid), "destroy", name)

    def preserve(self, domid: int, name: str, suffix: str, uuid: UUID) -> None:
        """Keep a domain that has shut down: with a suffix to its name, and another UUID."""
        self._lines.clear()
        rc = self._lib.pv_preserve(self._ctx, domid, name.encode(), suffix.encode(), uuid.bytes)
        self._quick(rc, "keep", name)

    def shutdown(self, domid: int, name: str, modes: Collection[str] = ASKING) -> None:
        """Ask the guest to shut down; by the power button if it has no Xen drivers.

        Args:
            domid: its number.
            name: its name, for errors.
            modes: ``"paravirt"``, ``"acpi"`` or both.
        """
        self._ask(self._lib.pv_shutdown, 0, domid, name, "shutdown", modes)

    def reboot(self, domid: int, name: str, modes: Collection[str] = ASKING) -> None:
        """Ask the guest to reboot; by the reset button if it has no Xen drivers."""
        self._ask(self._lib.pv_reboot, 1, domid, name, "reboot", modes)

    def reset(self, domid: int, name: str) -> None:
        """Press the reset button of a machine that has one."""
        self._quick(self._lib.pv_press(self._ctx, domid, 1), "reset", name)

    def _ask(
        self,
        call: Callable[[Any, int], int],
        button: int,
        domid: int,
        name: str,
        what: str,
        modes: Collection[str],
    ) -> None:
        rc = call(self._ctx, domid) if "paravirt" in modes else None
        if rc is None or ("acpi" in modes and error_name(rc) == "ERROR_NOPARAVIRT"):
            self._lines.clear()
            rc = self._lib.pv_press(self._ctx, domid, button)
        self._quick(rc, what, name)

    def _quick(self, rc: int, what: str, name: str) -> None:
        if error_name(rc) == "ERROR_DOMAIN_NOTFOUND":
            self._words()
            raise OperationInvalid(f"{what} {name!r}: it is gone", domain=name, operation=what)
        self.check(rc, f"{what} {name!r}", name)

    def set_memory(self, domid: int, name: str, size: int) -> None:
        """Have the guest's balloon driver bring it to ``size`` bytes."""
        self._quick(self._lib.pv_set_memory(self._ctx, domid, size // 1024), "set memory", name)

    def set_max_memory(self, domid: int, name: str, size: int) -> None:
        """Set how many bytes the domain may have."""
        rc = self._lib.pv_set_max_memory(self._ctx, domid, size // 1024)
        self._quick(rc, "set maximum memory", name)

    def set_vcpus(self, domid: int, name: str, count: int) -> None:
        """Set how many vCPUs are online."""
        self._quick(self._lib.pv_set_vcpus(self._ctx, domid, count), "set vCPUs", name)

    def rename(self, domid: int, old: str, new: str) -> None:
        """Give a domain another name."""
        rc = self._lib.libxl_domain_rename(self._ctx, domid, old.encode(), new.encode())
        self._quick(rc, f"rename to {new!r}", old)

    def change_device(self, domid: int, name: str, kind: str, json: str, *, add: bool) -> None:
        """Attach or detach a device: a ``"disk"``, a ``"nic"`` or a ``"pci"``."""
        self._lines.clear()
        rc = self._lib.pv_device(self._ctx, domid, kind.encode(), add, json.encode())
        self._quick(rc, f"{'attach' if add else 'detach'} a {kind} of", name)

    def memory_needed(self, json: str, name: str) -> int:
        """Return the bytes of free memory that making a domain takes."""
        need = self._ffi.new("uint64_t *")
        self.check(
            self._lib.pv_need_memory(self._ctx, self._config(json, name), need),
            f"start {name!r}: ask how much memory it needs",
            name,
        )
        return int(need[0]) * 1024

    def memory_free(self) -> int:
        """Return the bytes of memory that no domain has."""
        found = self._ffi.new("uint64_t *")
        self.check(self._lib.pv_free_memory(self._ctx, found), "ask for free memory")
        return int(found[0]) * 1024

    def wait_for_memory(self, size: int, seconds: int) -> bool:
        """Wait until so many bytes are free; return whether they are."""
        with self._quiet_below(_XTL_ERROR + 1):
            rc = self._lib.pv_wait_for_memory(self._ctx, 0, size // 1024, seconds)
            self._lines.clear()
        return bool(rc == 0)

    # Hearing

    def watch(self, domid: int) -> Any:
        """Ask to be told of a domain's end; return what :meth:`unwatch` takes."""
        made = self._ffi.new("void **")
        self.check(self._lib.pv_watch(self._ctx, domid, made), f"watch domain {domid}")
        return made[0]

    def unwatch(self, watch: Any) -> None:
        """Ask no longer."""
        self._lib.pv_unwatch(self._ctx, watch)

    def next_event(self, *fds: int) -> tuple[int, int] | None:
        """Wait for the end of a domain, or for a descriptor to become readable.

        Returns:
            The domain's number, and its shutdown reason or -1 if it is gone altogether;
            ``None`` if a descriptor is readable.
        """
        event = self._ffi.new("pv_event *")
        rc = self._lib.pv_next_event(self._ctx, list(fds), len(fds), event)
        if rc < 0:
            self.check(rc, "wait for events")
        return (int(event.domid), int(event.reason)) if rc else None

    @property
    def stream_version(self) -> int:
        """Version of the streams that this libxl writes: 2, or 1 before Xen 4.6."""
        return int(self._lib.pv_stream_version())
