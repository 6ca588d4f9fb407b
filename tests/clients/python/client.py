"""A client in another language holds the authority to its promises, over the wire.

    python client.py HOST:PORT

One line for each step that held; the first that does not ends the program with an error.
"""

import sys
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import stubs

stubs.generate()
from token_authority.v1 import error_reason_pb2, session_service_pb2, session_service_pb2_grpc  # noqa: E402
from token_authority.v1 import token_pb2, token_service_pb2, token_service_pb2_grpc  # noqa: E402

DEADLINE = 10  # Seconds, for each call.
FULLY_CONSISTENT = token_pb2.Consistency(fully_consistent=True)


def main(endpoint: str) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        authority = Authority(channel)
        phone = issue_and_introspect(authority, "phone")
        laptop = issue_and_introspect(authority, "laptop")
        both_devices_are_listed(authority, phone, laptop)
        phone = narrowed_refresh(authority, phone)
        phone, spent = refresh_whose_answer_was_lost(authority, phone)
        phone = replay_ends_the_family(authority, spent, phone)
        the_other_device_lives_on(authority, laptop)
        revoke(authority, laptop)
        garbage_is_refused(authority)


class Authority:
    """The service as this client calls it: one method a call, defaults filled in."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self._sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        # A subject of its own for each run: the store may hold those of earlier runs.
        self.subject = f"user-{uuid.uuid4()}"

    def issue(self, **fields):
        request = token_service_pb2.IssueTokenRequest(subject=self.subject, client_id="app", **fields)
        return self._tokens.IssueToken(request, timeout=DEADLINE).tokens

    def refresh(self, refresh_token: str, **fields):
        request = token_service_pb2.RefreshTokenRequest(refresh_token=refresh_token, client_id="app", **fields)
        return self._tokens.RefreshToken(request, timeout=DEADLINE).tokens

    def introspect(self, token: str, **fields):
        request = token_service_pb2.IntrospectTokenRequest(token=token, **fields)
        return self._tokens.IntrospectToken(request, timeout=DEADLINE)

    def revoke(self, token: str) -> str:
        request = token_service_pb2.RevokeTokenRequest(token=token)
        return self._tokens.RevokeToken(request, timeout=DEADLINE).revision

    def sessions(self):
        request = session_service_pb2.ListSessionsRequest(subject=self.subject)
        return self._sessions.ListSessions(request, timeout=DEADLINE).sessions


def issue_and_introspect(authority: Authority, device: str):
    tokens = authority.issue(
        audience=["shop"],
        scope=["read", "write"],
        claims={"plan": "gold"},
        device=token_pb2.Device(device_id=device, platform="test"),
    )
    equal("token_type", tokens.token_type, "Bearer")
    holds(tokens.refresh_token.startswith("tar_"), "a refresh token starts with tar_, for secret scanners")
    equal("parts of the access token", tokens.access_token.count("."), 2)
    holds(
        tokens.refresh_after_time.ToDatetime() < tokens.access_expire_time.ToDatetime(),
        "refreshing is due before the access token ends",
    )

    seen = authority.introspect(tokens.access_token)
    equal("active", seen.active, True)
    equal("token_kind", seen.token_kind, token_pb2.TOKEN_KIND_ACCESS)
    equal("subject", seen.subject, authority.subject)
    equal("client_id", seen.client_id, "app")
    equal("audience", list(seen.audience), ["shop"])
    equal("scope", sorted(seen.scope), ["read", "write"])
    equal("session_id", seen.session_id, tokens.session_id)
    equal("claims", dict(seen.claims), {"plan": "gold"})
    equal("kind of a refresh token", authority.introspect(tokens.refresh_token).token_kind, token_pb2.TOKEN_KIND_REFRESH)
    step(f"issued and introspected on the {device}")
    return tokens


def both_devices_are_listed(authority: Authority, phone, laptop) -> None:
    listed = {session.device.device_id: session.session_id for session in authority.sessions()}
    equal("sessions", listed, {"phone": phone.session_id, "laptop": laptop.session_id})
    step("listed the sessions")


def narrowed_refresh(authority: Authority, before):
    after = authority.refresh(before.refresh_token, scope=["read"])
    differ("refresh token", after.refresh_token, before.refresh_token)
    differ("access token", after.access_token, before.access_token)
    equal("session_id", after.session_id, before.session_id)
    equal("scope", list(after.scope), ["read"])
    equal("active", authority.introspect(after.access_token).active, True)
    step("refreshed, with less scope")
    return after


def refresh_whose_answer_was_lost(authority: Authority, before):
    """A client that never saw the answer asks again, and gets the same: the chain never forks."""
    lost = authority.refresh(before.refresh_token)
    again = authority.refresh(before.refresh_token)
    differ("refresh token", again.refresh_token, before.refresh_token)
    equal("refresh token", again.refresh_token, lost.refresh_token)
    equal("access token", again.access_token, lost.access_token)
    step("repeated a refresh whose answer was lost, and got the same tokens")
    return again, before.refresh_token


def replay_ends_the_family(authority: Authority, spent: str, current):
    """RFC 9700, section 4.14.2: two parties hold the token, so nobody keeps it."""
    newest = authority.refresh(current.refresh_token)
    equal("active before the replay", authority.introspect(newest.access_token).active, True)

    refused("a replay", lambda: authority.refresh(spent), {"REFRESH_TOKEN_REPLAYED"})
    step("replayed a token two generations old, and was refused")

    after = authority.introspect(newest.access_token, consistency=FULLY_CONSISTENT)
    equal("introspection", after, token_service_pb2.IntrospectTokenResponse())
    refused(
        "the newest refresh token",
        lambda: authority.refresh(newest.refresh_token),
        {"REFRESH_TOKEN_REPLAYED", "SESSION_ENDED"},
    )
    step("found the whole family ended")
    return newest


def the_other_device_lives_on(authority: Authority, laptop) -> None:
    seen = authority.introspect(laptop.access_token, consistency=FULLY_CONSISTENT)
    equal("active", seen.active, True)
    equal("sessions", [session.device.device_id for session in authority.sessions()], ["laptop"])
    step("found the other device alive")


def revoke(authority: Authority, tokens) -> None:
    tokens = authority.refresh(tokens.refresh_token)
    revision = authority.revoke(tokens.refresh_token)
    holds(revision, "a revocation returns the revision that proves it")
    fresh = token_pb2.Consistency(at_least_as_fresh=revision)
    after = authority.introspect(tokens.access_token, consistency=fresh)
    equal("introspection", after, token_service_pb2.IntrospectTokenResponse())
    refused("a revoked refresh token", lambda: authority.refresh(tokens.refresh_token), {"SESSION_ENDED"})
    authority.revoke(tokens.refresh_token)
    authority.revoke("not a token")
    equal("sessions", len(authority.sessions()), 0)
    step("revoked, twice, and found access and refresh token ended")


def garbage_is_refused(authority: Authority) -> None:
    for garbage in ["tar_", "tar_AAAA", "not a token"]:
        refused(f"{garbage!r}", lambda: authority.refresh(garbage), {"REFRESH_TOKEN_INVALID"})
        equal("introspection", authority.introspect(garbage), token_service_pb2.IntrospectTokenResponse())
    step("had garbage refused")


def refused(what: str, call, reasons: set) -> None:
    """The call fails with INVALID_ARGUMENT and exactly one ErrorInfo, of one of `reasons`."""
    try:
        call()
    except grpc.RpcError as error:
        equal(f"code for {what}", error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        infos = [
            info
            for detail in rpc_status.from_call(error).details
            if detail.Unpack(info := error_details_pb2.ErrorInfo())
        ]
        equal(f"number of ErrorInfo for {what}", len(infos), 1)
        equal("domain", infos[0].domain, "token-authority")
        holds(infos[0].reason in reasons, f"{what}: reason {infos[0].reason}, expected {sorted(reasons)}")
        # Callers in every language find the reason in the enum, too.
        error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{infos[0].reason}")
    else:
        sys.exit(f"FAILED: {what} was not refused")


def equal(what: str, got, expected) -> None:
    holds(got == expected, f"{what}: got {got!r}, expected {expected!r}")


def differ(what: str, got, other) -> None:
    holds(got != other, f"{what}: expected a new one")


def holds(condition, statement: str) -> None:
    if not condition:
        sys.exit(f"FAILED: {statement}")


def step(statement: str) -> None:
    print(f"ok: {statement}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
