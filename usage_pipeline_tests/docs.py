"""What of the pages is derived: run `python -m usage_pipeline_tests.docs` to bring it up to date.

Put rendering of their parts here: tables from the package's facts, answers from the lived quarter. Checking them is
unit/test_docs.py's and unit/test_quarter.py's.
"""

import re
import textwrap
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.explain import explain, parse_window, sentences
from usage_pipeline.lake.engine import sql_type
from usage_pipeline.lake.meta_columns import COVERAGE_COLUMNS
from usage_pipeline.lake.query import ask
from usage_pipeline.lake.schemas import PART, RESTATEMENTS, SYNC_LOG, columns
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.marts.tables import mart_schema
from usage_pipeline.settings import Settings
from usage_pipeline_tests.pages import ANALYSTS, BILL, read
from usage_pipeline_tests.quarter import live

_ANSWER = re.compile(r"(```sql\n(.*?)```\n\n```text\n)(.*?)```", re.DOTALL)
_EXPLAINED = re.compile(
    r"(```console\n\$ uv run usage-pipeline explain ([^\n]*)\n  \.\.\. [^\n]*\n)(.*?)```", re.DOTALL
)
_SENTENCES = 4
_BLOCK = re.compile(r"(<!-- generated: tables [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)


def tables_text() -> str:
    """The tables of tables."""
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


def answered(page: str, settings: Settings) -> str:
    """The page with the answers of its money section, queries and `explain`, as this warehouse gives them."""
    head, title, rest = page.partition(BILL)
    section, following, tail = rest.partition("\n## ")
    section = _ANSWER.sub(lambda match: f"{match[1]}{_answer(match[2], settings)}```", section)
    section = _EXPLAINED.sub(lambda match: f"{match[1]}{_explained(match[2], settings)}```", section)
    return head + title + section + following + tail


def _answer(query: str, settings: Settings) -> str:
    with ask(settings.warehouse_path, settings.lake_dir, query) as answer:
        lines = [list(answer.columns), *([_cell(value) for value in row] for row in answer.rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return text.rstrip("0").rstrip(".") if isinstance(value, Decimal) and "." in text else text


def _explained(command: str, settings: Settings) -> str:
    """What the command line says: the whole change, then the largest."""
    options = dict(re.findall(r"--(\w+) (\S+)", command))
    windows = [parse_window(options[name], f"--{name}") for name in ("from", "to")]
    told = sentences(explain(settings, windows[0], windows[1], by=options["by"], currency="usd"))
    return "".join(f"{textwrap.fill(line, 118)}\n" for line in told[:_SENTENCES])


def rendered(page: str) -> str:
    """The page with its generated part made anew."""
    return _BLOCK.sub(lambda match: match[1] + tables_text() + match[2], page)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        text = answered(rendered(read(ANALYSTS)), live(Path(folder)))
    ANALYSTS.write_text(text, encoding="utf-8")
