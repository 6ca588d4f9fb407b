//! Who is to be let in where, written down apart from the server's own table: a call without a row here
//! fails the matrix.

/// A call, and the roles that open it. `anybody`: no proof is asked for; `client`: any client of the realm;
/// `own`: `self-service`, for the caller's own subject.
pub(super) type Row = (&'static str, &'static [&'static str]);

#[rustfmt::skip]
pub(super) const METHODS: &[Row] = &[
    ("token_authority.v1.TokenService/IssueToken", &["issuer"]),
    ("token_authority.v1.TokenService/RefreshToken", &["issuer"]),
    ("token_authority.v1.TokenService/IntrospectToken", &["introspector"]),
    ("token_authority.v1.TokenService/BatchIntrospectTokens", &["introspector"]),
    ("token_authority.v1.TokenService/RevokeToken", &["issuer", "session-admin"]),
    ("token_authority.v1.TokenService/BatchRevokeTokens", &["session-admin"]),
    ("token_authority.v1.TokenService/RevokeClient", &["session-admin"]),
    ("token_authority.v1.TokenService/RevokeRealm", &["session-admin"]),
    ("token_authority.v1.TokenService/GetJwks", &["anybody"]),
    ("token_authority.v1.TokenService/WatchJwks", &["anybody"]),
    ("token_authority.v1.TokenService/WatchRevocations", &["introspector", "gateway"]),
    ("token_authority.v1.TokenService/FollowRevocations", &["introspector", "gateway"]),
    ("token_authority.v1.SessionService/ListSessions", &["session-admin", "auditor", "own"]),
    ("token_authority.v1.SessionService/GetSession", &["session-admin", "auditor", "own"]),
    ("token_authority.v1.SessionService/WatchSessions", &["session-admin", "auditor", "own"]),
    ("token_authority.v1.SessionService/ListDevices", &["session-admin", "auditor", "own"]),
    ("token_authority.v1.SessionService/RevokeSession", &["session-admin", "own"]),
    ("token_authority.v1.SessionService/RevokeAllSessions", &["session-admin", "own"]),
    ("token_authority.v1.SessionService/ForgetDevice", &["session-admin", "own"]),
    ("token_authority.v1.SessionService/TrustDevice", &["issuer", "session-admin"]),
    ("token_authority.v1.SessionService/UpdateSessionClaims", &["issuer", "session-admin"]),
    ("token_authority.v1.SessionService/EraseSubject", &["session-admin"]),
    ("token_authority.v1.OtpService/RequestCode", &["issuer"]),
    ("token_authority.v1.OtpService/VerifyCode", &["issuer"]),
    ("token_authority.v1.KeyService/ListKeys", &["key-admin", "auditor"]),
    ("token_authority.v1.KeyService/PrepareKey", &["key-admin"]),
    ("token_authority.v1.KeyService/ActivateKey", &["key-admin"]),
    ("token_authority.v1.KeyService/RetireKey", &["key-admin"]),
    ("token_authority.v1.KeyService/RevokeKey", &["key-admin"]),
    ("envoy.service.auth.v3.Authorization/Check", &["gateway"]),
    ("grpc.health.v1.Health/Check", &["anybody"]),
    ("grpc.health.v1.Health/Watch", &["anybody"]),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &["anybody"]),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &["anybody"]),
];

#[rustfmt::skip]
pub(super) const ENDPOINTS: &[Row] = &[
    ("/oauth2/introspect", &["introspector"]),
    ("/oauth2/revoke", &["client"]),
    ("/oauth2/token", &["client"]),
    ("/auth/check", &["anybody"]),
    ("/session/refresh", &["anybody"]),
    ("/session/logout", &["anybody"]),
    ("/.well-known/jwks.json", &["anybody"]),
    ("/.well-known/openid-configuration", &["anybody"]),
    ("/.well-known/oauth-authorization-server", &["anybody"]),
    ("/.well-known/oauth-authorization-server/realms/{realm}", &["anybody"]),
    ("/livez", &["anybody"]),
    ("/readyz", &["anybody"]),
    ("/metrics", &["anybody"]),
];

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The connection is not made.
    Unconnected,
    /// Nobody knows who calls.
    Unauthenticated,
    /// It is known who calls, and he may not.
    Denied,
    /// It is answered, or refused for what it says.
    Admitted,
}
