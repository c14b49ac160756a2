// nodemailer's pool with ready bytes: node nodemailer.cjs PORT COUNT CONNECTIONS FILE prints {"seconds": …}.
const fs = require("node:fs");
const nodemailer = require("nodemailer");

const [port, count, connections] = process.argv.slice(2, 5).map(Number);
const raw = fs.readFileSync(process.argv[5]);
const envelope = { from: "shop@example.org", to: "customer@example.net" };
const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port,
  ignoreTLS: true,
  pool: true,
  maxConnections: connections,
  maxMessages: Infinity,
});

async function main() {
  const started = process.hrtime.bigint();
  await Promise.all(Array.from({ length: count }, () => transport.sendMail({ envelope, raw })));
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  transport.close();
  console.log(JSON.stringify({ seconds }));
}

main();
