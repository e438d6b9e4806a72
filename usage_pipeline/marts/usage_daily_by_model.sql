-- Tokens and requests per organization, day, endpoint, project and model, over every endpoint that has models.
-- grain: organization, date, endpoint, project_id, model
select
    organization,
    date,
    endpoint,
    project_id,
    model,
    sum(num_model_requests)::bigint as num_model_requests,
    sum(input_tokens)::bigint as input_tokens,
    sum(input_cached_tokens)::bigint as input_cached_tokens,
    sum(output_tokens)::bigint as output_tokens
from derived.model_usage
group by all
