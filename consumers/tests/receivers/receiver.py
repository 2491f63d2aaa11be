"""Receives webhooks and says of each, on a line of JSON, which secrets the public package accepts it with.

The first line of the output is the port; every line of the input is a list of secrets, in place of those before.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

secrets = []


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        accepted = [accepts(secret, body, self.headers) for secret in secrets]
        self.send_response(204 if any(accepted) else 400)
        self.end_headers()
        call = {"id": self.headers["webhook-id"], "accepted": accepted, "body": json.loads(body)}
        print(json.dumps(call), flush=True)

    def log_message(self, *_):
        pass


def accepts(secret, body, headers):
    try:
        Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()})
        return True
    except WebhookVerificationError:
        return False


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
for line in sys.stdin:
    secrets = json.loads(line)
    print(json.dumps("known"), flush=True)
