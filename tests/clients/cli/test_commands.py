"""Every command against a scripted service: what it sends, what it prints, and how it exits."""

import inspect
import json

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from partialstate import __version__
from partialstate.cli.app import app
from partialstate.cli.check_command import check
from partialstate.v1 import check_service_pb2 as check_pb
from partialstate.v1 import recovered_state_service_pb2 as recovered_pb
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import types_pb2
from partialstate.v1 import watch_service_pb2 as watch_pb
from support.fake_service import FakeService, answering, failing, streaming
from typer.testing import CliRunner, Result

TOKEN = types_pb2.StateToken(token="t1")
ROOM = rooms_pb.PartialRoom(
    room_id="!r:a",
    generation=3,
    status=types_pb2.ROOM_STATUS_RESYNCING,
    room_version="11",
    join_event_id="$join",
    joined_via="a.example",
    servers=["a.example", "b.example"],
    registered_at=Timestamp(seconds=60),
    pending_event_count=2,
    resync=rooms_pb.ResyncProgress(
        stage=rooms_pb.RESYNC_STAGE_FETCHING_EVENTS,
        events_fetched=12,
        events_verified=10,
        events_expected=40,
        attempt_count=1,
        findings=["1 of 2 servers tell another state"],
        servers=[
            rooms_pb.ServerOutcome(
                server_name="a.example", outcome="unable", at=Timestamp(seconds=61), detail="\x1b[31mno"
            )
        ],
    ),
)
GONE = failing(grpc.StatusCode.NOT_FOUND, "ROOM_NOT_PARTIAL", "the room is not partial", ending="IMPORTED")


@pytest.fixture
def run(fake: FakeService):
    """Run a command line against the fake."""

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        command, *rest = arguments
        return CliRunner().invoke(app, [command, "--target", fake.target, *rest], input=stdin)

    return run


