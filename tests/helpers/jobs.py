"""The Hub on loopback with buckets, and with Jobs that are processes of this machine, each attempt
of them on a disk of its own.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from publishing.server import Handler, Hub

ROOT = Path(__file__).parents[2]
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # as the client reads it


class Job:
    """A Job, of which process after process is started until one ends well, or none is left."""

    def __init__(self, hub: "JobsHub", name: str, asked: dict):
        self.hub, self.name, self.asked = hub, name, asked
        self.stage, self.starts = "SCHEDULING", 0
        self.process: subprocess.Popen | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def facts(self) -> dict:
        owner = {"id": "1", "name": "tester", "type": "user"}
        return {"id": self.name, "owner": owner, "status": {"stage": self.stage}}

    def cancel(self) -> None:
        self.stage = "CANCELED"
        self.process.terminate()

    def _run(self) -> None:
        (volume,) = self.asked["volumes"]
        bucket = str(self.hub.folder / "buckets" / volume["source"])
        command = [word.replace(volume["mountPath"], bucket) for word in self.asked["command"]]
        variables = self.asked["environment"] | self.asked["secrets"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        while self.starts < self.asked["attempts"] and self.stage != "CANCELED":
            self.starts += 1
            disk = self.hub.folder / "disks" / f"{self.name}-{self.starts}"
            disk.mkdir(parents=True)
            with (self.hub.folder / f"{self.name}-{self.starts}.txt").open("w") as output:
                self.process = subprocess.Popen(
                    command,
                    cwd=disk,
                    env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | variables,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                self.stage = "RUNNING"
                code = self.process.wait()
            if code == 0:
                self.stage = "COMPLETED"
                return
            if self.stage != "CANCELED":
                self.stage = "SCHEDULING"
        if self.stage != "CANCELED":
            self.stage = "ERROR"


class JobsHub(Hub):
    """A Hub that keeps buckets as folders, and the disks of Jobs beside them."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.jobs: dict[str, Job] = {}
        self.contents: dict[str, bytes] = {}  # of files that are up- or downloaded, by hash

    def __exit__(self, *exc) -> None:
        for job in self.jobs.values():
            if job.process is not None and job.process.poll() is None:
                job.stage = "CANCELED"
                job.process.send_signal(signal.SIGKILL)
        super().__exit__(*exc)

    def bucket(self, name: str) -> Path:
        return self.folder / "buckets" / name

    def xet_session(self) -> SimpleNamespace:
        """What stands in for the client's Xet session: contents go from hand to hand."""

        def kept(content: bytes):
            found = hashlib.sha256(content).hexdigest()
            self.contents[found] = content
            info = SimpleNamespace(hash=found, file_size=len(content))
            return SimpleNamespace(result=lambda: SimpleNamespace(xet_info=info))

        @contextmanager
        def upload(**options):
            yield SimpleNamespace(
                start_upload_file=lambda path, sha256: kept(Path(path).read_bytes())
            )

        @contextmanager
        def download(**options):
            yield SimpleNamespace(
                start_download_file=lambda file, to: Path(to).write_bytes(self.contents[file.hash])
            )

        return SimpleNamespace(new_upload_commit=upload, new_file_download_group=download)


class JobsHandler(Handler):
    hub: JobsHub

    def create_bucket(self, bucket: str) -> None:
        if self._account != (bucket.split("/")[0], "write"):
            return self._error(403, "Forbidden", "You may not create a bucket there.")
        known = self.hub.bucket(bucket).is_dir()
        self.hub.bucket(bucket).mkdir(parents=True, exist_ok=True)
        self._answer(409 if known else 200, {"url": f"{self.hub.url}/buckets/{bucket}"})

    def bucket_tree(self, bucket: str) -> None:
        folder, files = self.hub.bucket(bucket), []
        if self._account is None or not folder.is_dir():
            return self._error(404, "RepoNotFound", "Bucket not found")
        for path in folder.rglob("*"):
            try:
                content, changed = path.read_bytes(), path.stat().st_mtime
            except (FileNotFoundError, IsADirectoryError):  # deleted meanwhile
                continue
            found = hashlib.sha256(content).hexdigest()
            self.hub.contents[found] = content
            name = path.relative_to(folder).as_posix()
            file = {"type": "file", "path": name, "size": len(content), "xetHash": found}
            files.append(file | {"mtime": datetime.fromtimestamp(changed, UTC).strftime(TIME)})
        self._answer(200, files)

    def bucket_batch(self, bucket: str) -> None:
        folder = self.hub.bucket(bucket)
        for asked in map(json.loads, self.body.decode().splitlines()):
            path = folder / asked["path"]
            if asked["type"] == "addFile":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.hub.contents[asked["xetHash"]])
                os.utime(path, (asked["mtime"] / 1000,) * 2)
            else:
                path.unlink()
        self._answer(200, {"failed": []})

    def bucket_file(self, bucket: str, path: str) -> None:
        content = (self.hub.bucket(bucket) / path).read_bytes()
        headers = {
            "X-Xet-Hash": hashlib.sha256(content).hexdigest(),
            "X-Xet-Refresh-Route": f"{self.hub.url}/xet",
            "X-Linked-Size": str(len(content)),
        }
        self._answer(200, b"", headers)

    def run_job(self) -> None:
        if self._account is None:
            return self._error(401, "Unauthorized", "Invalid username or password.")
        name = f"job{len(self.hub.jobs) + 1}"
        self.hub.jobs[name] = Job(self.hub, name, json.loads(self.body))
        self._answer(200, self.hub.jobs[name].facts())

    def inspect_job(self, job: str) -> None:
        self._answer(200, self.hub.jobs[job].facts())

    def cancel_job(self, job: str) -> None:
        self.hub.jobs[job].cancel()
        self._answer(200, {})


_BUCKET = "(?P<bucket>[^/]+/[^/]+)"
JobsHandler.routes = [
    ("POST", f"/api/buckets/{_BUCKET}", JobsHandler.create_bucket),
    ("GET", f"/api/buckets/{_BUCKET}/tree", JobsHandler.bucket_tree),
    ("POST", f"/api/buckets/{_BUCKET}/batch", JobsHandler.bucket_batch),
    ("HEAD", f"/buckets/{_BUCKET}/resolve/(?P<path>.+)", JobsHandler.bucket_file),
    ("POST", "/api/jobs/tester", JobsHandler.run_job),
    ("GET", "/api/jobs/tester/(?P<job>[^/]+)", JobsHandler.inspect_job),
    ("POST", "/api/jobs/tester/(?P<job>[^/]+)/cancel", JobsHandler.cancel_job),
    *Handler.routes,
]
JobsHub.handler = JobsHandler
