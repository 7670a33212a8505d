// The page: puts the parts together. What is looked at is in the address; everything else follows from it.

import * as session from './session.js';
import { Chart, Counts } from './chart.js';
import { Detail } from './detail.js';
import { Events, countLine, renderEvent } from './events.js';
import { Fleet, WATCHED } from './jobs.js';
import { Keys } from './keys.js';
import { EventStream } from './stream.js';
import { VIEWS, connectedOf } from './tables.js';
import { VirtualList } from './virtual.js';
import { bytes, make, number, plural, rate } from './text.js';
import * as routes from './route.js';

const $ = (id) => document.getElementById(id);
const STATUS_EVERY = 2000;
const SUMMARY_EVERY = 30_000;
const JOBS_BACK = 5000;
const BEHIND = 2000; // events; fewer may come between two looks at the status

let route = routes.read();
let status = null;
let statusProblem = '';
let table = [];
let tableSelected = null;
let isDrawn = false;
let fleetStream = null;
let fleetState = 'connecting';

const counts = new Counts();
const fleet = new Fleet();
const list = new VirtualList($('list'), {
  render: (element, row) => (route.view === 'events' ? renderEvent(element, row, route.q.toLowerCase()) : VIEWS[route.view].draw(element, row)),
  onScroll: () => { if (route.view === 'events') events.scrolled(); },
  onPick: pick,
});
const chart = new Chart($('chart'), $('chart-tip'), counts, (second) => go({ view: 'events', at: new Date(second * 1000).toISOString() }));
const detail = new Detail($('detail'), {
  close: closeDetail,
  copy,
  filter: (name, value, replaces) => {
    if (name === 'filter') return go({ view: 'events', filter: addTerm(route.filter, value) });
    const before = replaces ? [] : route[name].filter((one) => one !== value);
    return go({ view: 'events', [name]: [...before, value] });
  },
  goTo: (sequence) => go({ view: 'events', at: String(sequence) }),
  openEvents: (wanted) => go({ view: 'events', tag: [], exclude: [], filter: '', q: '', at: '', match: 'glob', ...wanted }),
});
const events = new Events({
  list, counts, draw, say, tell,
  selected: (row, opens) => { if (opens || detail.isOpen) { row.data ??= JSON.parse(row.line ?? '{}').data; detail.showRow(row, route.q.toLowerCase()); row.data = undefined; } },
});

// --- what is looked at ---

function go(changes) {
  const next = routes.write({ ...route, ...changes });
  if (next !== location.hash) location.hash = next; else open();
}

/** Changes the address without a step in the history: while somebody types. */
function adjust(changes) {
  history.replaceState(null, '', routes.write({ ...route, ...changes }));
  open();
}

function open() {
  const before = route.view;
  route = routes.read();
  showFilters();
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === route.view) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  const isEvents = route.view === 'events';
  document.body.dataset.view = route.view;
  $('list').dataset.view = route.view;
  const title = isEvents ? 'Events' : VIEWS[route.view].title;
  $('heading').textContent = title;
  $('list').setAttribute('aria-label', title);
  document.title = `${title} – Brine${status?.node?.id ? ` ${status.node.id}` : ''}`;
  $('columns').replaceChildren(...(isEvents ? ['Time', 'Tag', 'Data'] : VIEWS[route.view].columns).map((name, index) => make('span', { className: `c${index}` }, name)));
  if (before !== route.view) { closeDetail(); tell(''); tableSelected = null; }
  if (!session.isLoggedIn()) { askLogin(''); return draw(); }
  if (isEvents) {
    list.show(events.rows);
    tell('');
    events.open(route);
    list.measure(); // how many rows there is room for decides where the end is
    if (events.isFollowing) list.toEnd();
  } else {
    updateTable();
    if (before !== route.view) list.toStart();
  }
  list.refresh();
  list.measure();
  startFleet();
  draw();
}

function showFilters() {
  const set = (id, value) => { if (document.activeElement !== $(id)) $(id).value = value; };
  set('f-tag', route.tag.join(' '));
  set('f-exclude', route.exclude.join(' '));
  set('f-filter', route.filter);
  set('f-text', route.q);
  $('f-match').value = route.match;
}

