// Jobs and minions as the events tell of them: who was expected, who returned, who failed, who is missing.
// What cannot be known is "unknown": a job whose beginning was not seen, or during which events were lost.

import { failed } from './text.js';

const MAX_JOBS = 1000;
const MAX_RETURNS = 200_000;
const MAX_MINIONS = 20_000;
const PATIENCE = 60_000; // after so long without a return, minions that are waited for are missing

/** The events this needs. */
export const WATCHED = [
  ['tag', 'salt/job/*/new'], ['tag', 'salt/job/*/ret/*'], ['tag', 'salt/run/*/new'], ['tag', 'salt/run/*/ret'],
  ['tag', 'salt/minion/*/start'], ['tag', 'salt/presence/*'], ['tag', 'salt/auth'], ['tag', 'salt/key'], ['tag', 'salt/beacon/*'],
];

export class Fleet {
  /** By job id, in the order they were first heard of. */
  jobs = new Map();
  minions = new Map();
  /** Changes whenever anything does. */
  version = 0;
  /** Who is connected, from presence events; null as long as none came. */
  present = null;
  #returns = 0;

  clear() { this.jobs.clear(); this.minions.clear(); this.present = null; this.#returns = 0; this.version += 1; }

  add(rows) {
    for (const row of rows) {
      if (row.kind === 'event') this.#event(row);
      else this.#lost();
    }
    this.version += 1;
  }

  /** Events are missing here: jobs that were not complete may have been, and others may have begun. */
  #lost() {
    for (const job of this.jobs.values()) if (job.outstanding) job.isUncertain = true;
    this.present = null;
  }

  #event({ tag, data, at, seq }) {
    const part = tag.split('/');
    if (part[0] !== 'salt' || data === null || typeof data !== 'object') return;
    if (part[1] === 'job') {
      if (part[3] === 'new') this.#begun(part[2], 'job', data, at, seq);
      else if (part[3] === 'ret' && part[4]) this.#returned(part[2], part.slice(4).join('/'), tag, data, at, seq);
    } else if (part[1] === 'run') {
      if (part[3] === 'new') this.#begun(part[2], 'runner', data, at, seq);
      else if (part[3] === 'ret') this.#returned(part[2], 'master', tag, data, at, seq, 'runner');
    } else if (tag === 'salt/presence/present' && Array.isArray(data.present)) {
      this.present = new Set(data.present);
      for (const id of data.present) this.#seen(id, at, null);
    } else if (tag === 'salt/presence/change') {
      for (const id of data.new ?? []) this.present?.add(id);
      for (const id of data.lost ?? []) this.present?.delete(id);
    } else if (tag === 'salt/key' && data.act === 'delete') {
      this.minions.delete(data.id);
    } else if (typeof data.id === 'string') {
      const what = part[1] === 'minion' ? 'started' : part[1] === 'auth' ? `signed in: ${data.act}` : part[1] === 'beacon' ? `beacon ${part[3] ?? ''}` : `key ${data.act ?? ''}`;
      this.#seen(data.id, at, what);
    }
  }

  #job(jid, kind) {
    let job = this.jobs.get(jid);
    if (job) return job;
    job = {
      jid, kind, fun: '', target: '', user: '', begun: null, last: 0, seq: 0, expected: null, returns: new Map(), failed: 0,
      outstanding: 0, isUncertain: false, text: jid,
    };
    this.jobs.set(jid, job);
    while (this.jobs.size > MAX_JOBS || (this.#returns > MAX_RETURNS && this.jobs.size > 1)) {
      const [oldest, gone] = this.jobs.entries().next().value;
      this.#returns -= gone.returns.size;
      this.jobs.delete(oldest);
    }
    return job;
  }

  #begun(jid, kind, data, at, seq) {
    const job = this.#job(jid, kind);
    job.kind = kind;
    job.fun = String(data.fun ?? '').replace(/^runner\./, '');
    job.target = kind === 'job' ? targetText(data) : '';
    job.user = data.user ?? '';
    job.begun = at;
    job.last = Math.max(job.last, at);
    job.seq ||= seq;
    if (kind === 'runner') job.expected = new Set(['master']);
    else if (Array.isArray(data.minions)) job.expected = new Set(data.minions);
    job.outstanding = 0;
    for (const id of job.expected ?? []) if (!job.returns.has(id)) job.outstanding += 1;
    job.text = `${jid} ${job.fun} ${job.target} ${job.user}`.toLowerCase();
  }

  #returned(jid, minion, tag, data, at, seq, kind = 'job') {
    if (kind === 'job') {
      this.#seen(minion, at, `${data.fun ?? ''} ${failed(tag, data) ? 'failed' : 'ok'}`);
      if (data.fun === 'saltutil.find_job') return;
    }
    const job = this.#job(jid, kind);
    job.fun ||= String(data.fun ?? '').replace(/^runner\./, '');
    job.user ||= data.user ?? '';
    job.seq ||= seq;
    const isBad = failed(tag, data) === true;
    const before = job.returns.get(minion);
    if (!before) {
      this.#returns += 1;
      if (job.expected?.has(minion)) job.outstanding -= 1;
    }
    job.failed += Number(isBad) - Number(before?.isBad ?? false);
    job.returns.set(minion, { isBad, retcode: data.retcode, at, seq });
    job.last = Math.max(job.last, at);
    if (!job.begun) job.text = `${jid} ${job.fun} ${minion} ${job.user}`.toLowerCase();
  }

  #seen(id, at, what) {
    const minion = this.minions.get(id);
    if (minion) {
      minion.at = Math.max(minion.at, at);
      if (what) minion.what = what;
      return;
    }
    if (this.minions.size >= MAX_MINIONS) this.minions.delete(this.minions.keys().next().value);
    this.minions.set(id, { id, at, what: what ?? '' });
  }

  /** Newest first. */
  newestJobs() { return [...this.jobs.values()].reverse(); }
}

function targetText(data) {
  const target = Array.isArray(data.tgt) ? data.tgt.join(',') : String(data.tgt ?? '');
  return data.tgt_type && data.tgt_type !== 'glob' ? `${data.tgt_type}: ${target}` : target;
}

/** How many minions a job still lacks; null if that cannot be known. */
export function missingCount(job) {
  if (!job.expected || (job.outstanding && job.isUncertain)) return null;
  return job.outstanding;
}

/** The minions a job still lacks; null if that cannot be known. */
export function missingOf(job) {
  if (missingCount(job) === null) return null;
  return [...job.expected].filter((id) => !job.returns.has(id));
}

/** `ok`, `failed`, `waiting`, `missing` or `unknown`, and how to say it. */
export function stateOf(job) {
  const absent = missingCount(job);
  if (job.failed) return ['failed', `${job.failed} failed`];
  if (absent === null) return ['unknown', 'unknown'];
  if (absent) return Date.now() - job.last < PATIENCE ? ['waiting', `waiting for ${absent}`] : ['missing', `${absent} missing`];
  return ['ok', 'complete'];
}
