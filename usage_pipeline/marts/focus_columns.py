"""FinOps FOCUS, Cost and Usage: the columns of versions 1.2 and 1.4 and what they must hold, one row per column.

Put facts of the specification here, as data; the null columns of `marts.focus`, both published views, the checks and
the export are derived from them. What a column holds of the bill is decided in focus.sql.
Sources: the requirements model 1.2.0.1 that focus-validator 2.2.1 (MIT) ships, and FOCUS 1.4's data model (CC-BY-4.0).
"""

from dataclasses import dataclass
from typing import Literal

Version = Literal["1.2", "1.4"]
Kind = Literal["text", "json", "decimal", "time"]
Level = Literal["mandatory", "conditional", "recommended"]
Form = Literal["currency", "unit", "not_negative"]

VERSIONS: tuple[Version, ...] = ("1.2", "1.4")


@dataclass(frozen=True, kw_only=True, slots=True)
class FocusColumn:
    """One column. Conditions are SQL over the columns of a row, by their names in the specification.

    `is_given`: focus.sql fills it; the others are null throughout (the service has nothing like them).
    `since` and `until`: the first and the last of our two versions that has it.
    `null_when`, `required_when`: where it must, or must not, be null. `is_gap_known`: the service may not give what
    is required; a check warns of it and does not fail. `refuted_by`: other rules, as (what must hold, what breaks it).
    """

    name: str
    kind: Kind = "text"
    level: Level = "conditional"
    is_nullable: bool = True
    is_given: bool = False
    since: Version = "1.2"
    until: Version = "1.4"
    values: tuple[str, ...] = ()
    form: Form | None = None
    null_when: str | None = None
    required_when: str | None = None
    is_gap_known: bool = False
    refuted_by: tuple[tuple[str, str], ...] = ()


_TAX = "ChargeCategory = 'Tax'"
_BOUGHT = "ChargeCategory in ('Usage', 'Purchase') and ChargeClass is null"
_USED = "ChargeCategory = 'Usage' and CommitmentDiscountStatus is distinct from 'Unused'"
_CATEGORIES = (
    *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools"),
    *("Multicloud", "Identity", "Integration", "Internet of Things", "Management and Governance", "Media"),
    *("Migration", "Mobile", "Networking", "Security", "Storage", "Web", "Other"),
)
# Of the many subcategories, those under the one category this service has.
_SUBCATEGORIES = (
    *("AI Platforms", "Bots", "Generative AI", "Machine Learning", "Natural Language Processing"),
    "Other (AI and Machine Learning)",
)


def _must(name: str, kind: Kind = "text", **facts: object) -> FocusColumn:
    """A mandatory column that may not be null, filled from the bill."""
    return FocusColumn(name=name, kind=kind, level="mandatory", is_nullable=False, is_given=True, **facts)  # type: ignore[arg-type]


def _cost(name: str) -> FocusColumn:
    """A cost beside BilledCost."""
    differs = f"ChargeCategory = 'Credit' and {name} is distinct from BilledCost"
    return _must(name, "decimal", refuted_by=(("equals BilledCost on credits", differs),))


def _beside(name: str, other: str, **facts: object) -> FocusColumn:
    """A column that is null exactly where another one is."""
    return FocusColumn(name=name, null_when=f"{other} is null", required_when=f"{other} is not null", **facts)  # type: ignore[arg-type]


def _bounds(start: str, end: str, unit: str) -> tuple[tuple[str, str], ...]:
    whole = f"date_trunc('{unit}', {start}) <> {start} or {end} <> {start} + interval 1 {unit}"
    return ((f"is one {unit} in UTC", whole),)


