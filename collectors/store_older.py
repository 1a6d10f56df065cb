"""Recordings of earlier layouts, presented to the code that reads them as if they were of today's.

A file is never changed. For each earlier `user_version` there are statements that make temporary views
(SQLite looks into `temp` first) under the names of today's tables, over those of the file; each version
is presented as the next one, and so on up to today's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from collectors.store_schema import SCHEMA_VERSION

Steps = Mapping[int, tuple[str, ...]]

STEPS: Steps = {}
"""By the version they present, the statements that make the next one of it. There is no earlier layout yet.

A later step's views stand over an earlier one's: name the table that is meant (`main.label`, or `temp.label`
for what an earlier step made), and replace a view by one of another name where both are needed."""


def present(connection: sqlite3.Connection, version: int, *, steps: Steps = STEPS, today: int = SCHEMA_VERSION) -> bool:
    """Makes an open file of an earlier version look like one of today's; False when it is not known how."""
    if any(number not in steps for number in range(version, today)):
        return False
    # Temporary views are no change of the file, which is open read-only besides.
    connection.execute("PRAGMA query_only = OFF")
    for number in range(version, today):
        for statement in steps[number]:
            connection.execute(statement)
    connection.execute("PRAGMA query_only = ON")
    return True
