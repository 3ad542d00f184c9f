"""A Hub on loopback, for the real `huggingface_hub` client: enough of its HTTP to create, push to and load from."""

import base64
import hashlib
import io
import json
import os
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import datasets
import pyarrow.parquet as pq
import yaml


class HubDouble:
    """`with HubDouble() as hub:` serves at `hub.url`; `hub.repos[id]` is what was pushed, path -> bytes."""

    def __init__(self):
        self.repos: dict[str, dict[str, bytes]] = {}
        self.lfs: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.received: list[str] = []  # the large files that arrived, each time that one did
        self.silent_after: int | None = None  # how many large files arrive before no other is answered
        self.token = "hf_secret"  # of the one user
        self.private: set[str] = set()  # seen by that user alone
        self.tags: dict[tuple[str, str], str] = {}  # to commits
        self.commits: dict[tuple[str, str], dict[str, bytes]] = {}  # what a repository held at each of them
        self.branches: dict[tuple[str, str], dict[str, bytes]] = {}  # besides main
        self.sent: Counter[str] = Counter()  # bytes of files that were fetched, by path
        self.refuse = ""  # answer 403 to addresses that hold this
        self.named: dict[str, str] = {}  # the hash of a content -> the commit that it is given out for
        self.served: set[tuple[str, str]] = set()  # repository and path of what was downloaded

    def environment(self, home) -> dict[str, str]:
        """For a process that takes this for the Hub (its client reads it at import), with its own caches."""
        return {
            **os.environ,
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(home),
        }

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self.lock, self.closed = threading.Lock(), threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()

    def at(self, repo: str, rev: str | None) -> dict[str, bytes] | None:
        """What a repository holds at a branch, tag or commit; None where there is no such revision."""
        if rev in (None, "main", self.sha(repo)):
            return self.repos[repo]
        if (repo, rev) in self.branches:
            return self.branches[repo, rev]
        return self.commits.get((repo, self.tags.get((repo, rev), rev)))

    def sha(self, repo: str) -> str:
        return self.sha_of(self.repos[repo])

    def sha_of(self, files: dict[str, bytes]) -> str:
        content = sorted((path, hashlib.sha256(data).hexdigest()) for path, data in files.items())
        sha = hashlib.sha1(repr(content).encode()).hexdigest()
        return self.named.get(sha, sha)

    def add(self, repo: str, files: dict[str, bytes], revision: str) -> None:
        """Have a repository whose only commit is `revision`."""
        self.repos[repo] = {".gitattributes": f"# {repo} {revision}".encode(), **files}  # no two have one content
        self.named[self.sha(repo)] = revision

    def add_dataset(self, repo: str, splits: dict[tuple[str, str], list[datasets.Dataset]], revision: str) -> None:
        """`add` what `push_to_hub` leaves: Parquet files and a README with `configs` and `dataset_info`.

        Args:
            splits: (configuration, split) -> its parts, one file each.
        """
        files: dict[str, bytes] = {}
        configs: dict[str, list[dict]] = {}
        infos: dict[str, dict] = {}
        for (name, split), parts in splits.items():
            folder = "data" if name == "default" else name
            for i, part in enumerate(parts):
                files[f"{folder}/{split}-{i:05}-of-{len(parts):05}.parquet"] = parquet(part)
            configs.setdefault(name, []).append({"split": split, "path": f"{folder}/{split}-*"})
            features = parts[0].features._to_yaml_list()
            info = infos.setdefault(name, {"config_name": name, "features": features, "splits": []})
            info["splits"].append({"name": split, "num_examples": sum(map(len, parts)), "num_bytes": 1})
        card = {
            "configs": [{"config_name": name, "data_files": data_files} for name, data_files in configs.items()],
            "dataset_info": list(infos.values()),
        }
        self.add(repo, {"README.md": f"---\n{yaml.safe_dump(card)}---\n".encode(), **files}, revision)


