"""The command `milepost`: verbs only. Each parses, calls, prints and returns an exit status.

Promise: `milepost --help` starts in under 0.2 s, because a verb imports what it needs when it is called.
Errors that Milepost raises on purpose, and files that can't be opened, are printed without a traceback. Exit
statuses:

    0    done
    1    it could not be done; the message says what, where and what to do
    2    the command line was wrong
    75   a run was asked to stop (Ctrl-C, SIGTERM, SIGUSR1, SIGUSR2), saved, and can be continued: "temporary
         failure, call again" (EX_TEMPFAIL of sysexits.h)
    130  interrupted from the keyboard outside of training, or twice in it
"""

from milepost.cli.main import main

__all__ = ["main"]
