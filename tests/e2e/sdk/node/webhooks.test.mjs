// The official SDK for Node.js verifies what the worker sent, and manages account-wide endpoints.
import assert from 'node:assert/strict';
import test from 'node:test';

import OpenAI from 'openai';

import { all, receiver, sdk } from './gateway.mjs';

const client = sdk();
const forged = OpenAI.InvalidWebhookSignatureError;

test('a real callback is unwrapped and a changed one is not', async (t) => {
  const inbox = await receiver(t);
  const video = await client.videos.create({ prompt: 'node: a cat to call back', callback_url: inbox.url });
  const { body, headers } = await inbox.next();
  const event = await client.webhooks.unwrap(body, headers);
  assert.deepEqual([event.object, event.type, event.data.id], ['event', 'video.completed', video.id]);
  assert.equal((await fetch(event.data.url)).status, 200);
  await assert.rejects(client.webhooks.unwrap(`${body} `, headers), forged);
  await assert.rejects(client.webhooks.unwrap(body, { ...headers, 'webhook-timestamp': '1' }), forged);
});

test('an endpoint is made, looked at, changed, listed and deleted', async () => {
  const made = [];
  for (const number of [0, 1, 2]) {
    const fields = { name: `node ${number}`, url: 'http://127.0.0.1:9/', event_types: ['video.failed'] };
    made.push(await client.webhooks.create(fields));
  }
  const [first] = made;
  assert.ok(first.signing_secret.endsWith(first.signing_secret_hint.slice(-4)));
  const seen = await client.webhooks.retrieve(first.id);
  assert.deepEqual([seen.object, seen.name, seen.signing_secret], ['webhook_endpoint', 'node 0', undefined]);
  const changed = await client.webhooks.update(first.id, { event_types: ['video.completed', 'video.failed'] });
  assert.deepEqual([changed.name, changed.event_types], ['node 0', ['video.completed', 'video.failed']]);
  const listed = (await all(client.webhooks.list({ limit: 2 }))).map((endpoint) => endpoint.id);
  const ids = made.map((endpoint) => endpoint.id);
  assert.deepEqual(listed.filter((id) => ids.includes(id)), ids.toReversed());
  for (const id of ids) assert.equal((await client.webhooks.delete(id)).deleted, true);
  await assert.rejects(client.webhooks.retrieve(first.id), OpenAI.NotFoundError);
});

test('a rotated secret signs beside the old one where that is wished', async (t) => {
  const inbox = await receiver(t);
  const first = await client.webhooks.create({ name: 'node', url: inbox.url, event_types: ['video.in_progress'] });
  const rotate = (keep) => client.webhooks.rotateSecret(first.id, { keep_old_secret_active_for_24_hours: keep });
  const told = async () => {
    await client.webhooks.test(first.id, { event_type: 'video.in_progress' });
    return inbox.next();
  };
  const second = await rotate(true);
  const both = await told();
  for (const { signing_secret } of [first, second]) await client.webhooks.unwrap(both.body, both.headers, signing_secret);
  const third = await rotate(false);
  const only = await told();
  await client.webhooks.unwrap(only.body, only.headers, third.signing_secret);
  for (const { signing_secret } of [first, second]) {
    await assert.rejects(client.webhooks.unwrap(only.body, only.headers, signing_secret), forged);
  }
  await client.webhooks.delete(first.id);
});

test('a test says what the receiver answered', async (t) => {
  const inbox = await receiver(t, [204, 500]);
  const endpoint = await client.webhooks.create({ name: 'node', url: inbox.url, event_types: ['video.in_progress'] });
  for (const status of [204, 500]) {
    const result = await client.webhooks.test(endpoint.id, { event_type: 'video.failed' });
    assert.deepEqual([result.object, result.webhook_endpoint_id], ['webhook_endpoint.test', endpoint.id]);
    assert.deepEqual([result.event_type, result.status_code, result.success], ['video.failed', status, true]);
  }
  await client.webhooks.delete(endpoint.id);
});

test('event types are listed', async () => {
  const { data } = await client.webhooks.eventTypes.list();
  assert.ok(data.includes('video.completed') && data.includes('video.failed'));
});
