// The storage of oidc-provider in Redis, after the example in its documentation.
const CONSUMABLE = new Set(['AuthorizationCode', 'RefreshToken', 'DeviceCode', 'BackchannelAuthenticationRequest']);
const GRANTABLE = new Set(['AccessToken', ...CONSUMABLE]);

const grantKey = (id) => `oidc:grant:${id}`;

export const adapter = (redis) => class RedisAdapter {
  constructor(name) {
    this.name = name;
    this.consumable = CONSUMABLE.has(name);
  }

  key(id) {
    return `oidc:${this.name}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    const stored = JSON.stringify(payload);
    const multi = redis.multi();
    if (this.consumable) multi.hset(key, { payload: stored });
    else multi.set(key, stored);
    if (expiresIn) multi.expire(key, expiresIn);
    if (GRANTABLE.has(this.name) && payload.grantId) {
      multi.rpush(grantKey(payload.grantId), key);
      // A grant lives as long as the longest of what was granted by it.
      if (expiresIn) multi.expire(grantKey(payload.grantId), expiresIn, 'GT');
    }
    await multi.exec();
  }

  async find(id) {
    if (!this.consumable) {
      const stored = await redis.get(this.key(id));
      return stored ? JSON.parse(stored) : undefined;
    }
    const { payload, ...rest } = await redis.hgetall(this.key(id));
    return payload ? { ...rest, ...JSON.parse(payload) } : undefined;
  }

  async consume(id) {
    await redis.hset(this.key(id), 'consumed', Math.floor(Date.now() / 1000));
  }

  async destroy(id) {
    await redis.del(this.key(id));
  }

  async revokeByGrantId(id) {
    const keys = await redis.lrange(grantKey(id), 0, -1);
    await redis.del(grantKey(id), ...keys);
  }
};
