"""Streams that go on where they were lost."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Dict, List, Optional

from wrong_client.connection import Failure

REOPENINGS_MAX = 16


class Resumption:
    """The place in a stream behind which a further call goes on; none where it is not resumable."""

    def __init__(self, ask: Dict[str, Any], settings: Dict[str, Any], wrong: Optional[str]) -> None:
        self.params = ask.get("params")
        self.members: List[Dict[str, str]] = [] if wrong == "resume-never" else ask.get("resumable", [])
        self.settings = settings
        self.wrong = wrong
        self.cursor: Dict[str, Any] = {}
        self.reopenings = 0

    def passed(self, item: Any) -> None:
        """Notes an item that was told."""
        self.reopenings = 0
        if isinstance(item, dict) and all(member["cursor"] in item for member in self.members):
            self.cursor = {member["param"]: item[member["cursor"]] for member in self.members}

    async def go_on(self, failure: Failure) -> Any:
        """The params of the call that goes on. Raises the failure where it is the end."""
        told = failure.told
        is_lost = told["code"] == 14 or self.wrong == "resume-after-any-failure"
        if self.wrong == "resume-after-loss-only":
            is_lost = is_lost and not told["answered"]
        if self.wrong == "resume-after-an-item-only":
            is_lost = is_lost and bool(self.cursor)
        if not self.members or not is_lost or (self.reopenings >= REOPENINGS_MAX and self.wrong != "resume-for-ever"):
            if self.members and self.reopenings and self.cursor and told["code"] in (9, 11) and self.wrong != "resume-hides-gaps":
                place = json.dumps(self.cursor)
                told["message"] = f"cannot continue from {place}, so items may be missing: {told.get('message')}"
            raise failure
        self.reopenings += 1
        if self.reopenings > 1:
            await asyncio.sleep(random.uniform(0, self.settings.get("retry_base_ms", 10) / 1000))
        if self.wrong == "resume-from-the-start":
            return self.params
        if isinstance(self.params, dict):
            return {**self.params, **self.cursor}
        return next(iter(self.cursor.values())) if len(self.cursor) == 1 else self.params
