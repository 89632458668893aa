// agent.js - an agent on npm's ws: what a stranger's client sees of the hub's sessions.
//
//   node agent.js PORT AGENT_ID TOKEN
//
// One line for each case; exit status 1 when one fails. Frames that ws refuses to make go through a plain socket.
'use strict';
const WebSocket = require('ws');
const crypto = require('crypto');
const net = require('net');

const [port, agentId, token] = process.argv.slice(2);
const url = `ws://127.0.0.1:${port}/v1/agent/session?agent_id=${agentId}`;
const HELLO = JSON.stringify({ type: 'hello', version: 'node', metadata: { runtime: 'node' } });
const PATIENCE_MS = 30000;

function within(promise, what) {
  let timer;
  const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error(`${what}: nothing came`)), PATIENCE_MS); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function check(ok, words) {
  if (!ok) throw new Error(words);
}

// A session whose frames can be waited for.
function open(bearer = token) {
  const ws = new WebSocket(url, { headers: { Authorization: `Bearer ${bearer}` } });
  const s = { ws, heard: [], waiting: null };
  s.ended = new Promise((yes) => ws.on('close', (code, reason) => yes({ code, reason: reason.toString() })));
  s.opened = new Promise((yes, no) => { ws.on('open', yes); ws.on('error', no); });
  s.opened.catch(() => {});
  ws.on('message', (data, binary) => {
    check(!binary, 'the hub sent a binary message');
    s.heard.push(JSON.parse(data));
    if (s.waiting) s.waiting();
  });
  s.hear = (type) => within((async () => {
    for (;;) {
      const i = s.heard.findIndex((f) => f.type === type);
      if (i >= 0) return s.heard.splice(0, i + 1).pop();
      await new Promise((yes) => { s.waiting = yes; });
    }
  })(), type);
  s.close = async () => { ws.close(1000); return within(s.ended, 'close'); };
  return s;
}

async function enter() {
  const s = open();
  await within(s.opened, 'open');
  s.ws.send(HELLO);
  await s.hear('welcome');
  return s;
}

// The same over a plain socket, for frames as bytes. `frames` go out after hello; the hub's close code comes back.
function frame(first, payload, { masked = true, length } = {}) {
  const body = Buffer.from(payload);
  const n = length === undefined ? body.length : length;
  const head = [first];
  if (n < 126) head.push((masked ? 0x80 : 0) | n);
  else if (n < 65536) head.push((masked ? 0x80 : 0) | 126, n >> 8, n & 255);
  else { head.push((masked ? 0x80 : 0) | 127); for (let i = 7; i >= 0; i--) head.push(Number((BigInt(n) >> BigInt(8 * i)) & 255n)); }
  if (!masked) return Buffer.concat([Buffer.from(head), body]);
  const mask = crypto.randomBytes(4);
  return Buffer.concat([Buffer.from(head), mask, body.map((b, i) => b ^ mask[i % 4])]);
}

function raw(...frames) {
  return within(new Promise((yes, no) => {
    const socket = net.connect(Number(port), '127.0.0.1');
    let data = Buffer.alloc(0), upgraded = false, code = null;
    socket.on('error', no);
    socket.write(`GET /v1/agent/session?agent_id=${agentId} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${crypto.randomBytes(16).toString('base64')}\r\nAuthorization: Bearer ${token}\r\n\r\n`);
    socket.on('data', (d) => {
      data = Buffer.concat([data, d]);
      if (!upgraded) {
        const end = data.indexOf('\r\n\r\n');
        if (end < 0) return;
        check(data.toString('latin1').startsWith('HTTP/1.1 101 '), data.toString('latin1'));
        upgraded = true;
        data = data.subarray(end + 4);
        for (const f of [frame(0x81, HELLO), ...frames]) socket.write(f);
      }
      while (data.length >= 2) { // the hub's own frames: short or in 16 bits, never masked
        check((data[1] & 0x80) === 0, 'the hub masked a frame');
        const long = data[1] === 126;
        const n = long ? data.readUInt16BE(2) : data[1], head = long ? 4 : 2;
        if (data.length < head + n) return;
        if (data[0] === 0x88) { code = n >= 2 ? data.readUInt16BE(head) : 1005; socket.end(); }
        data = data.subarray(head + n);
      }
    });
    socket.on('close', () => yes(code));
  }), 'the close frame');
}

