#!/usr/bin/env python3
"""Runs a program on a pseudo terminal.

    terminal.py program argument...

What the program writes is written to standard output, what is read from standard input is typed at
the terminal: byte 3 is Ctrl-C. SIGINT has its default action, whatever was inherited. The exit code is
the program's, 128 + n if a signal n has ended it."""

import os
import pty
import select
import signal
import sys

pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])

sources = [terminal, 0]
while True:
    ready, _, _ = select.select(sources, [], [])
    if 0 in ready:
        typed = os.read(0, 4096)
        if typed:
            os.write(terminal, typed)
        else:
            sources.remove(0)
    if terminal in ready:
        try:
            written = os.read(terminal, 65536)
        except OSError:  # the program has closed its side
            break
        if not written:
            break
        os.write(1, written)

code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(code if code >= 0 else 128 - code)
