// Numbers, times and events as short text.

const clockFormat = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23',
});
const dateFormat = new Intl.DateTimeFormat(undefined, {
  year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});
const numberFormat = new Intl.NumberFormat('en');

export const clock = (at) => (Number.isFinite(at) ? clockFormat.format(at) : '');
export const dateTime = (at) => (Number.isFinite(at) ? dateFormat.format(at) : '');
export const number = (value) => numberFormat.format(value);
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  let value = count;
  let unit = -1;
  while (value >= 1024 && unit < 3) { value /= 1024; unit += 1; }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${['KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}

export function rate(perSecond) {
  return perSecond >= 10 || perSecond === 0 ? number(Math.round(perSecond)) : perSecond.toFixed(1);
}

export function ago(at, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

const FAMILIES = [
  ['salt/job/', 'job'], ['salt/run/', 'run'], ['salt/wheel/', 'run'], ['salt/batch/', 'job'], ['salt/auth', 'key'], ['salt/key', 'key'],
  ['salt/minion/', 'minion'], ['minion', 'minion'], ['salt/presence/', 'minion'], ['salt/beacon/', 'beacon'], ['salt/', 'other'],
  ['brine/', 'other'],
];

/** What an event is about, by its tag: a word for its colour. */
export function family(tag) {
  for (const [prefix, name] of FAMILIES) if (tag.startsWith(prefix)) return name;
  return 'own';
}

/** Whether a return says that the function failed; undefined for what is no return. */
export function failed(tag, data) {
  if (!tag.includes('/ret')) return undefined;
  if (data?.success === false) return true;
  if (typeof data?.retcode === 'number' && data.retcode !== 0) return true;
  return data?.success === undefined && data?.retcode === undefined ? undefined : false;
}

const LONGEST = 400;

/** An event in one line. */
export function summary({ tag, data }) {
  if (data === null || typeof data !== 'object') return short(data);
  const part = tag.split('/');
  if (part[0] === 'salt' && part[1] === 'job') {
    if (part[3] === 'new') {
      const whom = `${data.fun} on ${short(Array.isArray(data.tgt) ? data.tgt.join(',') : data.tgt)}`;
      return `${whom}${Array.isArray(data.minions) ? ` (${plural(data.minions.length, 'minion')})` : ''}${data.user ? ` by ${data.user}` : ''}`;
    }
    if (part[3] === 'ret') {
      const outcome = failed(tag, data) ? `failed${data.retcode ? ` (${data.retcode})` : ''}` : 'ok';
      return `${data.id} ${data.fun} ${outcome}: ${short(data.return)}`;
    }
  }
  if (part[1] === 'run' || part[1] === 'wheel') {
    const end = part[3] === 'ret' ? `${data.success === false ? 'failed' : 'ok'}: ${short(data.return)}` : `by ${data.user ?? '?'}`;
    if (data.fun) return `${data.fun} ${end}`;
  }
  if (tag === 'salt/presence/present' && Array.isArray(data.present)) return `${plural(data.present.length, 'minion')}: ${short(data.present.join(', '))}`;
  if (tag === 'salt/auth' || tag === 'salt/key') return `${data.id} ${data.act ?? ''}`;
  if (typeof data.data === 'string') return data.data;
  return short(without(data, '_stamp'));
}

function without(data, name) {
  if (!(name in data)) return data;
  const { [name]: _, ...rest } = data;
  return rest;
}

/** A value as JSON, cut where nobody reads on. */
export function short(value) {
  if (value === undefined) return '';
  const text = typeof value === 'string' ? value : JSON.stringify(value) ?? '';
  const line = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return line.replaceAll('\n', ' ');
}

/** An element with attributes, listeners and children; text is never read as HTML. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'className' || key === 'textContent' || key === 'hidden') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text with what was searched for marked. */
export function marked(text, needle) {
  if (!needle) return [text];
  const parts = [];
  const low = text.toLowerCase();
  // A few letters change their length with their case: then nothing is marked.
  if (low.length !== text.length) return [text];
  let from = 0;
  for (let at = low.indexOf(needle); at >= 0 && parts.length < 40; at = low.indexOf(needle, from)) {
    parts.push(text.slice(from, at), make('mark', {}, text.slice(at, at + needle.length)));
    from = at + needle.length;
  }
  parts.push(text.slice(from));
  return parts;
}
