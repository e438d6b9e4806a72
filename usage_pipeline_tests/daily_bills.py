"""Daily bills written by hand and synced for real: what tests of budgets, anomalies and explanations begin with.

Put the making of bills here; no test and no assertion.
"""

import json
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_start
from usage_pipeline_tests.played import Played, played_settings

TODAY = date(2026, 11, 20)
LINE = "gpt-5, output"


class Bills:
    """A service that bills what it is told, in one data folder."""

    def __init__(self, data_dir: Path, today: date = TODAY, **more: str) -> None:
        self.service = Played(datetime(today.year, today.month, today.day, 12, tzinfo=UTC))
        self.settings: Settings = played_settings(data_dir, **more)
        self._held: dict[date, list[str]] = defaultdict(list)

    def bill(
        self, day: date, amount: Decimal | str | int, quantity: int | None = None, currency: str = "usd", **more: Any
    ) -> None:
        """Add a line to a day's bill; the amount reaches the wire as written."""
        fields = {"object": "organization.costs.result", "project_id": "p", "line_item": LINE, **more}
        fields["amount"] = {"value": str(amount), "currency": currency}
        if quantity is not None:
            fields = {"quantity_unit": "tokens", **fields, "quantity": quantity}
        self._held[day].append(json.dumps(fields))

    def bill_days(self, first: date, end: date, amount: Decimal | str | int, **more: Any) -> None:
        """The same line on each of the days."""
        for day in days(first, end):
            self.bill(day, amount, **more)

    def clear(self, day: date) -> None:
        """Take back a day's bill."""
        self._held[day].clear()

    def put(self) -> None:
        """Have the service answer with the bills as they are now."""
        for day, texts in self._held.items():
            self.service.put("costs", int(day_start(day).timestamp()), *texts)

    def sync(self, first: date, end: date) -> Settings:
        """Read the days' costs an hour after the last time, and publish."""
        self.service.now += timedelta(hours=1)
        self.put()
        self.service.sync(self.settings, Window.of_days(first, end), "costs")
        return self.settings

    def budget(self, *lines: str) -> None:
        """Write budgets.csv."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        text = "\n".join(["scope,project_id,month,amount,currency", *lines])
        (self.settings.data_dir / "budgets.csv").write_text(text + "\n", encoding="utf-8")


def days(first: date, end: date) -> list[date]:
    """The days from the first to before the end."""
    return [first + timedelta(days=number) for number in range((end - first).days)]
