//! Whose configuration is read.

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A master's: `/etc/salt/master`.
    Master,
    /// A minion's: `/etc/salt/minion`.
    Minion,
    /// A command's beside a master (`salt-run`, `salt`): the master's, then the user's `~/.saltrc`.
    Client,
}

impl Role {
    /// The file that is read if none is named.
    #[must_use]
    pub const fn default_file(self) -> &'static str {
        match self {
            Self::Master | Self::Client => "/etc/salt/master",
            Self::Minion => "/etc/salt/minion",
        }
    }

    /// The variable that names another file.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Master | Self::Client => "SALT_MASTER_CONFIG",
            Self::Minion => "SALT_MINION_CONFIG",
        }
    }
}
