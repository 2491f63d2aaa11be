// Receives webhooks and says of each, on a line of JSON, which secrets the public package accepts it with.
//
// The first line of the output is the port; every line of the input is a list of secrets, in place of those before.

const http = require("node:http");
const readline = require("node:readline");
const { Webhook } = require("standardwebhooks");

let secrets = [];

function accepts(secret, body, headers) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString("utf8");
    const accepted = secrets.map((secret) => accepts(secret, body, request.headers));
    response.writeHead(accepted.includes(true) ? 204 : 400).end();
    console.log(JSON.stringify({ id: request.headers["webhook-id"], accepted, body: JSON.parse(body) }));
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  secrets = JSON.parse(line);
  console.log(JSON.stringify("known"));
});
input.on("close", () => process.exit());