function addTerm(filter, term) {
  const name = term.split(':')[0];
  return [...routes.words(filter).filter((one) => !one.startsWith(`${name}:`)), term].join(' ');
}

function applyFilters() {
  go({ tag: routes.words($('f-tag').value), exclude: routes.words($('f-exclude').value), match: $('f-match').value, filter: $('f-filter').value.trim(), q: $('f-text').value });
}

// --- jobs, minions, subscribers ---

function startFleet() {
  if (fleetStream) return;
  const params = new URLSearchParams(WATCHED);
  params.append('last', JOBS_BACK);
  fleetStream = new EventStream(params, (rows) => {
    fleet.add(rows);
    if (route.view === 'jobs' || route.view === 'minions') soon(updateTable, 250);
  }, (state) => { fleetState = state; draw(); });
  fleetStream.start();
}

const planned = new Set();
/** Calls something once, a little later, however often it is asked for. */
function soon(act, delay) {
  if (planned.has(act)) return;
  planned.add(act);
  setTimeout(() => { planned.delete(act); act(); }, delay);
}

function updateTable() {
  const view = VIEWS[route.view];
  if (!view) return;
  table = view.rows({ fleet, status }, route.q.toLowerCase());
  list.show(table);
  if (tableSelected !== null) list.active = table.findIndex((row) => view.key(row) === tableSelected);
  list.refresh();
  draw();
}

async function poll() {
  if (session.isLoggedIn() && !document.hidden) {
    try {
      const seen = events.position;
      status = await (await session.get(seen ? `status?after=${encodeURIComponent(seen)}` : 'status')).json();
      statusProblem = '';
    } catch (error) {
      statusProblem = error.message;
    }
    if (route.view === 'readers' || route.view === 'minions') updateTable();
    draw();
  }
  setTimeout(poll, STATUS_EVERY);
}

// --- selecting ---

function select(index, opens) {
  if (route.view === 'events') return events.select(index, opens);
  const row = table[index];
  if (!row) return undefined;
  tableSelected = VIEWS[route.view].key(row);
  list.activate(index);
  if (opens || detail.isOpen) showTableRow(row);
  return draw();
}

/** Opens a row, wherever it is by now. */
function pick(row) {
  const key = VIEWS[route.view]?.key;
  select(key ? table.findIndex((one) => key(one) === key(row)) : events.rows.indexOf(row), true);
}

function showTableRow(row) {
  if (route.view === 'jobs') detail.showJob(row);
  else if (route.view === 'readers') detail.showReader(row);
  else {
    const jobs = fleet.newestJobs().filter((job) => job.returns.has(row.id) || job.expected?.has(row.id)).map((job) => [job, job.returns.get(row.id)]);
    const connected = connectedOf(fleet, status);
    detail.showMinion(row, connected ? (connected.has(row.id) ? 'yes' : 'no') : 'unknown', jobs);
  }
}

function move(step, opens = false) {
  const { length } = route.view === 'events' ? events.rows : table;
  if (!length) return;
  const from = list.active >= 0 ? list.active : step > 0 ? (events.isFollowing && route.view === 'events' ? length - 2 : -1) : length;
  select(Math.max(0, Math.min(length - 1, from + step)), opens);
}

function openSelected() {
  if (list.active < 0) move(route.view === 'events' ? -1 : 1, true); else select(list.active, true);
  detail.focus();
}

function closeDetail() {
  const hadFocus = $('detail').contains(document.activeElement);
  detail.close();
  if (hadFocus) $('list').focus();
}

async function copy() {
  if (!detail.isOpen && list.active >= 0) select(list.active, true);
  try { if (await detail.copy()) say('Copied'); } catch { say('The browser does not allow copying'); }
}

// --- what is said ---

function say(text) { $('say').textContent = text; }

/** A line above the list; an empty text removes it. */
function tell(text, kind = 'warn') {
  const notice = $('notice');
  notice.hidden = !text;
  notice.dataset.kind = kind;
  notice.textContent = text;
  if (text) say(text);
}

