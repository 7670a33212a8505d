//! A minion's options under Salt's names, read once, checked and typed for the modules that use them.
//!
//! Facts: Salt's documentation of the options; the defaults are `brine-config`'s.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_config::{Age, Brine, Opts};
use brine_net::crypto::FingerprintHash;
use brine_net::keys::master::KeyOptions;
use brine_net::listener::Keepalive;
use brine_net::tls::TlsOptions;
use brine_wire::Value;
use brine_wire::compat::Compat;
use brine_wire::network::MinionId;
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};

use super::masters::{MasterAddress, MasterType};
use super::retry_options::RetryOptions;
use super::spool::SpoolLimits;
use crate::bus_address::uses_tcp;
use crate::options::{OptionsError, Reader, Transport};

/// Where a minion's events and returns wait for its masters, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolOptions {
    /// A directory; `None` for memory, whose content ends with the minion.
    pub directory: Option<PathBuf>,
    /// For each master.
    pub limits: SpoolLimits,
}

impl SpoolOptions {
    /// What the configuration says; by default below `cachedir`.
    fn new(options: &brine_config::SpoolOptions, cachedir: &str) -> Self {
        let directory = options.directory.clone();
        let directory = directory.unwrap_or_else(|| Path::new(cachedir).join("spool"));
        let defaults = SpoolLimits::default();
        Self {
            directory: options.enabled.then_some(directory),
            limits: SpoolLimits {
                max_bytes: options.max_bytes.unwrap_or(defaults.max_bytes),
                max_age: match options.max_age {
                    None => defaults.max_age,
                    Some(Age::Forever) => None,
                    Some(Age::For(age)) => Some(age),
                },
            },
        }
    }
}

/// A minion's options, from Salt's options of the same names.
#[derive(Debug, Clone)]
pub struct MinionOptions {
    /// Who it is.
    pub id: MinionId,
    /// `ipc_mode: tcp`: every user of the machine can write to the minion's bus, so that no event on it
    /// is a command.
    pub bus_is_open_to_all: bool,
    /// Its masters.
    pub masters: Vec<MasterAddress>,
    /// What several are.
    pub master_type: MasterType,
    /// How it reaches them.
    pub transport: Transport,
    /// The masters' publish port, if not the one they name.
    pub publish_port: Option<u16>,
    /// IPv6 too.
    pub ipv6: bool,
    /// Our own end of connections; `None` for any.
    pub source_ip: Option<IpAddr>,
    /// The port our requests come from; 0 for any.
    pub source_ret_port: u16,
    /// The port our subscription comes from; 0 for any.
    pub source_publish_port: u16,
    /// `tcp_keepalive` and its times; `None` for off.
    pub keepalive: Option<Keepalive>,
    /// TLS (not with ZeroMQ).
    pub ssl: Option<TlsOptions>,
    /// The largest data of an event that the node fires on its own bus, in bytes.
    pub max_event_size: usize,
    /// Subscribe by topics (zeromq).
    pub zmq_filtering: bool,
    /// The first wait before connecting again (zeromq).
    pub recon_default: Duration,
    /// The longest (zeromq).
    pub recon_max: Duration,
    /// The wait before connecting again (not with ZeroMQ).
    pub tcp_reconnect_backoff: Duration,
    /// Where its keys are.
    pub pki_dir: PathBuf,
    /// How its key is made.
    pub key_options: KeyOptions,
    /// Where modules and files are kept.
    pub cachedir: PathBuf,
    /// Where what it has for its masters waits.
    pub spool: SpoolOptions,
    /// Whose behaviour is wanted.
    pub compat: Compat,
    /// Take another key for the master's if one comes.
    pub open_mode: bool,
    /// The name of the key that signs masters' keys, if they must be signed.
    pub master_sign_key_name: Option<String>,
    /// Ask for that signature every time.
    pub always_verify_signature: bool,
    /// The fingerprint the master's key must have.
    pub master_finger: Option<(String, FingerprintHash)>,
    /// How keys are to be encrypted.
    pub encryption: EncryptionAlgorithm,
    /// How answers are to be signed.
    pub signing: SigningAlgorithm,
    /// Refuse SHA-1 (`fips_mode`).
    pub refuse_sha1: bool,
    /// What is shown to a master that accepts by grains.
    pub autosign_grains: Vec<String>,
    /// Publishes must be signed.
    pub sign_pub_messages: bool,
    /// How long a sign-in may take.
    pub auth_timeout: Duration,
    /// The wait while the key is pending.
    pub acceptance_wait_time: Duration,
    /// The longest such wait; the same as the first if it is shorter.
    pub acceptance_wait_time_max: Duration,
    /// How often it is looked whether the master is there; zero for not at all, or with several masters
    /// for half a minute.
    pub master_alive_interval: Duration,
    /// Ask again even if the key was rejected.
    pub rejected_retry: bool,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How often a request without a reply is sent.
    pub request_tries: u32,
    /// How often and how long it retries.
    pub retry: RetryOptions,
    /// Requests are signed by the minion's key.
    pub minion_sign_messages: bool,
    /// How many jobs run at a time; `None` for any number.
    pub process_count_max: Option<NonZeroUsize>,
    /// How many job ids are remembered, so that none is run twice.
    pub minion_jid_queue_hwm: usize,
    /// Fire `minion_start`, too.
    pub enable_legacy_startup_events: bool,
    /// Grains that go into start events.
    pub start_event_grains: Vec<String>,
}

