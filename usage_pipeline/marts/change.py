"""The change in cost between two windows, split exactly into effects. Pure arithmetic on exact decimals.

Put the definition of the effects here; what the cells are is marts/cost_drivers_daily.sql's, words are explain.py's.

An item (a project, a model ...) has cells: what was paid for (model, line item and unit), each with an amount and,
where the bill gives one, a quantity, in both windows (1 and 2). Cells of one unit can be added up; quantities without
a unit (of tools) only those of one line item: A = their amounts, Q = their quantities. Then, to 20 decimal places:

    credits     change of the cells that are credits (below zero): they stand for no usage
    new         A2 of all other cells, where the item cost nothing in window 1
    gone        -A1 of all other cells, where it costs nothing in window 2
    price       sum over cells in both windows of A2 - A1 * q2/q1: dearer or cheaper at the second quantity
    volume      A1 * (Q2 - Q1)/Q1 of each such sum: more or less of the same mix at the first average price
    mix         the rest of the measured cells' change: other models, meters or units than before
    unmeasured  change of the cells without a quantity in either window: how much and how dear cannot be told apart

mix is a remainder, not rounded: the effects of an item always add up to its change exactly, and the items to the total.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal

EFFECTS = ("new", "gone", "volume", "mix", "price", "unmeasured", "credits")
_PLACES = Decimal(1).scaleb(-20)
_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)
_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What one item paid for one thing in the two windows; a quantity is None where the bill gives none."""

    item: str | None
    thing: str
    unit: str | None
    amounts: tuple[Decimal, Decimal]
    quantities: tuple[Decimal | None, Decimal | None]

    @property
    def is_measured(self) -> bool:
        """Whether every amount has a quantity behind it: none is missing, and none is money for nothing."""
        return all(
            quantity is not None and quantity >= 0 and (quantity > 0 or not amount)
            for amount, quantity in zip(self.amounts, self.quantities, strict=True)
        )

    @property
    def is_credit(self) -> bool:
        """Whether it gives money back in one window and takes none in the other."""
        return min(self.amounts) < 0 and max(self.amounts) <= 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """How an item's (or the total's) cost changed: the effects add up to `after - before`."""

    item: str | None
    before: Decimal
    after: Decimal
    effects: dict[str, Decimal] = field(default_factory=dict)

    @property
    def change(self) -> Decimal:
        """After less before, exactly."""
        return _EXACT.subtract(self.after, self.before)


def split(cells: Iterable[Cell]) -> list[Change]:
    """The change of every item, largest first."""
    by_item: dict[str | None, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_item[cell.item].append(cell)
    changes = [_split_item(item, held) for item, held in by_item.items()]
    return sorted(changes, key=lambda one: (-abs(one.change), one.item or ""))


def total(changes: Sequence[Change]) -> Change:
    """All items together."""
    return Change(
        item=None,
        before=_sum(one.before for one in changes),
        after=_sum(one.after for one in changes),
        effects={name: _sum(one.effects[name] for one in changes) for name in EFFECTS},
    )


def per_day(cells: Iterable[Cell], days: tuple[int, int]) -> list[Cell]:
    """The cells of an average day of each window, to 20 decimal places."""
    return [
        Cell(
            item=cell.item,
            thing=cell.thing,
            unit=cell.unit,
            amounts=(_ratio(cell.amounts[0], 1, days[0]), _ratio(cell.amounts[1], 1, days[1])),
            quantities=(_daily(cell.quantities[0], days[0]), _daily(cell.quantities[1], days[1])),
        )
        for cell in cells
    ]


def _split_item(item: str | None, cells: Sequence[Cell]) -> Change:
    before, after = _sum(cell.amounts[0] for cell in cells), _sum(cell.amounts[1] for cell in cells)
    effects = dict.fromkeys(EFFECTS, _ZERO)
    effects["credits"] = _sum(_change(cell) for cell in cells if cell.is_credit)
    charges = [cell for cell in cells if not cell.is_credit]
    if not any(_is_there(cell, 0) for cell in charges):
        effects["new"] = _sum(cell.amounts[1] for cell in charges)
    elif not any(_is_there(cell, 1) for cell in charges):
        effects["gone"] = _EXACT.minus(_sum(cell.amounts[0] for cell in charges))
    else:
        measured = [cell for cell in charges if cell.is_measured]
        effects["volume"] = _sum(_volume(alike) for alike in _alike(measured))
        effects["price"] = _sum(_price(cell) for cell in measured)
        change = _sum(_change(cell) for cell in measured)
        effects["mix"] = _EXACT.subtract(change, _EXACT.add(effects["volume"], effects["price"]))
        effects["unmeasured"] = _sum(_change(cell) for cell in charges if not cell.is_measured)
    return Change(item=item, before=before, after=after, effects=effects)


def _is_there(cell: Cell, window: int) -> bool:
    return bool(cell.amounts[window] or cell.quantities[window])


def _change(cell: Cell) -> Decimal:
    return _EXACT.subtract(cell.amounts[1], cell.amounts[0])


def _alike(measured: Iterable[Cell]) -> list[list[Cell]]:
    """The cells whose quantities may be added up: those of one unit, and without a unit those of one thing."""
    found: dict[tuple[str | None, str | None], list[Cell]] = defaultdict(list)
    for cell in measured:
        found[cell.unit, None if cell.unit else cell.thing].append(cell)
    return list(found.values())


def _volume(cells: Sequence[Cell]) -> Decimal:
    """Nothing where one window has none of the unit: then what is used changed, which is mix."""
    first, second = (_sum(cell.quantities[window] or _ZERO for cell in cells) for window in (0, 1))
    if not first or not second:
        return _ZERO
    return _ratio(_sum(cell.amounts[0] for cell in cells), _EXACT.subtract(second, first), first)


def _price(cell: Cell) -> Decimal:
    first, second = cell.quantities
    if not first or not second:
        return _ZERO
    return _EXACT.subtract(cell.amounts[1], _ratio(cell.amounts[0], second, first))


def _ratio(amount: Decimal, over: Decimal | int, under: Decimal | int) -> Decimal:
    """The amount times over / under, to 20 decimal places."""
    product = _EXACT.multiply(amount, Decimal(over))
    return _EXACT.quantize(_EXACT.divide(product, Decimal(under)), _PLACES)


def _daily(quantity: Decimal | None, days: int) -> Decimal | None:
    """Not rounded to 20 places: a quantity rounded to zero would leave its money without one."""
    if not quantity:
        return quantity
    return _EXACT.divide(quantity, Decimal(days))


def _sum(values: Iterable[Decimal]) -> Decimal:
    found = _ZERO
    for value in values:
        found = _EXACT.add(found, value)
    return found
