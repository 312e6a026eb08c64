"""A real guest in 512 bytes for x86 machines: it counts aloud, about 18 times a second.

It is what the hypervisor of a :class:`polyvisor.testing.Target` can run to have ``ticks``.

On its serial port it prints ``tick 0000``, ``tick 0001`` … in hexadecimal, one line for each
tick of the BIOS's clock. The count is in a register and the program in memory, so a count that
goes on after a restore or migration shows that both came through. It boots at once, which no
operating system does under software emulation.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["BOOT_SECTOR", "IMAGE_SIZE", "read_ticks", "write_image"]

#: Size of the disk image: the least that firmware takes for a disk without complaint.
IMAGE_SIZE = 1 << 20

# Offsets, machine code and what it does; loaded at 0x7c00 by the BIOS, 16-bit mode.
_LISTING = """
    00  31 c0           xor   ax, ax
    02  8e d8           mov   ds, ax
    04  8e d0           mov   ss, ax
    06  bc 00 7c        mov   sp, 0x7c00    ; stack below the program
    09  fb              sti
    0a  31 ff           xor   di, di        ; the count
    0c  be 5b 7c  next: mov   si, text
    0f  ac        more: lodsb
    10  84 c0           test  al, al
    12  74 05           jz    hex
    14  e8 32 00        call  send
    17  eb f6           jmp   more
    19  89 fa     hex:  mov   dx, di
    1b  b1 04           mov   cl, 4         ; four digits, highest first
    1d  c1 c2 04  digit: rol  dx, 4
    20  88 d0           mov   al, dl
    22  24 0f           and   al, 15
    24  04 90           add   al, 0x90      ; 0-15 to '0'-'9', 'A'-'F'
    26  27              daa
    27  14 40           adc   al, 0x40
    29  27              daa
    2a  e8 1c 00        call  send
    2d  fe c9           dec   cl
    2f  75 ec           jnz   digit
    31  b0 0d           mov   al, 13        ; end of line
    33  e8 13 00        call  send
    36  b0 0a           mov   al, 10
    38  e8 0e 00        call  send
    3b  47              inc   di
    3c  8a 1e 6c 04     mov   bl, [0x46c]   ; the BIOS's tick counter
    40  f4        wait: hlt
    41  3a 1e 6c 04     cmp   bl, [0x46c]
    45  74 f9           je    wait
    47  eb c3           jmp   next
    49  52        send: push  dx
    4a  88 c4           mov   ah, al
    4c  ba fd 03        mov   dx, 0x3fd     ; COM1, line status
    4f  ec        busy: in    al, dx
    50  a8 20           test  al, 0x20      ; ready for the next byte?
    52  74 fb           jz    busy
    54  88 e0           mov   al, ah
    56  b2 f8           mov   dl, 0xf8      ; COM1, data
    58  ee              out   dx, al
    59  5a              pop   dx
    5a  c3              ret
    5b  74 69 63 6b 20 00  text: "tick ", 0
"""

# In place of reading the clock, and what it leads to: the words written lie beyond the first MiB,
# which 16-bit code reaches once a segment register has got a limit of 4 GiB in protected mode. An
# interrupt's handler could take that limit away again, so there is none meanwhile.
_DETOUR = 0x3C, "e9 22 00 90"  # jmp 0x61; nop
_WRITING = """
    61  8a 1e 6c 04     mov   bl, [0x46c]
    65  fa              cli
    66  e4 92           in    al, 0x92      ; let addresses be longer than 20 bits
    68  0c 02           or    al, 2
    6a  e6 92           out   0x92, al
    6c  0f 01 16 9f 7c  lgdt  [table]
    71  0f 20 c0        mov   eax, cr0
    74  0c 01           or    al, 1
    76  0f 22 c0        mov   cr0, eax      ; protected mode
    79  b9 08 00        mov   cx, 8
    7c  8e c1           mov   es, cx
    7e  24 fe           and   al, 0xfe
    80  0f 22 c0        mov   cr0, eax      ; and back
    83  66 b8 00 00 10 00        mov eax, 0x100000
    89  26 67 ff 00        page: inc word [es:eax]
    8d  66 05 00 10 00 00        add eax, 0x1000
    93  66 3d 00 00 20 00        cmp eax, 0x200000
    99  72 ee           jb    page
    9b  fb              sti
    9c  e9 a1 ff        jmp   0x40          ; wait
    9f  0f 00 a5 7c 00 00  table: its last byte, its address
    a5  00 00 00 00 00 00 00 00  nothing
    ad  ff ff 00 00 00 92 cf 00  data, 4 GiB from 0
"""


def _assemble(listing: str, start: int = 0) -> bytes:
    code = bytearray()
    for line in listing.strip().splitlines():
        words = line.split()
        assert int(words[0], 16) == start + len(code), line
        for word in words[1:]:
            if len(word) != 2 or any(digit not in "0123456789abcdef" for digit in word):
                break
            code.append(int(word, 16))
    return bytes(code)


def _sector(code: bytes) -> bytes:
    # A boot sector ends in this signature.
    return code.ljust(510, b"\0") + b"\x55\xaa"


#: The sector itself.
BOOT_SECTOR = _sector(_assemble(_LISTING))


def write_image(path: str | os.PathLike[str], *, writing: bool = False) -> None:
    """Write a disk image that boots into the counting guest.

    Args:
        path: the file; an earlier one is replaced.
        writing: with each tick the guest also writes into 1 MiB of its memory, a word on each
            page, so that a migration at 1 MiB/s that may stop it for 0.3 s never comes to its end.
            Such a guest needs 2 MiB of memory.
    """
    sector = bytearray(BOOT_SECTOR)
    if writing:
        for at, code in (
            (_DETOUR[0], bytes.fromhex(_DETOUR[1])),
            (0x61, _assemble(_WRITING, 0x61)),
        ):
            sector[at : at + len(code)] = code
    with open(path, "wb") as image:
        image.write(sector)
        image.truncate(IMAGE_SIZE)


def read_ticks(path: str | os.PathLike[str]) -> Sequence[int]:
    """Return the numbers that the guest has counted so far, of whole lines alone.

    Args:
        path: what its serial port wrote into a file; without it nothing was counted yet.
    """
    import re

    try:
        with open(path, "rb") as file:
            said = file.read()
    except FileNotFoundError:
        return []
    return [int(number, 16) for number in re.findall(rb"tick ([0-9A-F]{4})\r?\n", said)]
