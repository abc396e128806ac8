"""Calls every command of the tutorial's service by the client that `rpc gen python` writes; `mypy --strict` reads it, too."""

from __future__ import annotations

import asyncio
import sys
import warnings

import rpc_client
from orders_client import ClosedError, Order, OrdersBlockingClient, OrdersClient, Payment, SoldOutError
from rpc_client import Code, RpcError


def paid_by(payment: Payment) -> str:
    """A type for each form, told apart by its tag."""
    if payment["by"] == "card":
        month, year = payment["until"]
        return f"card until {month}/{year}"
    return payment["by"]


async def with_asyncio(address: str) -> None:
    """All commands but `close`."""
    async with rpc_client.Client(address) as client:
        orders = OrdersClient(client)
        gift: Order = {"item": "bow", "count": 1}
        number = await orders.place("pear", 2, gifts=[gift], speed="fast", labels={"for": "Eve"}, timeout=2.0)
        assert number == 1

        # An order that is at hand already; a key makes a repetition the same call.
        order: Order = {"item": "pear", "count": 5, "payment": {"by": "card", "number": "4", "until": [3, 2031]}}
        numbers = [await orders.place(**order, idempotency_key="order 4211") for _ in range(2)]
        assert numbers == [2, 2], numbers

        found = await orders.find("pear", at_least=3)
        payment = found[0]["order"].get("payment")
        assert payment is not None and paid_by(payment) == "card until 3/2031"
        assert [it["number"] for it in await orders.find("pear", from_="fast")] == [1]
        assert len(await orders.find("pear")) == 2

        await orders.viewed("/pears", meta={"tenant": "a"})
        await client.flush()
        assert await orders.views() == {"/pears": 1}
        assert await orders.seen(idempotency_key="k1", meta={"tenant": "a"}) == ["k1", "a"]
        assert await orders.seen() == [None, None]

        async with await orders.watch(1) as watched:
            assert [it["number"] async for it in watched] == [1, 2]

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first = await orders.first("pear")
        assert first is not None and first["order"]["count"] == 2
        assert [str(it.message) for it in caught] == ["`orders.first` is deprecated: use `find`"]

        try:
            await orders.place("plum", 1000)
            raise AssertionError("it is sold out")
        except SoldOutError as error:
            left: int = error.details["left"]
            assert (left, error.details["item"], error.code, error.may_have_run) == (100, "plum", 1001, True)
        try:
            await orders.place("plum", 0)
            raise AssertionError("it is nothing")
        except RpcError as error:
            assert type(error) is RpcError and error.code == Code.INVALID_ARGUMENT


def with_threads(address: str) -> None:
    """The same for threads; the shop closes at the end."""
    with rpc_client.blocking.Client(address) as client:
        orders = OrdersBlockingClient(client)
        assert orders.place("plum", 2) == 3
        assert len(orders.find("plum", timeout=2.0)) == 1
        orders.viewed("/plums")
        client.flush()
        assert orders.views()["/plums"] == 1
        assert orders.seen(idempotency_key="k2") == ["k2", None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert orders.first("fig") is None
        with orders.watch(3) as watched:
            assert [it["order"]["item"] for it in watched] == ["plum"]
        try:
            orders.place("plum", 1000)
            raise AssertionError("it is sold out")
        except SoldOutError as error:
            assert error.details["left"] == 100

        orders.close()
        try:
            orders.place("plum", 1)
            raise AssertionError("it is closed")
        except ClosedError as error:
            assert error.code == 1002
        items = []
        try:
            for item in orders.watch(3):
                items.append(item["number"])
            raise AssertionError("it is closed")
        except ClosedError:
            assert items == [3]


async def misuse(orders: OrdersClient) -> None:
    """What the types refuse: each of these lines is an error, and an error that is not there is one, too."""
    await orders.place("pear")  # type: ignore[call-arg]
    await orders.place("pear", "two")  # type: ignore[arg-type]
    await orders.place("pear", 2, speed="soon")  # type: ignore[arg-type]
    await orders.find("pear", 3)  # type: ignore[call-arg]
    number: str = await orders.place("pear", 2)  # type: ignore[assignment]
    order: Order = {"item": "pear", "count": 2, "colour": "green"}  # type: ignore[typeddict-unknown-key]
    print(number, order)


def main(address: str) -> None:
    """Calls them all, and makes sure of that."""
    asyncio.run(with_asyncio(address))
    with_threads(address)
    commands = [name for name in vars(OrdersClient) if not name.startswith("_")]
    print(f"{len(commands)} commands of the tutorial were called from Python")


main(sys.argv[1])
