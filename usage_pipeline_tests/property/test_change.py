"""The split of a change: it always adds up, to the last digit, and each effect is what it is named."""

from collections import defaultdict
from decimal import Context, Decimal

from hypothesis import given
from hypothesis import strategies as st

from usage_pipeline.marts.change import EFFECTS, Cell, Change, per_day, split, total

_EXACT = Context(prec=200)
_amounts = st.decimals(min_value=-(10**9), max_value=10**9, places=20) | st.just(Decimal(0))
_quantities = st.none() | st.decimals(min_value=0, max_value=10**15, places=6) | st.just(Decimal(0))
_cells = st.lists(
    st.builds(
        Cell,
        item=st.sampled_from(["a", "b", None]),
        thing=st.sampled_from(["x", "y", "z"]),
        unit=st.sampled_from(["tokens", "images", None]),
        amounts=st.tuples(_amounts, _amounts),
        quantities=st.tuples(_quantities, _quantities),
    ),
    max_size=12,
)


def _exactly(values: list[Decimal]) -> Decimal:
    found = Decimal(0)
    for value in values:
        found = _EXACT.add(found, value)
    return found


def _assert_adds_up(one: Change) -> None:
    assert list(one.effects) == list(EFFECTS)
    assert _exactly(list(one.effects.values())) == one.change == _EXACT.subtract(one.after, one.before)


@given(_cells)
def test_effects_add_up_to_the_change_exactly(cells: list[Cell]) -> None:
    """Per item and in all, the effects sum to after less before, whatever the amounts and quantities."""
    changes = split(cells)
    amounts: dict[str | None, list[Cell]] = defaultdict(list)
    for cell in cells:
        amounts[cell.item].append(cell)
    assert {one.item for one in changes} == set(amounts)
    for one in changes:
        _assert_adds_up(one)
        assert one.before == _exactly([cell.amounts[0] for cell in amounts[one.item]])
        assert one.after == _exactly([cell.amounts[1] for cell in amounts[one.item]])
    _assert_adds_up(total(changes))
    assert total(changes).after == _exactly([cell.amounts[1] for cell in cells])


@given(_cells, st.integers(1, 366), st.integers(1, 366))
def test_average_days_add_up_too(cells: list[Cell], first: int, second: int) -> None:
    """Of windows of different lengths the average days are compared, and their effects add up as exactly."""
    changes = split(per_day(cells, (first, second)))
    for one in [*changes, total(changes)]:
        _assert_adds_up(one)


@given(_cells)
def test_the_largest_change_comes_first(cells: list[Cell]) -> None:
    """Items are in the order of how much they changed, either way."""
    sizes = [abs(one.change) for one in split(cells)]
    assert sizes == sorted(sizes, reverse=True)


@given(_cells)
def test_time_reversed_the_change_is_the_opposite(cells: list[Cell]) -> None:
    """Swapping the windows turns new into gone, exactly."""
    back = [
        Cell(item=c.item, thing=c.thing, unit=c.unit, amounts=c.amounts[::-1], quantities=c.quantities[::-1])
        for c in cells
    ]
    forward, backward = total(split(cells)), total(split(back))
    assert backward.effects["new"] == _EXACT.minus(forward.effects["gone"])
    assert backward.effects["unmeasured"] == _EXACT.minus(forward.effects["unmeasured"])


def _cell(before: str, after: str, some: str | None, more: str | None, **named: str | None) -> Cell:
    values = {"item": "a", "thing": "x", "unit": "tokens", **named}
    quantities = tuple(None if one is None else Decimal(one) for one in (some, more))
    return Cell(amounts=(Decimal(before), Decimal(after)), quantities=quantities, **values)  # type: ignore[arg-type]


def _effects(*cells: Cell) -> dict[str, Decimal]:
    (one,) = split(cells)
    return {name: amount for name, amount in one.effects.items() if amount}


def test_more_of_the_same_is_volume() -> None:
    """Twice the tokens at the same price is volume alone."""
    assert _effects(_cell("10", "20", "5", "10")) == {"volume": Decimal(10)}


def test_the_same_for_more_is_price() -> None:
    """The same tokens at twice the price is price alone."""
    assert _effects(_cell("10", "20", "5", "5")) == {"price": Decimal(10)}


def test_a_dearer_thing_instead_of_a_cheap_one_is_mix() -> None:
    """The same number of tokens, moved to the dearer model at its own old price, is mix alone."""
    cheap, dear = _cell("5", "0", "5", "0"), _cell("10", "20", "5", "10", thing="y")
    assert _effects(cheap, dear) == {"mix": Decimal(5)}


def test_all_three_at_once() -> None:
    """4 more tokens at the average 1.5 are volume, the dearer half's surplus is mix, 1 more a token is price."""
    effects = _effects(_cell("2", "2", "2", "2"), _cell("4", "18", "2", "6", thing="y"))
    assert effects == {"volume": Decimal(6), "mix": Decimal(2), "price": Decimal(6)}


def test_new_and_gone_items() -> None:
    """What only one window has is new or gone, whole; lines of nothing do not make an item be there."""
    assert _effects(_cell("0", "7", "0", "3")) == {"new": Decimal(7)}
    assert _effects(_cell("7", "0", "3", "0")) == {"gone": Decimal(-7)}


def test_money_without_a_quantity_is_unmeasured() -> None:
    """Where the bill gives no quantity, volume and price are not guessed."""
    assert _effects(_cell("5", "8", None, None)) == {"unmeasured": Decimal(3)}
    assert _effects(_cell("5", "8", "1", None)) == {"unmeasured": Decimal(3)}
    assert _effects(_cell("5", "8", "0", "2")) == {"unmeasured": Decimal(3)}


def test_a_credit_is_neither_new_nor_less_usage() -> None:
    """Money given back is its own effect, beside those of the charges."""
    credit = _cell("0", "-3", None, None, thing="credit")
    assert _effects(credit) == {"credits": Decimal(-3)}
    assert _effects(credit, _cell("10", "20", "5", "10")) == {"credits": Decimal(-3), "volume": Decimal(10)}
    assert _effects(credit, _cell("0", "7", "0", "3")) == {"credits": Decimal(-3), "new": Decimal(7)}


def test_what_has_no_unit_is_counted_by_itself() -> None:
    """Twice the calls of one tool are volume; calls of two tools are not added to one number."""
    calls = {"unit": None}
    assert _effects(_cell("10", "20", "5", "10", **calls)) == {"volume": Decimal(10)}
    effects = _effects(_cell("10", "20", "5", "10", **calls), _cell("1", "2", "100", "200", thing="y", **calls))
    assert effects == {"volume": Decimal(11)}


def test_units_are_never_added() -> None:
    """Images begun beside tokens are another mix, not more volume."""
    effects = _effects(_cell("5", "5", "1", "1"), _cell("0", "3", "0", "9", unit="images", thing="y"))
    assert effects == {"mix": Decimal(3)}
