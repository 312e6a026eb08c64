"""Runs a command and reaps what its daemons leave behind: ``reaper.py COMMAND ARGUMENT…``.

In a container the first process may not reap; libvirtd would then wait for the end of
guests that have long ended, which on a proper machine it does not.
"""

import ctypes
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36
if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
    sys.exit("this kernel has no subreapers")
command = subprocess.Popen(sys.argv[1:])
while True:
    pid, status = os.wait()
    if pid == command.pid:
        sys.exit(os.waitstatus_to_exitcode(status))
