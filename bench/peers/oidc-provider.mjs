// oidc-provider as its documentation advises for production: an adapter for Redis, rotating refresh tokens,
// access tokens as JWT for a resource server. Its introspection takes opaque tokens only, so one of these is
// what is introspected.
import { createServer } from 'node:http';

import { Redis } from 'ioredis';
import { Provider } from 'oidc-provider';

import { adapter } from './redis_adapter.mjs';

const ISSUER = 'http://oidc-provider.test';
const RESOURCE = 'https://api.example.com';
const SCOPE = 'profile orders.read';
const CLIENT = { id: 'bench', secret: 'a-secret-of-the-benchmark' };
const DAY = 86_400;

export function service({ redis: url, algorithm }, jwk) {
  const redis = new Redis(url, { enableAutoPipelining: true });
  const resourceServer = {
    scope: SCOPE,
    audience: RESOURCE,
    accessTokenTTL: 900,
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: algorithm } },
  };
  const provider = new Provider(ISSUER, {
    adapter: adapter(redis),
    jwks: { keys: [{ ...jwk, alg: algorithm, use: 'sig' }] },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'EdDSA'] },
    clients: [{
      client_id: CLIENT.id,
      client_secret: CLIENT.secret,
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['https://client.example.com/callback'],
      id_token_signed_response_alg: algorithm,
    }],
    scopes: ['offline_access', ...SCOPE.split(' ')],
    cookies: { keys: ['bench'] },
    features: {
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: () => resourceServer, useGrantedResource: () => true },
    },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    rotateRefreshToken: true,
    ttl: { AccessToken: 900, Grant: 30 * DAY, RefreshToken: 7 * DAY },
  });

  async function session(number) {
    const client = await provider.Client.find(CLIENT.id);
    const accountId = `user-${number}`;
    const grant = new provider.Grant({ accountId, clientId: CLIENT.id });
    grant.addResourceScope(RESOURCE, SCOPE);
    grant.addOIDCScope(`offline_access ${SCOPE}`);
    const grantId = await grant.save();
    const common = { accountId, client, grantId, gty: 'authorization_code' };
    const opaque = await new provider.AccessToken({ ...common, scope: 'profile' }).save();
    const refreshToken = await new provider.RefreshToken({ ...common, scope: `offline_access ${SCOPE}`, resource: RESOURCE }).save();
    return { opaque, refreshToken };
  }

  return {
    server: createServer(provider.callback()),
    async issue(sessions) {
      const issued = await Promise.all(Array.from({ length: sessions }, (_, n) => session(n)));
      return {
        introspection: '/token/introspection',
        refresh: '/token',
        authorization: `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString('base64')}`,
        accessToken: issued[0].opaque,
        refreshTokens: issued.map(({ refreshToken }) => refreshToken),
      };
    },
    close: () => redis.quit(),
  };
}