function draw() {
  if (isDrawn) return;
  isDrawn = true;
  // Four times a second is enough for words.
  setTimeout(() => { isDrawn = false; drawNow(); }, 120);
}

function drawNow() {
  const isEvents = route.view === 'events';
  const link = $('link');
  const known = { live: ['live', 'live'], waiting: ['lost', 'reconnecting'], refused: ['lost', 'refused'], connecting: ['off', 'connecting'] };
  const [state, words] = !session.isLoggedIn() ? ['off', 'not logged in']
    : !isEvents ? known[fleetState]
    : events.state === 'past' && !events.isLive ? ['past', 'history']
    : events.state !== 'live' ? known[events.state] ?? known.connecting
    : events.isFollowing ? liveOrBehind() : ['held', events.isPaused ? 'paused' : 'held'];
  if (link.dataset.state !== state) link.dataset.state = state;
  if (link.textContent !== words) link.textContent = words;
  const pause = $('pause');
  const isHeld = events.isLive ? !events.isFollowing : true;
  pause.textContent = !events.isLive ? 'Live' : isHeld ? 'Resume' : 'Pause';
  pause.setAttribute('aria-pressed', events.isLive && isHeld);
  const toLive = $('tolive');
  toLive.hidden = !isEvents || !isHeld || !session.isLoggedIn();
  toLive.textContent = events.isLive ? (events.held ? `${plural(events.held, 'new event')} – go to live` : 'Go to live') : 'Jump to live';
  $('node').textContent = status?.node ? [status.node.kind, status.node.id].filter(Boolean).join(' ') : '';
  drawCounts(isEvents);
}

/** A view without filters that lacks many events of the bus is not quite live, and says so. */
function liveOrBehind() {
  // The server counts: a difference of two numbers is no count, since a bus that was killed leaves many unused.
  const behind = routes.filters(route).size === 0 ? status?.log?.after ?? 0 : 0;
  return behind > BEHIND ? ['held', `${number(behind)} behind`] : ['live', 'live'];
}

function drawCounts(isEvents) {
  const length = isEvents ? events.rows.length : table.length;
  $('counts').textContent = isEvents ? countLine(events.rows, route.q) + (events.isLoading ? ', loading…' : '')
    : `${plural(length, 'row')}${route.view === 'readers' && statusProblem ? `; ${statusProblem}` : ''}`;
  const log = status?.log;
  const parts = [];
  if (log) parts.push(`newest ${log.newest}`, `oldest ${log.oldest}`, `${bytes(log.memory_bytes)} in memory`);
  if (status?.history) parts.push(`${bytes(status.history.used_bytes)} of history${status.history.trouble ? `, in trouble: ${status.history.trouble}` : ''}`);
  if (route.view === 'minions' && status?.minions) parts.push(...['accepted', 'pending', 'rejected', 'denied'].filter((key) => Number.isFinite(status.minions[key])).map((key) => `${number(status.minions[key])} ${key}`));
  $('span').textContent = parts.join(' · ');
  const empty = $('empty');
  empty.hidden = length > 0 || !session.isLoggedIn();
  if (!empty.hidden) {
    empty.textContent = !isEvents ? (route.view === 'readers' && statusProblem ? statusProblem : VIEWS[route.view].empty)
      : events.isLoading || events.state === 'connecting' ? 'Loading…' : events.rows.all.length ? 'Nothing loaded holds this text.' : routes.filters(route).size ? 'Nothing matches the filters yet.' : 'No event yet. Fire one: brine send my/tag';
  }
}

let measuredAt = performance.now();
let measured = 0;
let said = 0;
setInterval(() => {
  const now = performance.now();
  const received = Math.max(0, events.received - measured);
  const perSecond = received * 1000 / (now - measuredAt);
  measuredAt = now;
  measured = events.received;
  $('rate').textContent = route.view === 'events' && events.isLive && session.isLoggedIn() ? `${rate(perSecond)}/s` : '';
  if (route.view !== 'events' || document.hidden) return;
  chart.isLive = events.isLive;
  chart.draw();
}, 1000);

