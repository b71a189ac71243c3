"""One client commands; who, is never in doubt."""

from __future__ import annotations

import threading

import pytest

from robot_servers.lease import LeaseBook
from serl.errors import UserError


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def events():
    return []


@pytest.fixture
def book(clock, events):
    return LeaseBook(clock=clock, on_event=events.append)


def test_a_second_client_is_refused_with_the_holders_name(book, clock):
    book.acquire("actor@lab:1")
    clock.now += 3
    with pytest.raises(UserError, match=r"actor@lab:1 commands .* since 3 s .* --operator"):
        book.acquire("other@lab:2")
    assert book.holder == "actor@lab:1"


def test_a_lease_in_use_does_not_expire(book, clock):
    lease = book.acquire("a")
    for _ in range(10):
        clock.now += 9
        book.use(lease)
    with pytest.raises(UserError, match="a commands"):
        book.acquire("b")


def test_an_idle_lease_can_be_taken_and_the_one_before_is_told_by_whom(book, clock, events):
    old = book.acquire("a")
    clock.now += 12
    new = book.acquire("b")
    book.use(new)
    with pytest.raises(UserError, match="b took it after you were idle for 12 s"):
        book.use(old)
    assert events == ["b took the lease, which a had not used for 12 s."]


def test_an_expired_lease_that_nobody_took_revives_on_use(book, clock):
    lease = book.acquire("a")
    clock.now += 1000
    book.use(lease)
    with pytest.raises(UserError, match="a commands"):
        book.acquire("b")


def test_an_operator_takes_it_over_and_the_one_before_is_told(book, events):
    old = book.acquire("a")
    new = book.acquire("op", operator=True)
    book.use(new)
    assert book.holder == "op"
    assert events == ["op took the lease over from a, as operator."]
    with pytest.raises(UserError, match="op took it over as operator"):
        book.use(old)
    assert not book.drop(old)
    assert book.holder == "op"


def test_a_dropped_lease_is_free_at_once(book):
    lease = book.acquire("a")
    assert book.drop(lease)
    assert not book.drop(lease)
    assert book.holder == ""
    book.use(book.acquire("b"))
    with pytest.raises(UserError, match="given back"):
        book.use(lease)


def test_a_client_that_comes_back_gets_its_own_lease_anew(book):
    """Its old connection may not have been seen to break yet."""
    old = book.acquire("a")
    new = book.acquire("a")
    book.use(new)
    with pytest.raises(UserError, match="another session"):
        book.use(old)
    assert not book.drop(old)


def test_an_unknown_lease_and_none_at_all_are_refused(book):
    with pytest.raises(UserError, match="nobody commands now"):
        book.use("f" * 32)
    with pytest.raises(UserError, match="was not given"):
        book.use("")


def test_a_lease_may_have_its_own_patience(book, clock):
    book.acquire("http 10.0.0.2", idle_s=2.0)
    clock.now += 2.5
    book.acquire("b")


def test_of_many_that_ask_at_once_one_gets_it():
    book, got, refused = LeaseBook(), [], []

    def ask(name):
        try:
            got.append(book.acquire(name))
        except UserError:
            refused.append(name)

    threads = [threading.Thread(target=ask, args=(f"c{i}",)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 19)
    book.use(got[0])


def test_memory_does_not_grow_with_sessions(book):
    for i in range(1000):
        book.drop(book.acquire(f"c{i}"))
    assert len(book._ended) <= 64
