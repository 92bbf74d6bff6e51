"""Save in processes that kill themselves at a chosen call.

Reads one request a line, `{"folder": …, "step": …, "overwrite": …, "at": …, "after": …, "buffer": …}`, saves in a
process of its own that sends SIGKILL to itself before or after call number `at`, and answers each with that process's
wait status. Torch is imported once; only this process, which has one thread, is forked.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from faults.injection import Killed
from faults.sequence import save
from milepost.archive import commit


def killed(request: dict[str, Any]) -> int:
    """Make one request; return how the process ended, as `os.waitpid` tells it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            commit._BUFFER_BYTES = request["buffer"]
            filesystem = Killed(request["at"], after=request["after"])
            save(Path(request["folder"]), request["step"], overwrite=request["overwrite"], filesystem=filesystem)
            status = 0
        except BaseException:  # noqa: BLE001 - it is told, and the process ends here
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def main() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        print(killed(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
