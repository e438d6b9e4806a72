"""The `deploy` command: what was written, and what to do with it.

Put what is said here; what is written is deploy/'s.
"""

from pathlib import Path

from usage_pipeline.cli.console import out, print_json
from usage_pipeline.deploy.render import render
from usage_pipeline.organizations import Organizations

_NEXT = {
    "systemd": """usage-pipeline sync  # once, as the user of the units: it makes the data folder
sudo cp {output}/* /etc/systemd/system/ && sudo systemctl daemon-reload
sudo systemctl enable --now usage-pipeline-ui.service
# or, without Dagster:
sudo systemctl enable --now usage-pipeline.timer usage-pipeline-maintain.timer""",
    "compose": """uv build --wheel --out-dir {output}
cp .env {output}/ && mkdir -p {output}/data && sudo chown 10001:10001 {output}/data
docker compose -f {output}/compose.yaml up -d --build --wait""",
    "helm": """kubectl create secret generic usage-pipeline --from-env-file=.env
helm install usage-pipeline {output}
kubectl port-forward deployment/usage-pipeline 3000""",
}


def run_deploy(kind: str, *, output: Path | None, is_replacing: bool, as_json: bool) -> None:
    """Write the files of a kind of deployment and say how they are put to use."""
    folder = output or Path(f"deploy-{kind}")
    written = render(kind, folder, Organizations.from_env().folder, Path.cwd(), is_replacing=is_replacing)
    follow = _NEXT[kind].format(output=folder).splitlines()
    if as_json:
        print_json({"files": [str(path) for path in written], "next": follow})
        return
    lines = [f"wrote {path}" for path in written] + ["", "Read them; then:", *(f"  {line}" for line in follow)]
    out().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
