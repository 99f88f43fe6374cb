"""A small Hugging Face Hub on loopback: what the client asks for when it pushes and pulls, and
faults on demand.

Repositories, branches and commits live in memory; LFS files too. Whoever talks to it sets
HF_ENDPOINT before importing huggingface_hub, which reads it once: use fresh processes.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import yaml

# token -> (user, role)
TOKENS = {
    "hf_writer": ("tester", "write"),
    "hf_reader": ("tester", "read"),
    "hf_other": ("other", "write"),
}
LFS_SUFFIXES = (".safetensors", ".png", ".jpg", ".pt", ".bin")
KINDS = {"models": "model", "spaces": "space", "datasets": "dataset"}


@dataclass
class File:
    """One file of a commit: a git blob, or the name of an LFS object."""

    size: int
    oid: str  # of the git blob, or the sha256 of an LFS object
    content: bytes | None = None  # None: an LFS object

    @classmethod
    def blob(cls, content: bytes) -> "File":
        return cls(
            len(content), hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), content
        )


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, File]
    paths: set[str]  # that it changed


@dataclass
class Repo:
    private: bool = False
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def head(self, revision: str) -> Commit | None:
        """The commit that a branch name or a commit's oid means."""
        if revision in self.branches:
            return self.branches[revision][-1]
        return next(
            (c for commits in self.branches.values() for c in commits if c.oid == revision), None
        )


@dataclass
class Fault:
    """What happens to the next requests that match; see `Hub.fail`."""

    method: str
    pattern: str
    how: str
    skip: int
    times: int


