"""What a service knows of the authority, so that it can check tokens by itself: keys and revocations, followed."""

import base64, random, sys, threading, time

sys.path += ["proto", "third_party"]  # Compiled on the fly here; a real service generates its stubs once.
import grpc, jwt

api, services = grpc.protos_and_services("token_authority/v1/token_service.proto")
# A connection that died silently is noticed, and one that was refused is soon tried again.
CHANNEL = [("grpc.keepalive_time_ms", 10_000), ("grpc.max_reconnect_backoff_ms", 2_000)]


class Gap(Exception):
    """Something was missed or can't be understood."""


class Authority:
    def __init__(self, endpoint):
        self.stub = services.TokenServiceStub(grpc.insecure_channel(endpoint, CHANNEL))
        self.keys = {}
        self.ended = {}  # (target, whose): (tokens with a value below this are ended, the last expires then)
        self.as_of = 0  # Every revocation up to here is in `ended`; in seconds since 1970.
        self.revision = ""  # Where to go on; empty to start over with a snapshot.
        self.pruned = 0
        for watch in (self.watch_keys, self.watch_revocations):
            threading.Thread(target=self.follow, args=[watch], daemon=True).start()

    def staleness(self):
        return time.time() - self.as_of

    def follow(self, watch):
        while True:
            try:
                watch()
            except (grpc.RpcError, jwt.PyJWTError, Gap) as error:
                print("once more, after", repr(error), file=sys.stderr)
            time.sleep(random.uniform(0.5, 1))  # Services that failed together do not return together.

    def watch_keys(self):
        for message in self.stub.WatchJwks(api.WatchJwksRequest()):
            self.keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(message.jwks_json).keys}

    def watch_revocations(self):
        stream = self.stub.WatchRevocations(api.WatchRevocationsRequest(after_revision=self.revision))
        try:
            self.read(stream)
        except (grpc.RpcError, Gap) as error:
            if isinstance(error, Gap) or error.code() != grpc.StatusCode.UNAVAILABLE:
                self.revision = ""
            raise
        finally:
            stream.cancel()

    def read(self, stream):
        complete, number = self.revision != "", 0
        for message in stream:
            kind = message.WhichOneof("event")
            if kind is None:
                raise Gap("a message of a later version")
            event = getattr(message, kind)
            if kind == "snapshot":
                complete = event.complete
            elif not complete:
                raise Gap("a change before the whole snapshot")
            if kind == "delta":
                number += 1
                if event.sequence_number != number:
                    raise Gap("a delta is missing")
            if kind != "heartbeat":
                self.end(event.entries)
            self.revision = event.revision or self.revision
            if complete and event.HasField("as_of_time"):
                # A clock of the authority that is ahead must not make old knowledge look new.
                self.as_of = min(event.as_of_time.ToNanoseconds() / 1e9, time.time())

    def end(self, entries):
        for entry in entries:
            match kind := entry.WhichOneof("target"):
                case "session" | "token" | "key_id":
                    whose, below = getattr(entry, kind), 1
                case "session_epoch":
                    whose, below = entry.session_epoch.session, entry.session_epoch.epoch
                case "subject_epoch":
                    whose, below = entry.subject_epoch.subject_key, entry.subject_epoch.epoch
                case "client_cutoff":
                    whose, below = entry.client_cutoff.client_id, entry.client_cutoff.cutoff_time.ToMilliseconds() + 1
                case "realm_cutoff_time":
                    whose, below = "", entry.realm_cutoff_time.ToMilliseconds() + 1
                case _:
                    raise Gap("a target of a later version")
            known, expiry = self.ended.get((kind, whose), (0, 0))
            self.ended[kind, whose] = max(known, below), max(expiry, entry.expire_time.seconds)
        if self.pruned + 60 < (now := int(time.time())):
            self.ended = {target: end for target, end in self.ended.items() if end[1] >= now}
            self.pruned = now

    def has_ended(self, key_id, claims):
        """By `jti` and `sid`; their bytes are described at RevocationEntry in token_service.proto."""
        jti = decode(claims["jti"])
        epoch, origin, random_bytes = int.from_bytes(jti[:4]), int.from_bytes(jti[4:10]), jti[10:26]
        route = decode(claims["sid"]) if "sid" in claims else jti[26:]
        values = [("token", random_bytes, 0), ("key_id", key_id, 0)]
        clients = {claims["client_id"], claims.get("sid_client_id", claims["client_id"])}
        values += [("client_cutoff", client, origin) for client in clients] + [("realm_cutoff_time", "", origin)]
        if len(route) == 33:
            values += [("session", route[17:], 0), ("session_epoch", route[17:], epoch)]
        else:
            values += [("subject_epoch", route[1:], epoch)]
        return any(value < self.ended.get((kind, whose), (0, 0))[0] for kind, whose, value in values)


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
