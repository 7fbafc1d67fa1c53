"""The entry point: turns every outcome into an exit code and ends the process.

Exit codes 0, 10 and 20 are verdicts. No other outcome, at import or at run time, may exit with one of
them: the code starts as 70 and changes only when an answer was delivered.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

_BUG = 70
_INTERRUPTED = 130
_TERMINATED = 143


def main() -> NoReturn:
    """Run the command line of this process, then exit."""
    code = _BUG
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BaseException as error:  # noqa: BLE001, no exception may read as a verdict
        code = _report_bug(error)
    finally:
        # os._exit skips the interpreter's shutdown, which could change the code and costs a quarter
        # of the gate's time. It is safe here: nothing is buffered and every file is closed.
        os._exit(code)


def _run(argv: list[str]) -> int:
    import gc
    import signal

    # The process ends too soon for a garbage collection to pay.
    gc.disable()
    signal.signal(signal.SIGTERM, _terminate)
    _reserve_standard_streams()

    import typer

    from hal0_budget.cli.app import invoke
    from hal0_budget.cli.options import Output
    from hal0_budget.cli.render.emit import emit, emit_error
    from hal0_budget.errors import BudgetError, UsageError, from_os_error

    output = Output()
    try:
        result = invoke(argv, output)
        return result if isinstance(result, int) else emit(result, output)
    except typer.TyperException as error:
        return emit_error(UsageError(error.format_message()), Output.foreseen(argv))
    except UsageError as error:
        return emit_error(error, Output.foreseen(argv))
    except BudgetError as error:
        return emit_error(error, output)
    except OSError as error:
        return emit_error(from_os_error(error), output)


def _report_bug(error: BaseException) -> int:
    """Print an unexpected exception on stderr; returns the exit code for it."""
    if isinstance(error, SystemExit) and error.code == _TERMINATED:
        return _TERMINATED
    text = f"hal0-budget: bug: {type(error).__name__}"
    with suppress(BaseException):
        text += f": {error}"  # which may itself fail
    with suppress(BaseException):
        sys.stderr.write(text.encode("unicode_escape").decode("ascii") + "\n")
        sys.stderr.flush()
    return _BUG


def _terminate(_signum: int, _frame: object) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _reserve_standard_streams() -> None:
    """Open /dev/null for each of the descriptors 0, 1 and 2 that is closed.

    Otherwise a ledger could be opened as descriptor 1 or 2, and a message would be written into it.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