class Hub:
    """The server. `with Hub() as hub:` serves at `hub.url` until the block ends.

    cas: folder of a local Xet store; None: the server knows of no Xet, and clients fall back to
        LFS.
    """

    handler: type["Handler"]  # what answers: set below

    def __init__(self, cas: Path | None = None):
        self.cas = cas
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.told: dict[str, dict[str, str]] = {}  # by file or repository, what is false
        self.xet_hashes: dict[str, str] = {}  # by sha256; a real Hub learns them from its Xet store
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []  # of each request, the header that holds one
        self.faults: list[Fault] = []
        self.stalled = threading.Event()  # set while a request is held
        self.released = threading.Event()
        self.lock = threading.RLock()
        self.count = 0

    def __enter__(self) -> "Hub":
        handler = type("Handler", (self.handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def fail(self, method: str, pattern: str, how: str, nth: int = 1, times: int = 1) -> None:
        """Makes the nth request that matches (and the `times` - 1 after it) fail.

        how: a status such as "503"; "drop": the connection ends without an answer; "lost": the
        request is carried out and then the connection ends; "truncate": half of the body is sent;
        "stall": no answer until the server ends; an address: a redirect to it.
        """
        self.faults.append(Fault(method, pattern, how, nth - 1, times))

    def fault_of(self, method: str, path: str) -> str | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and re.search(fault.pattern, path) and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault.how
        return None

    # what tests ask

    def files(self, repo_id: str, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """The contents of a repository's last commit."""
        files = self.repos[kind, repo_id].head(revision).files
        return {
            path: self.lfs[f.oid] if f.content is None else f.content for path, f in files.items()
        }

    def commits(self, repo_id: str, kind: str = "model", revision: str = "main") -> list[Commit]:
        """The commits of a branch but for the one that made the repository, oldest first."""
        return self.repos[kind, repo_id].branches[revision][1:]

    def new_commit(
        self, repo: Repo, branch: str, title: str, changes: dict[str, File | None]
    ) -> Commit:
        with self.lock:
            self.count += 1
            commits = repo.branches.setdefault(branch, [])
            files = dict(commits[-1].files) if commits else {}
            for path, file in changes.items():
                if file is None:
                    files.pop(path, None)
                else:
                    files[path] = file
            oid = hashlib.sha1(f"{self.count} {title}".encode()).hexdigest()
            commits.append(Commit(oid, title, files, set(changes)))
            return commits[-1]


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    routes: ClassVar[list[tuple[str, str, Callable]]]  # by method and path: set below
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # it would hold each answer for 40 ms

    def log_message(self, *args) -> None:
        pass

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else self._chunks()
        self.how = None
        self.hub.requests.append((self.command, path))
        self.hub.tokens.append(self.headers.get("Authorization"))
        self.how = self.hub.fault_of(self.command, path)
        if self.how == "drop":
            return self._hang_up()
        if self.how == "stall":
            self.hub.stalled.set()
            self.hub.released.wait(600)
            return self._hang_up()
        if self.how and self.how.startswith("http"):
            return self._answer(307, b"", {"Location": self.how + self.path})
        if self.how and self.how.isdigit():
            return self._answer(int(self.how), {"error": f"made to fail with {self.how}"})
        for method, pattern, action in self.routes:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                return action(self, **match.groupdict())
        return self._answer(404, {"error": f"no such path: {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _chunks(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return b""
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(
        self, status: int, body: object = b"", headers: dict[str, str] | None = None
    ) -> None:
        if self.how == "lost":
            return self._hang_up()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        named = {"Content-Length": str(len(content)), "X-Request-Id": "loopback"} | (headers or {})
        if not isinstance(body, bytes):
            named["Content-Type"] = "application/json"
        for key, value in named.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.how == "truncate" else content)
        if self.how == "truncate":
            self._hang_up()

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    @property
    def _account(self) -> tuple[str, str] | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return TOKENS.get(token)

    def _repo(self, kind: str, repo_id: str, write: bool = False) -> Repo | None:
        """The repository, if this account may use it so; otherwise an error is answered."""
        repo, account = self.hub.repos.get((KINDS[kind], repo_id)), self._account
        owner = repo_id.split("/")[0]
        if write and account is None:
            self._error(401, "Unauthorized", "Invalid username or password.")
        elif repo is None or (repo.private and (account is None or account[0] != owner)):
            self._error(404, "RepoNotFound", "Repository not found")
        elif write and account != (owner, "write"):
            self._error(
                403,
                "Forbidden",
                "You don't have the required permissions to write to this repository.",
            )
        else:
            return repo
        return None

    # accounts and repositories

    def whoami(self) -> None:
        if self._account is None:
            return self._error(401, "Unauthorized", "Invalid username or password.")
        name, role = self._account
        token = {"displayName": "test", "role": role}
        self._answer(
            200, {"type": "user", "name": name, "orgs": [], "auth": {"accessToken": token}}
        )

    def create(self) -> None:
        asked = json.loads(self.body)
        if self._account is None:
            return self._error(401, "Unauthorized", "Invalid username or password.")
        name, role = self._account
        owner = asked.get("organization") or name
        key = (asked.get("type") or "model", f"{owner}/{asked['name']}")
        prefix = {"model": "", "space": "spaces/", "dataset": "datasets/"}[key[0]]
        url = f"{self.hub.url}/{prefix}{key[1]}"
        # whatever the token's role, as the real one does
        if key in self.hub.repos and owner == name:
            return self._answer(409, {"error": "You already created this repo", "url": url})
        if owner != name or role != "write":
            return self._error(
                403, "Forbidden", f'You don\'t have the rights to create a model under "{owner}".'
            )
        repo = self.hub.repos[key] = Repo(private=asked.get("visibility") == "private")
        self.hub.new_commit(
            repo, "main", "initial commit", {".gitattributes": File.blob(b"*.png filter=lfs\n")}
        )
        self._answer(200, {"url": url, "name": key[1], "id": key[1]})

    def auth_check(self, kind: str, repo_id: str, write: str | None) -> None:
        if self._repo(kind, repo_id, write=bool(write)):
            self._answer(200, {})

    def create_branch(self, kind: str, repo_id: str, branch: str) -> None:
        if repo := self._repo(kind, repo_id, write=True):
            if branch in repo.branches:
                return self._error(409, "Conflict", "Reference already exists")
            repo.branches[branch] = list(repo.branches["main"])
            self._answer(200, {})

    def info(self, kind: str, repo_id: str, revision: str | None = None) -> None:
        if not (repo := self._repo(kind, repo_id)):
            return
        commit = repo.head(revision or "main")
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        card = commit.files.get("README.md")
        data = yaml.safe_load(card.content.decode().split("---")[1]) if card else {}
        found = {
            "id": repo_id,
            "sha": self.hub.told.get(repo_id, {}).get("sha", commit.oid),
            "private": repo.private,
            "tags": data.get("tags", []),
        }
        found |= {key: data[key] for key in ("pipeline_tag", "library_name") if key in data}
        self._answer(
            200,
            found | {"cardData": data, "siblings": [{"rfilename": path} for path in commit.files]},
        )

    def tree(self, kind: str, repo_id: str, revision: str, folder: str | None = None) -> None:
        if not (repo := self._repo(kind, repo_id)):
            return
        commit = repo.head(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        entries = []
        for path, file in commit.files.items():
            entry = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
            if file.content is None:
                entry["lfs"] = {"oid": file.oid, "size": file.size, "pointerSize": 130}
            if not folder or path.startswith(f"{folder}/"):
                entries.append(entry)
        if folder and not entries:
            return self._error(404, "EntryNotFound", f"{folder} does not exist")
        self._answer(200, entries)

    # pushing

    def validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        try:
            data = yaml.safe_load(content.split("---")[1])
        except (IndexError, yaml.YAMLError) as error:
            return self._answer(400, {"errors": [{"message": str(error)}], "warnings": []})
        wrong = [
            {"message": f'"{key}" must be a {kind.__name__}'}
            for key, kind in (
                ("pipeline_tag", str),
                ("library_name", str),
                ("license", str),
                ("tags", list),
            )
            if key in data and not isinstance(data[key], kind)
        ]
        self._answer(400 if wrong else 200, {"errors": wrong, "warnings": []})

    def preupload(self, kind: str, repo_id: str, revision: str) -> None:
        if not (repo := self._repo(kind, repo_id, write=True)):
            return
        commit, files = repo.head(revision), []
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        for asked in json.loads(self.body)["files"]:
            path = asked["path"]
            mode = "lfs" if path.endswith(LFS_SUFFIXES) or asked["size"] > 10_000_000 else "regular"
            known = {"oid": commit.files[path].oid} if path in commit.files else {}
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False} | known)
        self._answer(200, {"files": files, "commitOid": commit.oid})

    def lfs_batch(self, kind: str | None, repo_id: str) -> None:
        if not self._repo((kind or "models/").rstrip("/"), repo_id, write=True):
            return
        objects = []
        for asked in json.loads(self.body)["objects"]:
            own = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.lfs:
                at = f"{self.hub.url}/lfs/{asked['oid']}"
                own["actions"] = {"upload": {"href": at}, "verify": {"href": f"{at}/verify"}}
            objects.append(own)
        self._answer(
            200,
            {"transfer": "basic", "objects": objects},
            {"Content-Type": "application/vnd.git-lfs+json"},
        )

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._answer(400, {"error": "the content is not what its name says"})
        self.hub.lfs[oid] = self.body
        self._answer(200)

    def lfs_verify(self, oid: str) -> None:
        self._answer(200 if oid in self.hub.lfs else 404, {})

    def lfs_get(self, oid: str) -> None:
        self._answer(200, self.hub.lfs[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def xet_token(self, kind: str, repo_id: str, access: str, revision: str) -> None:
        if not self._repo(kind, repo_id, write=access == "write"):
            return
        if self.hub.cas is None:
            return self._error(404, "EntryNotFound", "no Xet here")
        token = {
            "casUrl": f"local://{self.hub.cas}",
            "exp": int(time.time()) + 3600,
            "accessToken": "xet",
        }
        headers = {
            "X-Xet-Cas-Url": token["casUrl"],
            "X-Xet-Token-Expiration": str(token["exp"]),
            "X-Xet-Access-Token": token["accessToken"],
        }
        self._answer(200, token, headers)

    def commit(self, kind: str, repo_id: str, revision: str) -> None:
        if not (repo := self._repo(kind, repo_id, write=True)):
            return
        if revision not in repo.branches:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        title, changes = "", {}
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                title = value["summary"]
            elif entry["key"] == "file":
                changes[value["path"]] = File.blob(base64.b64decode(value["content"]))
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.lfs and self.hub.cas is None:
                    return self._answer(
                        400, {"error": f"{value['path']}: its LFS object was never uploaded"}
                    )
                changes[value["path"]] = File(value["size"], value["oid"])
            elif entry["key"] == "deletedFile":
                changes[value["path"]] = None
        made = self.hub.new_commit(repo, revision, title, changes)
        url = f"{self.hub.url}/{repo_id}/commit/{made.oid}"
        self._answer(
            200, {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}
        )

    # pulling

    def resolve(self, kind: str | None, repo_id: str, revision: str, path: str) -> None:
        if not (repo := self._repo((kind or "models/").rstrip("/"), repo_id)):
            return
        commit = repo.head(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        told = self.hub.told.get(f"{repo_id}/{path}", {})
        if (file := commit.files.get(path)) is None:
            missing = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.oid} | told
            return self._answer(404, {"error": f"{path} does not exist"}, missing)
        if file.content is not None:
            return self._answer(200, file.content, headers | {"ETag": f'"{file.oid}"'} | told)
        headers |= {
            "X-Linked-Etag": f'"{file.oid}"',
            "X-Linked-Size": str(file.size),
            "ETag": f'"{file.oid}"',
        }
        if xet_hash := self.hub.xet_hashes.get(file.oid):
            route = f"{self.hub.url}/api/{kind or 'models/'}{repo_id}/xet-read-token/{commit.oid}"
            headers |= {"X-Xet-Hash": xet_hash, "X-Xet-Refresh-Route": route}
        # Files lie on another host than the Hub, which clients notice.
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
        self._answer(302, b"", headers | {"Location": f"{elsewhere}/lfs/{file.oid}"} | told)


_KIND, _ID = "(?P<kind>models|spaces|datasets)", "(?P<repo_id>[^/]+/[^/]+)"
Handler.routes = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate_yaml),
    ("GET", f"/api/{_KIND}/{_ID}/auth-check(?P<write>/write)?", Handler.auth_check),
    ("POST", f"/api/{_KIND}/{_ID}/branch/(?P<branch>.+)", Handler.create_branch),
    ("GET", f"/api/{_KIND}/{_ID}", Handler.info),
    ("GET", f"/api/{_KIND}/{_ID}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET", f"/api/{_KIND}/{_ID}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", Handler.tree),
    ("POST", f"/api/{_KIND}/{_ID}/preupload/(?P<revision>.+)", Handler.preupload),
    (
        "GET",
        f"/api/{_KIND}/{_ID}/xet-(?P<access>read|write)-token/(?P<revision>.+)",
        Handler.xet_token,
    ),
    ("POST", f"/api/{_KIND}/{_ID}/commit/(?P<revision>.+)", Handler.commit),
    ("POST", f"/(?P<kind>spaces/|datasets/)?{_ID}.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]+)", Handler.lfs_put),
    ("POST", "/lfs/(?P<oid>[0-9a-f]+)/verify", Handler.lfs_verify),
    ("GET", "/lfs/(?P<oid>[0-9a-f]+)", Handler.lfs_get),
    ("HEAD", "/lfs/(?P<oid>[0-9a-f]+)", Handler.lfs_get),
    (
        "HEAD",
        f"/(?P<kind>spaces/|datasets/)?{_ID}/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        Handler.resolve,
    ),
    (
        "GET",
        f"/(?P<kind>spaces/|datasets/)?{_ID}/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        Handler.resolve,
    ),
]
Hub.handler = Handler
