// Makes a video from a picture and a prompt: submits it, asks until it is final, and saves it.
// Node.js 18 or newer, no package.
//
// SORA_URL=http://127.0.0.1:8080 SORA_KEY=sk-… node generate.mjs image.png '参考配图，使得动物们活跃起来' video.mp4
//
// With SORA_CALLBACK_URL it ends once the video is accepted: the gateway tells that URL when it is final (receive.mjs).

import { createHash, randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { readFile, rename } from "node:fs/promises";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

const { SORA_URL = "http://127.0.0.1:8080", SORA_KEY, SORA_CALLBACK_URL } = process.env;

// Every request may be repeated, the POST too: under one Idempotency-Key it makes one video, however often it arrives.
async function ask(path, { headers, ...parts } = {}) {
  const request = { ...parts, headers: { Authorization: `Bearer ${SORA_KEY}`, ...headers } };
  for (let tries = 1; ; tries++) {
    const signal = AbortSignal.timeout(60_000);
    const answer = await fetch(`${SORA_URL}/v1/videos${path}`, { ...request, signal }).catch((error) => error);
    if (answer.ok) return answer;
    const passing = !answer.status || answer.status === 429 || answer.status >= 500;
    if (!passing || tries === 5) throw answer.status ? await refusal(answer) : answer;
    await sleep(1000 * (answer.headers?.get("retry-after") ?? 2 ** tries / 4));
  }
}

async function refusal(answer) {
  const text = await answer.text();
  try {
    const { message, code, param } = JSON.parse(text).error;
    return new Error(`HTTP ${answer.status}: ${message} (code ${code}, param ${param})`);
  } catch { // a proxy's answer, not the gateway's
    return new Error(`HTTP ${answer.status}: ${text.slice(0, 300)}`);
  }
}

async function submit(image, prompt) {
  const body = new FormData();
  body.set("prompt", prompt);
  body.set("size", "1280x720");
  body.set("seconds", "4");
  body.set("input_reference", new Blob([await readFile(image)]), basename(image));
  if (SORA_CALLBACK_URL) body.set("callback_url", SORA_CALLBACK_URL);
  const key = randomUUID(); // in a backend: what the video is for, such as the order's number
  return (await ask("", { method: "POST", body, headers: { "Idempotency-Key": key } })).json();
}

async function wait(video) {
  while (["queued", "in_progress"].includes(video.status)) {
    const answer = await ask(`/${video.id}`);
    video = await answer.json();
    console.log(`${video.status} ${video.progress} %`);
    await sleep(Number(answer.headers.get("openai-poll-after-ms")));
  }
  return video;
}

async function save(video, target) {
  // The link carries its own permission and is good for a day: the key stays out of it.
  const answer = await fetch(video.url);
  if (!answer.ok) throw new Error(`the link was answered with HTTP ${answer.status}`);
  const hash = createHash("sha256");
  let length = 0;
  const watch = async function* (blocks) {
    for await (const block of blocks) {
      hash.update(block);
      process.stdout.write(`\r${(length += block.length)} of ${video.content.bytes} bytes`);
      yield block;
    }
  };
  await pipeline(answer.body, watch, createWriteStream(`${target}.part`));
  if (hash.digest("hex") !== video.content.sha256) throw new Error("the download is damaged");
  await rename(`${target}.part`, target); // half a file never bears the name of a whole one
  console.log(`\nsaved ${target}`);
}

async function main(image, prompt, target = "video.mp4") {
  let video = await submit(image, prompt);
  console.log(`${video.id} is accepted`);
  if (SORA_CALLBACK_URL) return;
  video = await wait(video);
  if (video.status !== "completed") {
    throw new Error(`${video.id} ${video.status}: ${video.error?.message} (code ${video.error?.code})`);
  }
  await save(video, target);
}

if (process.argv.length < 4) {
  console.error("usage: node generate.mjs IMAGE PROMPT [TARGET]");
  process.exit(2);
}
main(...process.argv.slice(2)).catch((error) => {
  console.error(error.cause?.message ?? error.message);
  process.exitCode = 1;
});
