// Receives callbacks with Express: verifies each, answers at once, and saves the finished videos. It needs no API key.
//
// npm install express standardwebhooks
// SORA_WEBHOOK_SECRET=whsec_… PORT=9000 node receive.mjs

import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rename } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import express from "express";
import { Webhook } from "standardwebhooks";

const { SORA_WEBHOOK_SECRET, PORT = "9000" } = process.env;
const webhook = new Webhook(SORA_WEBHOOK_SECRET);
// In a backend it is in the database, with the event: what was answered with 204 is not sent again.
const seen = new Set();
const app = express();

// Not express.json(): the signature is that of the raw bytes. A larger body is 413.
app.post("/hook", express.raw({ type: () => true, limit: "1mb" }), (request, response) => {
  let event;
  try {
    // A timestamp at most five minutes off, any of the signatures, compared in constant time.
    event = webhook.verify(request.body, request.headers);
  } catch (error) {
    return response.status(400).send(`${error.message}\n`);
  }
  response.status(204).end();
  const id = request.headers["webhook-id"]; // a repeat has the id of the first
  if (!seen.has(id)) {
    seen.add(id);
    handle(event).catch((error) => console.log(`${event.data.id} is not saved: ${error.message}`));
  }
});

async function handle({ type, data: video }) {
  switch (type) {
    case "video.completed":
      return save(video, `${video.id}.mp4`);
    case "video.failed":
      return console.log(`${video.id} failed: ${video.error.message} (code ${video.error.code})`);
    default:
      return console.log(`${video.id} ${type}`);
  }
}

async function save(video, target) {
  const answer = await fetch(video.url);
  if (!answer.ok) throw new Error(`the link was answered with HTTP ${answer.status}`);
  const hash = createHash("sha256");
  const watch = async function* (blocks) {
    for await (const block of blocks) {
      hash.update(block);
      yield block;
    }
  };
  await pipeline(answer.body, watch, createWriteStream(`${target}.part`));
  if (hash.digest("hex") !== video.content.sha256) throw new Error("the download is damaged");
  await rename(`${target}.part`, target); // half a file never bears the name of a whole one
  console.log(`${video.id} is saved: ${target}`);
}

app.listen(Number(PORT), "127.0.0.1");
