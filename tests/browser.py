"""A person's browser without scripts: it keeps cookies, follows forms, and sees a page as its text."""

from __future__ import annotations

import html
import http.client
import re
from typing import NamedTuple
from urllib.parse import urlencode


class Shown(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def words(self) -> str:
        """What a person reads: without tags, white space collapsed."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.text)).split())


class Browser:
    def __init__(self, port: int) -> None:
        self._port, self.cookie, self.last = port, "", ""

    def get(self, path: str, **headers: str) -> Shown:
        self.last = path
        return self._send("GET", path, "", headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Shown:
        """Send a form with the token that the last page had."""
        token = re.search(r'name="form_token" value="(\w+)"', self._send("GET", self.last, "", {}).text)
        given = {"form_token": token[1] if token else "", **fields}
        sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self._send("POST", path, urlencode(given), sent)

    def send(self, method: str, path: str) -> Shown:
        """Send a request without a body."""
        return self._send(method, path, "", {})

    def _send(self, method: str, path: str, body: str, headers: dict[str, str]) -> Shown:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Cookie": self.cookie, **named})
            reply = connection.getresponse()
            text = reply.read().decode("utf-8", "replace")
        finally:
            connection.close()
        if given := reply.headers.get("Set-Cookie"):
            self.cookie = given.partition(";")[0]
        return Shown(reply.status, reply.headers, text)
