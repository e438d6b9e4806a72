"""Stands for a Kubernetes cluster: takes jobs on its real API's paths and runs their one container as a process here.

Put what the API answers here; whether the jobs are well-formed is the test's to say.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

_KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: nobody, user: {{}}}}]
contexts: [{{name: here, context: {{cluster: here, user: nobody}}}}]
"""


@dataclass
class Cluster:
    """The jobs that were asked for, in their order, and the processes that do them."""

    kubeconfig: Path
    environment: Mapping[str, str] = field(
        default_factory=dict
    )  # what secrets and config maps would bring into the containers
    jobs: list[dict[str, Any]] = field(default_factory=list)
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def begin(self, job: dict[str, Any]) -> None:
        """Run the container's command, with the variables it names by value."""
        (container,) = job["spec"]["template"]["spec"]["containers"]
        named = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        env = {**os.environ, **named, **self.environment}
        self.jobs.append(job)
        program, *arguments = container["args"]
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        self.running[job["metadata"]["name"]] = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL)

    def status(self, name: str) -> dict[str, int]:
        """How the job stands."""
        code = self.running[name].poll()
        return {"active": 1} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}


@contextmanager
def open_cluster(folder: Path) -> Iterator[Cluster]:
    """Serve the API on loopback while the block runs."""

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """A job to begin."""
            job = json.loads(self.rfile.read(int(self.headers["content-length"])))
            cluster.begin(job)
            self._answer(201, job)

        def do_GET(self) -> None:
            """A job's status, `/apis/batch/v1/namespaces/<namespace>/jobs/<name>/status`; lists of others are empty."""
            *_, name, asked = self.path.split("/")
            if asked != "status":
                self._answer(200, {"kind": "List", "items": []})
                return
            self._answer(200, {"metadata": {"name": name}, "status": cluster.status(name)})

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            text = json.dumps({"apiVersion": "batch/v1", "kind": "Job", **body}).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    cluster = Cluster(folder / "kubeconfig")
    cluster.kubeconfig.write_text(_KUBECONFIG.format(port=server.server_port))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for process in cluster.running.values():
            process.wait(60)