setInterval(() => {
  $('chart').setAttribute('aria-label', chart.describe());
  const news = events.received - said;
  said = events.received;
  if (route.view === 'events' && events.isFollowing && news > 0) say(`${plural(news, 'event')} in the last 30 seconds`);
}, SUMMARY_EVERY);

// --- logging in ---

function askLogin(why) {
  if ($('login').open) return;
  events.close();
  events.state = 'off';
  fleetStream?.stop();
  fleetStream = null;
  $('login-why').textContent = why;
  $('login-error').textContent = '';
  $('login-eauth').value = localStorage.getItem('brine.eauth') ?? 'pam';
  $('logout').hidden = true;
  $('login').showModal();
  draw();
}

async function logIn(event) {
  event.preventDefault();
  const go = $('login-go');
  go.disabled = true;
  $('login-error').textContent = '';
  try {
    await session.logIn($('login-user').value, $('login-password').value, $('login-eauth').value);
    $('login-password').value = '';
    $('login').close();
    loggedIn();
    $('list').focus();
  } catch (error) {
    $('login-error').textContent = error instanceof session.Refused ? error.message : 'The server does not answer.';
    $('login-password').select();
  } finally {
    go.disabled = false;
  }
}

function loggedIn() {
  const out = $('logout');
  out.hidden = false;
  out.title = `Log out ${session.user()}`;
  open();
}

// --- choosing a time ---

function askTime() {
  const log = status?.log;
  $('time-kept').textContent = log ? `Kept: ${log.oldest} to ${log.newest}.` : '';
  $('time-error').textContent = '';
  const from = events.selected?.at ?? events.rows.all.first?.at ?? Date.now();
  const local = new Date(from - new Date(from).getTimezoneOffset() * 60_000);
  $('time-local').value = Number.isFinite(from) ? local.toISOString().slice(0, 19) : '';
  $('time-text').value = '';
  $('time').showModal();
}

function chooseTime(event) {
  event.preventDefault();
  const words = $('time-text').value.trim();
  const local = $('time-local').value;
  if (!words && !local) { $('time-error').textContent = 'Give a time in one of the two fields.'; return; }
  $('time').close();
  go({ view: 'events', at: words || new Date(local).toISOString() });
}

// --- wiring ---

const THEMES = ['', 'dark', 'light'];
function theme(step = 0) {
  const at = THEMES.indexOf(localStorage.getItem('brine.theme') ?? '');
  const next = THEMES[(at + step + THEMES.length) % THEMES.length];
  localStorage.setItem('brine.theme', next);
  if (next) document.documentElement.dataset.theme = next; else delete document.documentElement.dataset.theme;
  chart.recolour();
  if (step) say(next ? `${next} colours` : 'colours as the system has them');
}

function pauseOrResume() {
  if (!events.isLive) return go({ at: '' });
  if (events.isFollowing) events.pause(); else { events.unselect(); closeDetail(); events.resume(); }
  return say(events.isFollowing ? 'Live' : 'Paused');
}

function escape() {
  if (document.activeElement?.matches('input, select')) $('list').focus();
  else if (detail.isOpen) closeDetail();
  else if (events.selected || tableSelected) { events.unselect(); tableSelected = null; list.active = -1; list.draw(); }
}

