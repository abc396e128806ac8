"""Receipts signed by Twilio's own library: sms_twilio.py RPC_SERVER, with PyPI's `twilio`.

The daemon has the settings of docs/sms.md. Callbacks signed by RequestValidator are taken: doubled, in any order, and before
the answer to the message; ones signed wrongly change nothing.
"""

import collections
import http.client
import http.server
import json
import pathlib
import random
import sys
import tempfile
import threading
import urllib.parse

from twilio.request_validator import RequestValidator

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from sms_daemon import SEND, Daemon, documented, free_ports, wait_for  # noqa: E402

TOKEN = "12345-token-of-the-test"
PATH = "/sms/receipts/twilio"
PUBLIC = f"https://sms.example.net{PATH}"
FORMS = 300


class Form(dict):
    """A form as web frameworks have it, of which the library reads names that come several times."""

    def getlist(self, name):
        return self[name] if isinstance(self[name], list) else [self[name]]


class Receipts:
    """Asks the daemon's listener as Twilio does."""

    def __init__(self, port):
        self.port, self.signs = port, RequestValidator(TOKEN)

    def ask(self, form, query="", signature=None):
        """The status of the answer. The form may have lists, for names that come several times."""
        path = PATH + ("?" + query if query else "")
        if signature is None:
            signature = self.signs.compute_signature(PUBLIC + ("?" + query if query else ""), Form(form))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}
        connection.request("POST", path, urllib.parse.urlencode(form, doseq=True), headers)
        status = connection.getresponse().status
        connection.close()
        return status

    def tell(self, sid, state, **more):
        form = {"MessageSid": sid, "SmsSid": sid, "MessageStatus": state, "To": "+8613800138000", "From": "+14155550100", **more}
        return self.ask(form)


class Provider(http.server.BaseHTTPRequestHandler):
    """Takes messages, and gives each a name. The receipt of one whose text says so comes before its answer."""

    receipts, taken, lock = None, {}, threading.Lock()

    def do_POST(self):
        fields = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        with self.lock:
            sid = f"SM{len(self.taken):032x}"
            self.taken[fields["Body"]] = sid
        if fields["Body"].startswith("early"):
            assert self.receipts.tell(sid, "delivered") == 200
        body = json.dumps({"sid": sid}).encode()
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def settings(work, provider, receipts):
    secret = work / "twilio"
    secret.write_text(TOKEN + "\n")
    secret.chmod(0o600)
    shown = documented("Twilio", {
        "https://api.twilio.com": f"http://127.0.0.1:{provider}", "/run/secrets/twilio": str(secret), "rate_per_second = 10\n": ""})
    return f'[sms]\ncountries = ["CN"]\n\n[sms.receipts]\nlisten = "127.0.0.1:{receipts}"\n\n{shown}'


def send(daemon, *texts):
    sent = daemon.call(SEND, *[{"to": f"+86138001{number:05d}", "text": text} for number, text in enumerate(texts)])
    return [one["id"] for one in sent]


def any_order(daemon, receipts, chance):
    """The highest of the states counts, whatever the order, and however often it comes."""
    count = 40
    texts = [f"order-{number}" for number in range(count)]
    ids = send(daemon, *texts)
    daemon.until_all("all are sent", ids, "sent")

    told = []
    for text in texts:
        states = ["queued", "sending", "sent"] + chance.choice([["delivered"], ["undelivered"], []])
        told += [(text, state) for state in states for _ in range(chance.randint(1, 2))]
    chance.shuffle(told)
    for text, state in told:
        more = {"ErrorCode": "30005"} if state == "undelivered" else {}
        assert receipts.tell(Provider.taken[text], state, **more) == 200, (text, state)

    ends = {text: next((state for of, state in told if of == text and state.endswith("delivered")), "sent") for text in texts}
    messages = daemon.messages(ids)
    for one, text in zip(ids, texts):
        assert messages[one]["status"] == ends[text], (messages[one], ends[text])
        assert ends[text] != "undelivered" or messages[one]["error"] == "30005", messages[one]
    print(f"ok   {len(told)} signed receipts in any order, half of them doubled: {dict(collections.Counter(ends.values()))}")


def early(daemon):
    ids = send(daemon, *[f"early-{number}" for number in range(10)])
    daemon.until_all("a receipt before the answer counts", ids, "delivered")
    print("ok   10 messages are delivered by receipts that came before the provider's answer")


def wrongly_signed(daemon, receipts):
    [one] = send(daemon, "wrong")
    daemon.until_all("it is sent", [one], "sent")
    form = {"MessageSid": Provider.taken["wrong"], "MessageStatus": "delivered"}
    right = receipts.signs.compute_signature(PUBLIC, form)
    wrong = [
        RequestValidator("another-token").compute_signature(PUBLIC, form),
        receipts.signs.compute_signature(PUBLIC + "/", form),
        receipts.signs.compute_signature(PUBLIC, {**form, "MessageStatus": "sent"}),
        right[:-2] + "A=", right.lower(), "", "=", "not base64",
    ]
    for signature in wrong:
        assert receipts.ask(form, signature=signature) == 403, signature
    assert receipts.ask({**form, "More": "1"}, signature=right) == 403
    assert receipts.ask(form, query="a=1", signature=right) == 403
    assert daemon.statuses([one]) == {"sent": 1}
    assert receipts.ask(form) == 200 and daemon.statuses([one]) == {"delivered": 1}
    print(f"ok   {len(wrong) + 2} wrong signatures are refused, and change nothing")


def random_forms(receipts, chance):
    """What the library signs is taken: all kinds of characters, names that come twice, queries."""
    characters = "abcXYZ019 +&=%?/#:;,.~-_*'\"()é中😀\n\t"
    word = lambda least: "".join(chance.choice(characters) for _ in range(chance.randint(least, 12)))  # noqa: E731
    for _ in range(FORMS):
        form = {word(1): word(0) for _ in range(chance.randint(0, 8))}
        if chance.random() < 0.3:
            form[word(1)] = [word(0) for _ in range(chance.randint(1, 3))]
        form |= {"MessageSid": "SMnone", "MessageStatus": "queued"}
        query = urllib.parse.urlencode({"a": word(1)}) if chance.random() < 0.3 else ""
        assert receipts.ask(form, query) == 200, (form, query)
    print(f"ok   {FORMS} forms with all kinds of characters are found to be signed")


def main():
    chance = random.Random(4711)
    [port] = free_ports(1)
    receipts = Provider.receipts = Receipts(port)
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        daemon = Daemon(sys.argv[1], work, settings(work, provider.server_port, port), {"TWILIO_SID": "AC1"})
        try:
            wait_for("the provider is up", lambda: daemon.gateway()["state"] == "up")
            any_order(daemon, receipts, chance)
            early(daemon)
            wrongly_signed(daemon, receipts)
            random_forms(receipts, chance)
        finally:
            daemon.end()


main()
