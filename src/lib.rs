//! Token Authority issues, refreshes, introspects and revokes tokens over gRPC, and over HTTP
//! for gateways and OAuth libraries. This page is the map.
//!
//! # One sentence
//!
//! Everything known of one subject is **one small sealed record**; every operation is a **pure
//! function** from that record and a request to a decision; a store does one thing: **commit** the
//! new record and the revocations that follow, if nobody else changed the record meanwhile.
//!
//! # Layers
//!
//! ```text
//! domain/      the rules: ids, claims, policy, record, transitions, facts      imports nothing
//! verify/      strict JWT checks, key set, revocation index, token cache       -> domain
//! signing/     parsed keys, JWT encoding, refresh tokens, peppers              -> domain, verify
//! authority/   use cases, one file each, and the ports that they need          -> domain, verify, signing
//! store/       embedded, redis; sealing and observed, which decorate any; copy -> domain, ports
//! listener     accepts connections for both edges: limits, TLS, who calls      -> config, domain
//! grpc/ http/  decode, call a use case, encode; no rules                       -> authority
//! delivery     sends one-time codes to where their recipients read them        -> authority, domain, clock
//! client/      the SDK of services: verifier and layers, token source, channel -> domain, verify, proto
//! clock tasks  the time; background work; server and client are given both    -> domain
//! config cli   what the process is told; the command line                      -> domain, verify, proto
//! app          builds the parts, runs and drains them                          -> all
//! ```
//!
//! `signing` and `verify` do no I/O, so they need no port; the store, the clock and the randomness
//! do (`authority::ports`, `clock`). `tests/security/layers.rs` holds the layers apart.
//!
//! The feature `client` alone builds `client`, `verify` and what they need, and nothing of the server.
//!
//! # Four walks
//!
//! **Issue.** [`grpc`] checks the request against the rules in its `.proto` file and parses names.
//! [`authority`] finds the realm and the record's place, a keyed hash of the subject. The login
//! queues behind others for that subject; one task loads the record and runs
//! [`domain::open_session`], whose answer is a grant: what the tokens will say. Its signature starts
//! at once, on a pool of its own for RSA, while the record with the new session is committed. Both
//! done, the pair is answered. If another process changed the record meanwhile, all of it is decided
//! anew and the signature is thrown away.
//!
//! **Refresh.** A refresh token is no row but a sealed statement: this session, its secret, this
//! generation. Garbage, another realm's token and an expired one are refused before anything is
//! read. [`domain::refresh`] compares the generation with the record's: current is renewed, the
//! immediate predecessor gets the same successor and the same access token again for some seconds,
//! anything older ends the session. A retry therefore never forks the chain, and a replay is never
//! mistaken for a retry.
//!
//! **Introspect.** [`verify`] alone: strict parsing, the key by `kid`, the signature or the cache of
//! what was verified, then what changes: expiry and the revocation index. No store is touched,
//! unless the caller wants the record's word or asks about a refresh token. The index follows the
//! store's log, and takes in this process's own revocations before they are answered. What the log
//! loses in a failover, those who follow it put back, on the records too. Services that check tokens by
//! themselves follow the feed and acknowledge what they enforce; the instances of a store tell each other
//! how many have, which counts and decides nothing. Where a realm has an idle
//! timeout, the use is noted in memory and slides the session's idle expiry behind the answer.
//!
//! **Rotate.** What is decided of a realm's keys, dates above all, is a [`domain::key_ring`] in the
//! realm's record; whether a key is prepared, active or retiring follows from it and the time. Each
//! server asks [`domain::rotate_keys`] once a second what is due, makes the keys that the answer names
//! and commits; whoever loses that race follows. Dates lie a publish-ahead in the future, so servers
//! and verifiers know a key before it signs. The key set is published from memory.
//!
//! # Which thread does what
//!
//! Each gRPC connection lives on one of as many threads as there are cores, on that which serves the
//! fewest (`app::lanes`): what is answered from memory wakes no other core, and what is asked of a Redis goes
//! over a connection that lives there too (`store::redis::own_connections`), all of a turn as one script
//! (`store::redis::turn`). RSA signatures, the embedded store's writer, and HTTP with all that goes on in the
//! background have threads of their own.
//!
//! # Who may call
//!
//! A caller is a registered client of a realm, and proves it by a secret, an assertion, a certificate or a
//! service account; a bearer of an access token is its subject, and nobody else. What each may do stands
//! in one table, [`authority::authorization`], with a row for each method and each endpoint; without a row
//! for all of them no server starts. The gRPC edge hands out a message only through its gate, which asks
//! that table; the HTTP edge lends nobody an identity, so a request is what it itself carries. Whom the gate lets
//! in is noted for the audit ([`authority::attribution`]): each of its lines says in whose name something was done.
//!
//! # Invariants
//!
//! - After a revocation is answered, no token that it ends is active here.
//! - A generation has one successor, whoever asks, however often.
//! - A consumed refresh token yields nothing but that successor, and that only within the leeway.
//! - A session ends as replayed only if a consumed token came back. A store error never ends one.
//! - An access token expires no later than its session's idle and absolute expiry; the latter never
//!   moves.
//! - Ending a session and its revocation are one commit; one function makes the entry.
//! - Of an algorithm exactly one key is active; it was published before, and is until its last token
//!   has expired.
//! - Nothing at rest can be turned into a token: records are sealed, refresh tokens not stored.
//! - Which registered claims a token has is its realm's word, never its own; what a realm leaves out is the
//!   same for all of its tokens.
//! - Forgetting a device ends its sessions in the same commit; trust lapses by a time in the record.
//! - Whoever applies what a watch of sessions tells has what there is, however slow it reads.
//! - What a token is exchanged for is never more than it, and falls with its session and
//!   with the session's client.
//! - A client's assertion is used once, and a token bound to a key never passes a gateway as a bearer.
//! - A clock that was set back un-expires nothing: a record never sees a time before its last change.
//!
//! Property tests over random histories hold them (`domain::histories`), and so does `kill -9` under
//! load (`tests/grpc/crash.rs`), a disk that loses what was not synced (`tests/store/power_cut.rs`), and
//! a Redis that breaks in every way that we could think of (`tests/store/redis_faults.rs`).
//!
//! # Deliberately absent
//!
//! - A row a token, and sweepers: expiry is a time in the record; a store's TTL is garbage
//!   collection.
//! - `none`, embedded keys, `crit`: no configuration turns them on.
//! - Rules in handlers, in SQL or in scripts: a store compares versions and knows no tokens.
//! - A clock or randomness that can't be injected.
//! - The error text of a store or library in an answer.

#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod authority;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod delivery;
pub mod domain;
#[cfg(all(feature = "server", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod health;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod listener;
pub mod proto;
#[cfg(feature = "server")]
pub mod signing;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod system;
#[cfg(feature = "client")]
pub mod tasks;
#[cfg(feature = "server")]
pub mod telemetry;
pub mod verify;