const cases = {
  async 'a command and its result'() {
    const s = await enter();
    const c = await s.hear('command');
    check(c.command === 'get_status' && c.timeout_ms > 0 && typeof c.payload === 'object', JSON.stringify(c));
    s.ws.send(JSON.stringify({ type: 'ack', job_id: c.job_id }));
    const text = JSON.stringify({ type: 'result', job_id: c.job_id, status: 'completed', response: { text: 'محور '.repeat(2000) } });
    const bytes = Buffer.from(text); // fragments that cut characters, with a ping between
    for (let at = 0; at < bytes.length; at += 7777) {
      s.ws.send(bytes.subarray(at, at + 7777), { binary: false, fin: at + 7777 >= bytes.length });
      s.ws.ping('between');
    }
    check((await s.hear('result_ack')).job_id === c.job_id, 'another job was acknowledged');
    check((await s.close()).code === 1000, 'not closed with 1000');
  },
  async 'ping and pong'() {
    const s = await enter();
    const pong = new Promise((yes) => s.ws.on('pong', (d) => yes(d.toString())));
    s.ws.ping('are you there?');
    check(await within(pong, 'pong') === 'are you there?', 'another pong');
    s.ws.pong('nobody asked');
    s.ws.send('{"type":"heartbeat"}');
    await s.hear('heartbeat');
    await s.close();
  },
  async 'close codes come back'() {
    for (const code of [1000, 1001, 3000, 4999]) {
      const s = await enter();
      s.ws.close(code, 'وداعا');
      const end = await within(s.ended, 'close');
      check(end.code === code && end.reason === 'وداعا', `${code} came back as ${end.code} ${end.reason}`);
    }
  },
  async 'binary'() {
    const s = await enter();
    s.ws.send(Buffer.from('{"type":"heartbeat"}'), { binary: true });
    check((await within(s.ended, 'close')).code === 1003, 'not 1003');
  },
  async 'too large'() {
    const s = await enter();
    s.ws.send(JSON.stringify({ type: 'result', response: 'x'.repeat(262144) }));
    check((await within(s.ended, 'close')).code === 1009, 'not 1009');
  },
  async 'too large in fragments'() {
    const s = await enter();
    for (let i = 0; i < 5; i++) s.ws.send('x'.repeat(65536), { fin: false });
    check((await within(s.ended, 'close')).code === 1009, 'not 1009');
  },
  async 'not UTF-8'() {
    const s = await enter();
    s.ws.send(Buffer.from([0x7b, 0xff, 0x7d]), { binary: false });
    check((await within(s.ended, 'close')).code === 1007, 'not 1007');
  },
  async 'a character broken between fragments'() {
    const s = await enter();
    s.ws.send(Buffer.from([0x22, 0xd9]), { binary: false, fin: false });
    s.ws.send(Buffer.from([0x22]), { binary: false, fin: true });
    check((await within(s.ended, 'close')).code === 1007, 'not 1007');
  },
  async 'frames as bytes'() {
    const bad = {
      unmasked: [frame(0x81, '{"type":"heartbeat"}', { masked: false }), 1002],
      'a reserved bit': [frame(0xc1, '{}'), 1002],
      'an unknown opcode': [frame(0x83, '{}'), 1002],
      'a fragmented ping': [frame(0x09, 'x'), 1002],
      'a long ping': [frame(0x89, 'x'.repeat(126)), 1002],
      'a claim of 2^40 bytes': [frame(0x81, '', { length: 2 ** 40 }), 1009],
      'close 1005': [frame(0x88, Buffer.from([0x03, 0xed])), 1002],
    };
    for (const [title, [bytes, want]] of Object.entries(bad)) {
      const code = await raw(bytes);
      check(code === want, `${title}: closed with ${code}, not ${want}`);
    }
  },
  async 'takeover'() {
    const older = await enter();
    const newer = await enter();
    check((await older.hear('error')).code === 'superseded', 'not told');
    check((await within(older.ended, 'close')).code === 4001, 'not 4001');
    await newer.close();
  },
  async 'a wrong token'() {
    const s = open(token.slice(0, -2) + (token.endsWith('AA') ? 'BB' : 'AA'));
    const words = await within(s.opened.then(() => 'opened', (e) => e.message), 'refusal');
    check(/401/.test(words), words);
  },
};

(async () => {
  let failed = 0;
  for (const [title, run] of Object.entries(cases)) {
    try {
      await run();
      console.log(`ok ${title}`);
    } catch (e) {
      failed++;
      console.log(`FAILED ${title}: ${e.message}`);
    }
  }
  process.exit(failed ? 1 : 0);
})();
