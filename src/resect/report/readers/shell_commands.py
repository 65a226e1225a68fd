"""What a command on the command line looks like, for advice in reports."""

import os
import shutil
import sys
from pathlib import Path


def program() -> str:
    """How this program is called here: by its name where the shell finds it, else by its path next to the interpreter."""
    installed = Path(sys.executable).with_name("resect")
    return "resect" if shutil.which("resect") or not installed.exists() else near(str(installed))


def near(path: str) -> str:
    """An absolute path as seen from the working folder, where that is shorter; anything else as it is."""
    name, equals, place = path.rpartition("=")
    if not os.path.isabs(place):
        return path
    relative = os.path.relpath(place)
    return f"{name}{equals}{relative}" if len(relative) < len(place) else path
