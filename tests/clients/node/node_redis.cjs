// The cases of the client matrix for node-redis: `ok NAME` or `FAIL NAME why`, one line for each.
//
// Which version it is, the first argument says. Everything not named here is left at the library's
// default.
'use strict';

const { surroundings, expect, expectRefused, untilBlocked, Inbox, range, run } =
  require('./cases.cjs');
const { port, portWithPassword, password, servers, everyByte } = surroundings;
const library = process.argv[2];
const { createClient, commandOptions } = require(library);
const { version } = require(`${library}/package.json`);
const major = Number(version.split('.')[0]);

let open = [];

// Left alone it tries to connect for ever; the first failure is told by the event `error`.
async function client({ at = port, ...options } = {}) {
  const redis = createClient({ socket: { port: at }, ...options });
  const failure = new Promise((_, reject) => redis.on('error', reject));
  failure.catch(() => {});
  open.push(redis);
  await Promise.race([redis.connect(), failure]);
  return redis;
}

function guarded(options) {
  return client({ at: portWithPassword, ...options });
}

// Version 4 asks for bytes by an option of the call; 5 and later by a mapping of types.
async function getBytes(redis, key) {
  if (major === 4) return redis.get(commandOptions({ returnBuffers: true }), key);
  return redis.withTypeMapping({ 36: Buffer }).get(key);
}

async function shapes(redis) {
  await redis.del(['shapes:hash', 'shapes:sorted']);
  await redis.hSet('shapes:hash', { a: '1', b: '2' });
  await redis.zAdd('shapes:sorted', [{ score: 1.5, value: 'a' }, { score: 2, value: 'b' }]);
  expect({ ...(await redis.hGetAll('shapes:hash')) }, { a: '1', b: '2' });
  const scored = await redis.zRangeWithScores('shapes:sorted', 0, -1);
  expect(scored.map((each) => ({ ...each })), [
    { value: 'a', score: 1.5 },
    { value: 'b', score: 2 },
  ]);
  expect(await redis.get('shapes:missing'), null);
}

