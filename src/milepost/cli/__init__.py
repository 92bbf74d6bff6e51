"""The command `milepost`: verbs only. Each parses, calls, prints and returns an exit status.

Promise: `milepost --help` starts in under 0.2 s, because a verb imports what it needs when it is called. Errors that
Milepost raises on purpose are printed without a traceback and end with status 1; a run that was asked to stop ends
with status 75, "temporary failure, call again" (sysexits.h), 130 after an interrupt from the keyboard.
"""

from milepost.cli.main import main

__all__ = ["main"]
