//! The options of the database sinks, as those sinks take them.

#[cfg(feature = "mysql")]
use brine_bridge::mysql::MysqlOptions;
#[cfg(feature = "postgres")]
use brine_bridge::postgres::{PostgresOptions, PostgresTls};
use brine_bridge::rows::{AlterTime, Tables};
use brine_bridge::tls::{TlsOptions, Trust};
use brine_config::{DatabaseOptions, DatabaseTls};

use super::secret;

#[cfg(feature = "postgres")]
pub(super) fn postgres(options: &DatabaseOptions, master_id: &str) -> PostgresOptions {
    PostgresOptions {
        host: options.host.clone(),
        port: options.port,
        user: options.user.clone(),
        password: secret(options.password.as_ref()),
        database: options.database.clone(),
        connect_timeout: options.connect_timeout,
        tls: match encrypted(&options.tls) {
            Encrypted::Never => PostgresTls::Off,
            Encrypted::IfOffered(tls) => PostgresTls::Preferred(tls),
            Encrypted::Always(tls) => PostgresTls::Required(tls),
        },
        tables: Tables {
            events: options.events,
            jobs: options.jobs,
        },
        create_tables: options.create_tables,
        alter_time: alter_time(options.is_event_time),
        master_id: master_id.to_owned(),
    }
}

/// When a connection is encrypted.
enum Encrypted {
    Never,
    #[cfg_attr(
        not(feature = "postgres"),
        allow(dead_code, reason = "MySQL cannot offer it")
    )]
    IfOffered(TlsOptions),
    Always(TlsOptions),
}

/// As PostgreSQL's own clients: encrypted where the server can, and trusted only where that is asked for.
fn encrypted(options: &DatabaseTls) -> Encrypted {
    let tls = |trust| TlsOptions {
        trust,
        identity: options.identity.clone(),
    };
    let roots = options.ca.clone().map(Trust::Roots);
    match options.mode {
        Some("off") => Encrypted::Never,
        Some("require") => Encrypted::Always(tls(roots.unwrap_or(Trust::Anyone))),
        Some("verify") => Encrypted::Always(tls(roots.unwrap_or(Trust::System))),
        _ => Encrypted::IfOffered(tls(roots.unwrap_or(Trust::Anyone))),
    }
}

#[cfg(feature = "mysql")]
pub(super) fn mysql(options: &DatabaseOptions, master_id: &str) -> MysqlOptions {
    MysqlOptions {
        host: options.host.clone(),
        port: options.port,
        user: options.user.clone(),
        password: secret(options.password.as_ref()),
        database: options.database.clone(),
        connect_timeout: options.connect_timeout,
        tls: match encrypted(&options.tls) {
            Encrypted::Always(tls) => Some(tls),
            Encrypted::Never | Encrypted::IfOffered(_) => None,
        },
        tables: Tables {
            events: options.events,
            jobs: options.jobs,
        },
        create_tables: options.create_tables,
        alter_time: alter_time(options.is_event_time),
        master_id: master_id.to_owned(),
    }
}

const fn alter_time(is_event_time: bool) -> AlterTime {
    match is_event_time {
        true => AlterTime::Event,
        false => AlterTime::Stored,
    }
}
