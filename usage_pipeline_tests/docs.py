"""What of the README is derived: run `python -m usage_pipeline_tests.docs` to bring it up to date.

Put rendering of README parts from the package's facts here; checking them is unit/test_docs.py's.
"""

import re
from pathlib import Path

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.engine import sql_type
from usage_pipeline.lake.schemas import PART, RESTATEMENTS, SYNC_LOG, columns
from usage_pipeline.lake.snapshot import COVERAGE_COLUMNS
from usage_pipeline.marts.build import mart_schema
from usage_pipeline.marts.registry import load_marts

README = Path(__file__).parents[1] / "README.md"
_BLOCK = re.compile(r"(<!-- generated: tables [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)


def tables_text() -> str:
    """The README's tables of tables."""
    shared = [name for name, _, _ in columns(next(iter(ENDPOINTS.values())))[:5]]
    lines = ["| table | what | dimensions | measures |", "| --- | --- | --- | --- |"]
    lines += [_endpoint_line(endpoint) for endpoint in ENDPOINTS.values()]
    lines += ["", f"Each also has {_names(shared)} and `extras`; `costs` has `amount_literal`.", ""]
    lines += ["| mart | what | columns |", "| --- | --- | --- |"]
    for name, mart in sorted(load_marts().items()):
        held = [f"`{f.name}` {sql_type(f.type)}" for f in mart_schema(name) if f.name != PART]
        lines.append(f"| `marts.{name}` | {mart.description} | {', '.join(held)} |")
    lines += ["", "| meta | what | columns |", "| --- | --- | --- |"]
    lines.append(f"| `meta.sync_log` | One row per window read and accepted. | {_names(SYNC_LOG.names)} |")
    lines.append(f"| `meta.restatements` | One row per changed row of a known day. | {_names(RESTATEMENTS.names)} |")
    lines.append(f"| `meta.coverage` | One row per known endpoint and day. | {_names(list(COVERAGE_COLUMNS))} |")
    return "\n".join(lines) + "\n"


def _endpoint_line(endpoint: Endpoint) -> str:
    measures = [f"{m.name} ({m.unit})" for m in endpoint.measures]
    labels = [label.name for label in endpoint.labels]
    return (
        f"| `usage.{endpoint.name}` | {endpoint.description} | {_names(list(endpoint.dimension_names))} "
        f"| {', '.join([*measures, *labels])} |"
    )


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def rendered(readme: str) -> str:
    """The README with its generated part made anew."""
    return _BLOCK.sub(lambda match: match[1] + tables_text() + match[2], readme)


if __name__ == "__main__":
    README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
