// The rate over time: a bar per second or more, failed returns in another colour, gaps hatched. A click
// goes to that time.

import { clock, number, plural } from './text.js';

const KEPT = 3600; // seconds
const SPANS = [60, 300, 900, 3600];

/** Counts by the second in which the bus took the event. */
export class Counts {
  #seconds = new Map();
  gaps = [];
  newest = 0;
  clear() { this.#seconds.clear(); this.gaps = []; this.newest = 0; }

  add(rows) {
    let last = null;
    for (const row of rows) {
      if (row.kind === 'event') {
        const second = Math.floor(row.at / 1000);
        if (!Number.isFinite(second)) continue;
        let entry = this.#seconds.get(second);
        if (!entry) { entry = { all: 0, failed: 0 }; this.#seconds.set(second, entry); }
        entry.all += 1;
        if (row.failed) entry.failed += 1;
        if (second > this.newest) this.newest = second;
        last = second;
      } else if (row.kind !== 'edge') {
        this.gaps.push({ from: last ?? this.newest, kind: row.kind });
        if (this.gaps.length > 100) this.gaps.shift();
      }
      // A gap ends where events go on.
      if (row.kind === 'event') {
        for (let index = this.gaps.length - 1; index >= 0 && this.gaps[index].to === undefined; index -= 1) this.gaps[index].to = last;
      }
    }
    if (this.#seconds.size > KEPT + 600) {
      const oldest = this.newest - KEPT;
      for (const second of this.#seconds.keys()) if (second < oldest) this.#seconds.delete(second);
    }
  }

  between(from, until) {
    let all = 0;
    let failed = 0;
    for (let second = from; second < until; second += 1) {
      const entry = this.#seconds.get(second);
      if (entry) { all += entry.all; failed += entry.failed; }
    }
    return { all, failed };
  }

  get oldest() {
    let oldest = Infinity;
    for (const second of this.#seconds.keys()) if (second < oldest) oldest = second;
    return oldest;
  }
}

export class Chart {
  /** Whether the right edge is now. */
  isLive = true;
  #canvas;
  #tip;
  #counts;
  #columns = [];
  #hover = null;
  #colours = null;

  constructor(canvas, tip, counts, onPick) {
    this.#canvas = canvas;
    this.#tip = tip;
    this.#counts = counts;
    const at = (event) => {
      const x = event.clientX - canvas.getBoundingClientRect().left;
      return this.#columns.find((column) => x >= column.x && x < column.x + column.width + 1);
    };
    canvas.addEventListener('pointermove', (event) => { this.#hover = at(event) ?? null; this.#showTip(); });
    canvas.addEventListener('pointerleave', () => { this.#hover = null; this.#showTip(); });
    canvas.addEventListener('click', (event) => { const column = at(event); if (column) onPick(column.from); });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** To be called when the colours have changed. */
  recolour() { this.#colours = null; this.draw(); }

  draw() {
    const canvas = this.#canvas;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const style = this.#colours ??= colours(canvas);
    const context = canvas.getContext('2d');
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);

    const now = Math.floor(Date.now() / 1000);
    const end = (this.isLive ? now : this.#counts.newest) + 1;
    const { oldest } = this.#counts;
    const wanted = Number.isFinite(oldest) ? end - oldest : 0;
    const span = this.isLive ? SPANS.find((one) => one >= Math.min(wanted, 300)) ?? 300 : Math.max(60, Math.min(KEPT, wanted));
    const step = Math.max(1, Math.ceil(span / (width / 4)));
    const count = Math.ceil(span / step);
    const start = Math.floor(end / step) * step - (count - 1) * step;
    const bar = width / count;
    const columns = [];
    let most = 0;
    for (let index = 0; index < count; index += 1) {
      const from = start + index * step;
      const { all, failed } = this.#counts.between(from, from + step);
      const isNow = this.isLive && from + step > now;
      columns.push({ from, until: from + step, all, failed, x: index * bar, width: bar, isNow });
      if (!isNow || all > most) most = Math.max(most, all);
    }
    this.#columns = columns;
    const floor = height - 14;
    const top = 12;
    const scaleY = (floor - top) / Math.max(1, most);

    this.#drawGaps(context, style, start, end, width, floor);
    for (const column of columns) {
      if (!column.all) continue;
      const tall = Math.max(1.5, column.all * scaleY);
      context.fillStyle = column === this.#hover ? style.text : column.isNow ? style.faint : style.accent;
      context.fillRect(column.x + 0.5, floor - tall, Math.max(1, bar - 1), tall);
      if (column.failed) {
        const bad = Math.max(2, column.failed * scaleY);
        context.fillStyle = style.bad;
        context.fillRect(column.x + 0.5, floor - bad, Math.max(1, bar - 1), bad);
      }
    }
    context.fillStyle = style.line;
    context.fillRect(0, floor, width, 1);
    context.font = style.font;
    context.textBaseline = 'top';
    context.fillStyle = style.muted;
    context.textAlign = 'left';
    const peak = most / step;
    const label = `${number(peak < 10 ? Math.round(peak * 10) / 10 : Math.round(peak))}/s`;
    context.clearRect(0, 0, context.measureText(label).width + 8, 12);
    context.fillText(label, 2, 0);
    context.textBaseline = 'bottom';
    context.fillText(clock(start * 1000).slice(0, 8), 2, height);
    context.textAlign = 'right';
    context.fillText(this.isLive ? 'now' : clock(end * 1000).slice(0, 8), width - 2, height);
    this.#showTip();
  }

  /** What the plot shows, in words. */
  describe() {
    const full = this.#columns.filter((column) => !column.isNow);
    const all = full.reduce((sum, column) => sum + column.all, 0);
    const failed = full.reduce((sum, column) => sum + column.failed, 0);
    const seconds = full.reduce((sum, column) => sum + column.until - column.from, 0) || 1;
    const peak = Math.max(0, ...full.map((column) => column.all / (column.until - column.from)));
    return `Events per second over ${plural(seconds, 'second')}: ${plural(all, 'event')}, at most ${number(Math.round(peak))} per second, ${plural(failed, 'failed return')}`;
  }

  #drawGaps(context, style, start, end, width, floor) {
    for (const gap of this.#counts.gaps) {
      const until = gap.to ?? end;
      if (until < start) continue;
      const x = Math.max(0, (gap.from - start) / (end - start) * width);
      const wide = Math.max(6, (until - gap.from + 1) / (end - start) * width);
      context.save();
      context.beginPath();
      context.rect(x, 0, wide, floor);
      context.clip();
      context.strokeStyle = style.warn;
      context.lineWidth = 1;
      context.beginPath();
      for (let line = x - floor; line < x + wide; line += 5) { context.moveTo(line, floor); context.lineTo(line + floor, 0); }
      context.stroke();
      context.restore();
    }
  }

  #showTip() {
    const column = this.#hover && this.#columns.find((one) => one.from === this.#hover.from);
    this.#tip.hidden = !column;
    if (!column) return;
    const failed = column.failed ? `, ${number(column.failed)} failed` : '';
    this.#tip.textContent = `${clock(column.from * 1000).slice(0, 8)}  ${plural(column.all, 'event')}${failed}`;
    const room = this.#canvas.clientWidth - this.#tip.offsetWidth;
    this.#tip.style.left = `${Math.max(0, Math.min(room, column.x - this.#tip.offsetWidth / 2))}px`;
  }
}

function colours(element) {
  const style = getComputedStyle(element);
  const probe = document.createElement('i');
  element.parentElement.append(probe);
  // The custom properties hold light-dark(): the browser resolves them for a real property.
  const of = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const found = {
    accent: of('accent'), faint: of('accent-faint'), bad: of('bad'), warn: of('warn'), line: of('line'), muted: of('muted'), text: of('text'),
    font: `10px ${style.fontFamily}`,
  };
  probe.remove();
  return found;
}