def printed(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def lines(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def list_of(*rooms: rooms_pb.PartialRoom) -> rooms_pb.ListPartialRoomsResponse:
    return rooms_pb.ListPartialRoomsResponse(rooms=rooms, state_token=TOKEN)


def test_rooms(fake, run):
    fake.on("ListPartialRooms", answering(list_of(ROOM)))
    found = printed(run("rooms", "--json", "--status", "resyncing", "--status", "STALLED"))
    assert found["state_token"] == "t1"
    (room,) = found["rooms"]
    assert room["room_id"] == "!r:a"
    assert room["status"] == "RESYNCING"
    assert room["registered_at"] == "1970-01-01T00:01:00+00:00"
    assert room["device_list_position"] is None
    assert room["resync"]["stage"] == "FETCHING_EVENTS"
    assert list(fake.calls("ListPartialRooms")[0].request.statuses) == [1, 2]
    text = run("rooms").stdout
    assert "!r:a" in text
    assert "fetching events, 10 of 40 events" in text


def test_ids_in_a_table_are_whole(fake, run):
    room_id = f"!{'long' * 30}:a"
    fake.on("ListPartialRooms", answering(list_of(rooms_pb.PartialRoom(room_id=room_id, generation=3))))
    assert room_id in run("rooms").stdout


def test_no_rooms(fake, run):
    fake.on("ListPartialRooms", answering(list_of()))
    assert run("rooms").stdout == "no partial rooms\n"


def test_room(fake, run):
    fake.on("GetPartialRoom", answering(rooms_pb.GetPartialRoomResponse(room=ROOM, state_token=TOKEN)))
    found = printed(run("room", "!r:a", "--json"))
    assert found["state_token"] == "t1"
    assert found["room"]["resync"]["servers"][0]["outcome"] == "unable"
    assert found["room"]["resync"]["findings"] == ["1 of 2 servers tell another state"]
    text = run("room", "!r:a").stdout
    assert "via a.example, not confirmed" in text
    assert "\x1b" not in text  # what servers say cannot steer the terminal


def test_following_a_room_ends_when_its_resync_is_over(fake, run):
    waiting = rooms_pb.PartialRoom(
        room_id="!r:a", generation=3, status=types_pb2.ROOM_STATUS_AWAITING_IMPORT, log_position=7
    )
    fake.on("GetPartialRoom", answering(rooms_pb.GetPartialRoomResponse(room=ROOM, state_token=TOKEN)))
    changes = [
        watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t2")),
        watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t3"), changed=waiting),
        watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t4"), changed=ROOM),
    ]
    fake.on("Watch", streaming(*changes))
    result = run("room", "!r:a", "--follow")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "!r:a generation 3 RESYNCING fetching events, 10 of 40 events",
        "!r:a generation 3 AWAITING_IMPORT log position 7, imported up to 0",
    ]
    kinds = [line["change"] for line in lines(run("room", "!r:a", "--follow", "--json"))]
    assert kinds == ["listed", "bookmark", "changed"]
    assert fake.calls("Watch")[0].request.optional_after.token == "t1"


def test_destinations(fake, run):
    answer = rooms_pb.GetDestinationsResponse(servers=["a", "b"], generation=3)
    fake.on("GetDestinations", answering(answer))
    assert run("destinations", "!r:a").stdout == "a\nb\n"
    assert printed(run("destinations", "!r:a", "--json")) == {"servers": ["a", "b"], "generation": 3}


def test_a_retry_of_what_awaits_its_import_says_that_there_is_nothing_to_retry(fake, run):
    waiting = rooms_pb.PartialRoom(room_id="!r:a", status=types_pb2.ROOM_STATUS_AWAITING_IMPORT)
    fake.on("RetryResync", answering(rooms_pb.RetryResyncResponse(room=waiting, state_token=TOKEN)))
    assert "nothing to retry" in run("retry", "!r:a").stdout


def test_retry(fake, run):
    fake.on("RetryResync", answering(rooms_pb.RetryResyncResponse(room=ROOM, state_token=TOKEN)))
    assert printed(run("retry", "!r:a", "--server", "c", "--json"))["room"]["generation"] == 3
    assert list(fake.calls("RetryResync")[0].request.additional_servers) == ["c"]
    assert "due now" in run("retry", "!r:a").stdout


def test_release_means_the_current_generation_unless_told(fake, run):
    fake.on("GetPartialRoom", answering(rooms_pb.GetPartialRoomResponse(room=ROOM, state_token=TOKEN)))
    fake.on("ReleaseRoom", answering(rooms_pb.ReleaseRoomResponse(state_token=TOKEN)))
    expected = {"generation": 3, "state_token": "t1"}
    assert printed(run("release", "!r:a", "--reason", "left", "--json")) == expected
    assert run("release", "!r:a", "--reason", "purged", "--generation", "2").exit_code == 0
    sent = [(call.request.generation, call.request.reason) for call in fake.calls("ReleaseRoom")]
    assert sent == [(3, rooms_pb.RELEASE_REASON_LEFT), (2, rooms_pb.RELEASE_REASON_PURGED)]


def test_of_a_room_that_ended_its_last_generation_is_meant(fake, run):
    ended = {"last_generation": "3", "ending": "IMPORTED"}
    fake.on("GetPartialRoom", failing(grpc.StatusCode.NOT_FOUND, "ROOM_NOT_PARTIAL", **ended))
    fake.on("ConfirmImport", answering(recovered_pb.ConfirmImportResponse(state_token=TOKEN)))
    assert printed(run("confirm-import", "!r:a", "--position", "5", "--json"))["generation"] == 3
    fake.on("GetPartialRoom", failing(grpc.StatusCode.NOT_FOUND, "ROOM_NOT_PARTIAL"))
    assert run("confirm-import", "!r:a", "--position", "5").exit_code == 5


CHECK = ("check", "--endpoint", "state_ids", "--origin", "b.example", "--room", "!r:a", "--event", "$e")


@pytest.mark.parametrize(
    ("verdict", "exit_code"),
    [
        (check_pb.VERDICT_PROCEED, 0),
        (check_pb.VERDICT_ANSWER, 0),
        (check_pb.VERDICT_ANSWER_FILTERED, 4),
        (check_pb.VERDICT_REFUSE, 3),
    ],
)
def test_the_exit_code_of_a_check_tells_the_verdict(fake, run, verdict, exit_code):
    answer = check_pb.CheckResponse(verdict=verdict, reason=check_pb.REASON_STATE_UNKNOWN)
    fake.on("Check", answering(answer))
    assert run(*CHECK).exit_code == exit_code
    result = run(*CHECK, "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stdout)["verdict"] == check_pb.Verdict.Name(verdict).removeprefix("VERDICT_")


def test_a_check_prints_its_decision(fake, run):
    answer = check_pb.CheckResponse(
        verdict=check_pb.VERDICT_REFUSE,
        reason=check_pb.REASON_STATE_UNKNOWN,
        generation=3,
        optional_error=types_pb2.MatrixError(http_status=403, errcode="M_UNABLE", error="no"),
        state_token=TOKEN,
    )
    fake.on("Check", answering(answer))
    assert json.loads(run(*CHECK, "--json").stdout) == {
        "verdict": "REFUSE",
        "reason": "STATE_UNKNOWN",
        "generation": 3,
        "error": {"http_status": 403, "errcode": "M_UNABLE", "error": "no"},
        "error_instead_of_forbidden": None,
        "visible_event_ids": [],
        "walk_from_event_ids": [],
        "state_token": "t1",
    }
    assert run(*CHECK).stdout == "REFUSE: STATE_UNKNOWN (generation 3)\nanswer 403 M_UNABLE: no\n"


def test_without_a_decision_a_check_prints_what_the_frontend_does_then(fake, run):
    fake.on("Check", failing(grpc.StatusCode.UNAVAILABLE, "NOT_RECONCILED"))
    result = run(*CHECK, "--json")
    assert result.exit_code == 7
    decision = json.loads(result.stdout)
    assert (decision["verdict"], decision["reason"]) == ("REFUSE", "NO_DECISION")
    assert decision["error"]["http_status"] == 403
    result = run("check", "--endpoint", "SEND", "--origin", "b.example")
    assert (result.exit_code, result.stdout) == (7, "PROCEED: NO_DECISION\n")
    assert "reconcile" in result.stderr


def test_a_check_sends_every_field(fake, run, tmp_path):
    fake.on("Check", answering(check_pb.CheckResponse(verdict=check_pb.VERDICT_PROCEED)))
    candidates = tmp_path / "candidates"
    candidates.write_text('{"event_id": "$c", "sender": "@s:b", "history_visibility": "shared"}\n\n')
    options = (
        *("--user", "@u:b", "--candidates", str(candidates)),
        *("--allow-room", "!x:a", "--allow-room", "!y:a"),
        *("--no-user-in-a-full-allow-room", "--user-invited-or-joined", "--no-can-issue-invite"),
    )
    assert run(*CHECK, *options, "--at-least-as-fresh", "t0").exit_code == 0
    request = fake.calls("Check")[0].request
    assert request.endpoint == check_pb.ENDPOINT_STATE_IDS
    assert (request.origin, request.room_id, list(request.event_ids)) == ("b.example", "!r:a", ["$e"])
    assert request.user_id == "@u:b"
    assert request.candidates[0].sender == "@s:b"
    assert list(request.allow_room_ids) == ["!x:a", "!y:a"]
    assert request.HasField("optional_user_in_a_full_allow_room")
    assert not request.optional_user_in_a_full_allow_room
    assert request.optional_user_invited_or_joined
    assert request.HasField("optional_can_issue_invite")
    assert request.optional_consistency.at_least_as_fresh.token == "t0"
    fields = {field.name.removeprefix("optional_") for field in request.DESCRIPTOR.fields}
    assert {field.name.removeprefix("optional_") for field, _ in request.ListFields()} == fields
    assert run(*CHECK, "--max-staleness", "2").exit_code == 0
    assert fake.calls("Check")[1].request.optional_consistency.bounded_staleness.seconds == 2
    assert run(*CHECK, "--max-staleness", "2", "--at-least-as-fresh", "t0").exit_code == 2


def test_register(fake, run, tmp_path):
    answer = rooms_pb.RegisterPartialJoinResponse(
        generation=3,
        outcome=rooms_pb.REGISTRATION_OUTCOME_REGISTERED,
        join_event_id="$join",
        state_token=TOKEN,
    )
    fake.on("RegisterPartialJoin", answering(answer))
    event = tmp_path / "join.json"
    event.write_text('{"room_id": "!r:a", "type": "m.room.member"}')
    arguments = ("--join-event", str(event), "--room-version", "11", "--via", "a.example")
    extra = ("--device-list-position", "5", "--priority", "user_waiting", "--no-omit-members-requested")
    result = run("register", "-", *arguments, *extra, "--json", stdin=b'{"state": []}')
    assert printed(result) == {
        "generation": 3,
        "outcome": "REGISTERED",
        "ending": None,
        "join_event_id": "$join",
        "state_token": "t1",
    }
    header, chunk = fake.calls("RegisterPartialJoin")[0].requests
    assert header.header == rooms_pb.RegisterPartialJoinHeader(
        room_id="!r:a",
        room_version="11",
        join_event=b'{"room_id":"!r:a","type":"m.room.member"}',
        joined_via="a.example",
        omit_members_requested=False,
        optional_device_list_position=5,
        priority=rooms_pb.RESYNC_PRIORITY_USER_WAITING,
    )
    assert chunk.send_join_response_chunk == b'{"state": []}'
    text = run("register", "-", *arguments, stdin=b"{}").stdout
    assert text == "!r:a: REGISTERED, generation 3, join event $join\n"


def test_confirm_join(fake, run):
    fake.on("GetPartialRoom", answering(rooms_pb.GetPartialRoomResponse(room=ROOM, state_token=TOKEN)))
    fake.on("ConfirmJoin", answering(rooms_pb.ConfirmJoinResponse(state_token=TOKEN)))
    assert run("confirm-join", "!r:a").exit_code == 0
    assert fake.calls("ConfirmJoin")[0].request.generation == 3


def test_reconcile(fake, run):
    fake.on("ListPartialRooms", answering(list_of()))
    answer = rooms_pb.ReconcileRoomsResponse(
        unknown_to_homeserver=[rooms_pb.ReconciledRoom(room_id="!left:a", generation=2)],
        failed=[rooms_pb.UnregistrableRoom(room_id="!bad:a", reason="INVALID_EVENT", message="no")],
        agreed_count=1,
        state_token=TOKEN,
    )
    fake.on("ReconcileRooms", answering(answer))
    held = {
        "room_id": "!new:a",
        "room_version": "11",
        "join_event": {"type": "m.room.member"},
        "joined_via": "a",
        "servers": ["a"],
        "non_member_state": [{"type": "m.room.create"}],
        "partial_events": [
            {"type": "x"},
            {"pdu": {"type": "y"}, "event_id": "$y", "provisional_verdict": "rejected"},
        ],
        "device_list_position": 4,
    }
    stdin = b'"!known:a"\n' + json.dumps(held).encode()
    result = run("reconcile", "-", stdin=stdin)
    assert result.exit_code == 8
    assert result.stdout.splitlines() == [
        "1 rooms agree",
        "cannot be registered: !bad:a: INVALID_EVENT: no",
        "not held by the homeserver (release or confirm it): !left:a, generation 2, join not confirmed",
    ]
    header, known, new = fake.calls("ReconcileRooms")[0].requests
    assert header.header.state_token.token == "t1"
    assert known.room == rooms_pb.HeldRoom(room_id="!known:a")
    assert new.room.join_event == b'{"type":"m.room.member"}'
    assert [event.provisional_verdict for event in new.room.partial_events] == [1, 2]
    assert new.room.partial_events[1].pdu.event_id == "$y"
    assert new.room.optional_device_list_position == 4
    del answer.failed[:]
    found = printed(run("reconcile", "-", "--token", "t0", "--json"))
    assert found["agreed_count"] == 1
    assert found["unknown_to_homeserver"][0]["room_id"] == "!left:a"
    assert fake.calls("ReconcileRooms")[1].requests[0].header.state_token.token == "t0"
    assert len(fake.calls("ListPartialRooms")) == 1


def test_record(fake, run):
    answer = rooms_pb.RecordPartialEventsResponse(
        outcomes=[rooms_pb.RECORD_OUTCOME_RECORDED, rooms_pb.RECORD_OUTCOME_ROOM_NOT_PARTIAL],
        generation=3,
        state_token=TOKEN,
    )
    fake.on("RecordPartialEvents", answering(answer))
    full = {"pdu": {"type": "y"}, "provisional_verdict": "ACCEPTED", "non_member_state_after": [{"a": 1}]}
    stdin = b'{"type": "x", "event_id": "$x:a"}\n' + json.dumps(full).encode()
    result = run("record", "!r:a", "-", "--verdict", "rejected", "--json", stdin=stdin)
    assert printed(result) == {
        "outcomes": ["RECORDED", "ROOM_NOT_PARTIAL"],
        "generation": 3,
        "state_token": "t1",
    }
    first, second = fake.calls("RecordPartialEvents")[0].request.events
    assert (first.pdu.event_id, first.provisional_verdict) == ("$x:a", rooms_pb.PROVISIONAL_VERDICT_REJECTED)
    assert second.provisional_verdict == rooms_pb.PROVISIONAL_VERDICT_ACCEPTED
    assert second.non_member_state_after[0].json == b'{"a":1}'
    text = run("record", "!r:a", "-", stdin=stdin).stdout
    assert text == "1: RECORDED\n2: ROOM_NOT_PARTIAL\n"


def test_record_sent(fake, run):
    fake.on("RecordSentEvents", answering(rooms_pb.RecordSentEventsResponse(room_is_partial=True)))
    options = ("--event", "$e", "--event", "$f", "--to", "b", "--to", "c")
    assert printed(run("record-sent", "!r:a", *options, "--json")) == {"room_is_partial": True}
    stdin = b'{"event_id": "$e", "destinations": ["b"]}'
    assert run("record-sent", "!r:a", "-", stdin=stdin).exit_code == 0
    by_options, by_file = (call.request.events for call in fake.calls("RecordSentEvents"))
    assert [(event.event_id, list(event.destinations)) for event in by_options] == [
        ("$e", ["b", "c"]),
        ("$f", ["b", "c"]),
    ]
    assert list(by_file[0].destinations) == ["b"]
    for wrong in [(), ("--event", "$e"), ("-", "--event", "$e", "--to", "b")]:
        assert run("record-sent", "!r:a", *wrong).exit_code == 2


def test_state_prints_a_line_per_event_and_slot(fake, run):
    entries = [
        types_pb2.StateEntry(type="m.room.member", state_key="@u:b", event_id="$m"),
        types_pb2.StateEntry(type="m.room.topic", state_key=""),
    ]
    record = recovered_pb.StreamRecoveredStateResponse
    fake.on("GetPartialRoom", answering(rooms_pb.GetPartialRoomResponse(room=ROOM, state_token=TOKEN)))
    fake.on(
        "StreamRecoveredState",
        streaming(
            record(
                position=1,
                event=recovered_pb.RecoveredEvent(pdu=types_pb2.Pdu(event_id="$m", json=b'{"a": 1}')),
            ),
            record(
                position=2,
                state_before=recovered_pb.StateBefore(event_id="$e", entries=entries[:1], complete=True),
            ),
            record(
                position=3,
                verdict=recovered_pb.EventVerdict(event_id="$e", flipped=True, rejection="rule 5"),
            ),
            record(
                position=4,
                current_state=recovered_pb.CurrentState(
                    optional_base_event_id="$e", entries=entries, complete=True
                ),
            ),
            record(position=5, servers=recovered_pb.RoomServers(in_room=["b"], complete=True)),
            record(position=5, end=recovered_pb.LogEnd(generation=3, position=5, complete=True)),
        ),
    )
    current = {"record": "current_state", "position": 4, "base": "$e"}
    assert lines(run("state", "!r:a")) == [
        {"record": "event", "position": 1, "event_id": "$m", "rejected": False, "pdu": {"a": 1}},
        {
            "record": "state_before",
            "position": 2,
            "before": "$e",
            "base": None,
            "type": "m.room.member",
            "state_key": "@u:b",
            "event_id": "$m",
        },
        {"record": "state_before_complete", "position": 2, "before": "$e", "base": None},
        {
            "record": "verdict",
            "position": 3,
            "event_id": "$e",
            "accepted": False,
            "flipped": True,
            "rejection": "rule 5",
        },
        {**current, "type": "m.room.member", "state_key": "@u:b", "event_id": "$m"},
        {**current, "type": "m.room.topic", "state_key": "", "event_id": None},
        {"record": "current_state_complete", "position": 4, "base": "$e"},
        {
            "record": "servers",
            "position": 5,
            "in_room": ["b"],
            "missed": [],
            "device_list_position": None,
            "complete": True,
        },
        {
            "record": "end",
            "position": 5,
            "generation": 3,
            "complete": True,
            "event_count": 0,
            "verdict_count": 0,
        },
    ]
    request = fake.calls("StreamRecoveredState")[0].request
    assert (request.generation, request.after_position, request.follow) == (3, 0, False)
    run("state", "!r:a", "--generation", "2", "--after", "4", "--follow")
    request = fake.calls("StreamRecoveredState")[1].request
    assert (request.generation, request.after_position, request.follow) == (2, 4, True)


def test_state_prints_the_whole_current_state(fake, run):
    record = recovered_pb.StreamRecoveredStateResponse
    name = types_pb2.StateEntry(type="m.room.name", state_key="", event_id="$n")
    before = recovered_pb.StateBefore(event_id="$e", entries=[name], complete=True)
    current = recovered_pb.CurrentState(optional_base_event_id="$e", complete=True)
    end = recovered_pb.LogEnd(generation=3, position=2, complete=True)
    fake.on(
        "StreamRecoveredState",
        streaming(
            record(position=1, state_before=before),
            record(position=2, current_state=current),
            record(position=2, end=end),
        ),
    )
    state, last = lines(run("state", "!r:a", "--generation", "3", "--current"))
    assert state == {"record": "state", "type": "m.room.name", "state_key": "", "event_id": "$n"}
    assert (last["record"], last["complete"]) == ("end", True)
    assert run("state", "!r:a", "--current", "--follow").exit_code == 2


def test_ack_and_confirm_import(fake, run):
    fake.on(
        "AckImport", answering(recovered_pb.AckImportResponse(acknowledged_position=5, state_token=TOKEN))
    )
    fake.on("ConfirmImport", answering(recovered_pb.ConfirmImportResponse(state_token=TOKEN)))
    place = ("!r:a", "--generation", "3", "--position", "5")
    assert printed(run("ack", *place, "--json")) == {
        "generation": 3,
        "acknowledged_position": 5,
        "state_token": "t1",
    }
    assert printed(run("confirm-import", *place, "--json")) == {"generation": 3, "state_token": "t1"}
    assert run("confirm-import", *place).stdout == "!r:a: the room is full\n"


def test_watch_lists_first_and_again_when_its_token_is_too_old(fake, run):
    other = rooms_pb.PartialRoom(room_id="!other:a")
    fake.on("ListPartialRooms", answering(list_of(ROOM, other)))
    ended = watch_pb.RoomEnded(room_id="!r:a", generation=3, ending=types_pb2.ENDING_IMPORTED)
    fake.on(
        "Watch",
        failing(grpc.StatusCode.OUT_OF_RANGE, "TOKEN_TOO_OLD"),
        streaming(
            watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t2"), ended=ended),
            watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t3")),
        ),
    )
    first, second, end, bookmark = lines(run("watch", "--room", "!r:a", "--json"))
    assert first == second
    assert (first["change"], first["room"]["room_id"], first["state_token"]) == ("listed", "!r:a", "t1")
    assert end == {
        "change": "ended",
        "state_token": "t2",
        "room_id": "!r:a",
        "generation": 3,
        "ending": "IMPORTED",
    }
    assert bookmark == {"change": "bookmark", "state_token": "t3"}
    assert "!r:a generation 3 ENDED IMPORTED" in run("watch").stdout.splitlines()


def test_watch_from_a_token_that_is_too_old_exits(fake, run):
    fake.on("Watch", failing(grpc.StatusCode.OUT_OF_RANGE, "TOKEN_TOO_OLD", "too old"))
    result = run("watch", "--after", "t0")
    assert result.exit_code == 6
    assert result.stderr == "partialstate: too old: begin anew without --after\n"


@pytest.mark.parametrize(
    ("rpc", "arguments", "option"),
    [
        ("ReconcileRooms", ("reconcile", "-", "--token", "t0"), "--token"),
        ("Check", (*CHECK, "--at-least-as-fresh", "t0"), "--at-least-as-fresh"),
    ],
)
def test_the_advice_on_a_foreign_token_names_an_option_of_the_command(fake, run, rpc, arguments, option):
    fake.on(
        rpc, failing(grpc.StatusCode.FAILED_PRECONDITION, "FOREIGN_TOKEN", "of another store: list again")
    )
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (6, "")
    assert option in result.stderr
    assert "--after" not in result.stderr
    assert "list again" not in result.stderr


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        ("FAILED_PRECONDITION", "FOREIGN_TOKEN", 6),
        ("INVALID_ARGUMENT", "INVALID_FIELD", 8),
        ("RESOURCE_EXHAUSTED", "TOO_LARGE", 8),
        ("PERMISSION_DENIED", "PERMISSION_DENIED", 9),
    ],
)
def test_a_check_that_is_itself_refused_prints_nothing_as_its_help_says(fake, run, code, reason, exit_code):
    fake.on("Check", failing(grpc.StatusCode[code], reason))
    result = run(*CHECK)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.count("\n") == 1
    assert str(exit_code) in (inspect.getdoc(check) or "")


