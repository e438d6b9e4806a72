-- Every endpoint's measures in one long table; a semi-additive measure is the level at the end of the day.
-- grain: organization, date, endpoint, project_id, measure, unit
select
    organization,
    date,
    endpoint,
    project_id,
    measure,
    unit,
    is_additive,
    value
from derived.daily_measures
