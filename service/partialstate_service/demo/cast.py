"""Who in the demo's room is honest, and who is not."""

import asyncio
from dataclasses import dataclass

from partialstate_service.demo.resident.behaviour import Behaviour, Held, Honest, forbidden, unable
from partialstate_service.demo.resident.breaking import Paced
from partialstate_service.demo.resident.listener import SimulatedResidents
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.demo.world import World
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import ServerName

STATE_TAKES_S = 1.5
"""How long an honest server needs to send the state, so that there is something to see."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The servers of the room by what they do when they are asked for its state."""

    dead: frozenset[ServerName]
    forbidding: frozenset[ServerName]
    unable: frozenset[ServerName]

    @property
    def failing(self) -> dict[str, int]:
        """How many servers fail in which way."""
        return {"dead": len(self.dead), "forbidding": len(self.forbidding), "unable": len(self.unable)}

    @property
    def described(self) -> str:
        """The same in words."""
        return (
            f"{len(self.dead)} are dead, {len(self.forbidding)} answer 403 M_FORBIDDEN, "
            f"{len(self.unable)} are partial themselves"
        )


def chosen_roles(world: World) -> Roles:
    """Share out the roles: three quarters of the servers fail, among them the one that the room is joined through."""
    joined_via, *others = (server.name for server in world.servers)
    return Roles(
        dead=frozenset(others[1::3]),
        forbidding=frozenset(others[2::6]),
        unable=frozenset([joined_via, *others[5::6], *others[3::12]]),
    )


class Cast:
    """The running servers in their roles. Nobody answers for the room's state before `let_them_answer`."""

    def __init__(self, world: World, roles: Roles, residents: SimulatedResidents) -> None:
        self.residents = residents
        self._may_answer = asyncio.Event()
        living = [server for server in world.servers if server.name not in roles.dead]
        honest = [s for s in living if s.name not in roles.forbidding | roles.unable]
        self.member: SimulatedServer = honest[0]
        """An honest server in the room, which will ask us questions."""
        for server in living:
            ids: Behaviour = Honest()
            state: Behaviour = Paced(STATE_TAKES_S)
            if server.name in roles.forbidding:
                ids = state = forbidden()
            elif server.name in roles.unable:
                ids = state = unable()
            self._hold_back(server.name, Endpoint.STATE_IDS, ids)
            self._hold_back(server.name, Endpoint.STATE, state)

    def let_them_answer(self) -> None:
        """From now on everybody does what their role says."""
        self._may_answer.set()

    def _hold_back(self, server: ServerName, endpoint: Endpoint, then: Behaviour) -> None:
        self.residents.behave(server, Held(self._may_answer, then), endpoint)
