"""Wrong passwords cost time, each address its own."""

from __future__ import annotations

from openvocab.ui.web.protection.login_limiter import LoginLimiter


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def wrong(limiter: LoginLimiter, address: str, times: int) -> None:
    for _ in range(times):
        limiter.record(address, success=False)


def test_the_delay_doubles_up_to_five_minutes() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    waits = []
    for _ in range(16):
        wrong(limiter, "a", 1)
        rejection = limiter.rejection("a")
        waits.append(int(rejection.headers["Retry-After"]) if rejection else 0)
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_attempts_are_allowed_after_the_delay() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    wrong(limiter, "a", 6)
    assert limiter.rejection("a") is not None
    clock.now += 2
    assert limiter.rejection("a") is None


def test_a_correct_password_resets_the_count() -> None:
    limiter = LoginLimiter(Clock())
    wrong(limiter, "a", 4)
    limiter.record("a", success=True)
    wrong(limiter, "a", 4)
    assert limiter.rejection("a") is None


def test_one_address_does_not_lock_another_out() -> None:
    limiter = LoginLimiter(Clock())
    wrong(limiter, "a", 20)
    assert limiter.rejection("b") is None


def test_the_number_of_addresses_is_bounded() -> None:
    limiter = LoginLimiter(Clock())
    for row in range(10_050):
        wrong(limiter, str(row), 1)
    assert len(limiter._failures) == 10_000
