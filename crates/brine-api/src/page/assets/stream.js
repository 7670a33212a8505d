// A stream of events that outlives its connection: reads JSON lines, goes on after the last position,
// and hands over batches once per animation frame, never more than a frame has time for.

import { get } from './session.js';

const BUDGET = 8; // milliseconds of parsing per frame
const MAX_WAITING = 20_000; // lines; beyond it the oldest are skipped, and counted
const SILENCE = 45_000; // the server writes a heartbeat every 15 s
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;

/** A line of the stream as a row; null for a heartbeat. */
export function rowOf(line) {
  const value = JSON.parse(line);
  if (value.tag !== undefined) {
    const { seq, position, time, tag, data } = value;
    return { kind: 'event', seq, position, at: Date.parse(time), time, tag, data, line };
  }
  if (value.gap) {
    const { from, to, missed, reason } = value.gap;
    return { kind: 'gap', position: to, from, to, missed, reason, seq: sequenceOf(to), line };
  }
  return null;
}

export const sequenceOf = (position) => Number(position.slice(position.lastIndexOf('-') + 1));

/** Cuts text that comes in pieces into lines. */
export class Lines {
  #rest = '';
  push(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    return lines;
  }
}

export class EventStream {
  /** Lines received so far, whether they were shown or not. */
  received = 0;
  #params;
  #onRows;
  #onState;
  #abort = null;
  #waiting = [];
  #head = 0;
  #flushing = false;
  #skipped = null;
  #position = null;
  #timer = 0;
  #pause = FIRST_PAUSE;

  /** `onRows(rows)` gets batches; `onState(state, why)` one of connecting, live, waiting, refused. */
  constructor(params, onRows, onState = () => {}) {
    this.#params = params;
    this.#onRows = onRows;
    this.#onState = onState;
  }

  start() { this.#run(); }

  /** The position of the last event that was handed over or skipped; null before the first. */
  get position() { return this.#position; }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
    clearTimeout(this.#timer);
    this.#waiting = [];
    this.#head = 0;
    this.#onRows = () => {};
    this.#onState = () => {};
  }

  async #run() {
    const abort = new AbortController();
    this.#abort = abort;
    let watch = 0;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), SILENCE);
    };
    let why = 'the server ended the stream';
    try {
      this.#onState('connecting');
      alive();
      const params = new URLSearchParams(this.#params);
      const headers = {};
      if (this.#position) {
        headers['Last-Event-ID'] = this.#position;
        params.delete('last');
      }
      const response = await get(`events?${params}`, { accept: 'application/x-ndjson', headers, signal: abort.signal });
      this.#onState('live');
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const lines = new Lines();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        alive();
        this.#pause = FIRST_PAUSE;
        this.#take(lines.push(value));
      }
    } catch (error) {
      if (this.#abort !== abort) return; // stopped
      if (error.status === 401) { clearTimeout(watch); return this.#onState('refused', 'logged out'); }
      if (error.status === 400 || error.status === 403 || error.status === 404) {
        clearTimeout(watch);
        return this.#onState('refused', error.message);
      }
      why = error.name === 'AbortError' ? 'the stream was silent' : error.status ? error.message : 'the connection is gone';
    }
    clearTimeout(watch);
    if (this.#abort !== abort) return;
    this.#onState('waiting', why);
    // Some randomness, so that all pages do not come back at once.
    this.#timer = setTimeout(() => this.#run(), this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
  }

  #take(lines) {
    for (const line of lines) if (line) this.#waiting.push(line);
    this.received += lines.length;
    if (this.#waiting.length - this.#head > MAX_WAITING) this.#skip();
    if (!this.#flushing && this.#waiting.length > this.#head) this.#schedule();
  }

  /** Gives up the older half of what waits. */
  #skip() {
    const until = this.#waiting.length - MAX_WAITING / 2;
    const first = rowOf(this.#waiting[this.#head]);
    const last = rowOf(this.#waiting[until - 1]);
    this.#skipped ??= { kind: 'skip', count: 0, from: first?.seq, at: first?.at };
    this.#skipped.count += until - this.#head;
    this.#skipped.to = last?.seq;
    this.#head = until;
  }

  #schedule() {
    this.#flushing = true;
    const flush = () => this.#flush();
    // Hidden pages get no animation frames.
    if (document.hidden) setTimeout(flush, 250); else requestAnimationFrame(flush);
  }

  #flush() {
    this.#flushing = false;
    const rows = [];
    if (this.#skipped) { rows.push(this.#skipped); this.#skipped = null; }
    const end = performance.now() + (document.hidden ? 4 * BUDGET : BUDGET);
    while (this.#head < this.#waiting.length) {
      const line = this.#waiting[this.#head];
      this.#head += 1;
      let row;
      try { row = rowOf(line); } catch { continue; } // cut off by the end of a connection
      if (row) { rows.push(row); this.#position = row.position; }
      if ((this.#head & 63) === 0 && performance.now() > end) break;
    }
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    } else {
      if (this.#head > MAX_WAITING) { this.#waiting = this.#waiting.slice(this.#head); this.#head = 0; }
      this.#schedule();
    }
    if (rows.length) this.#onRows(rows);
  }
}

/** The rows of a request that ends. */
export async function fetchRows(params, { most = 5000, signal } = {}) {
  const abort = new AbortController();
  signal?.addEventListener('abort', () => abort.abort());
  const response = await get(`events?${params}&follow=false`, { accept: 'application/x-ndjson', signal: abort.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const lines = new Lines();
  const rows = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return { rows, isWhole: true };
    for (const line of lines.push(value)) {
      const row = line && rowOf(line);
      if (row) rows.push(row);
    }
    if (rows.length > most) { abort.abort(); return { rows, isWhole: false }; }
  }
}