impl MinionOptions {
    /// The file with the master's key as this minion knows it.
    pub(super) fn known_master_key(&self) -> PathBuf {
        self.pki_dir.join("minion_master.pub")
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn from_opts(opts: &Opts, brine: &Brine) -> Result<Self, OptionsError> {
        let read = Reader(opts);
        let wait = read.seconds("acceptance_wait_time", 10.0)?;
        let master_type = master_type(&read)?;
        let retry = RetryOptions::read(&read, master_type)?;
        let refuse_sha1 = read.flag("fips_mode", false)?;
        Ok(Self {
            id: id(opts)?,
            bus_is_open_to_all: uses_tcp(opts),
            masters: masters(&read, retry.failback_every.is_some())?,
            master_type,
            transport: read.transport()?,
            publish_port: match opts.is_set("publish_port") {
                true => Some(read.port("publish_port", 4505)?).filter(|port| *port != 4506),
                false => None,
            },
            ipv6: read.flag("ipv6", false)?,
            source_ip: source_ip(&read)?,
            source_ret_port: read.port("source_ret_port", 0)?,
            source_publish_port: read.port("source_publish_port", 0)?,
            keepalive: keepalive(&read)?,
            ssl: TlsOptions::from_option(opts.get("ssl"))?,
            max_event_size: read.max_event_size()?,
            zmq_filtering: read.flag("zmq_filtering", false)?,
            recon_default: read.millis("recon_default", 1000)?,
            recon_max: read.millis("recon_max", 10_000)?,
            tcp_reconnect_backoff: read.seconds("tcp_reconnect_backoff", 1.0)?,
            pki_dir: opts.text("pki_dir")?.into(),
            key_options: KeyOptions {
                keysize: u32::try_from(read.int("keysize", 2048)?).unwrap_or(2048),
                key_pass: None,
            },
            spool: SpoolOptions::new(&brine.spool, opts.text("cachedir")?),
            cachedir: opts.text("cachedir")?.into(),
            compat: brine.compat.unwrap_or(Compat::NEWEST),
            open_mode: read.flag("open_mode", false)?,
            master_sign_key_name: match read.flag("verify_master_pubkey_sign", false)? {
                true => Some(
                    read.text("master_sign_key_name")
                        .unwrap_or_else(|| "master_sign".into()),
                ),
                false => None,
            },
            always_verify_signature: read.flag("always_verify_signature", false)?,
            master_finger: match read.text("master_finger") {
                Some(finger) => Some((finger, hash(&read)?)),
                None => None,
            },
            encryption: encryption(opts, refuse_sha1)?,
            signing: signing(opts, refuse_sha1)?,
            refuse_sha1,
            autosign_grains: read.texts("autosign_grains"),
            sign_pub_messages: read.flag("sign_pub_messages", false)?,
            auth_timeout: read.seconds("auth_timeout", 5.0)?,
            acceptance_wait_time: wait,
            acceptance_wait_time_max: read.seconds("acceptance_wait_time_max", 0.0)?.max(wait),
            master_alive_interval: read.seconds("master_alive_interval", 0.0)?,
            rejected_retry: read.flag("rejected_retry", false)?,
            request_timeout: read.seconds("request_channel_timeout", 60.0)?,
            request_tries: u32::try_from(read.int("request_channel_tries", 3)?)
                .unwrap_or(3)
                .max(1),
            retry,
            minion_sign_messages: read.flag("minion_sign_messages", false)?,
            process_count_max: usize::try_from(read.int("process_count_max", -1)?)
                .ok()
                .and_then(NonZeroUsize::new),
            minion_jid_queue_hwm: usize::try_from(read.int("minion_jid_queue_hwm", 100)?)
                .unwrap_or(0),
            enable_legacy_startup_events: read.flag("enable_legacy_startup_events", true)?,
            start_event_grains: read.texts("start_event_grains"),
        })
    }
}

/// How much of a wrong id is shown, in characters.
const SHOWN_OF_ID: usize = 80;

fn id(opts: &Opts) -> Result<MinionId, OptionsError> {
    let id = opts.text("id")?;
    MinionId::parse(id).map_err(|_| OptionsError::Value {
        option: "id",
        expected: "a minion id of at most 255 bytes, without slashes and control characters, and no dot in front",
        found: format!("{:?}", id.chars().take(SHOWN_OF_ID).collect::<String>()),
    })
}

fn source_ip(read: &Reader<'_>) -> Result<Option<IpAddr>, OptionsError> {
    let Some(text) = read.text("source_ip") else {
        return Ok(None);
    };
    match text.parse() {
        Ok(ip) => Ok(Some(ip)),
        Err(_) => Err(OptionsError::Value {
            option: "source_ip",
            expected: "an address of this machine",
            found: text,
        }),
    }
}

/// Salt's −1 leaves a value to the system.
fn keepalive(read: &Reader<'_>) -> Result<Option<Keepalive>, OptionsError> {
    if !read.flag("tcp_keepalive", true)? {
        return Ok(None);
    }
    let idle = u64::try_from(read.int("tcp_keepalive_idle", 300)?).unwrap_or(300);
    Ok(Some(Keepalive {
        idle: Duration::from_secs(idle.max(1)),
        interval: u64::try_from(read.int("tcp_keepalive_intvl", -1)?)
            .ok()
            .map(Duration::from_secs),
        count: u32::try_from(read.int("tcp_keepalive_cnt", -1)?).ok(),
    }))
}

/// In the order in which they are asked. With `first_stays` there is one to go back to, which is not shuffled.
fn masters(read: &Reader<'_>, first_stays: bool) -> Result<Vec<MasterAddress>, OptionsError> {
    let port = read.port("master_port", 4506)?;
    let named = match read.0.get("master") {
        Some(Value::Array(masters)) => masters
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Some(Value::Str(master)) => master
            .split(',')
            .map(|master| master.trim().to_owned())
            .collect(),
        _ => Vec::new(),
    };
    if let Some(wrong) = named.iter().find(|name| MasterAddress::has_bad_port(name)) {
        return Err(OptionsError::Value {
            option: "master",
            expected: "names or addresses, with a port from 0 to 65535 or without",
            found: wrong.clone(),
        });
    }
    let mut masters: Vec<_> = named
        .iter()
        .filter(|master| !master.is_empty())
        .map(|master| MasterAddress::parse(master, port))
        .collect();
    if read.flag("random_master", false)? || read.flag("master_shuffle", false)? {
        let from = usize::from(first_stays).min(masters.len());
        shuffle(masters.get_mut(from..).unwrap_or_default());
    }
    if masters.is_empty() {
        return Err(OptionsError::Value {
            option: "master",
            expected: "a name or a list of names",
            found: "none".to_owned(),
        });
    }
    Ok(masters)
}

/// Another order each time, so that a fleet spreads over its masters.
fn shuffle(masters: &mut [MasterAddress]) {
    for at in (1..masters.len()).rev() {
        let [random] = brine_net::crypto::random::<1>().unwrap_or([0]);
        masters.swap(at, usize::from(random) % (at + 1));
    }
}

fn master_type(read: &Reader<'_>) -> Result<MasterType, OptionsError> {
    match read.text("master_type").as_deref() {
        None | Some("str") => Ok(MasterType::All),
        Some("failover") => Ok(MasterType::Failover),
        Some("disable") => Ok(MasterType::None),
        Some(other) => Err(OptionsError::Value {
            option: "master_type",
            expected: "str, failover or disable",
            found: other.to_owned(),
        }),
    }
}

fn hash(read: &Reader<'_>) -> Result<FingerprintHash, OptionsError> {
    let Some(name) = read.text("hash_type") else {
        return Ok(FingerprintHash::default());
    };
    FingerprintHash::parse(&name).ok_or(OptionsError::Value {
        option: "hash_type",
        expected: FingerprintHash::NAMES,
        found: name,
    })
}

/// `encryption_algorithm`; with `fips_mode` the other one by default, and no other.
fn encryption(opts: &Opts, refuse_sha1: bool) -> Result<EncryptionAlgorithm, OptionsError> {
    const OPTION: &str = "encryption_algorithm";
    let chosen = match (refuse_sha1, opts.is_given(OPTION)) {
        (true, false) => return Ok(EncryptionAlgorithm::OaepSha224),
        _ => Reader(opts).text(OPTION),
    };
    let Some(name) = chosen else {
        return Ok(EncryptionAlgorithm::default());
    };
    EncryptionAlgorithm::parse(&name)
        .filter(|algorithm| !(refuse_sha1 && algorithm.uses_sha1()))
        .ok_or(OptionsError::Value {
            option: OPTION,
            expected: match refuse_sha1 {
                true => "OAEP-SHA224, since fips_mode is set",
                false => "OAEP-SHA1 or OAEP-SHA224",
            },
            found: name,
        })
}

/// `signing_algorithm`, in the same way.
fn signing(opts: &Opts, refuse_sha1: bool) -> Result<SigningAlgorithm, OptionsError> {
    const OPTION: &str = "signing_algorithm";
    let chosen = match (refuse_sha1, opts.is_given(OPTION)) {
        (true, false) => return Ok(SigningAlgorithm::Pkcs1v15Sha224),
        _ => Reader(opts).text(OPTION),
    };
    let Some(name) = chosen else {
        return Ok(SigningAlgorithm::default());
    };
    SigningAlgorithm::parse(&name)
        .filter(|algorithm| !(refuse_sha1 && algorithm.uses_sha1()))
        .ok_or(OptionsError::Value {
            option: OPTION,
            expected: match refuse_sha1 {
                true => "PKCS1v15-SHA224, since fips_mode is set",
                false => "PKCS1v15-SHA1 or PKCS1v15-SHA224",
            },
            found: name,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_to_go_back_to_stays_the_first() {
        let mut opts = Opts::default();
        let named: Vec<Value> = (0..20).map(|n| format!("m{n}").into()).collect();
        opts.set("master", named);
        opts.set("random_master", true);
        let first = |stays| masters(&Reader(&opts), stays).unwrap()[0].host.clone();
        assert!((0..100).all(|_| first(true) == "m0"));
        assert!((0..100).any(|_| first(false) != "m0"));
    }
}
