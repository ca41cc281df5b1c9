// The cases of the client matrix for ioredis: `ok NAME` or `FAIL NAME why`, one line for each.
//
// Which version it is, the first argument says. Everything not named here is left at the library's
// default.
'use strict';

const { surroundings, expect, expectRefused, untilBlocked, Inbox, range, run } =
  require('./cases.cjs');
const { port, portWithPassword, password, servers, everyByte } = surroundings;
const library = process.argv[2];
const { Redis } = require(library);
const { version } = require(`${library}/package.json`);

let open = [];

function client(options = {}) {
  const redis = new Redis({ port, ...options });
  redis.on('error', () => {});
  open.push(redis);
  return redis;
}

function guarded(options) {
  return client({ port: portWithPassword, ...options });
}

async function shapes(redis) {
  await redis.del('shapes:hash', 'shapes:sorted');
  await redis.hset('shapes:hash', { a: '1', b: '2' });
  await redis.zadd('shapes:sorted', 1.5, 'a', 2, 'b');
  expect({ ...(await redis.hgetall('shapes:hash')) }, { a: '1', b: '2' });
  const scored = await redis.zrange('shapes:sorted', 0, -1, 'WITHSCORES');
  expect(scored.flat().map(String), ['a', '1.5', 'b', '2']);
  expect(await redis.get('shapes:missing'), null);
}

const cases = {
  async connect() {
    expect(await client().ping(), 'PONG');
  },

  async set_get() {
    const redis = client();
    expect(await redis.set('set_get', 'a value'), 'OK');
    expect(await redis.get('set_get'), 'a value');
    expect(await redis.get('set_get:missing'), null);
    expect(await redis.del('set_get'), 1);
  },

  async mget() {
    const redis = client();
    const keys = range(50).map((number) => `mget:${number}`);
    expect(await redis.mset(Object.fromEntries(keys.map((key) => [key, `${key}!`]))), 'OK');
    expect(await redis.mget(...keys, 'mget:missing'), [...keys.map((key) => `${key}!`), null]);
  },

  async pipeline() {
    const pipeline = client().pipeline();
    for (const number of range(50)) {
      pipeline.set(`pipeline:${number}`, number).get(`pipeline:${number}`);
    }
    const wanted = range(50).flatMap((number) => [[null, 'OK'], [null, `${number}`]]);
    expect(await pipeline.exec(), wanted);
  },

  async binary() {
    const redis = client();
    const key = Buffer.concat([Buffer.from('binary:'), everyByte]);
    expect(await redis.set(key, everyByte), 'OK');
    expect(await redis.getBuffer(key), everyByte);
  },

  async large() {
    const redis = client();
    const value = Buffer.concat(range(4096).map(() => everyByte));
    expect(await redis.set('large', value), 'OK');
    expect((await redis.getBuffer('large')).equals(value), true);
  },

  async password() {
    const redis = guarded({ password });
    expect(await redis.set('password', '1'), 'OK');
    expect(await redis.get('password'), '1');
  },

  // It tells of a refusal by the event `error`; requests are refused for want of a password.
  async wrong_password() {
    const redis = guarded({ password: 'wrong' });
    const refusal = new Promise((_, reject) => redis.on('error', reject));
    await expectRefused(refusal, 'WRONGPASS');
  },

  async missing_password() {
    await expectRefused(guarded({}).get('a'), 'NOAUTH');
  },

  async user_and_password() {
    const redis = guarded({ username: 'default', password });
    expect(await redis.set('user', '1'), 'OK');
    expect(await redis.get('user'), '1');
    const nobody = guarded({ username: 'nobody', password });
    const refusal = new Promise((_, reject) => nobody.on('error', reject));
    await expectRefused(refusal, 'WRONGPASS');
  },

  async transaction() {
    const multi = client().multi();
    for (const number of range(50)) {
      multi.incr('{transaction}:count').set(`{transaction}:${number}`, number);
    }
    const wanted = range(50).flatMap((number) => [[null, number + 1], [null, 'OK']]);
    expect(await multi.exec(), wanted);
  },

  async watch() {
    const redis = client();
    const other = client();
    await redis.set('watch', 1);
    for (const touched of [false, true]) {
      expect(await redis.watch('watch'), 'OK');
      const seen = Number(await redis.get('watch'));
      if (touched) await other.set('watch', 10);
      const replies = await redis.multi().set('watch', seen + 1).exec();
      expect(replies, touched ? null : [[null, 'OK']]);
    }
    expect(await redis.get('watch'), '10');
  },

  async blocking_pop() {
    const redis = client();
    const other = client();
    const direct = servers.map((at) => client({ port: at }));
    const popped = redis.blpop('blocking', 0);
    await Promise.race([popped, untilBlocked(direct.map((it) => () => it.info('clients')))]);
    await other.rpush('blocking', 'pushed');
    expect(await popped, ['blocking', 'pushed']);
    expect(await redis.ping(), 'PONG');
  },

  async blocking_pop_times_out() {
    const redis = client();
    await redis.ping();
    const begin = Date.now();
    expect(await redis.brpop('blocking:empty', 1), null);
    expect(Date.now() - begin > 900, true);
    expect(await redis.ping(), 'PONG');
  },

  async subscribe() {
    const redis = client();
    const subscriber = client();
    const inbox = new Inbox();
    subscriber.on('messageBuffer', (channel, message) => inbox.put([String(channel), message]));
    const channels = range(8).map((number) => `subscribe:${number}`);
    expect(await subscriber.subscribe(...channels), 8);
    for (const channel of channels) {
      expect(await redis.publish(channel, everyByte), 1);
      expect(await inbox.next(), [channel, everyByte]);
    }
    expect(await subscriber.unsubscribe(...channels), 0);
    expect(await redis.publish(channels[0], 'unheard'), 0);
  },

  async psubscribe() {
    const redis = client();
    const subscriber = client();
    const inbox = new Inbox();
    subscriber.on('pmessage', (...message) => inbox.put(message));
    expect(await subscriber.psubscribe('psubscribe:*'), 1);
    for (const number of range(8)) {
      await redis.publish(`psubscribe:${number}`, `${number}`);
      expect(await inbox.next(), ['psubscribe:*', `psubscribe:${number}`, `${number}`]);
    }
    expect(await subscriber.punsubscribe(), 0);
  },

  async scan() {
    const redis = client();
    const keys = range(500).map((number) => `scan:${number}`).sort();
    await redis.mset(Object.fromEntries(keys.map((key) => [key, '1'])));
    const all = new Set();
    for await (const found of redis.scanStream()) found.forEach((key) => all.add(key));
    expect(keys.filter((key) => !all.has(key)), []);
    const matching = new Set();
    const options = { match: 'scan:*', count: 100 };
    for await (const found of redis.scanStream(options)) found.forEach((key) => matching.add(key));
    expect([...matching].sort(), keys);
  },

  async resp2() {
    await shapes(client({ protocol: 2 }));
  },

  async resp3() {
    const redis = client({ protocol: 3 });
    const hello = await redis.call('HELLO');
    const pairs = Array.isArray(hello) ? hello : Object.entries(hello).flat();
    expect(pairs[pairs.indexOf('proto') + 1], 3);
    await shapes(redis);
  },
};

if (version.startsWith('5.')) delete cases.resp3;

run(version, cases, () => {
  open.forEach((redis) => redis.disconnect());
  open = [];
});
