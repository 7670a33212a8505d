// The other views: jobs, minions, and who reads the bus. Each is a list of rows out of what is known now.

import { cells } from './events.js';
import { missingCount, missingOf, stateOf } from './jobs.js';
import { ago, bytes, clock, number, plural } from './text.js';

const MARKS = { ok: '✓', failed: '✗', waiting: '…', missing: '!', unknown: '?', yes: '●', no: '○' };
const known = (value) => (value === null || value === undefined ? 'unknown' : number(value));

/** A view: its columns, its rows for a text, how a row is drawn, and what to say if there is none. */
export const VIEWS = {
  jobs: {
    title: 'Jobs',
    columns: ['State', 'Begun', 'Function', 'Target', 'By', 'Expected', 'Returned', 'Failed', 'Missing'],
    empty: 'No job yet in what was loaded.',
    rows: ({ fleet }, needle) => fleet.newestJobs().filter((job) => !needle || job.text.includes(needle)),
    key: (job) => job.jid,
    draw(element, job) {
      const [state, words] = stateOf(job);
      const values = [`${MARKS[state]} ${state}`, job.begun ? clock(job.begun).slice(0, 8) : 'unknown', job.fun || 'unknown', job.target || '–', job.user || '–',
        known(job.expected?.size ?? null), number(job.returns.size), number(job.failed), known(missingCount(job))];
      fill(element, `row s-${state}`, values);
      element.setAttribute('aria-label', `${job.fun} on ${job.target || 'unknown'}: ${words}; expected ${values[5]}, returned ${values[6]}, failed ${values[7]}, missing ${values[8]}`);
      const absent = missingOf(job);
      element.title = absent?.length ? `missing: ${absent.slice(0, 20).join(', ')}${absent.length > 20 ? ' …' : ''}` : words;
    },
  },
  minions: {
    title: 'Minions',
    columns: ['Minion', 'Connected', 'Last heard', 'With'],
    empty: 'No minion has been heard of yet.',
    rows: ({ fleet, status }, needle) => {
      const all = new Map(fleet.minions);
      for (const id of status?.minions?.connected ?? []) if (!all.has(id)) all.set(id, { id, at: 0, what: '' });
      const connected = connectedOf(fleet, status);
      return [...all.values()].filter(({ id }) => !needle || id.toLowerCase().includes(needle))
        .map((minion) => ({ ...minion, connected: connected ? (connected.has(minion.id) ? 'yes' : 'no') : 'unknown' }))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
    },
    key: (minion) => minion.id,
    draw(element, minion) {
      fill(element, `row s-${minion.connected === 'yes' ? 'ok' : minion.connected === 'no' ? 'failed' : 'unknown'}`,
        [minion.id, `${MARKS[minion.connected] ?? '?'} ${minion.connected}`, minion.at ? ago(minion.at) : 'unknown', minion.what || '–']);
    },
  },
  readers: {
    title: 'Subscribers and streams',
    columns: ['Kind', 'Who', 'Reads', 'Position', 'Behind', 'Bytes', 'From'],
    empty: 'Nobody reads the bus.',
    rows: ({ status }, needle) => readers(status).filter((reader) => !needle || JSON.stringify(reader).toLowerCase().includes(needle)),
    key: (reader) => reader.name + reader.what,
    draw(element, reader) {
      fill(element, `row s-${reader.lag > 1000 ? 'failed' : reader.lag > 0 ? 'waiting' : 'ok'}`,
        [reader.kind, reader.name, reader.what, reader.position, plural(reader.lag, 'event'), reader.behind === null ? '–' : bytes(reader.behind), reader.from]);
    },
  },
};

/** Who is connected; null if nobody knows. */
export function connectedOf(fleet, status) {
  if (status?.minions?.connected) return new Set(status.minions.connected);
  return fleet.present;
}

function readers(status) {
  const list = [];
  for (const one of status?.bus?.subscribers ?? []) {
    list.push({
      kind: 'subscriber', name: one.pid ? `pid ${one.pid} uid ${one.uid}` : one.peer ?? 'unknown', what: 'all events', position: one.position,
      lag: one.lag, behind: one.bytes_behind ?? null, from: one.reads_from ?? '–', raw: one,
    });
  }
  for (const one of status?.streams ?? []) {
    list.push({
      kind: 'stream', name: one.pid ? `${one.user} (pid ${one.pid})` : one.peer ? `${one.user} at ${one.peer}` : one.user ?? 'unknown',
      what: one.query ? decodeURIComponentSafely(one.query) : 'all events', position: one.position ?? `${number(one.sent ?? 0)} sent`,
      lag: one.lag ?? 0, behind: null, from: '–', raw: one,
    });
  }
  for (const one of status?.consumers ?? []) {
    list.push({ kind: 'consumer', name: one.name, what: one.kind ?? '', position: one.position ?? '', lag: one.lag ?? 0, behind: null, from: one.state ?? '–', raw: one });
  }
  return list.sort((a, b) => b.lag - a.lag);
}

function decodeURIComponentSafely(text) {
  try { return decodeURIComponent(text.replaceAll('+', ' ')); } catch { return text; }
}

function fill(element, className, values) {
  element.className = className;
  const made = cells(element, values.length);
  for (let index = 0; index < values.length; index += 1) if (made[index].textContent !== values[index]) made[index].textContent = values[index];
}
