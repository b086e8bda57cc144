// What scripts/click-through runs: node click-through.mjs REPOSITORY DIRECTORY
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [repository, directory] = process.argv.slice(2);
const { LANDFALL_BIN, LANDFALL_EMULATORS } = process.env;
const commits = ["1", "2"].map((digit) => digit.repeat(40));
const home = mkdtempSync(join(tmpdir(), "landfall-click-"));
const children = [];

const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => done(port));
  });
});

const eventually = async (what, look, limit = 30_000) => {
  const deadline = Date.now() + limit;
  for (;;) {
    let found;
    try {
      found = await look();
    } catch (error) {
      found = undefined;
      if (Date.now() > deadline) throw error;
    }
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((wait) => setTimeout(wait, 100));
  }
};

const answers = async (url) => (await fetch(url)).ok;

const start = (program, args, env) => {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: "ignore", detached: true });
  children.push(child);
};

const [emulator, listen] = [await freePort(), await freePort()];
const aws = { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test", AWS_REGION: "us-east-1", AWS_EC2_METADATA_DISABLED: "true" };
const environment = (user) => ({
  ...aws, HOME: home, USER: user, LANDFALL_STATE: join(home, "state"), LANDFALL_CONFIG: join(home, "landfall.yml"), NO_COLOR: "1",
  LANDFALL_ENGINE: "/nonexistent.sock", LANDFALL_WEBHOOK_SECRET: "a secret of the tests",
});
const landfall = (user, ...args) =>
  execFileSync(LANDFALL_BIN, args, { env: { ...process.env, ...environment(user) }, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const run = () => JSON.parse(landfall("ben", "pipeline", "show", "main", "--output", "json"));

async function setUp() {
  start(join(LANDFALL_EMULATORS, "ministack/bin/ministack"), [], {
    BIND_HOST: "127.0.0.1", MINISTACK_HOST: "127.0.0.1", GATEWAY_PORT: String(emulator), IOT_MTLS_ENABLED: "0",
    DOCKER_HOST: "unix:///nonexistent",
  });
  const place = (name) => `  ${name}: { region: us-east-1, endpoint: "http://127.0.0.1:${emulator}", account: "000000000000", cluster: shop-${name} }\n`;
  const stage = (name) => `  ${name}:\n    on: ${name}\n    stack: { network: { new: { nat: none } } }\n`;
  writeFileSync(join(home, "landfall.yml"), `project: shop
aws:
${place("dev")}${place("prod")}services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: { await: { image: "000000000000.dkr.ecr.us-east-1.amazonaws.com/shop:{commit}" }, ports: [80] }
    load_balancer: {}
environments:
${stage("dev")}${stage("prod")}pipelines:
  main:
    stages:
      - { environment: dev, run: [{ stack: {} }] }
      - { environment: prod, run: [{ stack: {} }], approval: { by: [anna], deadline: 72h } }
`);
  await eventually("ministack", () => answers(`http://127.0.0.1:${emulator}/_ministack/health`), 60_000);
  execFileSync(join(LANDFALL_EMULATORS, "boto/bin/python"), [join(repository, "crates/landfall/tests/aws/stack.py"), "push", "shop", ...commits], {
    env: { ...process.env, ...aws, AWS_DEFAULT_REGION: "us-east-1", AWS_ENDPOINT_URL: `http://127.0.0.1:${emulator}` },
  });
  start(LANDFALL_BIN, ["serve", "--listen", `127.0.0.1:${listen}`], environment("ben"));
  await eventually("landfall serve", () => answers(`http://127.0.0.1:${listen}/healthz`), 60_000);
}

/** A run that waits before prod, and Anna's link to its page. */
async function asked(commit) {
  landfall("ben", "pipeline", "run", "main", "--commit", commit, "--detach");
  await eventually("it waits for people", () => run().state === "awaiting_approval", 60_000);
  return landfall("anna", "pipeline", "open", "main").trim();
}

async function opened(browser, link, settings) {
  const context = await browser.newContext({ javaScriptEnabled: false, ...settings });
  const page = await context.newPage();
  const elsewhere = [];
  page.on("request", (request) => new URL(request.url()).port === String(listen) || elsewhere.push(request.url()));
  const answer = await page.goto(link);
  assert.equal(answer.status(), 200);
  assert.ok(!page.url().includes("token"), `the token has left the address: ${page.url()}`);
  assert.deepEqual(elsewhere, [], "nothing is loaded from elsewhere");
  assert.match(answer.headers()["content-security-policy"] ?? "", /default-src 'none'/);
  return page;
}

const text = (page) => page.locator("main").innerText();
const focused = (page) => page.locator(":focus");

/** Tab by Tab, to what has that name. */
async function tabTo(page, name) {
  for (let presses = 0; presses < 30; presses += 1) {
    await page.keyboard.press("Tab");
    const at = focused(page);
    if ((await at.count()) === 0) continue;
    const outline = await at.evaluate((element) => getComputedStyle(element).outlineStyle).catch(() => "unknown");
    if ((await at.getAttribute("id")) === name || (await at.innerText().catch(() => "")) === name) {
      assert.notEqual(outline, "none", `${name}: whoever uses the keyboard sees where they are`);
      return;
    }
  }
  throw new Error(`Tab never comes to ${name}`);
}

async function approvedByKeyboard(browser) {
  const link = await asked(commits[0]);
  const page = await opened(browser, link, { viewport: { width: 1100, height: 1400 }, colorScheme: "light" });
  const shown = await text(page);
  for (const line of ["stack shop-prod: is made", "+ add      WebService", "You decide as anna"]) {
    assert.ok(shown.includes(line), `${line}: ${shown}`);
  }
  await page.screenshot({ path: join(directory, "asked.png"), fullPage: true });
  await tabTo(page, "Go to the decision");
  await page.keyboard.press("Enter");
  await tabTo(page, "comment");
  await page.keyboard.type("looked at dev");
  await tabTo(page, "Approve");
  await page.keyboard.press("Enter");
  await page.waitForLoadState();
  await eventually("the page says that it has passed", async () => {
    await page.reload();
    return (await page.locator("h1").innerText()).toLowerCase().includes("passed");
  });
  const after = await page.locator("body").innerText();
  assert.ok(after.includes("looked at dev"), after);
  assert.equal(await page.locator("button[value=approve]").count(), 0, "there is nothing left to decide");
  await page.screenshot({ path: join(directory, "passed.png"), fullPage: true });
  const said = run().timeline.map((moment) => moment.text).find((line) => line.startsWith("approved by"));
  assert.match(said, /approved by .*anna: looked at dev/);
  // The link has decided once; it shows, and decides nothing more.
  const again = await opened(browser, link, {});
  assert.equal(await again.locator("button").count(), 0);
}

async function rejectedOnAPhone(browser) {
  const link = await asked(commits[1]);
  const phone = { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true, isMobile: true };
  const page = await opened(browser, link, phone);
  assert.ok((await text(page)).includes("~ revise   WebTaskDefinition"));
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360, "it does not scroll sideways");
  await page.locator("#comment").fill("not on a Friday");
  await page.screenshot({ path: join(directory, "phone.png"), fullPage: true });
  await page.locator("button[value=reject]").tap();
  await page.waitForLoadState();
  await eventually("it is rejected", () => run().state === "rejected");
  await page.reload();
  assert.ok((await page.locator("body").innerText()).includes("not on a Friday"));
  await page.screenshot({ path: join(directory, "rejected.png"), fullPage: true });
}

async function forgedLinksShowNothing(browser) {
  const page = await (await browser.newContext()).newPage();
  const answer = await page.goto(`http://127.0.0.1:${listen}/pipelines/runs/${run().id}?token=forged`).catch(() => undefined);
  assert.ok(answer && answer.status() >= 400, "a forged link is refused");
  assert.ok(!(await page.locator("body").innerText()).includes("WebTaskDefinition"));
}

let browser;
try {
  await setUp();
  browser = await chromium.launch({ executablePath: execFileSync("which", [process.env.CHROMIUM ?? "chromium"], { encoding: "utf8" }).trim(), args: ["--no-sandbox"] });
  for (const step of [approvedByKeyboard, rejectedOnAPhone, forgedLinksShowNothing]) {
    await step(browser);
    console.log(`ok  ${step.name}`);
  }
  console.log(`screenshots: ${directory}`);
} finally {
  await browser?.close();
  for (const child of children) {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
  rmSync(home, { recursive: true, force: true });
}
