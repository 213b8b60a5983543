"""A Dockerfile as its instructions, stage by stage."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """What follows the name, without options such as `--from`."""
        return [word for word in self.text.split() if not word.startswith("--")]


def stages(path: Path) -> list[list[Instruction]]:
    """Return the instructions of each stage, its FROM first."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, text = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, text.strip()))
    return found
