//! Salt's colours on terminals, or none.

/// The escape sequences by Salt's names; all empty when the output has no colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours {
    pub(super) red: &'static str,
    pub(super) light_red: &'static str,
    pub(super) green: &'static str,
    pub(super) light_green: &'static str,
    pub(super) light_yellow: &'static str,
    pub(super) blue: &'static str,
    pub(super) light_blue: &'static str,
    pub(super) magenta: &'static str,
    pub(super) light_magenta: &'static str,
    pub(super) cyan: &'static str,
    pub(super) dark_grey: &'static str,
    pub(super) light_grey: &'static str,
    pub(super) white: &'static str,
    /// Resets to the terminal's default.
    pub(super) end: &'static str,
}

impl Colours {
    pub(super) const NONE: Self = Self {
        red: "",
        light_red: "",
        green: "",
        light_green: "",
        light_yellow: "",
        blue: "",
        light_blue: "",
        magenta: "",
        light_magenta: "",
        cyan: "",
        dark_grey: "",
        light_grey: "",
        white: "",
        end: "",
    };

    pub(super) const ALL: Self = Self {
        red: "\x1b[0;31m",
        light_red: "\x1b[0;1;31m",
        green: "\x1b[0;32m",
        light_green: "\x1b[0;1;32m",
        light_yellow: "\x1b[0;1;33m",
        blue: "\x1b[0;34m",
        light_blue: "\x1b[0;1;34m",
        magenta: "\x1b[0;35m",
        light_magenta: "\x1b[0;1;35m",
        cyan: "\x1b[0;36m",
        dark_grey: "\x1b[0;1;30m",
        light_grey: "\x1b[0;37m",
        white: "\x1b[0;1;37m",
        end: "\x1b[0;0m",
    };
}
