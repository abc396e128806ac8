"""Calls every command of the SMS service by the clients that `rpc gen python` writes, has its errors, and follows messages by
its stream; `mypy --strict` reads it, too.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable
from typing import TypeVar

import rpc_client
from daemon_client import (
    Class,
    DestinationRefusedError,
    MayDoubleError,
    NoGatewayError,
    NumberInvalidError,
    NumberLimitError,
    NumberOptedOutError,
    PrefixLimitError,
    SmsBlockingClient,
    SmsClient,
    Status,
    TemplateUnknownError,
    TextRefusedError,
    TooLateError,
)
from rpc_client import Code, RpcError

Failure = TypeVar("Failure", bound=RpcError)
TOMORROW = int(time.time() * 1000) + 86_400_000


async def failure(kind: type[Failure], call: Awaitable[object]) -> Failure:
    """The failure of this call, which is one of these."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"it did not fail with {kind.__name__}")


async def until(sms: SmsClient, id: str, status: Status) -> None:
    """Follows a message from its beginning until it has this status."""
    async with await sms.watch(id=id, after=0) as changes:
        async for item in changes:
            assert all(event["id"] == id for event in item["events"])
            if any(event["to"] == status for event in item["events"]):
                return
    raise AssertionError(f"the stream ended before the message was {status}")


async def messages(sms: SmsClient) -> None:
    """A message from its acceptance to the phone, one that is taken back, and one that may arrive twice."""
    sent = await sms.send("+8613800138000", text="hello", tags={"order": "7"}, idempotency_key="order 7")
    again = await sms.send("+8613800138000", text="hello", tags={"order": "7"}, idempotency_key="order 7")
    assert (sent["country"], sent["segments"], sent.get("dry_run"), again.get("duplicate")) == ("CN", 1, True, True)
    id: str = sent["id"]
    assert again["id"] == id
    await until(sms, id, "sent")

    [gateway] = (await sms.gateways())["gateways"]
    assert (await sms.receipt(gateway["name"], "delivered", id=id))["matched"]
    [message] = (await sms.status(key="order 7"))["messages"]
    assert (message["status"], message["to"], message.get("tags")) == ("delivered", "+86138****8000", {"order": "7"})
    assert [it["id"] for it in (await sms.list(tag="order=7", status=["delivered"]))["messages"]] == [id]
    revealed = await sms.reveal(id)
    assert (revealed.get("to"), revealed.get("text")) == ("+8613800138000", "hello")

    later = await sms.send("+8613800138001", text="later", not_before=TOMORROW)
    assert later["status"] == "scheduled" and (await sms.cancel(later["id"]))["status"] == "cancelled"
    too_late = await failure(TooLateError, sms.cancel(id))
    status: Status = too_late.details["status"]
    assert status == "delivered"
    assert (await sms.resend(later["id"]))["attempt"] == 1
    await until(sms, later["id"], "sent")

    assert (await sms.receipt(gateway["name"], "undelivered", id=later["id"]))["matched"]
    may_double = await failure(MayDoubleError, sms.resend(later["id"]))
    assert may_double.details["status"] == "undelivered"
    assert (await sms.resend(later["id"], may_double=True))["status"] == "queued"


