// The view of events: live, held, or somewhere in the past. It keeps a bounded window of the log and says
// what it leaves out.

import { Refused } from './session.js';
import { EventStream, fetchRows } from './stream.js';
import { Rows } from './rows.js';
import { describeHole } from './detail.js';
import { clock, family, failed, make, marked, number, plural, summary } from './text.js';
import { filters } from './route.js';

const FIRST = 300; // events before now that a live view begins with
const PAGE = 500;

export class Events {
  rows = new Rows();
  selected = null;
  /** Whether the newest event stays in view. */
  isFollowing = true;
  isPaused = false;
  state = 'off';
  #ui;
  #route = null;
  #stream = null;
  #held = 0;
  #leftOut = null;
  #load = null;
  #isOldest = false;
  #isNewest = false;

  /** `ui`: list, counts, draw(), say(text), tell(text, kind), selected(row, opens). */
  constructor(ui) { this.#ui = ui; }

  get isLive() { return !this.#route?.at; }
  get held() { return this.#held; }
  /** The last sequence that came from the live stream. */
  get position() { return this.#stream?.position ?? null; }
  get received() { return this.#stream?.received ?? 0; }

  /** Begins anew if the route asks for other events. */
  open(route) {
    const before = this.#route;
    this.#route = { ...route };
    const isSame = before && filters(before).toString() === filters(route).toString() && before.at === route.at;
    if (isSame) {
      if (before.q !== route.q) this.#search(route.q);
      return;
    }
    this.close();
    this.#route = { ...route };
    this.rows.clear();
    this.#search(route.q);
    this.selected = null;
    this.#ui.counts.clear();
    this.#held = 0;
    this.#leftOut = null;
    this.#isOldest = false;
    this.#isNewest = false;
    this.isPaused = false;
    this.isFollowing = this.isLive;
    if (this.isLive) this.#follow(); else this.#openPast(route.at);
    this.#ui.draw();
  }

  close() {
    this.#stream?.stop();
    this.#stream = null;
    this.#load?.abort();
    this.#load = null;
    this.#route = null;
  }

  #search(text) {
    this.rows.search(text);
    this.#ui.list.show(this.rows);
    if (this.selected) this.#ui.list.active = this.rows.indexOf(this.selected);
    if (this.isFollowing) this.#ui.list.toEnd();
    this.#ui.draw();
  }

  #follow() {
    const params = filters(this.#route);
    params.append('last', FIRST);
    this.#stream = new EventStream(params, (rows) => this.#take(rows), (state, why) => {
      const before = this.state;
      this.state = state;
      if (state === 'refused') this.#ui.tell(why, 'error');
      else if (state === 'waiting') this.#ui.tell(`Not connected: ${why}. Trying again.`, 'warn');
      else if (state === 'live' && before !== 'live') this.#ui.tell('');
      this.#ui.draw();
    });
    this.#stream.start();
  }

  #prepare(rows) {
    for (const row of rows) {
      if (row.kind !== 'event') continue;
      row.failed = failed(row.tag, row.data) === true;
      row.data = undefined; // read again from the line when it is looked at
    }
    return rows;
  }

  #take(rows) {
    this.#prepare(rows);
    this.#ui.counts.add(rows);
    for (const row of rows) if (row.kind === 'gap') this.#ui.say(describeHole(row));
    const { list } = this.#ui;
    if (this.isFollowing) {
      this.rows.append(rows);
      if (this.selected) list.active = this.rows.indexOf(this.selected);
      list.toEnd();
    } else {
      this.#held += rows.length;
      this.#hold(rows);
      list.draw();
    }
    this.#ui.draw();
  }

