-- Tokens and requests per organization, day, endpoint, project and model, over every endpoint that has models.
-- grain: organization, date, endpoint, project_id, model
select
    organization,
    date,
    endpoint,
    project_id,
    model,
    num_model_requests,
    input_tokens,
    input_cached_tokens,
    output_tokens
from derived.model_usage
