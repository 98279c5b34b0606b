"""Wrong passwords cost time, each address its own."""

from __future__ import annotations

from openvocab.ui.web.logins import Logins


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def wrong(logins: Logins, address: str, times: int) -> None:
    for _ in range(times):
        logins.note(address, right=False)


def test_the_wait_doubles_up_to_five_minutes() -> None:
    clock = Clock()
    logins = Logins(clock)
    waits = []
    for _ in range(16):
        wrong(logins, "a", 1)
        refusal = logins.refusal("a")
        waits.append(int(refusal.headers["Retry-After"]) if refusal else 0)
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_after_the_wait_it_may_try_again() -> None:
    clock = Clock()
    logins = Logins(clock)
    wrong(logins, "a", 6)
    assert logins.refusal("a") is not None
    clock.now += 2
    assert logins.refusal("a") is None


def test_a_right_password_forgets_the_wrong_ones() -> None:
    logins = Logins(Clock())
    wrong(logins, "a", 4)
    logins.note("a", right=True)
    wrong(logins, "a", 4)
    assert logins.refusal("a") is None


def test_one_address_does_not_lock_another_out() -> None:
    logins = Logins(Clock())
    wrong(logins, "a", 20)
    assert logins.refusal("b") is None


def test_addresses_are_not_kept_without_end() -> None:
    logins = Logins(Clock())
    for row in range(10_050):
        wrong(logins, str(row), 1)
    assert len(logins._wrong) == 10_000
