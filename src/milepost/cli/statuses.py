"""The exit statuses of `milepost`: what a shell loop or a scheduler may conclude from the end of a process.

75 and 74 keep the meaning that they have had since 4.3BSD, in its header sysexits.h; 130 is what a shell reports for
a process that SIGINT ended (128 + signal number, POSIX shells); 2 is what click, and before it the shell's own
commands, give for a command line that can't be understood. docs/how-to/resume.md lists them for users.
"""

FINISHED = 0
"""The work is done, all of it."""

FAILED = 1
"""An error, told in the message; the same command would meet it again."""

USAGE = 2
"""The command line can't be understood."""

UNSAVED = 74
"""EX_IOERR: training ended or stopped, and its last state could not be saved for lack of space."""

STOPPED = 75
"""EX_TEMPFAIL: stopped by a signal or the time limit; the same command with `--restart auto` goes on."""

ABANDONED = 130
"""Left at once because of a second interrupt from the keyboard; the last committed checkpoint is intact."""
