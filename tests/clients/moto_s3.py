"""S3's protocol on a free port of 127.0.0.1: moto's server, answering one request at a time.

moto looks whether an object exists and stores it in two steps, so its threaded server lets two conditional PUTs of one
key succeed; one request at a time does not. With --ignore-if-none-match the condition is dropped, as some servers that
speak S3 do. Prints its URL, makes the bucket `registry`, and ends when stdin does.
"""

import argparse
import logging
import os
import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ignore-if-none-match", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Keep-alive: without it every request costs a connection.
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    moto = DomainDispatcherApplication(create_backend_app)

    lock = threading.Lock()

    def app(environ, start_response):
        if arguments.ignore_if_none_match:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with lock:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    from urllib.request import Request, urlopen

    with urlopen(Request(f"{url}/registry", method="PUT")) as answer:
        assert answer.status == 200, answer.status
    print(url, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
