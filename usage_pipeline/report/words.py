"""How the report words amounts, shares, days and names.

Put wording here; every text of upstream goes through `shown` before it reaches a page.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal

from usage_pipeline.explain import money as signed_money
from usage_pipeline.redaction import escaped

NONE = "none"  # where there is no figure
_LONGEST = 90  # characters of a name; of sentences, more


def shown(text: object, longest: int = _LONGEST) -> str:
    """A text of upstream as people see it: what does not print is an escape, and what has no end gets one."""
    cut = str(text)
    cut = cut if len(cut) <= longest else cut[: longest - 1] + "…"
    return escaped(cut)


def money(amount: Decimal, currency: str) -> str:
    """`$1,234.50`, `1,234.50 EUR`; nothing is `$0.00`, never `-$0.00`."""
    return signed_money(_cents(amount), shown(currency), sign=False)


def change(amount: Decimal, currency: str) -> str:
    """An amount with its sign."""
    return signed_money(_cents(amount), shown(currency))


def _cents(amount: Decimal) -> Decimal:
    rounded = round(amount, 2)
    return rounded if rounded else Decimal(0)


def exact(amount: Decimal) -> str:
    """Every digit, for machines."""
    plain = format(amount, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def percent(share: Decimal, *, sign: bool = False) -> str:
    """`12 %`, and `1.2 %` below ten."""
    value = share * 100
    digits = 1 if abs(value) < 10 else 0
    return f"{value:+,.{digits}f} %" if sign else f"{value:,.{digits}f} %"


def number(count: int) -> str:
    """`1,234`, `1.2 M`."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,}"


def day(moment: date) -> str:
    """`19 Nov 2026`."""
    return f"{moment.day} {moment:%b %Y}"


def days(first: date, last: date) -> str:
    """`1 to 19 Nov 2026`, as short as it can be."""
    if first == last:
        return day(first)
    start = day(first)
    if first.year == last.year:
        start = f"{first.day} {first:%b}" if first.month != last.month else str(first.day)
    return f"{start} to {day(last)}"


def ago(then: datetime, now: datetime) -> str:
    """`3 hours ago`; both are UTC."""
    passed = max(now - then, timedelta(0))
    if passed >= timedelta(days=2):
        return f"{passed.days} days ago"
    hours = int(passed.total_seconds() // 3600)
    if hours >= 1:
        return "1 hour ago" if hours == 1 else f"{hours} hours ago"
    minutes = int(passed.total_seconds() // 60)
    return "just now" if minutes < 2 else f"{minutes} minutes ago"


def counted(count: int, thing: str) -> str:
    """`1 day`, `2 days`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
