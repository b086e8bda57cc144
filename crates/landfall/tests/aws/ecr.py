"""ECR's registries behind an HTTPS proxy: what a push asks of them, held to a list of actions as IAM would.

ecr.py CERTIFICATE KEY POLICY LOG: prints its port. POLICY has the allowed actions, one a line; whenever it changes, everything
that was pushed is forgotten. LOG gets each action that was needed. Which request takes which action is AWS's
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html).
"""

import base64
import hashlib
import json
import re
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

certificate, key, policy, log = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
lock = threading.Lock()
state = {"policy": None, "blobs": {}, "manifests": {}}
LOGIN = "Basic " + base64.b64encode(b"AWS:fake").decode()


def actions(method, path):
    if path.split("?")[0].endswith("/tags/list"):
        return ["ListImages"]
    if "/manifests/" in path:
        return ["PutImage"] if method == "PUT" else ["BatchGetImage"]
    if "/blobs/uploads/" in path:
        return ["InitiateLayerUpload"] if method == "POST" else ["UploadLayerPart", "CompleteLayerUpload"]
    return ["BatchCheckLayerAvailability"] if method == "HEAD" else ["GetDownloadUrlForLayer"]


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, message, headers=()):
        self.answer(status, headers, json.dumps({"errors": [{"code": code, "message": message}]}).encode())

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do(self):
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if self.headers.get("authorization") != LOGIN:
            challenge = 'Basic realm="https://ecr.example/",service="ecr.amazonaws.com"'
            return self.error(401, "UNAUTHORIZED", "no basic auth credentials", [("www-authenticate", challenge)])
        with lock:
            self.registry(body)

    do_GET = do_HEAD = do_POST = do_PUT = do

    def registry(self, body):
        with open(policy) as file:
            allowed = file.read()
        if allowed != state["policy"]:
            state.update(policy=allowed, blobs={}, manifests={})
        needed = actions(self.command, self.path)
        with open(log, "a") as file:
            file.writelines(f"ecr:{action}\n" for action in needed)
        for action in needed:
            if f"ecr:{action}" not in allowed.split():
                who = f"User: arn:aws:iam::123456789012:user/test is not authorized to perform: ecr:{action}"
                return self.error(403, "DENIED", f"{who} because no identity-based policy allows the ecr:{action} action")
        path, _, query = self.path.partition("?")
        name = path.rsplit("/", 1)[1]
        if "/blobs/uploads/" in path:
            if self.command == "POST":
                return self.answer(202, [("location", path + "1")])
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            assert digest.split(":")[1] in query, query
            state["blobs"][digest] = body
            return self.answer(201, [("docker-content-digest", digest)])
        if "/blobs/" in path:
            found = state["blobs"].get(name)
            return self.answer(200, [], found) if found is not None else self.error(404, "BLOB_UNKNOWN", name)
        repository = re.match("/v2/(.*)/(manifests|tags)/", path).group(1)
        if path.endswith("/tags/list"):
            tags = [version for of, version in state["manifests"] if of == repository and ":" not in version]
            return self.answer(200, [("content-type", "application/json")], json.dumps({"name": repository, "tags": tags}).encode())
        if self.command == "PUT":
            manifest = json.loads(body)
            missing = [one["digest"] for one in [manifest["config"], *manifest["layers"]] if one["digest"] not in state["blobs"]]
            if missing:
                return self.error(400, "MANIFEST_BLOB_UNKNOWN", str(missing))
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            for version in (name, digest):
                state["manifests"][repository, version] = (body, digest, self.headers["content-type"])
            return self.answer(201, [("docker-content-digest", digest)])
        found = state["manifests"].get((repository, name))
        if found is None:
            return self.error(404, "MANIFEST_UNKNOWN", name)
        self.answer(200, [("docker-content-digest", found[1]), ("content-type", found[2])], found[0])


server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
server.daemon_threads = True
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
# Ends with whoever started it.
sys.stdin.read()