const cases = {
  async connect() {
    expect(await (await client()).ping(), 'PONG');
  },

  async set_get() {
    const redis = await client();
    expect(await redis.set('set_get', 'a value'), 'OK');
    expect(await redis.get('set_get'), 'a value');
    expect(await redis.get('set_get:missing'), null);
    expect(await redis.del('set_get'), 1);
  },

  async mget() {
    const redis = await client();
    const keys = range(50).map((number) => `mget:${number}`);
    expect(await redis.mSet(keys.map((key) => [key, `${key}!`])), 'OK');
    expect(await redis.mGet([...keys, 'mget:missing']), [...keys.map((key) => `${key}!`), null]);
  },

  // It sends all requests of one tick as one pipeline.
  async pipeline() {
    const redis = await client();
    const replies = await Promise.all(range(50).flatMap((number) => [
      redis.set(`pipeline:${number}`, `${number}`),
      redis.get(`pipeline:${number}`),
    ]));
    expect(replies, range(50).flatMap((number) => ['OK', `${number}`]));
  },

  async binary() {
    const redis = await client();
    const key = Buffer.concat([Buffer.from('binary:'), everyByte]);
    expect(await redis.set(key, everyByte), 'OK');
    expect(await getBytes(redis, key), everyByte);
  },

  async large() {
    const redis = await client();
    const value = Buffer.concat(range(4096).map(() => everyByte));
    expect(await redis.set('large', value), 'OK');
    expect((await getBytes(redis, 'large')).equals(value), true);
  },

  async password() {
    const redis = await guarded({ password });
    expect(await redis.set('password', '1'), 'OK');
    expect(await redis.get('password'), '1');
  },

  async wrong_password() {
    await expectRefused(guarded({ password: 'wrong' }), 'WRONGPASS');
  },

  async missing_password() {
    await expectRefused(guarded({}).then((redis) => redis.get('a')), 'NOAUTH');
  },

  async user_and_password() {
    const redis = await guarded({ username: 'default', password });
    expect(await redis.set('user', '1'), 'OK');
    expect(await redis.get('user'), '1');
    await expectRefused(guarded({ username: 'nobody', password }), 'WRONGPASS');
  },

  async transaction() {
    const multi = (await client()).multi();
    for (const number of range(50)) {
      multi.incr('{transaction}:count').set(`{transaction}:${number}`, `${number}`);
    }
    expect(await multi.exec(), range(50).flatMap((number) => [number + 1, 'OK']));
  },

  async watch() {
    const redis = await client();
    const other = await client();
    await redis.set('watch', '1');
    for (const touched of [false, true]) {
      expect(await redis.watch('watch'), 'OK');
      const seen = Number(await redis.get('watch'));
      if (touched) await other.set('watch', '10');
      const commit = redis.multi().set('watch', `${seen + 1}`).exec();
      const outcome = await commit.catch((error) => error.constructor.name);
      expect(outcome, touched ? 'WatchError' : ['OK']);
    }
    expect(await redis.get('watch'), '10');
  },

  async blocking_pop() {
    const redis = await client();
    const other = await client();
    const direct = await Promise.all(servers.map((at) => client({ at })));
    const popped = redis.blPop('blocking', 0);
    await Promise.race([popped, untilBlocked(direct.map((it) => () => it.info('clients')))]);
    await other.rPush('blocking', 'pushed');
    expect({ ...(await popped) }, { key: 'blocking', element: 'pushed' });
    expect(await redis.ping(), 'PONG');
  },

  async blocking_pop_times_out() {
    const redis = await client();
    const begin = Date.now();
    expect(await redis.brPop('blocking:empty', 1), null);
    expect(Date.now() - begin > 900, true);
    expect(await redis.ping(), 'PONG');
  },

  async subscribe() {
    const redis = await client();
    const subscriber = await client();
    const inbox = new Inbox();
    const listener = (message, channel) => inbox.put([String(channel), message]);
    const channels = range(8).map((number) => `subscribe:${number}`);
    await subscriber.subscribe(channels, listener, true);
    for (const channel of channels) {
      expect(await redis.publish(channel, everyByte), 1);
      expect(await inbox.next(), [channel, everyByte]);
    }
    await subscriber.unsubscribe();
    expect(await redis.publish(channels[0], 'unheard'), 0);
    expect(String(await subscriber.ping()), 'PONG');
  },

  async psubscribe() {
    const redis = await client();
    const subscriber = await client();
    const inbox = new Inbox();
    await subscriber.pSubscribe('psubscribe:*', (...message) => inbox.put(message));
    for (const number of range(8)) {
      await redis.publish(`psubscribe:${number}`, `${number}`);
      expect(await inbox.next(), [`${number}`, `psubscribe:${number}`]);
    }
    await subscriber.pUnsubscribe();
    expect(String(await subscriber.ping()), 'PONG');
  },

  async scan() {
    const redis = await client();
    const keys = range(500).map((number) => `scan:${number}`).sort();
    await redis.mSet(keys.map((key) => [key, '1']));
    const all = new Set();
    // Version 4 yields keys one by one, later ones in the batches of the replies.
    for await (const found of redis.scanIterator()) [found].flat().forEach((key) => all.add(key));
    expect(keys.filter((key) => !all.has(key)), []);
    const matching = new Set();
    for await (const found of redis.scanIterator({ MATCH: 'scan:*', COUNT: 100 })) {
      [found].flat().forEach((key) => matching.add(key));
    }
    expect([...matching].sort(), keys);
  },

  async resp2() {
    await shapes(await client({ RESP: 2 }));
  },

  async resp3() {
    const redis = await client({ RESP: 3 });
    const hello = await redis.hello();
    expect(hello.proto, 3);
    await shapes(redis);
  },
};

if (major === 4) delete cases.resp3;

run(version, cases, () => {
  // Version 4 has no `destroy`. One that never connected refuses to be closed.
  for (const redis of open) {
    try {
      const closed = major === 4 ? redis.disconnect() : redis.destroy();
      closed?.catch(() => {});
    } catch {
      continue;
    }
  }
  open = [];
});
