"""A small shop with habits, for tests that need commands to run on a whole history: sixty customers, five months."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opportune.command import run

REPOSITORY = Path(__file__).parents[1]
ZONE = "America/New_York"
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 156
TODAY = "2024-05-26"
CATEGORIES = ("BREAD", "MILK", "BEER", "TEA", "SOAP", "FISH", "RICE", "ICE")
MAPPING = """
name = "shop"
timestamps_in = "offset"
local_zone = "America/New_York"
consent = ["personalization"]

[columns]
user_id = "customer"
client_time = "at"
item = "product"
category = "group"
order_id = "order"

[constants]
kind = "purchase"

[money]
column = "amount"
"""


def prepare(home: Path, *further: list[str]) -> None:
    """Import the shop's history, apply, backfill, and what else is asked: each command as typed, each with status 0."""
    with pytest.MonkeyPatch.context() as patch:
        enter(home, patch)
        write_purchases(home / "purchases.csv")
        history = ["import", "purchases.csv", "--mapping", str(write_mapping(home))]
        for command in (["key"], history, ["apply"], ["backfill"], *further):
            assert run(command) == 0, command


def enter(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Let commands run in the home, under its variables."""
    patch.chdir(home)
    for name, value in environment(home).items():
        patch.setenv(name, value)


def environment(home: Path) -> dict[str, str]:
    """The variables under which commands run in the home."""
    values = {
        "HOME": home / "var", "FEATURE_REPO": REPOSITORY / "feature_repo", "ZONE": ZONE, "PARTITIONS": 8,
        "REPLAY": "true", "THREADS": 2,
    }  # fmt: skip
    return {f"OPPORTUNE_{name}": str(value) for name, value in values.items()}


def habits(customer: int) -> set[str]:
    """The favourite categories of a customer."""
    return {CATEGORIES[customer % 8], CATEGORIES[(customer * 3 + 1) % 8]}


def write_purchases(file: Path) -> None:
    """Sixty customers with two favourite categories each, for five months, at all hours of every weekday."""
    draw = random.Random(7)
    with file.open("w") as out:
        out.write("customer,product,group,amount,order,at\n")
        for customer in range(60):
            at = FIRST + timedelta(hours=draw.uniform(0, 72))
            while at < FIRST + timedelta(days=DAYS):
                favourites = sorted(habits(customer))
                for line in range(draw.choice((1, 2, 3))):
                    group = draw.choice(favourites) if draw.random() < 0.85 else draw.choice(CATEGORIES)
                    order = f"{customer}-{at.timestamp():.0f}"
                    out.write(
                        f"customer-{customer},p{line},{group},{draw.uniform(0.5, 9):.2f},{order},{at.isoformat()}\n"
                    )
                at += timedelta(hours=draw.uniform(20, 120))


def write_mapping(home: Path) -> Path:
    """How its purchases are imported."""
    file = home / "shop.toml"
    file.write_text(MAPPING)
    return file
