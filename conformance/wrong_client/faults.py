"""The deliberate faults: each a rule that a client might miss, and the cases that must notice it."""

from __future__ import annotations

from typing import Dict, List, NamedTuple


class Fault(NamedTuple):
    """What the wrong client does, and the names of cases that fail for it; others may fail as well."""

    what: str
    cases: List[str]


FAULTS: Dict[str, Fault] = {
    "answers-in-order": Fault(
        "takes each reply for the oldest call, whatever its id",
        ["replies-in-reverse-order-reach-their-own-callers"],
    ),
    "authenticates-once": Fault("sends its token on the first connection only", ["each-connection-is-authenticated"]),
    "calls-before-authentication": Fault(
        "sends calls before its token is answered", ["no-call-is-sent-before-the-answer-to-the-token"]
    ),
    "cancels-what-is-over": Fault("cancels calls that are over", ["a-call-that-is-over-is-not-cancelled"]),
    "closes-at-goaway": Fault(
        "closes the connection at goaway, with its calls", ["several-calls-end-on-the-old-connection"]
    ),
    "closes-at-heartbeats": Fault("takes an empty line for nonsense", ["empty-lines-are-heartbeats"]),
    "connection-for-each-call": Fault("opens a connection for each call", ["calls-share-one-connection"]),
    "credit-before-reading": Fault(
        "gives credit for items that came, read or not", ["no-credit-is-given-for-what-was-not-read"]
    ),
    "dedup-age-of-the-last-try": Fault(
        "tells the time since the last try of a call with dedup", ["the-age-counts-from-the-first-of-several-tries"]
    ),
    "dedup-anywhere": Fault(
        "sends a call with dedup again, whatever the store",
        [
            "a-lost-dedup-call-is-not-sent-to-another-store",
            "a-lost-dedup-call-is-not-sent-again-where-no-store-is-told",
            "a-lost-dedup-call-is-not-sent-again-where-describe-is-not-answered",
            "a-key-alone-does-not-make-a-call-idempotent",
        ],
    ),
    "dedup-never": Fault(
        "does not send a call with dedup again",
        [
            "a-lost-dedup-call-is-sent-again-to-the-store-that-has-its-key",
            "a-lost-call-with-a-key-is-sent-again-to-the-store-that-has-it",
            "a-call-with-a-key-is-sent-again-where-the-server-describes-it-as-idempotent",
        ],
    ),
    "dedup-new-key": Fault(
        "gives each try another key", ["a-lost-dedup-call-is-sent-again-to-the-store-that-has-its-key"]
    ),
    "dedup-no-age": Fault("repeats a call without its age", ["a-repetition-tells-the-time-since-the-first-try"]),
    "dedup-one-key": Fault("gives all calls the same key", ["each-dedup-call-has-a-key-of-its-own"]),
    "drops-details": Fault("does not pass details on", ["details-of-an-object-are-kept"]),
    "drops-retry-after": Fault("does not pass retry_after_ms on", ["retry-after-is-told"]),
    "fields-in-order": Fault("reads the fields of a reply in one order only", ["the-fields-of-a-reply-come-in-any-order"]),
    "flushes-nothing": Fault(
        "flushes without asking", ["a-flush-waits-until-the-server-has-read-a-oneway-call"]
    ),
    "forgets-first-try": Fault("tells of the last try alone", ["what-may-have-run-once-may-have-run"]),
    "forgets-ordered-place": Fault(
        "forgets an ordered call that is given up", ["an-ordered-call-that-is-given-up-keeps-its-place"]
    ),
    "hides-rejected": Fault("does not tell that a call was rejected", ["rejected-is-told"]),
    "ids-for-all": Fault("gives ordered calls ids", ["an-ordered-call-has-no-id"]),
    "ignores-attempts-max": Fault("tries again for ever", ["a-call-that-is-rejected-always-fails-in-the-end"]),
    "ignores-deadlines": Fault("waits for a reply for ever", ["a-call-ends-at-its-deadline"]),
    "ignores-goaway": Fault("sends new calls after goaway", ["after-goaway-new-calls-take-a-new-connection"]),
    "ignores-nonsense": Fault("drops lines that make no sense", ["a-line-of-a-word-ends-the-connection"]),
    "ignores-retry-after": Fault("tries again at once, whatever the server asks", ["a-retry-waits-as-the-server-asks"]),
    "never-cancels": Fault("never cancels", ["a-call-given-up-is-cancelled-at-the-server"]),
    "hides-timeouts": Fault("does not tell the server its time", ["a-call-carries-its-time"]),
    "latin-1": Fault("writes Latin-1 instead of UTF-8", ["any-unicode-in-params-arrives"]),
    "lax-ids": Fault("takes an id that is a string for a number", ["a-line-of-an-id-of-a-string-ends-the-connection"]),
    "lax-json": Fault("takes NaN for a number", ["a-reply-with-nan-fails-its-call-alone"]),
    "lax-utf8": Fault("replaces invalid UTF-8", ["a-reply-with-invalid-utf-8-fails-its-call-alone"]),
    "lost-is-unsent": Fault("says of lost calls that they were not sent", ["a-call-that-was-lost-may-have-run"]),
    "never-comes-back": Fault("opens no second connection", ["an-idle-connection-that-was-lost-is-opened-by-the-next-call"]),
    "never-gives-credit": Fault("gives a stream no more credit", ["credit-is-given-for-what-was-read"]),
    "no-back-off": Fault("connects again without a pause", ["a-server-that-only-closes-is-not-called-without-a-pause"]),
    "no-retries": Fault("tries nothing again", ["a-rejected-call-is-sent-again"]),
    "no-stream-limit": Fault("keeps items without a bound", ["a-stream-past-its-credit-is-given-up"]),
    "nonsense-ends-all": Fault(
        "ends the connection for nonsense that names a call", ["a-reply-without-a-code-fails-its-call-alone"]
    ),
    "oneway-waits": Fault("waits for the reply of a oneway call", ["a-oneway-call-says-so-and-waits-for-nothing"]),
    "pretty-prints": Fault("writes a request on several lines", ["params-of-a-nested-object-arrive"]),
    "reads-any-length": Fault("reads lines of any length", ["a-reply-that-never-ends-is-given-up-at-the-limit"]),
    "reconnects-idle": Fault(
        "opens an idle connection again at once", ["an-idle-connection-that-was-lost-is-opened-by-the-next-call"]
    ),
    "resends-what-was-lost": Fault("sends lost calls again", ["a-call-that-was-lost-is-not-sent-again"]),
    "resume-after-an-item-only": Fault(
        "does not call a resumable stream again that has had no item",
        [
            "a-resumable-stream-that-a-goaway-ends-before-an-item-begins-with-its-own-params-elsewhere",
            "a-resumable-stream-that-a-draining-server-rejects-begins-elsewhere",
        ],
    ),
    "resume-after-any-failure": Fault(
        "calls a resumable stream again after any failure", ["a-failure-of-the-service-ends-a-resumable-stream"]
    ),
    "resume-after-loss-only": Fault(
        "does not call a resumable stream again that the server has ended with code 14",
        ["a-resumable-stream-that-ends-with-a-goaway-goes-on-over-another-connection"],
    ),
    "resume-backs-off-as-retries": Fault(
        "calls a resumable stream again with the short back-off of retries",
        ["a-resumable-stream-that-cannot-be-begun-waits-for-its-server-with-its-own-params"],
    ),
    "resume-begun-only": Fault(
        "does not call a resumable stream again that could not be begun",
        ["a-resumable-stream-that-cannot-be-begun-waits-for-its-server-with-its-own-params"],
    ),
    "resume-for-ever": Fault(
        "calls a resumable stream again for ever",
        ["a-resumable-stream-that-brings-nothing-any-more-fails-in-the-end"],
    ),
    "resume-from-the-start": Fault(
        "calls a resumable stream again from its beginning",
        ["a-resumable-stream-goes-on-from-its-last-cursor-after-a-lost-connection"],
    ),
    "resume-hides-gaps": Fault(
        "does not tell that items may be missing", ["a-place-that-is-not-known-any-more-is-told-as-a-gap"]
    ),
    "resume-ignores-retry-after": Fault(
        "calls a resumable stream again sooner than its server asks for",
        ["a-resumable-stream-waits-as-long-as-its-server-asks-for-up-to-the-longest-back-off"],
    ),
    "resume-never": Fault(
        "does not call a resumable stream again",
        ["a-resumable-stream-goes-on-from-its-last-cursor-after-a-lost-connection"],
    ),
    "resume-renews-the-deadline": Fault(
        "gives each call of a resumable stream all of its time",
        ["all-calls-of-a-resumable-stream-share-its-one-deadline"],
    ),
    "resume-waits-as-long-as-asked": Fault(
        "calls a resumable stream again as late as its server asks for, however late that is",
        ["a-resumable-stream-waits-as-long-as-its-server-asks-for-up-to-the-longest-back-off"],
    ),
    "resume-waits-past-the-deadline": Fault(
        "waits past the deadline of a resumable stream before it calls again",
        ["a-resumable-stream-does-not-wait-past-its-deadline"],
    ),
    "timing-made-up": Fault(
        "tells times where the reply has none", ["a-call-whose-reply-has-no-times-that-can-be-read-is-told-none"]
    ),
    "timing-of-replies-only": Fault(
        "does not tell the times of streams", ["the-end-of-a-stream-tells-the-times-that-were-asked-for"]
    ),
    "timing-unasked": Fault(
        "does not ask for the times that its caller wants", ["a-caller-that-asks-is-told-the-times-of-its-call"]
    ),
    "reuses-ids": Fault("takes the lowest free id", ["a-late-reply-does-not-answer-the-next-call"]),
    "same-id": Fault("gives every call the same id", ["calls-that-run-side-by-side-have-ids-of-their-own"]),
    "segments-are-lines": Fault("takes every read for whole lines", ["a-reply-that-comes-slowly-is-one-reply"]),
    "speaks-first": Fault("pings when it has connected", ["nothing-is-sent-before-there-is-a-call"]),
    "takes-part-lines": Fault("takes the part line at the end for a reply", ["a-part-line-at-the-end-is-no-reply"]),
    "takes-repeated-fields": Fault(
        "takes the last one of a repeated field", ["a-reply-with-repeated-data-fails-its-call-alone"]
    ),
    "waits-for-replies": Fault("sends a call when the one before is answered", ["twenty-calls-run-side-by-side"]),
}
