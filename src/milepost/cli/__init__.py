"""The command `milepost`: verbs only. Each parses, calls, prints and returns an exit status.

Promise: `milepost --help` starts in under 0.2 s, because a verb imports what it needs when it is called.
Errors that Milepost raises on purpose, and files that can't be opened, are printed without a traceback. Exit
statuses:

    0    done
    1    it could not be done; the message says what, where and what to do
    2    the command line was wrong
    74   a run ended or was stopped, and its last state could not be saved for lack of space
    75   a run was stopped by a signal or its time limit, saved, and can be continued
    130  interrupted from the keyboard outside of training, or twice in it

`milepost.cli.statuses` names them and tells where they come from.
"""

from milepost.cli.main import main

__all__ = ["main"]
