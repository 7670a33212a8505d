//! What people see of events: one line per event, and a model of what goes on at a site.
//!
//! Pure: no terminal, no socket, no clock; times, widths and zones are arguments. Knows the meaning of a span
//! ("failed"), not its colour. Facts about events: Salt's own catalogue, restated in `docs/watch.md`.
//!
//! - [`line::describe`] makes the sentence of an event, [`Line::cut`] fits it into a width.
//! - [`Facts`] are the fields that events share: minion, function, job, outcome.
//! - [`site::Site`] is the model behind `brine top`: rates, tags, minions, jobs, the last events.
//! - [`Template`] is `--format '{time} {tag} {data.id}'`.
//!
//! ```
//! use brine_view::line;
//! use brine_wire::Map;
//!
//! let data: Map = [("id", "web1"), ("act", "pend")].into_iter().collect();
//! let line = line::describe("salt/auth", &data);
//! assert_eq!(line.to_string(), "web1 key waits for acceptance: salt-key -a web1");
//! assert_eq!(line.cut(20).to_string(), "web1 key waits for …");
//! ```

pub mod data;
mod facts;
pub mod line;
pub mod site;
mod template;
pub mod text;

pub use facts::Facts;
pub use line::{Line, Meaning, Span};
pub use template::{Context, Template, TemplateError};
