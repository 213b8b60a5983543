"""The base of the enums that mirror those of the API."""

from enum import StrEnum


class ApiName(StrEnum):
    """A name of `partialstate.v1` without its prefix: the member's name is its value."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:  # noqa: ARG004 - the signature that enum calls
        return name