def parquet(table: datasets.Dataset) -> bytes:
    """A data set as a Parquet file that knows its features."""
    pq.write_table(table.with_format("arrow")[:].cast(table.features.arrow_schema), buffer := io.BytesIO())
    return buffer.getvalue()


class _Handler(BaseHTTPRequestHandler):
    hub: HubDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, body=b"", status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client was killed: what it sent is not kept
            self.close_connection = True
            return None
        path = unquote(urlsplit(self.path).path)
        self.hub.tokens.add((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if self.hub.refuse and self.hub.refuse in path:
            return self.send({"error": "forbidden"}, 403)
        for pattern, method in ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                is_seen = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
                if match.groupdict().get("repo") in self.hub.private and not is_seen:
                    return self.missing("RepoNotFound")
                return method(self, body, **match.groupdict())
        return self.send({"error": f"no route {self.command} {path}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 (names of http.server)

    def whoami(self, body):
        self.send({"type": "user", "name": "tester", "orgs": [], "auth": {"type": "access_token"}})

    def create(self, body):
        request = json.loads(body)
        organization = request.get("organization") or "tester"
        repo = f"{organization}/{request['name']}"
        exists = repo in self.hub.repos
        self.hub.repos.setdefault(repo, {})
        if request.get("private") or request.get("visibility") == "private":  # huggingface_hub 1, 2
            self.hub.private.add(repo)
        self.send({"url": f"{self.hub.url}/{repo}", "id": repo}, 409 if exists else 200)

    def delete(self, body):
        request = json.loads(body)
        del self.hub.repos[f"{request.get('organization') or 'tester'}/{request['name']}"]
        self.send({})

    def validate(self, body):
        self.send({"errors": [], "warnings": []})

    def info(self, body, repo, rev=None):
        if repo not in self.hub.repos:
            return self.missing("RepoNotFound")
        files = self.hub.at(repo, rev)
        if files is None:
            return self.missing("RevisionNotFound")
        siblings = [{"rfilename": path} for path in files]
        known = {"private": repo in self.hub.private, "tags": []}
        return self.send({"id": repo, "sha": self.hub.sha_of(files), "siblings": siblings, **known})

    def refs(self, body, repo):
        tags = [(tag, sha) for (name, tag), sha in self.hub.tags.items() if name == repo]
        listed = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha} for tag, sha in tags]
        self.send({"branches": [], "converts": [], "tags": listed})

    def preupload(self, body, repo):
        files = json.loads(body)["files"]
        large = ("tensors", "parquet")
        modes = [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(large) else "regular"} for f in files]
        self.send({"files": [{**mode, "shouldIgnore": False} for mode in modes]})

    def lfs_batch(self, body, repo):
        objects = [
            o if o["oid"] in self.hub.lfs else {**o, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}"}}}
            for o in json.loads(body)["objects"]
        ]
        self.send({"transfer": "basic", "objects": objects}, Content_Type="application/vnd.git-lfs+json")

    def lfs_put(self, body, oid):
        with self.hub.lock:
            is_silent = self.hub.silent_after is not None and len(self.hub.received) >= self.hub.silent_after
            if not is_silent:
                self.hub.lfs[oid] = body
                self.hub.received.append(oid)
        if is_silent:
            return self.hub.closed.wait()
        return self.send()

    def commit(self, body, repo, rev):
        files = self.hub.at(repo, rev)
        for entry in map(json.loads, body.decode().splitlines()):
            value = entry["value"]
            if entry["key"] == "deletedFile":
                del files[value["path"]]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.lfs[value["oid"]]
        sha = self.hub.sha_of(files)
        self.hub.commits[repo, sha] = dict(files)
        self.send({"commitUrl": f"{self.hub.url}/{repo}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None})

    def commits(self, body, repo):
        date = "2026-01-01T00:00:00.000Z"
        self.send([{"id": self.hub.sha(repo), "title": "", "message": "", "date": date, "authors": []}])

    def tag(self, body, repo, rev):
        self.hub.tags[repo, json.loads(body)["tag"]] = self.hub.sha_of(self.hub.at(repo, rev))
        self.send({})

    def branch(self, body, repo, branch):
        self.hub.branches[repo, branch] = dict(self.hub.repos[repo])
        self.send({})

    def settings(self, body, repo):
        asked = json.loads(body)
        is_private = asked.get("private", asked.get("visibility") == "private")
        (self.hub.private.add if is_private else self.hub.private.discard)(repo)
        self.send({})

    def tree(self, body, repo, folder=None):
        if repo not in self.hub.repos:
            return self.missing("RepoNotFound")
        start = f"{folder}/" if folder else ""
        files = {path: data for path, data in self.hub.repos[repo].items() if path.startswith(start)}
        if folder and not files:
            return self.missing("EntryNotFound")
        folders = {start + path.removeprefix(start).split("/")[0] for path in files} - set(files)
        if parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() != "true":
            files = {path: data for path, data in files.items() if "/" not in path.removeprefix(start)}
        return self.send(
            [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
            + [self.entry(path, data) for path, data in files.items()]
        )

    def paths_info(self, body, repo):
        if self.headers.get("Content-Type") == "application/json":
            wanted = json.loads(body)["paths"]
        else:
            wanted = parse_qs(body.decode()).get("paths", [])
        files = self.hub.repos.get(repo, {})
        self.send([self.entry(path, files[path]) for path in wanted if path in files])

    def entry(self, path, data):
        return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def resolve(self, body, repo, rev, path):
        if repo not in self.hub.repos:
            return self.missing("RepoNotFound")
        files = self.hub.at(repo, rev)
        if files is None or path not in files:
            return self.missing("RevisionNotFound" if files is None else "EntryNotFound")
        data = files[path]
        if self.command == "GET":
            self.hub.served.add((repo, path))
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        if (span := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")) and self.command == "GET":
            first, last = int(span[1]), int(span[2] or len(data) - 1)
            part = data[first : last + 1]
            self.hub.sent[path] += len(part)
            return self.send(part, 206, Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(data)}", ETag=etag)
        return self.send(
            data, X_Repo_Commit=self.hub.sha_of(files), ETag=etag, X_Linked_Etag=etag, X_Linked_Size=str(len(data))
        )

    def missing(self, code):
        self.send({"error": code}, 404, X_Error_Code=code)


REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
KIND = r"(?:models|datasets|spaces)"
ROUTES = [
    (r"/api/whoami-v2", _Handler.whoami),
    (r"/api/repos/create", _Handler.create),
    (r"/api/repos/delete", _Handler.delete),
    (r"/api/validate-yaml", _Handler.validate),
    (rf"/api/{KIND}/{REPO}/preupload/[^/]+", _Handler.preupload),
    (rf"/api/{KIND}/{REPO}/commit/(?P<rev>[^/]+)", _Handler.commit),
    (rf"/api/{KIND}/{REPO}/commits/[^/]+", _Handler.commits),
    (rf"/api/{KIND}/{REPO}/tag/(?P<rev>[^/]+)", _Handler.tag),
    (rf"/api/{KIND}/{REPO}/refs", _Handler.refs),
    (rf"/api/{KIND}/{REPO}/branch/(?P<branch>[^/]+)", _Handler.branch),
    (rf"/api/{KIND}/{REPO}/settings", _Handler.settings),
    (rf"/api/{KIND}/{REPO}/paths-info/[^/]+", _Handler.paths_info),
    (rf"/api/{KIND}/{REPO}/tree/[^/]+(/(?P<folder>.*))?", _Handler.tree),
    (rf"/api/{KIND}/{REPO}(/revision/(?P<rev>[^/]+))?", _Handler.info),
    (rf"/(datasets/)?{REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (r"/lfs/(?P<oid>\w+)", _Handler.lfs_put),
    (rf"/(datasets/|spaces/)?{REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
