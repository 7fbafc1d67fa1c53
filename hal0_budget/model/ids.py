"""Rules for ids that become names of files, and the request ids of voids."""

from __future__ import annotations

import re

from hal0_budget.errors import InvalidId

_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def is_id(text: str) -> bool:
    """Return whether `text` is a valid id of an agent, a persona or a hold."""
    return re.fullmatch(_ID, text) is not None


def checked_id(kind: str, text: str) -> str:
    """Return `text`. Raises InvalidId, with `kind` in its message, if it is not a valid id.

    Ids are ASCII and contain no path separator, so that no id leads out of its folder.
    """
    if not isinstance(text, str) or not is_id(text):
        raise InvalidId(
            f"{kind} id {text!r} is not valid: letters, digits, '.', '_' and '-', at most 64, "
            "the first a letter or a digit",
            id=text,
        )
    return text


def void_id(request_id: str) -> str:
    """Return the request id of the row that voids the row with `request_id`."""
    return f"void:{request_id}"