async def refusals(sms: SmsClient) -> None:
    """The other errors of the service."""
    number = "+8613800138002"
    assert "12345" not in (await failure(NumberInvalidError, sms.send("12345", text="a"))).details["reason"]
    assert (await failure(DestinationRefusedError, sms.send("+4915112345678", text="a"))).details["reason"]
    assert (await failure(TextRefusedError, sms.send(number, text=""))).details["reason"]
    assert (await sms.send(number, template="t", vars={"code": "1"}))["status"] == "queued"
    assert (await failure(NoGatewayError, sms.send(number, text="a", gateway="none"))).details["reason"]

    otp: Class = "otp"
    await sms.send(number, text="1234", class_=otp)
    limit = await failure(NumberLimitError, sms.send(number, text="1234", class_=otp))
    assert 0 < limit.details["retry_after_ms"] <= 60_000 and limit.retry_after_ms == limit.details["retry_after_ms"]
    await sms.send("+8613800138003", text="1234", class_=otp)
    prefix = await failure(PrefixLimitError, sms.send("+8613800138004", text="1234", class_=otp))
    assert 0 < prefix.details["retry_after_ms"] <= 60_000

    assert (await sms.optout(number, "add", scope="marketing"))["opted_out"]
    opted_out = await failure(NumberOptedOutError, sms.send(number, text="a", class_="marketing"))
    assert (opted_out.code, opted_out.may_have_run) == (1101, True)
    checked = await sms.check(number, text="a", class_="marketing")
    assert (checked["allowed"], checked["type"]) == (False, "mobile") and checked["reasons"]
    assert (await sms.optout(number, "get")).get("scope") == "marketing"
    assert not (await sms.optout(number, "remove"))["opted_out"]

    missing = await failure(RpcError, sms.status(id="01KDVDNA0000000000000004HM"))
    assert type(missing) is RpcError and missing.code == Code.NOT_FOUND


async def with_asyncio(address: str, token: str) -> None:
    """All of it in one connection."""
    async with rpc_client.Client(address, rpc_client.Settings(token=token)) as client:
        await messages(SmsClient(client))
        await refusals(SmsClient(client))


def with_threads(address: str, token: str) -> None:
    """Every command, in a thread."""
    with rpc_client.blocking.Client(address, rpc_client.Settings(token=token)) as client:
        sms = SmsBlockingClient(client)
        [gateway] = sms.gateways()["gateways"]
        sms.pause(gateway["name"], True)
        assert sms.gateways()["gateways"][0]["state"] == "paused"
        id = sms.send("+8613800138010", text="from a thread", idempotency_key="thread 1")["id"]
        assert [it["status"] for it in sms.status(ids=[id])["messages"]] == ["queued"]
        assert sms.cancel(id)["status"] == "cancelled"
        assert sms.resend(id)["status"] == "queued"
        sms.pause(gateway["name"], False)

        states: list[Status] = []
        with sms.watch(id=id, after=0) as changes:
            for item in changes:
                states += [event["to"] for event in item["events"]]
                if states[-1] == "sent":
                    break
        assert states == ["queued", "cancelled", "queued", "sending", "sent"], states

        assert sms.receipt(gateway["name"], "delivered", id=id)["matched"]
        assert sms.list(to="+8613800138010", limit=1)["messages"][0]["status"] == "delivered"
        assert sms.reveal(id).get("text") == "from a thread"
        assert sms.check("+8613800138010", text="a")["allowed"]
        assert not sms.optout("+8613800138010", "get")["opted_out"]
        try:
            sms.send("", text="a")
            raise AssertionError("it is not a number")
        except NumberInvalidError as error:
            assert error.code == 1100


def template_of(error: TemplateUnknownError) -> str:
    """The one error that this daemon does not have: a gateway of kind `file` takes every template."""
    return error.details["template"]


async def misuse(sms: SmsClient) -> None:
    """What the types refuse: each of these lines is an error, and an error that is not there is one, too."""
    await sms.send(text="to no one")  # type: ignore[call-arg]
    await sms.send("+8613800138000", text="a", class_="urgent")  # type: ignore[arg-type]
    await sms.list(status="sent")  # type: ignore[arg-type]
    await sms.optout("+8613800138000", "forget")  # type: ignore[arg-type]
    await sms.status(id="a", idempotency_key="k")  # type: ignore[call-arg]


def main(address: str, token: str) -> None:
    """Calls them all."""
    asyncio.run(with_asyncio(address, token))
    with_threads(address, token)
    commands = [name for name in vars(SmsClient) if not name.startswith("_")]
    print(f"{len(commands)} commands of the SMS service were called from Python")


main(*sys.argv[1:])
