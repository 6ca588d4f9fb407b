// An HTTP service that checks access tokens by itself: it asks nobody about a token, and yet refuses revoked ones.
//
//   make run                                                      # in another terminal
//   npm install --prefix examples/node
//   node examples/node/protected_service.mjs --audience default
//   curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:7001/orders

import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { errors, jwtVerify } from "jose";

import { Authority } from "./authority.mjs";

const { values: options } = parseArgs({
  options: {
    authority: { type: "string", default: "127.0.0.1:50051" },
    issuer: { type: "string", default: "http://127.0.0.1:8080" },
    audience: { type: "string" },
    port: { type: "string", default: "7001" },
    "max-staleness": { type: "string", default: "10" }, // In seconds.
  },
});
const checks = {
  algorithms: ["RS256", "PS256", "ES256", "EdDSA"], // Whatever a token says, no other.
  typ: "at+jwt",
  issuer: options.issuer,
  audience: options.audience,
  requiredClaims: ["iss", "aud", "exp", "sub", "jti", "client_id"],
};
if (!options.audience) throw new Error("--audience is missing");
const authority = new Authority(options.authority);

async function answer(request) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  if (scheme.toLowerCase() !== "bearer" || !token) return [401, "no token\n"];
  // A service may also introspect now.
  if (authority.staleness() > options["max-staleness"] * 1000) return [503, "revocations are not known\n"];
  try {
    const claims = await verify(token);
    return [200, `for ${claims.sub}\n`];
  } catch {
    return [401, "not valid\n"];
  }
}

async function verify(token) {
  const { payload: claims, protectedHeader: header } = await jwtVerify(token, authority.keys, checks);
  if (!header.kid) throw new errors.JWTInvalid("no key is named");
  if (claims.cnf) throw new errors.JWTInvalid("bound to a key, of which this service sees no proof");
  if (authority.hasEnded(header.kid, claims)) throw new errors.JWTInvalid("revoked");
  return claims;
}

const server = createServer(async (request, response) => {
  const [status, text] = await answer(request);
  response.writeHead(status, status === 401 ? { "www-authenticate": "Bearer" } : {}).end(text);
});
server.listen(options.port, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
