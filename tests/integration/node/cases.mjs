// The unmodified openai package of Node against a gateway: OPENAI_BASE_URL and OPENAI_API_KEY say where. Prints one JSON line a case.
import assert from "node:assert/strict";

const { default: OpenAI } = await import(new URL("../../../.cache/node/node_modules/openai/index.mjs", import.meta.url));

const model = "fake-model";
const client = new OpenAI({ maxRetries: 0, timeout: 30000 });
const user = (content) => [{ role: "user", content }];
const script = (name, args = {}) => user(JSON.stringify({ script: name, ...args }));
const tools = [{
  type: "function",
  function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
}];

const cases = [];
const test = (name, run) => cases.push({ name, run });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
const textOf = (chunks) => chunks.map((c) => c.choices[0]?.delta.content ?? "").join("");

test("chat", async () => {
  const answer = await client.chat.completions.create({ model, messages: user("Hi") });
  assert.equal(answer.choices[0].message.content, "Hello! How can I help?");
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.match(answer._request_id, /^req_[0-9a-f]{32}$/);
});

test("stream", async () => {
  const chunks = await collect(await client.chat.completions.create({ model, messages: user("Hi"), stream: true }));
  assert.equal(textOf(chunks), "Hello! How can I help?");
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
});

test("stream with usage", async () => {
  const chunks = await collect(await client.chat.completions.create({
    model, messages: user("Hi"), stream: true, stream_options: { include_usage: true },
  }));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 7);
});

test("stream helper", async () => {
  const stream = client.chat.completions.stream({ model, messages: user("Hi") });
  const answer = await stream.finalChatCompletion();
  assert.equal(answer.choices[0].message.content, "Hello! How can I help?");
});

test("tool call", async () => {
  const answer = await client.chat.completions.create({ model, messages: script("tool_call"), tools });
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments), { city: "Paris" });
});

test("streamed tool call", async () => {
  const stream = client.chat.completions.stream({ model, messages: script("tool_call"), tools });
  const message = (await stream.finalChatCompletion()).choices[0].message;
  assert.equal(message.tool_calls[0].function.name, "get_weather");
  assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: "Paris" });
});

test("json by schema", async () => {
  const answer = await client.chat.completions.parse({
    model,
    messages: script("answer", { text: '{"city":"Paris"}' }),
    response_format: {
      type: "json_schema",
      json_schema: {
        name: "city", strict: true,
        schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
      },
    },
  });
  assert.equal(JSON.parse(answer.choices[0].message.content).city, "Paris");
});

test("completions", async () => {
  const answer = await client.completions.create({ model, prompt: "Say hello" });
  assert.equal(answer.choices[0].text, "Hello! How can I help?");
});

test("embeddings", async () => {
  const byDefault = await client.embeddings.create({ model, input: ["a", "b"] }); // asks for base64, decodes it
  const asFloats = await client.embeddings.create({ model, input: ["a", "b"], encoding_format: "float" });
  assert.deepEqual(Array.from(byDefault.data[1].embedding), asFloats.data[1].embedding);
  assert.equal(asFloats.data[0].embedding.length, 8);
});

test("models", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.deepEqual(ids.sort(), ["fake-model", "org/model:tag-v1"]);
  assert.equal((await client.models.retrieve("org/model:tag-v1")).id, "org/model:tag-v1");
});

test("errors become the package's classes", async () => {
  await assert.rejects(client.chat.completions.create({ model: "nope", messages: user("Hi") }), (e) => {
    assert(e instanceof OpenAI.NotFoundError);
    assert.equal(e.code, "model_not_found");
    assert.equal(e.param, "model");
    assert.match(e.requestID, /^req_/);
    return true;
  });
  await assert.rejects(client.chat.completions.create({ model, messages: [] }), OpenAI.BadRequestError);
  await assert.rejects(new OpenAI({ apiKey: "sk-cocoon-wrong", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);
  await assert.rejects(client.chat.completions.create({ model, messages: script("error", { status: 500 }) }),
    OpenAI.InternalServerError);
});

test("an error in a stream is thrown", async () => {
  const stream = await client.chat.completions.create({ model, messages: script("half", { events: 3 }), stream: true });
  await assert.rejects(collect(stream), (e) => e instanceof OpenAI.APIError && e.type === "server_error");
});

test("leaving a stream closes it", async () => {
  const stream = await client.chat.completions.create({ model, messages: script("endless", { marker: "node-leaves" }), stream: true });
  let seen = 0;
  for await (const _ of stream) if (++seen === 5) break;
  assert.equal(seen, 5);
});

test("raw headers", async () => {
  const { data, response } = await client.chat.completions.create({ model, messages: user("Hi") }).withResponse();
  assert.equal(response.headers.get("x-request-id"), "req_" + response.headers.get("cocoon-call"));
  assert.equal(data.choices[0].message.role, "assistant");
});

test("twenty streams at a time", async () => {
  const texts = await Promise.all(Array.from({ length: 20 }, async (_, i) =>
    textOf(await collect(await client.chat.completions.create({ model, messages: user(`Hi ${i}`), stream: true })))));
  assert.deepEqual(new Set(texts), new Set(["Hello! How can I help?"]));
});

for (const { name, run } of cases) {
  let error = null;
  try {
    await run();
  } catch (e) {
    error = e.stack ?? String(e);
  }
  console.log(JSON.stringify({ name, error }));
}
