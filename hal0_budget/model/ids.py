"""The ids that may reach the file system, and the request ids that this program makes."""

from __future__ import annotations

import re

from hal0_budget.errors import InvalidId

_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def is_id(text: str) -> bool:
    """Whether `text` is an id of an agent, a persona or a hold."""
    return re.fullmatch(_ID, text) is not None


def checked_id(kind: str, text: str) -> str:
    """`text` where it is an id, else InvalidId; `kind` says what it names.

    Ids are ASCII and cannot hold a separator, so that no id leaves its folder.
    """
    if not isinstance(text, str) or not is_id(text):
        raise InvalidId(
            f"{kind} id {text!r} is not valid: letters, digits, '.', '_' and '-', at most 64, "
            "the first a letter or a digit",
            id=text,
        )
    return text


def void_id(request_id: str) -> str:
    """The request id of the row that takes back the one with `request_id`."""
    return f"void:{request_id}"
