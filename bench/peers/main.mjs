// Starts one of the peers on every core that it is given, with a Redis of the benchmark's, and prints one
// line of JSON that says where it listens and which tokens it has issued.
//
//   node main.mjs oidc-provider|express --redis URL --algorithm RS256|EdDSA --workers N --sessions N
import cluster from 'node:cluster';
import { generateKeyPairSync } from 'node:crypto';
import { parseArgs } from 'node:util';

const { positionals: [name], values } = parseArgs({
  allowPositionals: true,
  options: {
    redis: { type: 'string' },
    algorithm: { type: 'string' },
    workers: { type: 'string', default: '1' },
    sessions: { type: 'string', default: '1' },
  },
});

const peer = await import(`./${name}.mjs`);

if (cluster.isPrimary) {
  const pair = values.algorithm === 'EdDSA'
    ? generateKeyPairSync('ed25519')
    : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = JSON.stringify(pair.privateKey.export({ format: 'jwk' }));
  const service = peer.service(values, JSON.parse(key));
  const issued = await service.issue(Number(values.sessions));
  await service.close();
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  let listening = 0;
  for (let worker = 0; worker < Number(values.workers); worker += 1) {
    cluster.fork({ PEER_KEY: key }).on('listening', ({ port }) => {
      listening += 1;
      if (listening === Number(values.workers)) console.log(JSON.stringify({ port, ...issued }));
    });
  }
  cluster.on('exit', () => process.exit(1));
} else {
  process.on('disconnect', () => process.exit());
  peer.service(values, JSON.parse(process.env.PEER_KEY)).server.listen(0, '127.0.0.1');
}
