"""singer-sdk tap into target-duckdb through a pipe, as Meltano would run them."""

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.argv[4])


def main() -> None:
    """Load the window."""
    config = FOLDER / "target.json"
    config.write_text(
        json.dumps(
            {
                "filepath": str(FOLDER / "singer.duckdb"),
                "path": str(FOLDER / "singer.duckdb"),
                "default_target_schema": "usage",
            }
        )
    )
    tap = Path(__file__).with_name("singer_tap.py")
    target = Path(sys.executable).with_name("target-duckdb")
    with subprocess.Popen([sys.executable, str(tap), *sys.argv[1:]], stdout=subprocess.PIPE) as source:
        subprocess.run([str(target), "--config", str(config)], stdin=source.stdout, check=True)
    if source.returncode:
        sys.exit(source.returncode)


main()
