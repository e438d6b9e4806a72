"""README and the package's pages as tests read them: their fences and links, and a shell in which console blocks run.

Put reading and running of pages here; what must hold of them is unit/test_docs.py's, what is derived docs.py's.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ANALYSTS, OPERATORS, ENGINEERS, ENGINES, SIZING = (
    ROOT / "usage_pipeline" / "docs" / f"{name}.md"
    for name in ("analysts", "operators", "engineers", "engines", "sizing")
)
PAGES = (README, ANALYSTS, OPERATORS, ENGINEERS, ENGINES, SIZING)
BILL = "## The bill, explained\n"  # its queries and `explain` are answered by the quarter, not by the shared fortnight

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_EXIT = re.compile(r"# exit code (\d+)")
_END = "\x1e"
_SECONDS = 300
# `uv run usage-pipeline ...` at a fixed time, without uv: the tests' own interpreter has the package.
_UV = """#!{python}
import sys
from datetime import datetime

import time_machine

if sys.argv[1:3] != ["run", "usage-pipeline"]:
    sys.exit("a console block runs usage-pipeline alone: mark others by the fence sh")
sys.argv = sys.argv[2:]
from usage_pipeline.cli.process import run

with time_machine.travel(datetime.fromisoformat("{now}")):
    run()
"""


def read(page: Path) -> str:
    """The page's text."""
    return page.read_text(encoding="utf-8")


def fences(text: str, language: str) -> list[str]:
    """What stands in the fences of a language, in order."""
    return [body for name, body in _FENCE.findall(text) if name == language]


def without_bill(text: str) -> str:
    """The text without the section about the bill."""
    head, _, rest = text.partition(BILL)
    return head + "".join(rest.partition("\n## ")[1:])


def bill(text: str) -> str:
    """The section about the bill."""
    return text.partition(BILL)[2].partition("\n## ")[0]


def links(text: str) -> list[str]:
    """Where the page's links and pictures lead; examples in fences are none."""
    return _LINK.findall(_FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command of a console block: how it must end, and what the page shows of its output."""

    command: str
    code: int
    shown: tuple[str, ...]


def steps(blocks: list[str]) -> list[Step]:
    """The commands of console blocks, in order.

    Raises:
        ValueError: a block does not begin with a command.
    """
    found: list[Step] = []
    for block in blocks:
        first, *others = re.split(r"^\$ ", block, flags=re.MULTILINE)
        if first or not others:
            raise ValueError(f"a console block begins with `$ `, this one not: {block!r}")
        for one in others:
            command, *shown = one.splitlines()
            asked = _EXIT.search(command)
            found.append(Step(command=command, code=int(asked[1]) if asked else 0, shown=tuple(shown)))
    return found


def run_steps(asked: list[Step], folder: Path, environment: Mapping[str, str], now: datetime) -> list[tuple[int, str]]:
    """Run the commands in one bash in the folder, at the time `now`; exit code and output of each, stderr included."""
    tools = folder / ".tools"
    tools.mkdir()
    (tools / "uv").write_text(_UV.format(python=sys.executable, now=now.isoformat()), encoding="utf-8")
    (tools / "uv").chmod(0o700)
    script = "".join(f"{step.command}\nprintf '\\x1e%s\\x1e' $?\n" for step in asked)
    (tools / "script").write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["bash", "-o", "pipefail", str(tools / "script")],
        cwd=folder,
        env={**environment, "PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_SECONDS,
        check=False,
    )
    parts = done.stdout.decode("utf-8", "replace").split(_END)
    return [(int(code), output) for output, code in zip(parts[::2], parts[1::2], strict=False)]


def not_there(shown: tuple[str, ...], output: str) -> str | None:
    """The first line shown that the output has not, or not in this order; `...` in one stands for anything."""
    lines = iter(output.splitlines())
    for line in shown:
        pattern = re.compile(".*".join(map(re.escape, line.strip().split("..."))), re.DOTALL)
        wanted = line.strip().replace("...", "").strip()
        if wanted and not line.startswith("  ...") and not any(pattern.fullmatch(one.strip()) for one in lines):
            return line
    return None
