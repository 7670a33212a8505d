//! Which Salt release a bus or a client presents itself as.
//!
//! The framing of the local bus changed inside each series, so a series means its newest
//! releases. Facts: `docs/protocol/ipc.md` §1, §4.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use crate::frame::Framing;

/// How a release writes `_stamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampStyle {
    /// UTC without offset: 3006 and 3007.
    Naive,
    /// With `+00:00`: 3008.
    Utc,
}

/// A series of Salt releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Series {
    /// 3006.x
    S3006,
    /// 3007.x
    S3007,
    /// 3008.x
    S3008,
}

/// The Salt release whose behaviour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compat {
    series: Series,
    /// The number after the dot; `None` for the newest of the series.
    patch: Option<u32>,
}

/// The release is not one we know the wire of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a Salt series (3006, 3007, 3008) or release (such as 3006.25), found {found:?}")]
pub struct CompatError {
    /// What came.
    pub found: String,
}

impl Compat {
    /// The newest series, the default.
    pub const NEWEST: Self = Self {
        series: Series::S3008,
        patch: None,
    };

    /// The series.
    #[must_use]
    pub const fn series(self) -> Series {
        self.series
    }

    /// How its bus writes to subscribers.
    #[must_use]
    pub fn publish_framing(self) -> Framing {
        match self.series {
            Series::S3006 if self.at_least(26) => Framing::Prefixed,
            _ => Framing::Bare,
        }
    }

    /// How its programs write to the pull socket. (Our own bus takes both.)
    #[must_use]
    pub fn pull_framing(self) -> Framing {
        let prefixed_since = match self.series {
            Series::S3006 => 26,
            Series::S3007 => 15,
            Series::S3008 => 2,
        };
        if self.at_least(prefixed_since) {
            Framing::Prefixed
        } else {
            Framing::Bare
        }
    }

    /// How its programs write `_stamp`.
    #[must_use]
    pub const fn stamp_style(self) -> StampStyle {
        match self.series {
            Series::S3006 | Series::S3007 => StampStyle::Naive,
            Series::S3008 => StampStyle::Utc,
        }
    }

    fn at_least(self, patch: u32) -> bool {
        self.patch.is_none_or(|own| own >= patch)
    }
}

impl FromStr for Compat {
    type Err = CompatError;

    fn from_str(text: &str) -> Result<Self, CompatError> {
        let unknown = || CompatError {
            found: text.to_string(),
        };
        let (series, patch) = match text.split_once('.') {
            Some((series, patch)) => (series, Some(patch)),
            None => (text, None),
        };
        let series = match series {
            "3006" => Series::S3006,
            "3007" => Series::S3007,
            "3008" => Series::S3008,
            _ => return Err(unknown()),
        };
        let patch = patch.map(str::parse).transpose().map_err(|_| unknown())?;
        Ok(Self { series, patch })
    }
}

impl fmt::Display for Compat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let series = match self.series {
            Series::S3006 => 3006,
            Series::S3007 => 3007,
            Series::S3008 => 3008,
        };
        match self.patch {
            Some(patch) => write!(out, "{series}.{patch}"),
            None => write!(out, "{series}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Framing::{Bare, Prefixed};

    #[test]
    fn the_framing_changes_inside_each_series() {
        for (release, publish, pull) in [
            ("3006", Prefixed, Prefixed),
            ("3006.0", Bare, Bare),
            ("3006.25", Bare, Bare),
            ("3006.26", Prefixed, Prefixed),
            ("3006.30", Prefixed, Prefixed),
            ("3007", Bare, Prefixed),
            ("3007.14", Bare, Bare),
            ("3007.15", Bare, Prefixed),
            ("3008", Bare, Prefixed),
            ("3008.0", Bare, Bare),
            ("3008.1", Bare, Bare),
            ("3008.2", Bare, Prefixed),
            ("3008.5", Bare, Prefixed),
        ] {
            let compat: Compat = release.parse().unwrap();
            assert_eq!(
                (compat.publish_framing(), compat.pull_framing()),
                (publish, pull),
                "{release}"
            );
            assert_eq!(compat.to_string(), release);
        }
    }

    #[test]
    fn refuses_releases_it_does_not_know() {
        for text in [
            "", "3005", "3009.1", "3006.", "3006.x", "v3006", "3006.1.2", "3006.-1",
        ] {
            assert!(text.parse::<Compat>().is_err(), "{text}");
        }
    }
}