  /** Keeps what comes while somebody reads; what does not fit is counted. */
  #hold(rows) {
    if (this.#leftOut || this.rows.isFull) {
      const first = rows.find((row) => row.seq);
      this.#leftOut ??= { kind: 'skip', count: 0, from: first?.seq, at: first?.at };
      this.#leftOut.count += rows.length;
      this.#leftOut.to = rows.at(-1).seq;
    } else {
      this.rows.append(rows);
    }
  }

  /** Goes on with what is new. */
  resume() {
    this.isPaused = false;
    this.isFollowing = true;
    this.#held = 0;
    if (this.#leftOut) {
      this.rows.append([this.#leftOut]);
      this.#leftOut = null;
    }
    this.#ui.list.toEnd();
    this.#ui.draw();
  }

  pause() {
    this.isPaused = true;
    this.#stay();
    this.#ui.draw();
  }

  /** Lets the view stay where it is. */
  #stay() { if (this.isFollowing) { this.isFollowing = false; this.#held = 0; } }

  scrolled() {
    const { list } = this.#ui;
    if (this.isLive) {
      if (list.isAtEnd && !this.isPaused && !this.selected) { if (!this.isFollowing) this.resume(); } else if (!list.isAtEnd) this.#stay();
    } else if (list.isAtEnd) this.#later();
    if (list.isAtStart && !this.isFollowing) this.#earlier();
    this.#ui.draw();
  }

  select(index, opens) {
    const row = this.rows.at(index);
    if (!row) return;
    this.#stay();
    this.selected = row;
    this.#ui.list.activate(index);
    this.#ui.selected(row, opens);
    if (index === 0) this.#earlier();
    if (index === this.rows.length - 1 && !this.isLive) this.#later();
    this.#ui.draw();
  }

  unselect() {
    this.selected = null;
    this.#ui.list.active = -1;
    this.#ui.list.draw();
  }

  /** The next or the previous failure from here. */
  selectFailure(step) {
    const { length } = this.rows;
    let index = this.selected ? this.rows.indexOf(this.selected) : step > 0 ? -1 : length;
    for (index += step; index >= 0 && index < length; index += step) {
      if (this.rows.at(index).failed) return this.select(index, true);
    }
    this.#ui.say(step > 0 ? 'No later failure here' : 'No earlier failure here');
  }

  toStart() {
    this.#stay();
    if (this.rows.length) this.select(0, false);
  }

  async #openPast(at) {
    const abort = new AbortController();
    this.#load = abort;
    this.state = 'past';
    const params = filters(this.#route);
    if (/^\d{1,15}$/.test(at) || at === 'earliest') params.append('from', at); else params.append('since', at);
    params.append('limit', PAGE);
    try {
      let { rows } = await fetchRows(params, { signal: abort.signal });
      if (this.#load !== abort) return;
      if (!rows.some((row) => row.kind === 'event')) {
        const last = filters(this.#route);
        last.append('last', PAGE);
        ({ rows } = await fetchRows(last, { signal: abort.signal }));
        if (this.#load !== abort) return;
        this.#isNewest = true;
        this.#ui.say('Nothing after that time; these are the events before it');
      }
      this.#load = null;
      this.#prepare(rows);
      this.rows.append(rows);
      this.#ui.counts.add(rows);
      this.#ui.list.show(this.rows);
      if (this.#isNewest) this.#ui.list.toEnd(); else { this.#ui.list.activate(0, 'start'); this.#ui.list.active = -1; }
      this.#ui.draw();
      await this.#earlier();
    } catch (error) {
      if (this.#load === abort) this.#load = null;
      if (error.name !== 'AbortError') this.#ui.tell(error instanceof Refused ? error.message : 'The connection is gone.', 'error');
    }
  }

  /** Loads what comes after the last row of a view of the past. */
  async #later() {
    if (this.#load || this.#isNewest) return;
    const last = this.rows.all.last?.seq;
    if (!last) return;
    const params = filters(this.#route);
    params.append('from', last + 1);
    params.append('limit', PAGE);
    await this.#loading(async (signal) => {
      const { rows } = await fetchRows(params, { signal });
      return () => {
        const news = this.#prepare(rows.filter((row) => row.seq > last));
        this.#isNewest = news.length === 0;
        if (this.#isNewest) this.#ui.say('This is the newest event');
        this.#ui.counts.add(news);
        const lost = this.rows.append(news);
        if (lost) { this.#isOldest = false; this.#ui.list.shift(-lost); } else this.#ui.list.draw();
      };
    });
  }

  /** Loads what comes before the first row. */
  async #earlier() {
    if (this.#load || this.#isOldest) return;
    const first = this.rows.all.first;
    const before = first?.seq ?? first?.from;
    if (!before) return;
    if (before <= 1) { this.#edge(); return; }
    await this.#loading(async (signal) => {
      const params = filters(this.#route);
      params.append('before', before);
      params.append('last', PAGE);
      const { rows } = await fetchRows(params, { signal });
      const found = rows.filter((row) => row.seq < before);
      const events = found.filter((row) => row.kind === 'event');
      return () => {
        this.#isOldest = events.length < PAGE;
        this.#prepare(found);
        this.#ui.counts.add(events);
        const shown = this.rows.prepend(found);
        this.#ui.list.shift(shown);
        if (this.#isOldest) this.#edge();
      };
    });
  }

  #edge() {
    this.#isOldest = true;
    if (this.rows.all.first?.kind === 'edge') return;
    const shown = this.rows.prepend([{ kind: 'edge', seq: 0, text: 'The oldest event that is kept and that you may see.' }]);
    this.#ui.list.shift(shown);
  }

  async #loading(load) {
    const abort = new AbortController();
    this.#load = abort;
    this.#ui.draw();
    try {
      const apply = await load(abort.signal);
      if (this.#load === abort) apply();
    } catch (error) {
      if (error.name !== 'AbortError' && this.#load === abort) this.#ui.tell(error.message, 'warn');
      abort.abort();
    } finally {
      if (this.#load === abort) this.#load = null;
      this.#ui.draw();
    }
    // The end may have been reached while something else was loaded.
    if (!abort.signal.aborted && this.#route && !this.isLive && this.#ui.list.isAtEnd) this.#later();
  }

  get isLoading() { return this.#load !== null; }
}

/** Fills a row's element. */
export function renderEvent(element, row, needle) {
  const [time, tag, text] = cells(element, 3);
  if (row.kind !== 'event') {
    element.className = `row hole ${row.kind}`;
    time.textContent = '';
    tag.textContent = { gap: 'gap', skip: 'left out', edge: 'begin' }[row.kind];
    text.textContent = describeHole(row);
    return;
  }
  row.summary ??= summary(JSON.parse(row.line));
  row.clock ??= clock(row.at);
  row.family ??= family(row.tag);
  element.className = row.failed ? `row t-${row.family} bad` : `row t-${row.family}`;
  time.textContent = row.clock;
  if (needle) {
    tag.replaceChildren(...marked(row.tag, needle));
    text.replaceChildren(...marked(row.summary, needle));
  } else {
    tag.textContent = row.tag;
    text.textContent = row.summary;
  }
}

/** The cells of a row's element, made once. */
export function cells(element, count) {
  if (element.cellsMade?.length !== count) {
    element.cellsMade = Array.from({ length: count }, (_, index) => make('span', { className: `c${index}` }));
    element.replaceChildren(...element.cellsMade);
    element.removeAttribute('aria-label');
  }
  return element.cellsMade;
}

export const countLine = (rows, q) => (q ? `${number(rows.length)} of ${plural(rows.all.length, 'loaded row')}` : `${plural(rows.events, 'event')} loaded`);
