"""The numbers of libxl's, libxc's and the legacy stream.

Sources, in Xen's tree: docs/specs/libxl-migration-stream.pandoc (revision 2),
docs/specs/libxc-migration-stream.pandoc (revision 3), tools/libs/guest/xg_sr_stream_format.h,
tools/python/xen/migration/legacy.py, xen/include/public/domctl.h and hvm/params.h.
"""

from __future__ import annotations

from struct import Struct

__all__ = [
    "ALIGN",
    "BASIC_CONTEXT",
    "CHUNKS",
    "CHUNK_PARAMS",
    "DATALESS",
    "EMULATORS",
    "EXTENDED_MAX",
    "GUESTS",
    "LIBXC_HEADER",
    "LIBXC_ID",
    "LIBXC_MARKER",
    "LIBXC_RECORDS",
    "LIBXL_HEADER",
    "LIBXL_IDENT",
    "LIBXL_RECORDS",
    "MAX_BATCH",
    "MAX_RECORD",
    "MAX_VCPUS",
    "OPTIONAL",
    "PAGE_KINDS",
    "PAGE_SIZE",
    "PFN_LIMIT",
    "RESERVED_KINDS",
]

PAGE_SIZE = 4096
#: Records are padded to a multiple of this.
ALIGN = 8
#: Bit of a record's type: who does not know it may pass it by.
OPTIONAL = 0x80000000

# libxl

LIBXL_IDENT = b"LibxlFmt"
#: ident, version, options; big-endian whatever the options say.
LIBXL_HEADER = Struct(">8sII")
LIBXL_RECORDS = {
    0: "END",
    1: "LIBXC_CONTEXT",
    2: "EMULATOR_XENSTORE_DATA",
    3: "EMULATOR_CONTEXT",
    4: "CHECKPOINT_END",
    5: "CHECKPOINT_STATE",
}
EMULATORS = {0: "unknown", 1: "QEMU traditional", 2: "QEMU upstream"}

# libxc

LIBXC_MARKER = b"\xff" * 8
LIBXC_ID = b"XENF"
#: marker, id, version, options, reserved, reserved; big-endian whatever the options say.
LIBXC_HEADER = Struct(">8s4sIHHI")
GUESTS = {1: "PV", 2: "HVM"}
#: ``REC_LENGTH_MAX``.
MAX_RECORD = 128 << 20
LIBXC_RECORDS = {
    0x00: "END",
    0x01: "PAGE_DATA",
    0x02: "X86_PV_INFO",
    0x03: "X86_PV_P2M_FRAMES",
    0x04: "X86_PV_VCPU_BASIC",
    0x05: "X86_PV_VCPU_EXTENDED",
    0x06: "X86_PV_VCPU_XSAVE",
    0x07: "SHARED_INFO",
    0x08: "X86_TSC_INFO",
    0x09: "HVM_CONTEXT",
    0x0A: "HVM_PARAMS",
    0x0B: "TOOLSTACK",
    0x0C: "X86_PV_VCPU_MSRS",
    0x0D: "VERIFY",
    0x0E: "CHECKPOINT",
    0x0F: "CHECKPOINT_DIRTY_PFN_LIST",
    0x10: "STATIC_DATA_END",
    0x11: "X86_CPUID_POLICY",
    0x12: "X86_MSR_POLICY",
}
#: ``XEN_DOMCTL_PFINFO_*``, the upper four bits of an entry; ``None`` where reserved.
PAGE_KINDS = (
    "normal",
    "page table, level 1",
    "page table, level 2",
    "page table, level 3",
    "page table, level 4",
    None,
    None,
    None,
    None,
    "pinned page table, level 1",
    "pinned page table, level 2",
    "pinned page table, level 3",
    "pinned page table, level 4",
    "broken",
    "allocated only",
    "invalid",
)
#: Kinds of pages that come without their contents: BROKEN, XALLOC, XTAB.
DATALESS = (0xD, 0xE, 0xF)
RESERVED_KINDS = (0x5, 0x6, 0x7, 0x8)
#: x86 has physical addresses of at most 52 bits, so 40 of a page number.
PFN_LIMIT = 1 << 40
#: ``vcpu_guest_context_t`` by the guest's width in octets (public/arch-x86/xen.h).
BASIC_CONTEXT = {8: 0x1430, 4: 0xAF0}
#: Room that ``XEN_DOMCTL_{get,set}_ext_vcpucontext`` takes at most.
EXTENDED_MAX = 128
#: More than any x86 guest has (``MAX_VIRT_CPUS``).
MAX_VCPUS = 8192

# The legacy stream

#: ``MAX_BATCH`` of the old xc_domain_save.c, in pages.
MAX_BATCH = 1024
CHUNKS = {
    0: "end",
    -1: "enable verify mode",
    -2: "vcpu info",
    -3: "ident pt",
    -4: "vm86 tss",
    -5: "tmem",
    -6: "tmem extra",
    -7: "tsc info",
    -8: "console pfn",
    -9: "last checkpoint",
    -10: "acpi ioports location",
    -11: "viridian",
    -12: "compressed data",
    -13: "enable compression",
    -14: "generation id address",
    -15: "paging ring pfn",
    -16: "monitor ring pfn",
    -17: "sharing ring pfn",
    -18: "toolstack",
    -19: "ioreq server pfn",
    -20: "number of ioreq server pages",
}
#: Chunks that hold one ``HVM_PARAM_*`` each, and which.
CHUNK_PARAMS = {
    -3: 12,
    -4: 15,
    -8: 17,
    -10: 19,
    -11: 9,
    -14: 34,
    -15: 27,
    -16: 28,
    -17: 29,
    -19: 32,
    -20: 33,
}
