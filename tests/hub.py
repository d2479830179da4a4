"""A Hub of datasets on this machine, speaking the part of the protocol that fetching one takes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_API = re.compile(
    r"/api/datasets/(?P<id>[^/]+/[^/]+)(?:/(?P<verb>revision|tree|paths-info)/(?P<rest>.*))?"
)
_FILE = re.compile(r"/datasets/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class FakeDataset:
    """`commits` maps a commit to its files; `branches` a branch to a commit."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        sha = self.branches.get(revision, revision)
        return sha if sha in self.commits else None


class FakeHub:
    """Serves `datasets` at `endpoint` until closed. `sent` counts bytes of files; `asked` keeps
    every request."""

    def __init__(self) -> None:
        self.datasets: dict[str, FakeDataset] = {}
        self.sent = 0
        self.asked: list[str] = []
        self._connections: list[socket.socket] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, files: dict[str, bytes], **given: Any) -> FakeDataset:
        self.datasets[name] = FakeDataset(**given)
        self.datasets[name].commit(files)
        return self.datasets[name]

    def close(self) -> None:
        """Go away, open connections included."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                hub._connections.append(self.connection)

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                url = urlsplit(self.path)
                path = unquote(url.path)
                if found := _FILE.fullmatch(path):
                    self._serve(found, self._file)
                elif found := _API.fullmatch(path):
                    self._serve(found, self._api)
                else:
                    self._refuse(404, "EntryNotFound")

            do_HEAD = do_POST = do_GET

            def _serve(
                self, found: re.Match[str], answer: Callable[[FakeDataset, re.Match[str]], None]
            ) -> None:
                dataset = hub.datasets.get(found["id"])
                if dataset is None:
                    self._refuse(401, "RepoNotFound")
                else:
                    answer(dataset, found)

            def _api(self, dataset: FakeDataset, found: re.Match[str]) -> None:
                verb, rest = found["verb"], found["rest"] or "main"
                revision, _, below = rest.partition("/")
                if verb == "revision":
                    revision, below = rest, ""
                sha = dataset.resolve(revision)
                if sha is None:
                    self._refuse(404, "RevisionNotFound")
                    return
                files = dataset.commits[sha]
                if verb == "tree":
                    if below and not any(name.startswith(f"{below}/") for name in files):
                        self._refuse(404, "EntryNotFound")
                        return
                    deep = (
                        "true"
                        in parse_qs(urlsplit(self.path).query).get("recursive", [""])[0].lower()
                    )
                    self._json(_tree(files, below, deep))
                elif verb == "paths-info":
                    body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                    wanted = (
                        json.loads(body)["paths"] if body[:1] == "{" else parse_qs(body)["paths"]
                    )
                    entries = {entry["path"]: entry for entry in _tree(files, "", True)}
                    self._json([entries[name] for name in wanted if name in entries])
                else:
                    siblings = [
                        {"rfilename": name, "size": len(data), "blobId": _oid(data)}
                        for name, data in files.items()
                    ]
                    self._json(
                        {
                            "id": found["id"],
                            "sha": sha,
                            "private": False,
                            "gated": "auto" if dataset.gated else False,
                            "siblings": siblings,
                            "tags": [],
                        }
                    )

            def _file(self, dataset: FakeDataset, found: re.Match[str]) -> None:
                if dataset.gated:
                    self._refuse(401, "GatedRepo")
                    return
                sha = dataset.resolve(found["revision"])
                if sha is None:
                    self._refuse(404, "RevisionNotFound")
                    return
                data = dataset.commits[sha].get(found["path"])
                if data is None:
                    self._refuse(404, "EntryNotFound", {"X-Repo-Commit": sha})
                    return
                status, part, extra = 200, data, {}
                if given := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                    first, last = int(given[1]), int(given[2] or len(data) - 1)
                    part, status = data[first : last + 1], 206
                    extra = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
                headers = {
                    "X-Repo-Commit": sha,
                    "ETag": f'"{_oid(data)}"',
                    "Accept-Ranges": "bytes",
                }
                self._answer(status, part, {**headers, **extra})
                if self.command == "GET":
                    hub.sent += len(part)

            def _json(self, value: Any) -> None:
                self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

            def _refuse(self, status: int, code: str, more: dict[str, str] | None = None) -> None:
                self._answer(status, b"{}", {"X-Error-Code": code, **(more or {})})

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\x00" % len(data) + data).hexdigest()


def _tree(files: dict[str, bytes], below: str, deep: bool) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    start = f"{below}/" if below else ""
    for name, data in files.items():
        if not name.startswith(start):
            continue
        folders = name[len(start) :].split("/")[:-1]
        for depth in range(len(folders) if deep else min(1, len(folders))):
            folder = start + "/".join(folders[: depth + 1])
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
        if deep or not folders:
            entries[name] = {"type": "file", "oid": _oid(data), "size": len(data), "path": name}
    return list(entries.values())
