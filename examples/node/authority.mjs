// What a service knows of the authority, so that it can check tokens by itself: keys and revocations, followed.

import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { createLocalJWKSet } from "jose";

// Read on the fly here; a real service brings its copies along.
const api = protoLoader.loadSync("token_authority/v1/token_service.proto", {
  includeDirs: ["proto", "third_party"],
  keepCase: true, longs: Number, defaults: true, oneofs: true,
});
const { TokenService } = grpc.loadPackageDefinition(api).token_authority.v1;
// A connection that died silently is noticed, and one that was refused is soon tried again.
const channel = { "grpc.keepalive_time_ms": 10_000, "grpc.max_reconnect_backoff_ms": 2_000 };

export class Authority {
  keys = createLocalJWKSet({ keys: [] });
  #ended = new Map(); // By target and whose: tokens with a value below this are ended, the last expires then.
  #asOf = 0; // Every revocation up to here is in `#ended`; in milliseconds since 1970.
  #revision = ""; // Where to go on; empty to start over with a snapshot.
  #pruned = 0;

  constructor(endpoint) {
    this.stub = new TokenService(endpoint, grpc.credentials.createInsecure(), channel);
    this.#follow(() => this.#watchKeys());
    this.#follow(() => this.#watchRevocations());
  }

  staleness() {
    return Date.now() - this.#asOf;
  }

  async #follow(watch) {
    for (;;) {
      await watch().catch((error) => console.error("once more, after", error.message));
      await sleep(500 + Math.random() * 500); // Services that failed together do not return together.
    }
  }

  async #watchKeys() {
    for await (const { jwks_json } of this.stub.WatchJwks({})) {
      this.keys = createLocalJWKSet(JSON.parse(jwks_json));
    }
  }

  async #watchRevocations() {
    const stream = this.stub.WatchRevocations({ after_revision: this.#revision });
    try {
      await this.#read(stream);
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE) this.#revision = "";
      throw error;
    } finally {
      stream.cancel();
    }
  }

  async #read(stream) {
    let [complete, number] = [this.#revision !== "", 0];
    for await (const message of stream) {
      const event = message[message.event];
      if (!event) throw new Error("a message of a later version");
      if (message.event === "snapshot") complete = event.complete;
      else if (!complete) throw new Error("a change before the whole snapshot");
      if (message.event === "delta" && event.sequence_number !== ++number) throw new Error("a delta is missing");
      for (const entry of event.entries ?? []) this.#end(entry);
      this.#revision = event.revision || this.#revision;
      // A clock of the authority that is ahead must not make old knowledge look new.
      if (complete && event.as_of_time) this.#asOf = Math.min(millis(event.as_of_time), Date.now());
    }
  }

  #end(entry) {
    const [whose, below] = reach(entry);
    const target = `${entry.target} ${whose}`;
    const known = this.#ended.get(target) ?? { below: 0, expiry: 0 };
    const expiry = Math.max(known.expiry, millis(entry.expire_time));
    this.#ended.set(target, { below: Math.max(known.below, below), expiry });
    const now = Date.now();
    if (this.#pruned + 60_000 < now) {
      for (const [target, { expiry }] of this.#ended) if (expiry < now) this.#ended.delete(target);
      this.#pruned = now;
    }
  }

  // By `jti` and `sid`; their bytes are described at RevocationEntry in token_service.proto.
  hasEnded(keyId, claims) {
    const jti = Buffer.from(claims.jti, "base64url");
    const epoch = jti.readUInt32BE(0);
    const origin = jti.readUIntBE(4, 6);
    const route = claims.sid ? Buffer.from(claims.sid, "base64url") : jti.subarray(26);
    const values = [["token", hex(jti.subarray(10, 26)), 0], ["key_id", keyId, 0]];
    values.push(["client_cutoff", claims.client_id, origin], ["realm_cutoff_time", "", origin]);
    if (claims.sid_client_id) values.push(["client_cutoff", claims.sid_client_id, origin]);
    if (route.length === 33) {
      const session = hex(route.subarray(17));
      values.push(["session", session, 0], ["session_epoch", session, epoch]);
    } else values.push(["subject_epoch", hex(route.subarray(1)), epoch]);
    return values.some(([target, whose, value]) => value < (this.#ended.get(`${target} ${whose}`)?.below ?? 0));
  }
}

// Whose tokens an entry ends, and below which value.
function reach(entry) {
  const of = entry[entry.target];
  switch (entry.target) {
    case "session": case "token": return [hex(of), 1];
    case "key_id": return [of, 1];
    case "session_epoch": return [hex(of.session), of.epoch];
    case "subject_epoch": return [hex(of.subject_key), of.epoch];
    case "client_cutoff": return [of.client_id, millis(of.cutoff_time) + 1];
    case "realm_cutoff_time": return ["", millis(of) + 1];
    default: throw new Error("a target of a later version");
  }
}

const hex = (bytes) => bytes.toString("hex");
const millis = (time) => time.seconds * 1000 + Math.floor(time.nanos / 1e6);
