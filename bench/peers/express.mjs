// A token service of the kind that Token Authority replaces: Express, jsonwebtoken and ioredis, an access
// token that is a JWT, a refresh token that is a random string with a row in Redis, and a list of revoked ids.
import { createPrivateKey, createPublicKey, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import express from 'express';
import { Redis } from 'ioredis';
import jwt from 'jsonwebtoken';

const ACCESS_SECONDS = 900;
const REFRESH_SECONDS = 7 * 86_400;
const ISSUER = 'http://express.test';
const AUDIENCE = 'https://api.example.com';
const CLIENT = { id: 'bench', secret: 'a-secret-of-the-benchmark' };

export function service({ redis: url, algorithm }, jwk) {
  // jsonwebtoken knows no EdDSA, and so neither do services that are built on it.
  if (algorithm !== 'RS256') throw new Error('only RS256');
  const redis = new Redis(url, { enableAutoPipelining: true });
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
  const publicKey = createPublicKey(privateKey);

  async function pair(user) {
    const refreshToken = randomBytes(32).toString('base64url');
    const claims = { client_id: CLIENT.id, scope: 'profile orders.read', tenant: 'acme', role: 'member' };
    const options = { algorithm, subject: user, issuer: ISSUER, audience: AUDIENCE, expiresIn: ACCESS_SECONDS, jwtid: randomUUID() };
    await redis.set(`refresh:${refreshToken}`, JSON.stringify({ user }), 'EX', REFRESH_SECONDS);
    return { access_token: jwt.sign(claims, privateKey, options), refresh_token: refreshToken };
  }

  const expected = `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString('base64')}`;
  const app = express();
  app.disable('x-powered-by').disable('etag');
  app.use(express.urlencoded({ extended: false }));
  app.use((request, response, next) => {
    if (request.headers.authorization === expected) next();
    else response.status(401).json({ error: 'invalid_client' });
  });

  app.post('/introspect', async ({ body }, response) => {
    try {
      const claims = jwt.verify(body.token, publicKey, { algorithms: [algorithm], issuer: ISSUER });
      const revoked = await redis.exists(`revoked:${claims.jti}`);
      response.json(revoked ? { active: false } : { active: true, ...claims });
    } catch {
      response.json({ active: false });
    }
  });

  app.post('/refresh', async ({ body }, response) => {
    const row = await redis.getdel(`refresh:${body.refresh_token}`);
    if (!row) return response.status(400).json({ error: 'invalid_grant' });
    const tokens = await pair(JSON.parse(row).user);
    return response.json({ ...tokens, token_type: 'Bearer', expires_in: ACCESS_SECONDS });
  });

  return {
    server: createServer(app),
    async issue(sessions) {
      const pairs = await Promise.all(Array.from({ length: sessions }, (_, n) => pair(`user-${n}`)));
      return {
        introspection: '/introspect',
        refresh: '/refresh',
        authorization: expected,
        accessToken: pairs[0].access_token,
        refreshTokens: pairs.map((tokens) => tokens.refresh_token),
      };
    },
    close: () => redis.quit(),
  };
}
