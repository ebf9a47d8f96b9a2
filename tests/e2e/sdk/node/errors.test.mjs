// Every refusal of the gateway is the class of the official SDK for Node.js that its users catch.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';

import OpenAI, { toFile } from 'openai';

import { PICTURE, finished, refused, sdk } from './gateway.mjs';

const client = sdk();
const rest = (from) => from.videos.create({ prompt: 'node: a cat sim:render=600' });

async function caught(promise, kind, status, code) {
  const error = await promise.then(() => assert.fail('it was not refused'), (reason) => reason);
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.ok(error.requestID);
  return error;
}

test('a wrong value is a bad request that names the parameter', async () => {
  const post = client.videos.create({ prompt: 'node: a cat', size: '1x1' });
  const error = await caught(post, OpenAI.BadRequestError, 400, 'invalid_value');
  assert.deepEqual([error.param, error.type], ['size', 'invalid_request_error']);
});

test('a wrong key is an authentication error', async () => {
  await caught(sdk({ apiKey: 'sk-wrong' }).videos.list(), OpenAI.AuthenticationError, 401, 'invalid_api_key');
});

test('a video that there is not is not found', async () => {
  await caught(client.videos.retrieve('video_none'), OpenAI.NotFoundError, 404, 'not_found');
});

test('the content of an unfinished and of a failed video is a conflict', async () => {
  const unfinished = await rest(client);
  await caught(client.videos.downloadContent(unfinished.id), OpenAI.ConflictError, 409, 'not_ready');
  const failed = await client.videos.create({ prompt: 'node: a cat sim:fail-moderation' });
  await finished(client, failed.id);
  await caught(client.videos.downloadContent(failed.id), OpenAI.ConflictError, 409, 'video_failed');
});

test('a key that was used for another video is an unprocessable entity', async () => {
  const post = (prompt) => client.videos.create({ prompt }, { headers: { 'Idempotency-Key': 'node-reused' } });
  await post('node: one cat');
  await caught(post('node: another'), OpenAI.UnprocessableEntityError, 422, 'idempotency_key_reused');
});

test('a full queue is a rate limit that says when to come back', async () => {
  const narrow = refused();
  const video = await rest(narrow);
  const error = await caught(rest(narrow), OpenAI.RateLimitError, 429, 'queue_full');
  assert.ok(Number(error.headers.get('retry-after')) > 0);
  await narrow.videos.delete(video.id);
});

test('a bucket that is away is an error of the server to come back after', async () => {
  const input_reference = await toFile(readFile(PICTURE), 'image.png', { type: 'image/png' });
  const post = refused().videos.create({ prompt: 'node: a cat', size: '1280x720', input_reference });
  const error = await caught(post, OpenAI.InternalServerError, 503, 'unavailable');
  assert.ok(Number(error.headers.get('retry-after')) > 0);
});

test('a body that is too large is an answer and no broken connection', async () => {
  const input_reference = await toFile(Buffer.alloc(200_000), 'image.png');
  await caught(refused().videos.create({ prompt: 'node: a cat', input_reference }), OpenAI.APIError, 413, 'body_too_large');
});