@pytest.mark.parametrize(
    ("code", "reason", "facts", "exit_code", "says"),
    [
        ("NOT_FOUND", "ROOM_NOT_PARTIAL", {}, 5, "`partialstate rooms`"),
        ("FAILED_PRECONDITION", "STALE_GENERATION", {"current": "9"}, 6, "its generation is 9"),
        ("FAILED_PRECONDITION", "IMPORT_INCOMPLETE", {"pending_events": "2"}, 6, "2 events still lack"),
        ("FAILED_PRECONDITION", "IMPORT_INCOMPLETE", {"log_position": "8"}, 6, "import up to 8"),
        ("OUT_OF_RANGE", "POSITION_OUT_OF_RANGE", {"log_position": "8"}, 6, "the log ends at 8"),
        ("UNAVAILABLE", "NOT_RECONCILED", {}, 7, "`partialstate reconcile`"),
        ("INVALID_ARGUMENT", "INVALID_FIELD", {}, 8, "so it is scripted"),
        ("RESOURCE_EXHAUSTED", "TOO_LARGE", {}, 8, "so it is scripted"),
        ("UNAUTHENTICATED", "UNAUTHENTICATED", {}, 9, "--token-file"),
        ("INTERNAL", "INTERNAL", {"request_id": "abc"}, 1, "abc"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(fake, run, code, reason, facts, exit_code, says):
    fake.on("ConfirmImport", failing(grpc.StatusCode[code], reason, **facts))
    place = ("confirm-import", "!r:a", "--generation", "3", "--position", "5")
    result = run(*place)
    assert result.exit_code == exit_code
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    result = run(*place, "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stderr) == {
        "error": {"status": code, "reason": reason, "message": "so it is scripted", "facts": facts}
    }


def test_a_service_that_is_not_there(run):
    result = CliRunner().invoke(app, ["rooms", "--target", "127.0.0.1:1", "--timeout", "0.2"])
    assert result.exit_code == 7
    assert result.stderr.startswith("partialstate: ")


@pytest.mark.parametrize(
    "tokens", ["secret\nolder\n", "# who may call\n\ncert-name:frontend\nadmin:operator secret\nolder\n"]
)
def test_the_target_and_the_token_come_from_the_environment(fake, tmp_path, tokens):
    fake.on("ListPartialRooms", answering(list_of()))
    token = tmp_path / "tokens"
    token.write_text(tokens)
    environment = {"PARTIALSTATE_TARGET": fake.target, "PARTIALSTATE_TOKEN_FILE": str(token)}
    assert CliRunner().invoke(app, ["rooms"], env=environment).exit_code == 0
    assert fake.calls("ListPartialRooms")[0].metadata["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (
            ("register", "/nowhere", "--join-event", "-", "--room-version", "11", "--via", "a"),
            b"{}",
            "/nowhere",
        ),
        (("register", "x", "--join-event", "-", "--room-version", "11", "--via", "a"), b"{", "not JSON"),
        (("register", "x", "--join-event", "-", "--room-version", "11", "--via", "a"), b"[]", "JSON object"),
        (("register", "x", "--join-event", "-", "--room-version", "11", "--via", "a"), b"\xff", "UTF-8"),
        (("record", "!r:a", "-"), b"", "0 events"),
        (
            ("record", "!r:a", "-"),
            b'{"pdu": {}, "provisional_verdict": "maybe"}',
            "line 1: provisional_verdict",
        ),
        (("record", "!r:a", "-"), b'{"pdu": {}, "verdict": "accepted"}', "unknown: verdict"),
        (("reconcile", "-", "--token", "t"), b'{"room": "!r:a"}', "unknown: room"),
        (("reconcile", "-", "--token", "t"), b'{"servers": "a"}', "servers must be a list"),
        (("reconcile", "-", "--token", "t"), b'{"servers": [1]}', "servers must be a list of texts"),
        (("reconcile", "-", "--token", "t"), b'{"room_id": 1}', "room_id must be a text"),
        (("reconcile", "-", "--token", "t"), b'{"device_list_position": "1"}', "must be an integer"),
        (("rooms", "--cert-file", "/c"), b"", "--key-file"),
        (("rooms", "--token-file", "-"), b"\n", "no token"),
    ],
)
def test_wrong_input_is_said_in_one_line_before_anything_is_sent(fake, run, arguments, stdin, says):
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not fake.calls("ReconcileRooms")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("rooms", "--json", "--bogus"), "--bogus"),
        (("room", "--json"), "ROOM"),
        (("check", "--json", "--endpoint", "nonsense", "--origin", "a"), "nonsense"),
        (
            ("register", "/nope", "--json", "--join-event", "/nope", "--room-version", "11", "--via", "a"),
            "/nope",
        ),
        (
            ("rooms", "--json", "--token-file", "/nope"),
            "--token-file (PARTIALSTATE_TOKEN_FILE): cannot read /nope",
        ),
    ],
)
def test_wrong_usage_is_json_where_json_is_asked_for(run, arguments, says):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    error = json.loads(result.stderr)["error"]
    assert (error["status"], error["reason"], error["facts"]) == ("INVALID_ARGUMENT", "USAGE", {})
    assert says in error["message"]


def test_an_unknown_endpoint_is_wrong_usage(run):
    assert run("check", "--endpoint", "nonsense", "--origin", "a").exit_code == 2


def test_every_command_takes_the_common_options():
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["watch", "--help"])
    options = ("target", "token-file", "tls", "ca-file", "cert-file", "key-file", "timeout", "json")
    assert all(f"--{option}" in result.stdout for option in options)


def test_version():
    assert CliRunner().invoke(app, ["version"]).stdout == f"{__version__}\n"
    assert json.loads(CliRunner().invoke(app, ["version", "--json"]).stdout) == {"version": __version__}
