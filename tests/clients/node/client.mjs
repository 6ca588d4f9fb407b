// An OAuth client library in wide use finds its way from the issuer alone: discovery, refresh,
// introspection, revocation. What it checks of an answer is its own business.
//
//   node client.mjs ISSUER CLIENT_ID CLIENT_SECRET REFRESH_TOKEN

import assert from "node:assert/strict";
import * as client from "openid-client";

const [issuer, id, secret, refreshToken] = process.argv.slice(2);

for (const algorithm of ["oidc", "oauth2"]) {
  const options = { algorithm, execute: [client.allowInsecureRequests] };
  const found = await client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic(secret), options);
  assert.equal(found.serverMetadata().issuer, issuer);
  console.log("discovered by", algorithm);
}

const execute = [client.allowInsecureRequests];
for (const [method, authentication] of [
  ["basic", client.ClientSecretBasic(secret)],
  ["post", client.ClientSecretPost(secret)],
]) {
  const config = await client.discovery(new URL(issuer), id, undefined, authentication, { execute });
  assert.equal((await client.tokenIntrospection(config, "unknown")).active, false);
  console.log("authenticated by", method);
}

const config = await client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic(secret), { execute });
const tokens = await client.refreshTokenGrant(config, refreshToken);
assert.equal(tokens.token_type, "bearer");
assert.equal(tokens.expires_in, 900);
console.log("refreshed");

const seen = await client.tokenIntrospection(config, tokens.access_token);
assert.equal(seen.active, true);
assert.equal(seen.sub, "ann");
assert.equal(seen.iss, issuer);
console.log("introspected");

const own = await client.clientCredentialsGrant(config, { scope: "read" });
assert.equal((await client.tokenIntrospection(config, own.access_token)).sub, id);
console.log("got a token of its own");

await client.tokenRevocation(config, tokens.refresh_token);
assert.deepEqual(await client.tokenIntrospection(config, tokens.access_token), { active: false });
await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { error: "invalid_grant" });
console.log("revoked");
