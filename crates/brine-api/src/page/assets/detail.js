// The pane of details: one event with its data, one job with its minions, one minion.

import { fetchRows } from './stream.js';
import { missingOf, stateOf } from './jobs.js';
import { bytes, clock, dateTime, make, number, plural } from './text.js';
import { openAll, parseExactly, tree } from './tree.js';

const SHOWN_MINIONS = 500;

export class Detail {
  #pane;
  #actions;
  /** What is shown, so that it can be copied. */
  #line = null;

  /** `actions`: close(), filter(name, value, replaces), goTo(sequence), openEvents(filters). */
  constructor(pane, actions) {
    this.#pane = pane;
    this.#actions = actions;
    pane.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') { event.stopPropagation(); actions.close(); }
    });
  }

  get isOpen() { return !this.#pane.hidden; }

  close() { this.#pane.hidden = true; this.#pane.replaceChildren(); this.#line = null; }

  focus() { (this.#pane.querySelector('[role=treeitem]') ?? this.#pane.querySelector('button'))?.focus(); }

  setAll(open) { const root = this.#pane.querySelector('.tree'); if (root) openAll(root, open); }

  async copy() {
    if (!this.#line) return false;
    await navigator.clipboard.writeText(this.#line);
    return true;
  }

  showRow(row, needle) {
    if (row.kind === 'event') this.#event(row, needle);
    else this.#hole(row);
  }

  #show(title, ...parts) {
    const close = make('button', { type: 'button', className: 'close', title: 'Close (Escape)', onclick: () => this.#actions.close() },
      make('span', { className: 'hide' }, 'Close details'), make('span', { 'aria-hidden': 'true' }, '×'));
    this.#pane.replaceChildren(make('div', { className: 'd-head' }, make('h3', {}, title), close), ...parts);
    this.#pane.hidden = false;
    this.#pane.scrollTop = 0;
  }

  #event(row, needle) {
    this.#line = row.line;
    const exact = parseExactly(row.line);
    const { data } = row;
    const part = row.tag.split('/');
    const more = [];
    const add = (label, name, value, replaces) => more.push(make('button', { type: 'button', onclick: () => this.#actions.filter(name, value, replaces) }, label));
    add('Only this tag', 'tag', row.tag, true);
    add('Without this tag', 'exclude', row.tag);
    if (typeof data?.id === 'string') add(`Minion ${data.id}`, 'filter', `minion:${data.id}`);
    if (part[0] === 'salt' && part[1] === 'job') add('This job', 'tag', `salt/job/${part[2]}/*`, true);
    if (typeof data?.fun === 'string') add(data.fun, 'filter', `fun:${data.fun}`);
    this.#show(row.tag,
      facts([
        ['Time', `${dateTime(row.at)}.${clock(row.at).slice(-3)}`, row.time],
        ['Position', row.position],
        ['Size', `${bytes(row.line.length)} as JSON`],
      ]),
      make('div', { className: 'chips', role: 'group', 'aria-label': 'Filter by this event' }, ...more),
      make('div', { className: 'tools' },
        make('button', { type: 'button', onclick: () => this.setAll(true), title: 'e' }, 'Expand all'),
        make('button', { type: 'button', onclick: () => this.setAll(false), title: 'c' }, 'Fold all'),
        make('button', { type: 'button', onclick: () => this.#actions.copy(), title: 'y' }, 'Copy JSON'),
        make('button', { type: 'button', onclick: () => this.#actions.goTo(row.seq), title: 'What came before and after, in an address that can be passed on' }, 'Around it')),
      tree(exact.data, needle));
  }

  #hole(row) {
    this.#line = row.line ?? null;
    const known = row.kind === 'gap';
    this.#show(known ? 'Gap' : row.kind === 'skip' ? 'Skipped by this page' : 'Oldest event',
      make('p', {}, describeHole(row)),
      known ? facts([['After', row.from], ['Up to', row.to], ['Why', row.reason ?? 'not known']]) : '',
      row.kind === 'skip' && row.from ? make('div', { className: 'tools' }, make('button', { type: 'button', className: 'primary', onclick: () => this.#actions.goTo(row.from) }, 'Show them from history')) : '');
  }

  showJob(job) {
    this.#line = null;
    const absent = missingOf(job);
    const [, words] = stateOf(job);
    const list = [];
    for (const id of absent ?? []) list.push(make('li', { className: 's-waiting' }, make('b', {}, id), ' missing'));
    const returns = [...job.returns].sort(([, a], [, b]) => Number(b.isBad) - Number(a.isBad));
    for (const [id, result] of returns) {
      if (list.length >= SHOWN_MINIONS) break;
      const holder = make('div', {});
      const open = () => this.#loadReturn(job, id, result, holder);
      list.push(make('li', { className: result.isBad ? 's-failed' : 's-ok' }, make('b', {}, id),
        ` ${result.isBad ? 'failed' : 'ok'}${result.retcode ? ` (${result.retcode})` : ''} at ${clock(result.at)} `,
        make('button', { type: 'button', onclick: open }, 'Return'), holder));
    }
    const left = job.returns.size + (absent?.length ?? 0) - list.length;
    if (left > 0) list.push(make('li', {}, `${number(left)} more`));
    this.#show(job.fun || 'unknown function',
      facts([
        ['Job', job.jid], ['State', words], ['Begun', job.begun ? dateTime(job.begun) : 'unknown'], ['Target', job.target || '–'], ['By', job.user || 'unknown'],
        ['Expected', job.expected ? number(job.expected.size) : 'unknown'], ['Returned', number(job.returns.size)], ['Failed', number(job.failed)],
        ['Missing', absent === null ? 'unknown' : number(absent.length)],
      ]),
      absent === null ? make('p', { className: 'why' }, job.expected
        ? 'Events were lost while it ran: minions that seem to be missing may have returned.'
        : 'Its beginning was not seen: whom it was for cannot be known.') : '',
      make('div', { className: 'tools' }, make('button', { type: 'button', onclick: () => this.#actions.openEvents({ tag: [job.kind === 'runner' ? `salt/run/${job.jid}/*` : `salt/job/${job.jid}/*`], at: String(job.seq) }) }, 'Its events')),
      make('ul', { className: 'minions', 'aria-label': 'Minions of the job' }, ...list));
  }

  async #loadReturn(job, id, result, holder) {
    if (holder.firstChild) { holder.replaceChildren(); return; }
    holder.textContent = 'loading…';
    try {
      const { rows } = await fetchRows(new URLSearchParams({ from: result.seq, limit: 1 }));
      const row = rows.find((one) => one.seq === result.seq);
      holder.replaceChildren(row ? tree(parseExactly(row.line).data.return ?? null) : 'It is no longer kept.');
    } catch (error) {
      holder.textContent = error.message;
    }
  }

  showMinion(minion, connected, jobs) {
    this.#line = null;
    this.#show(minion.id,
      facts([['Connected', connected], ['Last heard', minion.at ? dateTime(minion.at) : 'unknown'], ['With', minion.what || '–']]),
      make('div', { className: 'tools' }, make('button', { type: 'button', onclick: () => this.#actions.openEvents({ filter: `minion:${minion.id}` }) }, 'Its events')),
      make('ul', { className: 'minions', 'aria-label': 'Jobs of the minion' }, ...jobs.slice(0, 100).map(([job, result]) => make('li', { className: !result ? 's-waiting' : result.isBad ? 's-failed' : 's-ok' },
        make('b', {}, job.fun), ` ${!result ? 'missing' : result.isBad ? 'failed' : 'ok'} `, make('span', { className: 'dim' }, job.jid)))));
  }

  showReader(reader) {
    this.#line = JSON.stringify(reader);
    this.#show(reader.name, tree(reader.raw));
  }
}

/** A gap or a skip in one sentence. */
export function describeHole(row) {
  if (row.kind === 'skip') return `${plural(row.count, 'event')} came faster than this page shows them, or while it was paused, and were left out here. The bus has them.`;
  if (row.kind === 'edge') return row.text;
  const many = row.missed === null || row.missed === undefined ? 'An unknown number of events' : plural(row.missed, 'event');
  return `${many} between ${row.from} and ${row.to} cannot be had any more${row.reason ? ` (${row.reason})` : ''}.`;
}

function facts(pairs) {
  return make('dl', { className: 'facts' }, ...pairs.filter(([, value]) => value !== undefined).flatMap(([name, value, title]) => [make('dt', {}, name), make('dd', { title }, value)]));
}
