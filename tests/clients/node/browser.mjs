// A session in Chromium, by cookies alone: its site's pages go on with it and end it, pages from
// elsewhere can't.
//
//   node browser.mjs ORIGIN ORIGIN_AT_ANOTHER_PORT

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import puppeteer from "puppeteer-core";

const [origin, otherPort] = process.argv.slice(2);
// The same server, but to a browser the two are different sites.
const otherSite = origin.replace("127.0.0.1", "localhost");

const executablePath = process.env.PATH.split(delimiter).map((place) => join(place, "chromium")).find(existsSync);
assert(executablePath, "no Chromium: run `make test`, which installs it");
// Root has no sandbox in Chromium.
const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
const browser = await puppeteer.launch({ executablePath, args });
try {
  await session();
} finally {
  await browser.close();
}

async function session() {
  const page = await open(origin);
  assert.equal((await ask(page, "GET", "/things")).status, 401);
  assert.equal((await ask(page, "POST", "/public/login")).status, 200);
  const first = await tokens();
  const things = await ask(page, "GET", "/things");
  assert.deepEqual([things.status, JSON.parse(things.body)["x-auth-subject"]], [200, "ann"]);
  assert(things.body.includes(first.access.value) && !things.body.includes(first.refresh.value));
  console.log("logged in");

  assert.equal(await page.evaluate(() => document.cookie), "theme=dark");
  console.log("hidden from scripts");

  const { status, body } = await ask(page, "POST", "/session/refresh");
  assert.deepEqual([status, body], [200, '{"expires_in":900}']);
  const next = await tokens();
  assert.notEqual(next.access.value, first.access.value);
  assert.notEqual(next.refresh.value, first.refresh.value);
  assert.deepEqual([next.access.path, next.refresh.path], ["/", "/session"]);
  assert.equal(await page.evaluate(() => document.cookie), "theme=dark");
  assert.equal((await ask(page, "GET", "/things")).status, 200);
  console.log("refreshed");

  for (const [who, stranger] of [["another site", otherSite], ["another port", otherPort]]) {
    for (const path of ["/session/refresh", "/session/logout"]) {
      for (const send of [byFetch, byForm]) {
        assert.equal(await attempt(stranger, send, origin + path), 403, `${who}: ${send.name} to ${path}`);
      }
    }
    assert.deepEqual(await tokens(), next);
    console.log("refused to", who);
  }
  assert.equal((await ask(page, "GET", "/things")).status, 200);
  assert.equal((await ask(page, "POST", "/session/refresh")).status, 200);
  console.log("lives on");

  assert.equal((await ask(page, "POST", "/session/logout")).status, 204);
  assert.deepEqual((await browser.cookies()).map(({ name }) => name), ["theme"]);
  assert.equal((await ask(page, "GET", "/things")).status, 401);
  assert.equal((await ask(page, "POST", "/session/refresh")).status, 400);
  console.log("logged out");
}

async function open(site) {
  const page = await browser.newPage();
  await page.goto(`${site}/public/page`);
  return page;
}

// What a script of the page gets.
function ask(page, method, path) {
  return page.evaluate(
    async (method, path) => {
      const answer = await fetch(path, { method });
      return { status: answer.status, body: await answer.text() };
    },
    method,
    path,
  );
}

// The status with which a stranger's request was answered, which the stranger need not be shown.
async function attempt(stranger, send, url) {
  const page = await open(stranger);
  const [answer] = await Promise.all([page.waitForResponse(url), page.evaluate(send, url)]);
  await page.close();
  return answer.status();
}

async function byFetch(url) {
  await fetch(url, { method: "POST", mode: "no-cors", credentials: "include" });
}

function byForm(url) {
  const form = document.createElement("form");
  form.method = "POST";
  form.action = url;
  document.body.append(form);
  form.submit();
}

async function tokens() {
  const cookies = await browser.cookies();
  const named = (name) => cookies.find((cookie) => cookie.name === name);
  const [access, refresh] = [named("__Host-access_token"), named("__Secure-refresh_token")];
  assert(access.httpOnly && access.secure && refresh.httpOnly && refresh.secure);
  assert.deepEqual([access.sameSite, refresh.sameSite], ["Lax", "Strict"]);
  return { access, refresh };
}
