// The official SDK for Node.js makes, watches, lists, fetches and deletes videos.
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import test from 'node:test';

import OpenAI, { toFile } from 'openai';

import { PICTURE, all, finished, receiver, sdk, sha256 } from './gateway.mjs';

const client = sdk();

test('a picture that is uploaded becomes a video', async () => {
  const video = await client.videos.create({
    model: 'sora-2',
    prompt: 'node: a cat from a file',
    size: '1280x720',
    seconds: '4',
    input_reference: await toFile(readFile(PICTURE), 'image.png', { type: 'image/png' }),
    metadata: { order: '4711' },
  });
  assert.deepEqual(
    [video.object, video.status, video.progress, video.model, video.size, video.seconds],
    ['video', 'queued', 0, 'sora-2', '1280x720', '4'],
  );
  const done = await finished(client, video.id);
  assert.deepEqual([done.status, done.progress, done.error], ['completed', 100, null]);
  assert.ok(done.completed_at >= done.created_at);
  assert.deepEqual(done.metadata, { order: '4711' });
});

test('a picture may be streamed', async () => {
  const reference = createReadStream(PICTURE);
  const video = await client.videos.create({
    prompt: 'node: a cat from a stream', size: '1280x720', input_reference: reference,
  });
  assert.equal((await finished(client, video.id)).status, 'completed');
});

test('a picture may be a data URL', async () => {
  const image_url = `data:image/png;base64,${await readFile(PICTURE, 'base64')}`;
  const video = await client.videos.create({
    prompt: 'node: a cat in a URL', size: '1280x720', input_reference: { image_url },
  });
  assert.equal((await finished(client, video.id)).status, 'completed');
});

test('what the gateway adds goes beside the other fields', async (t) => {
  const inbox = await receiver(t);
  const added = {
    callback_url: inbox.url,
    callback_events: ['video.completed', 'video.cancelled'],
    metadata: { order: '4711', 配图: '動物' },
  };
  const video = await client.videos.create({ prompt: 'node: a cat with extras', ...added });
  assert.equal(video.callback_url, added.callback_url);
  assert.deepEqual(video.metadata, added.metadata);
  await client.post(`/videos/${video.id}/cancel`);
  assert.equal(JSON.parse((await inbox.next()).body).type, 'video.cancelled');
});

test('a POST that names a key may be repeated', async () => {
  const post = () => client.videos.create(
    { prompt: 'node: a cat with a key' }, { headers: { 'Idempotency-Key': 'node-4711' } },
  );
  const first = await post();
  const { data, response } = await post().withResponse();
  assert.equal(data.id, first.id);
  assert.equal(response.headers.get('idempotent-replayed'), 'true');
});

test('a finished video is downloaded', async () => {
  const video = await finished(client, (await client.videos.create({ prompt: 'node: a cat to fetch' })).id);
  const answer = await client.videos.downloadContent(video.id);
  const film = Buffer.from(await answer.arrayBuffer());
  assert.equal(answer.headers.get('content-type'), 'video/mp4');
  assert.equal(film.length, video.content.bytes);
  assert.equal(sha256(film), video.content.sha256);
});

test('every variant is downloaded', async () => {
  const video = await finished(client, (await client.videos.create({ prompt: 'node: a cat in pictures' })).id);
  for (const [variant, type] of [['video', 'video/mp4'], ['thumbnail', 'image/'], ['spritesheet', 'image/']]) {
    const answer = await client.videos.downloadContent(video.id, { variant });
    assert.ok(answer.headers.get('content-type').startsWith(type), variant);
    assert.ok((await answer.arrayBuffer()).byteLength > 0);
  }
});

test('a finished video is remixed', async () => {
  const source = await finished(client, (await client.videos.create({ prompt: 'node: a cat to remix' })).id);
  const remix = await client.videos.remix(source.id, { prompt: 'node: the cat, remixed' });
  assert.deepEqual([remix.status, remix.remixed_from_video_id], ['queued', source.id]);
  assert.equal((await finished(client, remix.id)).status, 'completed');
});

test('a video that is not finished says when to ask again', async () => {
  const { data, response } = await client.videos.create({ prompt: 'node: a cat to wait for' }).withResponse();
  assert.ok(Number(response.headers.get('openai-poll-after-ms')) > 0);
  await client.videos.delete(data.id);
});

test('a failed video says why', async () => {
  const video = await client.videos.create({ prompt: 'node: a cat sim:fail-moderation' });
  const failed = await finished(client, video.id);
  assert.deepEqual([failed.status, failed.completed_at], ['failed', null]);
  assert.equal(failed.error.code, 'content_policy_violation');
  assert.ok(failed.error.message);
});

test('a list pages by itself in both orders', async () => {
  const made = [];
  for (let number = 0; number < 5; number += 1) {
    const video = await client.videos.create({ prompt: `node: cat ${number}`, metadata: { suite: 'node-pages' } });
    made.push(video.id);
  }
  const mine = { query: { 'metadata[suite]': 'node-pages' } };
  for (const [order, expected] of [['asc', made], ['desc', made.toReversed()]]) {
    const page = await client.videos.list({ limit: 2, order, ...mine.query });
    assert.deepEqual([page.data.map((video) => video.id), page.has_more], [expected.slice(0, 2), true]);
    assert.deepEqual((await all(page)).map((video) => video.id), expected);
    const after = client.videos.list({ limit: 2, order, after: expected[1], ...mine.query });
    assert.deepEqual((await all(after)).map((video) => video.id), expected.slice(2));
  }
});

test('a deleted video is gone', async () => {
  const video = await client.videos.create({ prompt: 'node: a cat to delete' });
  const deleted = await client.videos.delete(video.id);
  assert.deepEqual(deleted, { id: video.id, object: 'video.deleted', deleted: true });
  await assert.rejects(client.videos.retrieve(video.id), OpenAI.NotFoundError);
});

test('models are listed and looked at', async () => {
  const models = await all(client.models.list());
  assert.ok(models.some((model) => model.id === 'sora-2'));
  const model = await client.models.retrieve('sora-2');
  assert.equal(model.object, 'model');
  assert.ok(model.sizes.includes('1280x720'));
});
