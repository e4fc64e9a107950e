"""Settings of what analysts and promoters look at."""

from typing import Annotated

from pydantic import AfterValidator, Field

from mmt_assets.setting_groups.group import SettingsGroup


def _by_country(text: str) -> dict[str, int]:
    """Read `KR=500,DE=250`."""
    pairs = [entry.partition("=") for entry in text.split(",") if entry.strip()]
    return {country.strip(): _positive(fans) for country, _, fans in pairs}


def _numbers(text: str) -> tuple[int, ...]:
    """Read `500,1000,2000`."""
    return tuple(sorted({_positive(entry) for entry in text.split(",") if entry.strip()}))


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{text.strip()!r} is no whole number above 0")
    return int(text)


def _readable_by_country(text: str) -> str:
    try:
        _by_country(text)
    except ValueError as error:
        raise ValueError(f"expected COUNTRY=FANS, separated by commas, such as KR=500,DE=250: {error}") from None
    return text


def _readable_numbers(text: str) -> str:
    try:
        _numbers(text)
    except ValueError as error:
        raise ValueError(f"expected capacities, separated by commas, such as 500,1000,2000: {error}") from None
    return text


class AnalystSettings(SettingsGroup):
    """The accuracy table and proposals of concerts."""

    accuracy_concerts: int = Field(
        100, ge=10, description="Last completed concerts on which the published forecasts are judged"
    )
    proposal_fans: int = Field(300, ge=1, description="Fans in a city from which a concert is worth proposing")
    proposal_fans_by_country: Annotated[str, AfterValidator(_readable_by_country)] = Field(
        "", description="The same where it differs, as COUNTRY=FANS separated by commas"
    )
    proposal_capacities: Annotated[str, AfterValidator(_readable_numbers)] = Field(
        "", description="Capacities of proposed concerts, separated by commas; empty: typical ones of past concerts"
    )
    proposal_places: int = Field(200, ge=1, description="Most places that are proposed, the best first")

    def fans_by_country(self) -> dict[str, int]:
        """Fans from which a concert is worth proposing, in the countries that differ."""
        return _by_country(self.proposal_fans_by_country)

    def capacities(self) -> tuple[int, ...]:
        """Capacities of proposed concerts from small to large; none for typical ones."""
        return _numbers(self.proposal_capacities)
