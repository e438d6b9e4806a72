-- What was paid for, by whom and how much of it: the cells whose change `usage-pipeline explain` splits into effects.
-- grain: organization, date, project_id, user_id, api_key_id, model, line_item, unit, currency
-- scope: day
-- The amounts are the parts of marts.cost_allocated, so they add up to the bill; quantity is the billed quantity in its
-- unit, divided by the same shares, and null where the bill gives none. Batch and tiers are not told apart here, as the
-- bill's quantities do not tell them: a move to a cheaper tier is a lower price. Effects: see marts/change.py.
-- A model has the name bills know it by, so that it has one on days with and without usage; fine-tunes of a base are one.
select
    a.organization,
    a.date,
    a.project_id,
    a.user_id,
    a.api_key_id,
    coalesce(m.model_key, a.model) as model,
    a.line_item,
    b.quantity_unit as unit,
    a.currency,
    sum(a.amount)::decimal(38, 20) as amount,
    case
        when count(b.quantity) = count(*)
            then sum(case when a.share = 1 then b.quantity else b.quantity::decimal(24, 6) * a.share::decimal(14, 12) end)
    end::decimal(38, 20) as quantity
from marts.cost_allocated a
join derived.billed_rows b
    on b.organization = a.organization and b.date = a.date
    and b.project_id is not distinct from a.project_id and b.line_item is not distinct from a.line_item
    and b.api_key_id is not distinct from a.billed_api_key_id and b.user_id is not distinct from a.billed_user_id
    and b.currency is not distinct from a.currency
left join derived.models m on m.organization = a.organization and m.date = a.date and m.model = a.model
group by all
