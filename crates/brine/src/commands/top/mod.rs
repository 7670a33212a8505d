//! `brine top`: a live view of a site: events, jobs, minions, tags, and who reads the bus.
//!
//! A thread reads events (`source`), the main thread has the model and the screen. Keys change only `app`, which
//! knows no terminal; `draw` makes a picture of it. Pictures are drawn at most ten times a second, whatever the rate:
//! a reader that cannot keep up lags on the bus's log, and nothing is queued for it.

mod app;
mod draw;
mod filter;
mod keys;
mod rows;
mod search;
mod source;

use std::io;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use brine_wire::field_filter::FieldFilter;
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
    Event as Input,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Rect, Size};
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::event::PollFlags;

use self::app::App;
use self::source::Source;
use crate::bus_location::BusArgs;
use crate::clock::{self, Zone};
use crate::interrupt::Interrupt;
use crate::remote::ApiArgs;
use crate::show::Colour;
use crate::terminal;
use crate::usage::wrong_usage;

/// The arguments of `brine top`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Press ? for the list of keys. Without a terminal, use brine watch or brine status.

Examples:
  brine top                       the bus of this machine's master
  brine top --filter 'ok:false'   only failed returns in the list of events
  brine top --file events.ndjson  what brine watch --json --seq wrote
  brine top --api https://salt:8000 --user fred   a site elsewhere, over its API

Exit codes: 0 ended by the user; 1 failed; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Show only events with these tags (shell patterns) in the list of events
    #[arg(value_name = "TAG")]
    tags: Vec<String>,
    /// Show only events with these fields, as in brine watch
    #[arg(long, value_name = "FIELD:PATTERN …")]
    filter: Option<String>,
    /// Begin with the last N events
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..))]
    last: u64,
    /// Read events from a file that brine watch --json or brine log export wrote
    #[arg(long, value_name = "FILE", conflicts_with = "api")]
    file: Option<PathBuf>,
    /// Show times in UTC
    #[arg(long)]
    utc: bool,
    /// Colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Colour,
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    api: ApiArgs,
}

/// The time from one picture to the next, at least.
const FRAME: Duration = Duration::from_millis(100);
/// The time from one picture to the next if nothing happens: rates and ages still change.
const IDLE: Duration = Duration::from_secs(1);

/// Shows the site until the user has seen enough.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    use io::IsTerminal as _;
    // In the line of the filter any word may be a tag; this option takes fields, as in brine watch.
    if let Err(error) = FieldFilter::parse(arguments.filter.as_deref().unwrap_or_default()) {
        wrong_usage(&format!("--filter: {error}"));
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        anyhow::bail!("brine top needs a terminal; brine watch and brine status write into pipes");
    }
    let mut app = App::new(Zone::from_flag(arguments.utc), arguments.color.on_stdout());
    if let Err(error) = app.set_filter(&arguments.filter_text()) {
        wrong_usage(&error);
    }
    let source = arguments.source()?;
    app.source = source.name.clone();
    app.is_recording = source.is_recording;
    let interrupt = Interrupt::catch()?;
    let mut screen = Screen::open()?;
    let done = show(&mut app, &source, &mut screen, &interrupt);
    drop(screen);
    done?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    app: &mut App,
    source: &Source,
    screen: &mut Screen,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let mut drawn = None::<Instant>;
    let mut is_changed = true;
    while !app.is_over && !interrupt.has_come() {
        if !IS_TAKEN.load(Ordering::SeqCst) {
            anyhow::bail!("the thread that reads the bus failed, as printed above");
        }
        let elapsed = drawn.map_or(IDLE, |drawn| drawn.elapsed());
        if (is_changed && elapsed >= FRAME) || elapsed >= IDLE {
            app.now = clock::now().0;
            screen.draw(app)?;
            (drawn, is_changed) = (Some(Instant::now()), false);
        }
        let wait = FRAME.saturating_sub(drawn.map_or(FRAME, |drawn| drawn.elapsed()));
        is_changed |= take_input(app, wait.max(Duration::from_millis(1)))?;
        is_changed |= source.drain(app)?;
        if let Some(why) = app.is_refused.take() {
            anyhow::bail!(why);
        }
        // Before anything else, so that leaving does not cut it off.
        if let Some(lines) = app.export.take() {
            app.message = source::save(&lines);
        }
        for wish in app.take_wishes() {
            if let Err(wish) = source.ask(wish) {
                app.refused(&wish);
            }
        }
    }
    Ok(())
}

/// Waits for keys and takes all there are; whether there were any.
fn take_input(app: &mut App, wait: Duration) -> anyhow::Result<bool> {
    // crossterm reads a terminal that is gone again and again, without end. Nobody is left to read an error, and ratatui
    // would panic because it cannot show the cursor.
    let input = terminal::wait_for_input(wait).context("cannot read the terminal")?;
    if input.contains(PollFlags::HUP) {
        std::process::exit(1);
    }
    let mut is_changed = false;
    while event::poll(Duration::ZERO).context("cannot read the terminal")? {
        match event::read().context("cannot read the terminal")? {
            Input::Key(key) => app.key(key),
            Input::Mouse(mouse) => app.mouse(mouse),
            Input::Paste(text) => app.paste(&text),
            Input::Resize(..) | Input::FocusGained | Input::FocusLost => {}
        }
        is_changed = true;
    }
    Ok(is_changed)
}

impl Arguments {
    fn filter_text(&self) -> String {
        let mut words = self.tags.clone();
        words.extend(self.filter.clone());
        words.join(" ")
    }

    fn source(&self) -> anyhow::Result<Source> {
        if let Some(file) = &self.file {
            return Source::file(file);
        }
        if let Some(remote) = self.api.open()? {
            return Ok(Source::remote(remote, self.last));
        }
        Source::bus(&self.bus.resolve()?, self.last)
    }
}

/// Whether the terminal is taken over.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, taken over; given back when dropped, and before a panic says why.
struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
    area: Rect,
}

/// What is drawn of a larger terminal: a screen takes memory for each place of it, and a terminal may say anything.
const LARGEST: Size = Size::new(500, 300);

/// The part of a terminal that is drawn.
fn drawn(size: Size) -> Rect {
    let (width, height) = (size.width, size.height);
    Rect::new(0, 0, width.min(LARGEST.width), height.min(LARGEST.height))
}

impl Screen {
    fn open() -> anyhow::Result<Self> {
        give_back_before_panics();
        let backend = CrosstermBackend::new(terminal::screen());
        let area = drawn(backend.size()?);
        let viewport = Viewport::Fixed(area);
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
        IS_TAKEN.store(true, Ordering::SeqCst);
        // From here on dropping gives it back.
        let screen = Self { terminal, area };
        enable_raw_mode().context("cannot take over the terminal")?;
        execute!(
            terminal::screen(),
            EnterAlternateScreen,
            EnableMouseCapture,
            EnableBracketedPaste
        )?;
        Ok(screen)
    }

    fn draw(&mut self, app: &mut App) -> anyhow::Result<()> {
        let area = drawn(self.terminal.size()?);
        if area != self.area {
            self.terminal.resize(area)?;
            self.area = area;
        }
        self.terminal.draw(|frame| draw::draw(app, frame))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Puts the terminal back as it was, once.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // What cannot be given back is lost with the terminal.
        let _ = execute!(
            terminal::screen(),
            DisableBracketedPaste,
            DisableMouseCapture,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

/// Without this the message of a panic would go with the screen that it was printed on.
fn give_back_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

#[cfg(test)]
mod tests;
