// What the official SDK for Node.js sends again by itself, because an answer was lost, makes no second video.
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import test from 'node:test';

import OpenAI, { toFile } from 'openai';

import { PICTURE, all, far, finished } from './gateway.mjs';

const client = far();
const losing = (answers) => ({ headers: { 'x-lose': String(answers) } });

for (const lost of [1, 2]) {
  test(`a POST makes one video though its answer is lost ${lost} times`, async () => {
    const prompt = `node: a cat whose answers are lost ${lost} times`;
    const input_reference = await toFile(readFile(PICTURE), 'image.png', { type: 'image/png' });
    const { data: video, response } = await client.videos
      .create({ prompt, size: '1280x720', input_reference }, losing(lost))
      .withResponse();
    assert.equal(response.headers.get('idempotent-replayed'), 'true');
    const made = (await all(client.videos.list())).filter((each) => each.prompt === prompt);
    assert.deepEqual(made.map((each) => each.id), [video.id]);
    assert.equal((await finished(client, video.id)).status, 'completed');
  });
}

test('a streamed picture is not sent again by the SDK, but may be by its user with the same key', async () => {
  const post = (answers) => client.videos.create(
    { prompt: 'node: a cat in a lost stream', size: '1280x720', input_reference: createReadStream(PICTURE) },
    { headers: { 'Idempotency-Key': 'node-stream', 'x-lose': String(answers) } },
  );
  await assert.rejects(post(1), OpenAI.APIConnectionError);
  const { data: video, response } = await post(0).withResponse();
  assert.equal(response.headers.get('idempotent-replayed'), 'true');
  assert.equal((await finished(client, video.id)).status, 'completed');
});

test('two equal POSTs whose answers are lost make two videos', async () => {
  const prompt = 'node: a cat that is wished for twice';
  const first = await client.videos.create({ prompt }, losing(1));
  const second = await client.videos.create({ prompt }, losing(1));
  assert.notEqual(first.id, second.id);
  for (const { id } of [first, second]) assert.equal((await finished(client, id)).status, 'completed');
});
