"""What a what-if changes, validated before anything is computed."""

import hashlib
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ScenarioRequest(BaseModel):
    """A change of one concert.

    Attributes:
        capacity: Seats from now on.
        show_date: Day of the show.
        on_sale_date: First day of sale, for a concert that is not on sale yet.
        price: Price of a ticket from now on, in the currency of the orders.
        current_price: Price that it is compared with; the mean price so far by default.
        price_elasticity: Percent of demand per percent of price. An assumption of whoever asks, so it has no default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    capacity: int | None = Field(default=None, ge=1)
    show_date: date | None = None
    on_sale_date: date | None = None
    price: float | None = Field(default=None, gt=0)
    current_price: float | None = Field(default=None, gt=0)
    price_elasticity: float | None = Field(default=None, ge=-10, le=0)

    @model_validator(mode="after")
    def _is_a_change(self) -> "ScenarioRequest":
        if all(v is None for v in (self.capacity, self.show_date, self.on_sale_date, self.price)):
            raise ValueError("nothing is changed: give capacity, show_date, on_sale_date or price")
        if self.price is not None and self.price_elasticity is None:
            raise ValueError(
                "price needs price_elasticity: by how many percent demand changes when the price rises by one percent, "
                "0 or below. It is your assumption: past sales cannot tell it, since prices are set by the demand "
                "that is expected"
            )
        if self.price is None and (self.price_elasticity is not None or self.current_price is not None):
            raise ValueError("price_elasticity and current_price say something about a price: give price too")
        return self

    def scenario_id(self, concert_id: str) -> str:
        """Twelve hex digits that stand for this change of this concert."""
        return hashlib.sha256(f"{concert_id}\n{self.model_dump_json()}".encode()).hexdigest()[:12]

    def in_words(self) -> str:
        """The change in one line."""
        parts = [
            f"capacity {self.capacity:,}" if self.capacity is not None else None,
            f"show on {self.show_date}" if self.show_date else None,
            f"on sale from {self.on_sale_date}" if self.on_sale_date else None,
            f"price {self.price:,.2f} (elasticity {self.price_elasticity:g} assumed)" if self.price else None,
        ]
        return ", ".join(part for part in parts if part)


def read_request(given: dict[str, Any]) -> ScenarioRequest:
    """Read a request from what a person gave.

    Raises:
        ValueError: A value is not allowed, or values do not fit together; all are named.
    """
    try:
        return ScenarioRequest.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [
            ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))))
            for problem in error.errors()
        ]
        raise ValueError("; ".join(lines)) from None
