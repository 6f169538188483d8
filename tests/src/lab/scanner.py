# SPDX-License-Identifier: GPL-3.0-or-later
"""In VirusTotal's place: an HTTPS server that answers as a script says and keeps what it was asked.

usage: scanner.py DIR CERTIFICATE KEY; DIR/answers.json has a list of answers for "GET" and for "POST", taken
in order, the last one again and again, and perhaps, for "OF", one for each of some contents, which comes first;
DIR/requests.jsonl gets a line for each request; DIR/port the port."""

import hashlib
import http.server
import json
import os
import ssl
import sys
import threading
import time

directory = sys.argv[1]
taken = {"GET": 0, "POST": 0}
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, body):
        with lock:
            with open(os.path.join(directory, "answers.json")) as file:
                answers = json.load(file)
            answer = answers.get("OF", {}).get(self.path.rsplit("/", 1)[1])
            if answer is None:
                answers = answers[self.command]
                answer = answers[min(taken[self.command], len(answers) - 1)]
                taken[self.command] += 1
            line = {
                "time": time.time(),
                "method": self.command,
                "path": self.path,
                "key": self.headers.get("x-apikey"),
                "status": answer.get("status"),
                "body": body,
            }
            with open(os.path.join(directory, "requests.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")
        if answer.get("hang"):
            time.sleep(600)
            return
        content = answer.get("body", "")
        if not isinstance(content, str):
            content = json.dumps(content).replace("@SHA256@", self.path.rsplit("/", 1)[1])
        content = content.encode() + b" " * answer.get("padding", 0)
        self.send_response(answer["status"])
        for name, value in answer.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer(None)

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = self.headers["Content-Type"].split("boundary=", 1)[1].encode()
        parts = data.split(b"--" + boundary)
        head, content = parts[1].split(b"\r\n\r\n", 1)
        content = content[: -len(b"\r\n")]
        sha256 = hashlib.sha256(content).hexdigest()
        self.answer({"head": head.decode(), "sha256": sha256, "length": len(content), "parts": len(parts)})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass


server = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
# The handshake is made where it holds nobody up.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
with open(os.path.join(directory, "port.new"), "w") as file:
    file.write(str(server.server_address[1]))
os.rename(os.path.join(directory, "port.new"), os.path.join(directory, "port"))
server.serve_forever()
