"""Token counts that keep the service's identities: the parts one request is made of, and the measures they add up to.

Put the arithmetic of the token measures here; how often requests happen is in `events`.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import date

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.simulator.catalogue import CACHE_WRITES_SINCE, reads_audio, reads_images

# Each measure of the token endpoints as a sum of parts no measure overlaps in.
_SUMS: Mapping[str, tuple[str, ...]] = {
    "num_model_requests": ("requests",),
    "input_tokens": ("text", "audio", "image", "cached_text", "cached_audio", "cached_image", "write_30m", "write_12h"),
    "input_uncached_tokens": ("text", "audio", "image"),
    "input_cached_tokens": ("cached_text", "cached_audio", "cached_image"),
    "input_cache_write_tokens": ("write_30m", "write_12h"),
    "input_cache_write_30m_tokens": ("write_30m",),
    "input_cache_write_12h_tokens": ("write_12h",),
    "input_text_tokens": ("text",),
    "input_audio_tokens": ("audio",),
    "input_image_tokens": ("image",),
    "input_cached_text_tokens": ("cached_text",),
    "input_cached_audio_tokens": ("cached_audio",),
    "input_cached_image_tokens": ("cached_image",),
    "output_tokens": ("out_text", "out_audio", "out_image"),
    "output_text_tokens": ("out_text",),
    "output_audio_tokens": ("out_audio",),
    "output_image_tokens": ("out_image",),
}
PARTS = tuple(dict.fromkeys(part for parts in _SUMS.values() for part in parts))


def has_token_parts(endpoint: Endpoint) -> bool:
    """Whether the endpoint's measures are the split token counts."""
    return {m.name for m in endpoint.measures} <= _SUMS.keys() and len(endpoint.measures) == len(_SUMS)


def measure_sums(endpoint: Endpoint) -> dict[str, tuple[int, ...]]:
    """Measure -> the positions, in an event's parts, that add up to it; elsewhere each measure is its own part."""
    if has_token_parts(endpoint):
        return {m.name: tuple(map(PARTS.index, _SUMS[m.name])) for m in endpoint.measures}
    return {m.name: (position,) for position, m in enumerate(endpoint.measures)}


def token_parts(rng: random.Random, model: str, day: date, text_in: int, requests: int) -> tuple[int, ...]:
    """The parts of an event with about `text_in` input text tokens."""
    parts = dict.fromkeys(PARTS, 0)
    cached = text_in * rng.randrange(-30, 70) // 100
    parts.update(requests=requests, cached_text=max(cached, 0), text=text_in - max(cached, 0))
    parts["out_text"] = 1 + text_in * rng.randrange(2, 90) // 100
    if reads_audio(model):
        parts.update(audio=rng.randrange(50, 4_000), cached_audio=rng.randrange(300), out_audio=rng.randrange(2_000))
    if reads_images(model) and rng.random() < 0.12:
        parts.update(image=rng.randrange(85, 3_000), cached_image=rng.choice((0, 0, 765)))
    if day >= CACHE_WRITES_SINCE and cached > 0:
        parts.update(write_30m=cached // 4, write_12h=cached // 9)
    return tuple(parts.values())


def parts_of(parts: Sequence[int], *names: str) -> int:
    """The sum of the named parts of an event."""
    return sum(parts[PARTS.index(name)] for name in names)
