// What the scripts of both libraries share: the surroundings, and how cases are run and reported.
'use strict';

const assert = require('node:assert');

const LIMIT_MS = 1000 * Number(process.env.LIMIT_SECONDS);

const surroundings = {
  port: Number(process.env.PORT),
  portWithPassword: Number(process.env.PORT_WITH_PASSWORD),
  password: process.env.PASSWORD,
  servers: process.env.SERVERS.split(',').map(Number),
  everyByte: Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
};

function expect(got, wanted) {
  assert.deepStrictEqual(got, wanted);
}

async function expectRefused(promise, text) {
  const reason = await promise.then(() => null, (error) => error);
  if (reason === null) throw new Error('it was let in');
  if (!String(reason.message).includes(text)) throw reason;
}

function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${LIMIT_MS} ms`)), LIMIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Waits until one of `infos`, which ask the servers themselves, tells of a client that waits.
async function untilBlocked(infos) {
  const end = Date.now() + LIMIT_MS;
  while (Date.now() < end) {
    for (const info of infos) {
      if (/blocked_clients:[1-9]/.test(await info())) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('no client was blocked');
}

// Messages in the order of their arrival, each of which can be waited for.
class Inbox {
  constructor() {
    this.messages = [];
    this.waiting = [];
  }

  put(message) {
    const first = this.waiting.shift();
    if (first) first(message);
    else this.messages.push(message);
  }

  next() {
    if (this.messages.length > 0) return Promise.resolve(this.messages.shift());
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

function range(count) {
  return Array.from({ length: count }, (_, number) => number);
}

// Runs the cases one after another; `leave` closes, at once, what a case has opened.
async function run(version, cases, leave) {
  console.log(`version ${version}`);
  // A failure that no promise of the case carries would end the program.
  let stray = null;
  process.on('uncaughtException', (error) => (stray ??= error));
  process.on('unhandledRejection', (error) => (stray ??= error));
  for (const [name, body] of Object.entries(cases)) {
    stray = null;
    let failure = null;
    try {
      await within(body());
    } catch (error) {
      failure = error;
    }
    failure ??= stray;
    leave();
    const why = failure && `${failure.name}: ${failure.message}`.replace(/\s+/g, ' ');
    console.log(failure ? `FAIL ${name} ${why.slice(0, 300)}` : `ok ${name}`);
  }
  process.exit(0);
}

module.exports = { surroundings, expect, expectRefused, untilBlocked, Inbox, range, run };
