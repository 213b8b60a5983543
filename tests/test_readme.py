"""The README says what is so."""

from pathlib import Path

from partialstate_service.settings import PREFIX, Settings

README = Path(__file__).parents[1] / "README.md"


def settings_table() -> str:
    """Return the README's table of settings, as the settings themselves say it."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.is_required() or field.default in (None, ()) else f"`{_text(field.default)}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {' '.join(str(field.description).split())} |")
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_settings_are_described_as_they_are():
    table = settings_table()
    assert table in README.read_text(encoding="utf-8"), f"put this into README.md, Settings:\n{table}"
