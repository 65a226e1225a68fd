"""The command `resect`: parses the command line, runs the command, and turns errors into exit codes. Only this package prints.

Exit codes: 0 done; 2 the request is wrong; 1 the computation failed; 130 interrupted. Nothing heavy is imported before a command needs it.
"""

import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from resect.core.errors import ResectError
from resect.core.threads import share_processors

from .commands import commands
from .parsing import parse

#: Packages whose warnings are shown only with --verbose.
_LIBRARIES = r"(transformers|torch|torchao|bitsandbytes|huggingface_hub|datasets|accelerate)(\.|$)"
#: Loggers that speak while torchao is imported, which transformers does where it is installed: on parts for other machines.
_LOGGERS = ("torchao", "torch.utils._pytree")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name), and return the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with warnings.catch_warnings():
            _run(given)
    except BrokenPipeError:  # the reader of standard output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        _say("interrupted. Finished work is kept; the same command continues where it stopped.")
        return 130
    except ResectError as error:
        _say(f"error: {error}")
        return error.exit_code
    except MemoryError:
        _say("error: Out of memory. A smaller --batch-size, another --device or --dtype bfloat16 needs less.")
        return 1
    except OSError as error:
        full = " The disk is full; finished work is kept." if error.errno == errno.ENOSPC else ""
        _say(f"error: {error}.{full}")
        return 1
    except Exception as error:  # noqa: BLE001  the last place that can report a bug in one line instead of fifty
        if "--verbose" in given:
            traceback.print_exc()
        _say(f"error: {type(error).__name__}: {error}. This is a bug in resect, or in the package of the method; --verbose shows where.")
        return 1
    return 0


def _run(given: Sequence[str]) -> None:
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
    options = parse(given)
    share_processors()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not options.verbose:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")  # what reads GGUF files has a bar of its own
        warnings.filterwarnings("ignore", module=_LIBRARIES)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
    commands()[options.command](options)
    sys.stdout.flush()


def _say(text: str) -> None:
    """Print one line on standard error."""
    print("resect:", " ".join(text.split()), file=sys.stderr)
