// What the tests of the official SDK for Node.js share: clients, a receiver of callbacks, and waiting for a video.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import OpenAI from 'openai';

const { WHOLE_URL, WHOLE_KEY, WEBHOOK_SECRET, RELAY_URL, NARROW_URL } = process.env;

export const PICTURE = process.env.PICTURE;

/** The SDK as its users have it, but for the base URL. */
export const sdk = (options = {}) =>
  new OpenAI({ baseURL: `${WHOLE_URL}/v1`, apiKey: WHOLE_KEY, webhookSecret: WEBHOOK_SECRET, ...options });

/** The SDK behind a relay that loses as many answers as the header x-lose of a request says. */
export const far = () => sdk({ baseURL: `${RELAY_URL}/v1` });

/** The SDK before a gateway that refuses much; it sends nothing again by itself. */
export const refused = () => sdk({ baseURL: `${NARROW_URL}/v1`, apiKey: 'sk-node', maxRetries: 0 });

/** Wait until a video is final, and return it. */
export async function finished(client, id) {
  for (;;) {
    const video = await client.videos.retrieve(id, { headers: { Prefer: 'wait=60' } });
    if (!['queued', 'in_progress'].includes(video.status)) return video;
  }
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

export async function all(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

/** A receiver of callbacks on loopback that answers them in turn with `statuses`, and 200 after those. */
export async function receiver(t, statuses = []) {
  const came = [];
  const waiting = [];
  const server = createServer(async (request, response) => {
    const blocks = await request.toArray();
    response.writeHead(statuses.shift() ?? 200).end();
    const callback = { body: Buffer.concat(blocks).toString(), headers: request.headers };
    const first = waiting.shift();
    if (first) first(callback);
    else came.push(callback);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return {
    url: `http://127.0.0.1:${server.address().port}/hook`,
    next: () => (came.length ? came.shift() : new Promise((resolve) => waiting.push(resolve))),
  };
}