const keys = new Keys($('keys'), [
  { keys: ['?'], on: ['?'], what: 'show this', act: () => keys.show() },
  { keys: ['space'], on: [' '], what: 'pause, go on; from history: live', act: pauseOrResume },
  { keys: ['j', '↓'], on: ['j', 'ArrowDown'], what: 'next row', act: () => move(1) },
  { keys: ['k', '↑'], on: ['k', 'ArrowUp'], what: 'previous row', act: () => move(-1) },
  { keys: ['PageDown', 'PageUp'], on: ['PageDown'], what: 'a page on, a page back', act: () => move(list.perPage) },
  { keys: [], on: ['PageUp'], what: '', act: () => move(-list.perPage) },
  { keys: ['Enter', '→'], on: ['Enter', 'ArrowRight'], what: 'open the row’s details', act: openSelected },
  { keys: ['Esc'], on: ['Escape'], what: 'close details, leave a field', act: escape },
  { keys: ['g', 'Home'], on: ['g', 'Home'], what: 'first row loaded; again: load earlier ones', act: () => (route.view === 'events' ? events.toStart() : select(0, false)) },
  { keys: ['G', 'End'], on: ['G', 'End'], what: 'live, the newest row', act: () => (route.view === 'events' ? (events.isLive ? (events.unselect(), events.resume()) : go({ at: '' })) : select(table.length - 1, false)) },
  { keys: ['n', 'N'], on: ['n'], what: 'next failure, previous failure', act: () => events.selectFailure(1) },
  { keys: [], on: ['N'], what: '', act: () => events.selectFailure(-1) },
  { keys: ['/'], on: ['/'], what: 'search the text', act: () => $('f-text').select() },
  { keys: ['f'], on: ['f'], what: 'filter by tag', act: () => $('f-tag').select() },
  { keys: ['h'], on: ['h'], what: 'go to a time', act: askTime },
  { keys: ['e', 'c'], on: ['e'], what: 'expand, fold all data', act: () => detail.setAll(true) },
  { keys: [], on: ['c'], what: '', act: () => detail.setAll(false) },
  { keys: ['y'], on: ['y'], what: 'copy the event as JSON', act: copy },
  { keys: ['1', '…', '4'], on: ['1'], what: 'events, jobs, minions, subscribers', act: () => go({ view: 'events' }) },
  { keys: [], on: ['2'], what: '', act: () => go({ view: 'jobs' }) },
  { keys: [], on: ['3'], what: '', act: () => go({ view: 'minions' }) },
  { keys: [], on: ['4'], what: '', act: () => go({ view: 'readers' }) },
  { keys: ['t'], on: ['t'], what: 'dark, light, as the system', act: () => theme(1) },
]);

window.addEventListener('hashchange', open);
document.addEventListener('visibilitychange', () => { if (!document.hidden) draw(); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => chart.recolour());
matchMedia('(max-width: 700px)').addEventListener('change', () => { list.measure(); list.refresh(); });
for (const link of document.querySelectorAll('nav a')) {
  link.addEventListener('click', (event) => { event.preventDefault(); go({ view: link.dataset.view }); });
}
$('filters').addEventListener('submit', (event) => { event.preventDefault(); applyFilters(); });
for (const id of ['f-tag', 'f-exclude', 'f-filter', 'f-match']) $(id).addEventListener('change', applyFilters);
$('f-text').addEventListener('input', () => soon(searchNow, 150));
function searchNow() { adjust({ q: $('f-text').value }); }
$('clear').addEventListener('click', () => { document.activeElement.blur(); go({ tag: [], exclude: [], match: 'glob', filter: '', q: '' }); });
$('when').addEventListener('click', askTime);
$('pause').addEventListener('click', pauseOrResume);
$('tolive').addEventListener('click', () => { if (events.isLive) { events.unselect(); events.resume(); } else go({ at: '' }); });
$('theme').addEventListener('click', () => theme(1));
$('help').addEventListener('click', () => keys.show());
$('skip').addEventListener('click', (event) => { event.preventDefault(); $('list').focus(); });
$('logout').addEventListener('click', async () => { await session.logOut(); askLogin('You are logged out.'); });
$('login-form').addEventListener('submit', logIn);
$('login').addEventListener('cancel', (event) => event.preventDefault());
$('time-form').addEventListener('submit', chooseTime);
for (const button of document.querySelectorAll('[data-close]')) button.addEventListener('click', () => button.closest('dialog').close());
for (const button of document.querySelectorAll('[data-at]')) button.addEventListener('click', () => { $('time').close(); go({ view: 'events', at: button.dataset.at }); });
session.whenLoggedOut(() => askLogin('The session has ended: log in again.'));

theme();
if (session.isLoggedIn()) loggedIn(); else open();
poll();