COLUMNS: tuple[FocusColumn, ...] = (
    FocusColumn(name="AllocatedMethodDetails", kind="json", level="recommended", since="1.4"),
    FocusColumn(name="AllocatedMethodId", since="1.4"),
    FocusColumn(name="AllocatedResourceId", since="1.4"),
    FocusColumn(name="AllocatedResourceName", since="1.4"),
    FocusColumn(name="AllocatedTags", kind="json", since="1.4"),
    FocusColumn(name="AvailabilityZone", level="recommended"),
    _must("BilledCost", "decimal"),
    _must("BillingAccountId"),
    FocusColumn(name="BillingAccountName", level="mandatory", is_given=True),
    FocusColumn(name="BillingAccountType", is_nullable=False, is_given=True),
    _must("BillingCurrency", form="currency"),
    _must("BillingPeriodEnd", "time", refuted_by=_bounds("BillingPeriodStart", "BillingPeriodEnd", "month")),
    _must("BillingPeriodStart", "time"),
    FocusColumn(name="CapacityReservationId"),
    _beside("CapacityReservationStatus", "CapacityReservationId", values=("Used", "Unused")),
    _must("ChargeCategory", values=("Usage", "Purchase", "Tax", "Credit", "Adjustment")),
    FocusColumn(name="ChargeClass", level="mandatory", values=("Correction",)),
    FocusColumn(name="ChargeDescription", level="mandatory", is_given=True),
    FocusColumn(
        name="ChargeFrequency",
        level="recommended",
        is_nullable=False,
        is_given=True,
        values=("One-Time", "Recurring", "Usage-Based"),
        refuted_by=(
            ("is not Usage-Based on purchases", "ChargeCategory = 'Purchase' and ChargeFrequency = 'Usage-Based'"),
        ),
    ),
    _must("ChargePeriodEnd", "time", refuted_by=_bounds("ChargePeriodStart", "ChargePeriodEnd", "day")),
    _must(
        "ChargePeriodStart",
        "time",
        refuted_by=(
            (
                "lies in the billing period",
                "ChargePeriodStart < BillingPeriodStart or ChargePeriodEnd > BillingPeriodEnd",
            ),
        ),
    ),
    _beside("CommitmentDiscountCategory", "CommitmentDiscountId", values=("Spend", "Usage")),
    FocusColumn(name="CommitmentDiscountId"),
    FocusColumn(name="CommitmentDiscountName", null_when="CommitmentDiscountId is null"),
    FocusColumn(name="CommitmentDiscountQuantity", kind="decimal", null_when="CommitmentDiscountId is null"),
    FocusColumn(name="CommitmentDiscountStatus", values=("Used", "Unused"), null_when="CommitmentDiscountId is null"),
    _beside("CommitmentDiscountType", "CommitmentDiscountId"),
    _beside("CommitmentDiscountUnit", "CommitmentDiscountQuantity", form="unit"),
    FocusColumn(name="CommitmentProgramEligibilityDetails", kind="json", since="1.4"),
    FocusColumn(
        name="ConsumedQuantity",
        kind="decimal",
        is_given=True,
        null_when=f"not ({_USED})",
        required_when=f"{_USED} and ChargeClass is null",
        is_gap_known=True,
    ),
    _beside("ConsumedUnit", "ConsumedQuantity", is_given=True, form="unit"),
    FocusColumn(name="ContractApplied", kind="json", since="1.4"),
    _cost("ContractedCost"),
    FocusColumn(name="ContractedUnitPrice", kind="decimal", form="not_negative", null_when=_TAX),
    _cost("EffectiveCost"),
    FocusColumn(name="HostProviderName", level="mandatory", is_given=True, since="1.4"),
    FocusColumn(name="InvoiceDetailId", since="1.4"),
    FocusColumn(name="InvoiceId"),
    _must("InvoiceIssuerName"),
    _cost("ListCost"),
    FocusColumn(name="ListUnitPrice", kind="decimal", form="not_negative", null_when=_TAX),
    FocusColumn(
        name="PricingCategory",
        is_given=True,
        values=("Standard", "Dynamic", "Committed", "Other"),
        null_when=_TAX,
        required_when=_BOUGHT,
        is_gap_known=True,
    ),
    FocusColumn(name="PricingCurrency", is_nullable=False, form="currency"),
    FocusColumn(name="PricingCurrencyContractedUnitPrice", kind="decimal", form="not_negative", null_when=_TAX),
    FocusColumn(name="PricingCurrencyEffectiveCost", kind="decimal", is_nullable=False),
    FocusColumn(name="PricingCurrencyListUnitPrice", kind="decimal", form="not_negative", null_when=_TAX),
    FocusColumn(
        name="PricingQuantity",
        kind="decimal",
        level="mandatory",
        is_given=True,
        null_when=_TAX,
        required_when=_BOUGHT,
        is_gap_known=True,
    ),
    _beside("PricingUnit", "PricingQuantity", level="mandatory", is_given=True, form="unit"),
    _must("ProviderName", until="1.2"),
    _must("PublisherName", until="1.2"),
    FocusColumn(name="RegionId"),
    _beside("RegionName", "RegionId"),
    FocusColumn(name="ResourceId"),
    FocusColumn(name="ResourceName", null_when="ResourceId is null"),
    _beside("ResourceType", "ResourceId"),
    _must("ServiceCategory", values=_CATEGORIES),
    _must("ServiceName"),
    _must("ServiceProviderName", since="1.4"),
    FocusColumn(
        name="ServiceSubcategory",
        level="recommended",
        is_nullable=False,
        is_given=True,
        values=_SUBCATEGORIES,
        refuted_by=(("belongs to ServiceCategory", "ServiceCategory <> 'AI and Machine Learning'"),),
    ),
    FocusColumn(name="SkuId", is_given=True, null_when=_TAX, required_when=_BOUGHT, is_gap_known=True),
    FocusColumn(name="SkuMeter", is_given=True, null_when="SkuId is null"),
    FocusColumn(name="SkuPriceDetails", kind="json", null_when="SkuPriceId is null"),
    FocusColumn(name="SkuPriceId", is_given=True, null_when=_TAX, required_when=_BOUGHT, is_gap_known=True),
    FocusColumn(name="SubAccountId", is_given=True),
    _beside("SubAccountName", "SubAccountId", is_given=True),
    _beside("SubAccountType", "SubAccountId", is_given=True),
    FocusColumn(name="Tags", kind="json"),
)

# Our own columns, after the specification's: what a row of the bill was spread over, and why.
EXTRA_COLUMNS: dict[str, str] = {
    "x_ApiKeyId": "API key the cost was allocated to.",
    "x_ApiKeyName": "The API key's name on the day.",
    "x_UserId": "User the cost was allocated to.",
    "x_UserName": "The user's (or service account's) name on the day.",
    "x_Model": "Model the cost was allocated to.",
    "x_ServiceTier": "Service tier the cost was allocated to.",
    "x_Batch": "Whether the cost was allocated to the Batch API.",
    "x_Reason": "Why the cost could not be allocated to usage; null where it could.",
    "x_BilledApiKeyId": "API key the bill itself names.",
    "x_BilledUserId": "User the bill itself names.",
}


def columns_of(version: Version) -> tuple[FocusColumn, ...]:
    """The columns a version has, in the specification's (alphabetical) order."""
    return tuple(column for column in COLUMNS if column.since <= version <= column.until)
